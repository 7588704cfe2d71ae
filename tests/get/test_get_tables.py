"""Tables against bases written by hand, whose answers are known."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from basisvae_scvi import get

STEP = 1.01 * 4.0 / 400  # positions are exact to a step of the grid over z


def test_genes_are_sorted_by_cluster_then_peak(hand):
    table = get.genes(hand)
    assert list(table.index) == ["const", "fall", "early", "late", "rise"]
    assert list(table.columns) == ["cluster", "shape", "peak", "shift", "scale", "confidence"]
    assert list(table["cluster"].cat.categories) == ["0", "1", "2", "3"]
    columns = ["cluster", "confidence", "gene_shift", "gene_scale"]
    truth = hand.var.loc[table.index, [f"basisvae_{name}" for name in columns]]
    assert (table[["cluster", "confidence", "shift", "scale"]].to_numpy() == truth).all(axis=None)


def test_peak_is_that_of_the_basis_minus_shift_within_the_cells(hand):
    peak = get.genes(hand)["peak"]
    np.testing.assert_allclose(peak[["early", "late"]], [-1.0, 0.5], atol=STEP)
    np.testing.assert_allclose(peak[["fall", "rise"]], [-2.0, 2.0])
    assert np.isnan(peak["const"])


def test_peak_outside_the_cells_is_put_at_the_end(hand):
    hand.var.loc["early", "basisvae_gene_shift"] = 2.5
    assert get.genes(hand).loc["early", "peak"] == -2.0


def test_shape_is_that_of_the_cluster(hand):
    shape = get.genes(hand)["shape"]
    assert shape[["const", "fall", "early", "late", "rise"]].tolist() == [
        "flat",
        "down",
        "transient mid",
        "transient mid",
        "up",
    ]


def test_equal_peaks_are_sorted_from_large_to_small_shift(hand):
    hand.var["basisvae_cluster"] = pd.Categorical(["3", "3", "3", "3", "3", None])
    hand.var["basisvae_gene_shift"] = [0.1, 0.3, 0.2, 0.4, 0.0, np.nan]
    assert list(get.genes(hand).index) == ["early", "rise", "const", "late", "fall"]


def test_clusters(hand):
    table = get.clusters(hand)
    assert list(table.index) == ["0", "1", "2", "3"]
    assert table["n_genes"].tolist() == [1, 1, 2, 1]
    assert table["shape"].tolist() == ["flat", "down", "transient mid", "up"]
    np.testing.assert_allclose(table["peak"], [np.nan, -2.0, 0.0, 2.0], atol=STEP)
    assert table.loc["2", "top_genes"] == "early, late"


def test_top_genes_of_like_confidence_are_those_of_large_scale(hand):
    hand.var["basisvae_confidence"] = 0.999
    hand.var.loc["early", "basisvae_confidence"] = 1.0
    assert get.clusters(hand).loc["2", "top_genes"] == "late, early"
    assert get.clusters(hand, n_top=1).loc["2", "top_genes"] == "late"


def test_clusters_are_sorted_as_numbers(hand):
    run = hand.uns["basisvae"]
    run["basis"] = np.column_stack([run["basis"], *[run["basis"][:, 1]] * 6])
    hand.var["basisvae_cluster"] = pd.Categorical(["10", "2", "10", "2", "9", None])
    assert list(get.clusters(hand).index) == ["2", "9", "10"]
    assert list(get.genes(hand)["cluster"].cat.categories) == ["2", "9", "10"]


def test_trends_are_scaled_and_shifted_bases(hand):
    trends = get.trends(hand, ["late", "fall"], n_points=50)
    assert trends.shape == (50, 2)
    assert (trends.index.name, trends.index[0], trends.index[-1]) == ("z", -2.0, 2.0)
    z = trends.index.to_numpy()
    late = 2.0 * 2 * np.exp(-0.5 * (z - 0.5) ** 2)
    np.testing.assert_allclose(trends["late"], late, atol=1e-5)
    np.testing.assert_allclose(trends["fall"], 1 / (1 + np.exp(3 * z)), atol=1e-5)


def test_trends_of_one_gene_and_of_all(hand):
    assert list(get.trends(hand, "rise").columns) == ["rise"]
    assert get.trends(hand).shape == (200, 5)


def test_a_subset_of_the_genes_keeps_its_answers(hand):
    part = hand[:, ["rise", "early"]].copy()
    pd.testing.assert_frame_equal(
        get.trends(part, ["early"]), get.trends(hand, ["early"]), check_names=False
    )
    assert list(get.clusters(part).index) == ["2", "3"]


@pytest.mark.filterwarnings("ignore:Writing zarr v2 data")
@pytest.mark.parametrize("format_", ["h5ad", "zarr"])
def test_answers_survive_storage(hand, tmp_path, format_):
    path = tmp_path / f"data.{format_}"
    getattr(hand, f"write_{format_}")(path)
    back = getattr(ad, f"read_{format_}")(path)
    pd.testing.assert_frame_equal(
        get.genes(back), get.genes(hand), check_index_type=False, check_categorical=False
    )
    pd.testing.assert_frame_equal(
        get.trends(back), get.trends(hand), check_column_type=False, check_names=False
    )


def test_several_latent_dimensions_have_no_courses(hand):
    hand.obsm["X_basisvae"] = np.zeros((50, 2), dtype=np.float32)
    hand.uns["basisvae"]["grid"] = np.zeros((200, 2))
    assert get.genes(hand)[["shape", "peak"]].isna().all(axis=None)
    assert get.clusters(hand)["shape"].isna().all()
    with pytest.raises(ValueError, match="n_latent=1"):
        get.trends(hand)


@pytest.mark.parametrize("function", [get.genes, get.clusters, get.trends])
def test_without_annotation_the_message_names_key_and_cure(hand, function):
    with pytest.raises(KeyError, match=r"uns\['run2'\].*annotate.*under: basisvae"):
        function(hand, key="run2")
    del hand.var["basisvae_gene_scale"]
    with pytest.raises(KeyError, match=r"var\['basisvae_gene_scale'\].*annotate\(adata\)"):
        function(hand)


def test_missing_parts_of_the_annotation_are_named(hand):
    del hand.obsm["X_basisvae"]
    with pytest.raises(KeyError, match=r"obsm\['X_basisvae'\]"):
        get.genes(hand)
    del hand.uns["basisvae"]["grid"]
    with pytest.raises(KeyError, match=r"uns\['basisvae'\]\['grid'\]"):
        get.genes(hand)


def test_unknown_and_unmodelled_genes_are_named(hand):
    with pytest.raises(KeyError, match="never, nowhere"):
        get.trends(hand, ["rise", "never", "nowhere"])


def test_a_grid_needs_two_points(hand):
    with pytest.raises(ValueError, match="n_points=1"):
        get.trends(hand, n_points=1)


@pytest.fixture
def certain(hand):
    """The same with standard deviations, intervals, flags and stability."""
    sd = np.array([0.1, 0.2, 0.0, 0.3, 0.05, np.nan])
    hand.var["basisvae_gene_shift_sd"] = sd
    hand.var["basisvae_gene_scale_sd"] = sd
    hand.var["basisvae_shift_identified"] = [True, True, False, False, True, False]
    hand.var["basisvae_stability"] = [1.0, 0.5, 0.9, 0.6, np.nan, np.nan]
    return hand


def test_what_is_known_of_certainty_follows_in_the_table(certain):
    table = get.genes(certain)
    assert list(table.columns)[6:] == ["shift_sd", "shift_identified", "scale_sd", "stability"]
    assert table["shift_identified"].dtype == bool
    assert table.index[table["shift_identified"]].tolist() == ["fall", "late", "rise"]
    assert table.loc["early", "shift_sd"] == 0.3


def test_stability_of_a_cluster_is_the_mean_of_its_genes(certain, hand):
    assert get.clusters(certain)["stability"].tolist()[2] == 0.8
    assert np.isnan(get.clusters(certain)["stability"]["1"])
    del hand.var["basisvae_stability"]
    assert "stability" not in get.clusters(hand)


def test_the_band_of_a_gene_is_what_draws_of_its_shift_and_scale_span(certain):
    certain.var.loc["late", "basisvae_gene_scale_sd"] = 0.3
    trend, lower, upper = get.trends(certain, ["late"], n_points=41, return_interval=True)
    z, cells = trend.index.to_numpy(), certain.obsm["X_basisvae"][:, 0]
    rng = np.random.default_rng(0)
    shift = -0.5 + 0.1 * rng.standard_normal(4000)

    def basis(x):
        return 2 * np.exp(-0.5 * x**2)

    # λ keeps the mean over the cells, and what is left of its variance is its own.
    size = basis(cells[:, None] + shift).mean(0)
    log_scale = np.log(2.0 * basis(cells - 0.5).mean() / size)
    own = np.sqrt(0.15**2 - log_scale.var())
    log_scale += own * rng.standard_normal(4000)
    draws = np.exp(log_scale) * basis(z[:, None] + shift)
    for found, q in ((lower, 0.05), (upper, 0.95)):
        expected = np.quantile(draws, q, axis=1)
        np.testing.assert_allclose(found["late"], expected, rtol=0.08)


def test_the_band_of_a_flat_gene_has_one_width(certain):
    certain.var.loc["const", ["basisvae_gene_scale_sd", "basisvae_gene_shift_sd"]] = 0.11, 5.0
    _, lower, upper = get.trends(certain, ["const"], return_interval=True, level=0.6826895)
    np.testing.assert_allclose(lower, 1.1 * np.exp(-0.1))
    np.testing.assert_allclose(upper, 1.1 * np.exp(0.1))


def test_bands_need_what_annotate_writes(hand, certain):
    with pytest.raises(ValueError, match=r"level=1\.0"):
        get.trends(certain, return_interval=True, level=1.0)
    del certain.var["basisvae_gene_scale_sd"]
    with pytest.raises(KeyError, match=r"var\['basisvae_gene_scale_sd'\].*intervals=True"):
        get.trends(certain, return_interval=True)


def test_the_band_of_a_signed_basis_is_symmetric(certain):
    certain.uns["basisvae"]["params"]["gene_likelihood"] = "gaussian"
    trend, lower, upper = get.trends(certain, ["late", "const"], return_interval=True)
    np.testing.assert_allclose(upper - trend, trend - lower, atol=1e-12)
    # With λ alone in doubt the band is that of λ at every z.
    certain.var["basisvae_gene_shift_sd"] = 0.0
    _, lower, _ = get.trends(certain, ["late"], return_interval=True, level=0.6826895)
    share = certain.var["basisvae_gene_scale_sd"] / certain.var["basisvae_gene_scale"]
    np.testing.assert_allclose(lower["late"], trend["late"] * (1.0 - share["late"]), rtol=1e-6)
