"""Observed dots and fitted lines of single genes."""

import numpy as np
import pytest
from matplotlib.colors import same_color
from scipy.special import expit

from basisvae_scvi import get, pl


def parts(ax):
    """Dots (z, mean), half lengths of the error bars, and the fitted line (z, value)."""
    (container,) = ax.containers
    dots, _, (bars,) = container.lines
    half = np.array([np.ptp(s[:, 1]) / 2 if len(s) else np.nan for s in bars.get_segments()])
    (fit,) = (line for line in ax.get_lines() if line.get_label() == "fit")
    return dots.get_data(), half, fit.get_data()


def bins_by_hand(adata, gene, n_bins):
    z = adata.obsm["X_basisvae"][:, 0].astype(float)
    x = adata[:, gene].X.toarray().ravel().astype(float)
    s = adata.obs["size"].to_numpy()
    for cells in np.array_split(np.argsort(z), n_bins):
        n, ratio = len(cells), x[cells].sum() / s[cells].sum()
        residual = x[cells] - ratio * s[cells]
        error = np.sqrt(n * (residual**2).sum() / (n - 1)) / s[cells].sum()
        yield z[cells].mean(), ratio, error


def test_dots_and_bars_are_means_and_their_errors(hand):
    ax = pl.gene_trends(hand, "gene5", n_bins=12, show=False)
    (z, mean), half, _ = parts(ax)
    expected = np.array(list(bins_by_hand(hand, "gene5", 12)))
    np.testing.assert_allclose(np.column_stack([z, mean, half]), expected)


def test_errors_cover_the_truth_as_often_as_they_should(annotated):
    adata = annotated(n_obs=3000, n_vars=40)
    panels = pl.gene_trends(adata, list(adata.var_names), n_bins=30, show=False)
    deviations = []
    for ax in panels:
        (z, mean), half, fit = parts(ax)
        deviations.append((mean - np.interp(z, *fit)) / half)
    inside = (np.abs(deviations) < 1).mean()
    assert 0.63 < inside < 0.73  # 68 %, and 1,200 bins


def test_line_is_the_trend_times_the_mean(hand):
    panels = pl.gene_trends(hand, ["gene2", "gene4"], show=False)
    trends = get.trends(hand, ["gene2", "gene4"])
    for ax, gene in zip(panels, trends, strict=True):
        mean = hand[:, gene].X.sum() / hand.obs["size"].sum()
        z, values = parts(ax)[2]
        np.testing.assert_allclose(z, trends.index)
        np.testing.assert_allclose(values, mean * trends[gene], rtol=1e-6)


def test_titles_labels_and_colors(hand):
    hand.uns["basisvae_cluster_colors"] = ["gray", "red", "green", "blue"]
    panels = pl.gene_trends(hand, ["gene2", "gene1"], show=False)
    assert [ax.get_title() for ax in panels] == ["gene2 · cluster 2", "gene1 · cluster 1"]
    assert panels[0].get_ylabel() == "normalised counts"
    assert panels[0].get_ylim()[0] == 0
    for ax, color in zip(panels, ["green", "red"], strict=True):
        assert all(same_color(line.get_color(), color) for line in ax.get_lines())


def test_dropout_lowers_the_line_to_the_level_of_the_dots(annotated):
    plain, zinb = annotated(), annotated(likelihood="zinb")
    kept = 0.6
    for adata in (plain, zinb):  # a fit that knows of dropout has larger scales
        adata.var["basisvae_gene_scale"] /= kept
    upper = parts(pl.gene_trends(plain, "gene1", show=False))[2][1]
    ax = pl.gene_trends(zinb, "gene1", show=False)
    (z, mean), _, (points, lower) = parts(ax)
    np.testing.assert_allclose(lower / upper, kept, rtol=0.05)
    assert abs(np.interp(z, points, lower).mean() / mean.mean() - 1) < 0.05


def test_without_a_key_size_factors_are_the_library_of_the_modelled_genes(hand):
    hand.uns["basisvae"]["params"]["size_factor_key"] = "None"
    hand.var.loc["gene0", "basisvae_cluster"] = np.nan
    library = hand[:, 1:].X.sum(axis=1).A1
    hand.obs["size"] = library / np.median(library)
    ax = pl.gene_trends(hand, "gene5", n_bins=12, show=False)
    expected = np.array(list(bins_by_hand(hand, "gene5", 12)))
    np.testing.assert_allclose(parts(ax)[0][1], expected[:, 1], rtol=1e-6)


def test_cells_that_were_not_modelled_are_left_out(hand):
    hand.obsm["X_basisvae"][::3] = np.nan
    ax = pl.gene_trends(hand, "gene5", n_bins=8, show=False)
    hand = hand[np.isfinite(hand.obsm["X_basisvae"][:, 0])].copy()
    expected = np.array(list(bins_by_hand(hand, "gene5", 8)))
    np.testing.assert_allclose(parts(ax)[0][1], expected[:, 1])


def test_more_bins_than_cells_give_a_dot_per_cell(annotated):
    adata = annotated(n_obs=9)
    (_, mean), half, _ = parts(pl.gene_trends(adata, "gene1", show=False))
    assert len(mean) == 9
    assert np.isnan(half).all()


@pytest.mark.parametrize("dense", [True, False])
def test_the_layer_of_the_model_is_the_default(hand, dense):
    expected = parts(pl.gene_trends(hand, "gene1", show=False))[0]
    hand.layers["counts"] = hand.X.toarray() if dense else hand.X.tocsc()
    hand.X = np.full(hand.shape, np.nan)
    hand.uns["basisvae"]["params"]["layer"] = "counts"
    np.testing.assert_allclose(parts(pl.gene_trends(hand, "gene1", show=False))[0], expected)
    del hand.layers["counts"]
    with pytest.raises(KeyError, match="layer='counts'"):
        pl.gene_trends(hand, "gene1", show=False)


def test_gaussian_data_have_the_units_of_the_data(hand):
    x = hand.X.toarray() - 1.5
    hand.X = x
    hand.uns["basisvae"]["params"]["gene_likelihood"] = "gaussian"
    panels = pl.gene_trends(hand, ["gene1", "gene0"], show=False)
    trends = get.trends(hand, ["gene1", "gene0"])
    size = np.sqrt((x.astype(float) ** 2).mean())
    np.testing.assert_allclose(parts(panels[0])[2][1], size * trends["gene1"], rtol=1e-5)
    mean = x[:, 0].mean()
    np.testing.assert_allclose(parts(panels[1])[2][1], mean * trends["gene0"], rtol=1e-5)
    assert panels[0].get_ylabel() == "expression"


def test_binary_data_give_probabilities(hand):
    hand.X = (hand.X.toarray() > 2).astype(np.float32)
    hand.uns["basisvae"]["params"]["gene_likelihood"] = "bernoulli"
    ax = pl.gene_trends(hand, "gene1", show=False)
    trend = get.trends(hand, "gene1")["gene1"]
    np.testing.assert_allclose(parts(ax)[2][1], expit(trend), rtol=1e-5)
    assert ax.get_ylabel() == "share of cells"


def test_values_that_cannot_be_counts_are_refused(hand):
    hand.layers["scaled"] = hand.X.toarray() - 1
    with pytest.raises(ValueError, match=r"layers\['scaled'\] contains negative values"):
        pl.gene_trends(hand, "gene1", layer="scaled", show=False)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"genes": "nowhere"}, KeyError, "nowhere"),
        ({"genes": []}, ValueError, "genes is empty"),
        ({"genes": "gene1", "size_factor_key": "no"}, KeyError, "size_factor_key='no'"),
        ({"genes": "gene1", "n_bins": 0}, ValueError, "n_bins=0"),
    ],
)
def test_wrong_arguments_are_named(hand, arguments, error, message):
    with pytest.raises(error, match=message):
        pl.gene_trends(hand, **arguments, show=False)


def test_the_band_is_the_credible_interval_of_the_line(certain):
    ax = pl.gene_trends(certain, "gene1", show=False)
    band = next(c for c in ax.collections if c.get_label() == "90 % credible")
    line = next(line for line in ax.get_lines() if line.get_label() == "fit")
    trend, lower, upper = get.trends(certain, ["gene1"], n_points=200, return_interval=True)
    ratio = line.get_ydata() / trend["gene1"]
    points = band.get_paths()[0].vertices
    for end in (lower, upper):
        expected = np.column_stack([trend.index, end["gene1"] * ratio])
        distance = np.abs(points[:, None] - expected).sum(-1).min(0)
        np.testing.assert_allclose(distance, 0.0, atol=1e-9)


def test_there_is_no_band_without_standard_deviations(hand):
    ax = pl.gene_trends(hand, "gene1", show=False)
    assert "90 % credible" not in [c.get_label() for c in ax.collections]
