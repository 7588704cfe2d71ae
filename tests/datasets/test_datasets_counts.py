"""Simulated counts against the closed forms of the model they are drawn from."""

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp
from scipy.stats import norm

from basisvae_scvi.datasets import _counts as counts_module
from basisvae_scvi.datasets import basis_values, expected_counts, simulate_counts


def z_scores(adata, *, mean, variance):
    """Standardise each gene's sum over cells with its exact mean and variance, (n_vars,)."""
    return (np.asarray(adata.X.sum(axis=0)).ravel() - mean.sum(axis=0)) / np.sqrt(
        variance.sum(axis=0)
    )


def assert_standard(scores):
    """Mean and variance of scores that should be independent N(0, 1), within 4.5 errors."""
    assert abs(scores.mean()) < 4.5 / np.sqrt(len(scores))
    assert abs(scores.var() - 1) < 4.5 * np.sqrt(2 / len(scores))


@pytest.mark.parametrize(("likelihood", "dropout"), [("nb", 0.0), ("poisson", 0.0), ("zinb", 0.3)])
def test_counts_have_the_mean_and_variance_of_the_likelihood(likelihood, dropout):
    adata = simulate_counts(
        n_obs=3000,
        n_vars=200,
        likelihood=likelihood,
        dropout=dropout,
        mean_count=3.0,
        n_batches=3,
        seed=11,
    )
    mu = expected_counts(adata)
    # 1/inf is 0: the Poisson is the limit.
    conditional = mu + mu**2 / adata.var["true_dispersion"].to_numpy()
    mean = (1 - dropout) * mu
    variance = (1 - dropout) * (conditional + dropout * mu**2)
    assert_standard(z_scores(adata, mean=mean, variance=variance))
    squared = (adata.X.toarray() - mean) ** 2
    ratio = squared.sum() / variance.sum()
    assert abs(ratio - 1) < 5 * squared.std() / np.sqrt(squared.size) / variance.mean()
    assert ratio == pytest.approx(1, abs=0.05)


def test_expected_counts_follow_the_generative_model():
    adata = simulate_counts(n_obs=30, n_vars=12, n_batches=2, shapes=("late", "down"), seed=4)
    obs, var = adata.obs, adata.var
    for n in range(0, 30, 7):
        batch = obs["batch"].cat.codes.iloc[n]
        for j in range(12):
            x = obs["true_z"].iloc[n] + var["true_shift"].iloc[j]
            # Prior means in closed form, or by summing a fine grid.
            grid = np.linspace(-12, 12, 24001)
            if var["true_shape"].iloc[j] == "transient":
                basis = np.sqrt(2) * np.exp(-(x**2) / 2)
            else:
                f = 0.4 * np.log1p(np.exp(-grid))
                basis = 0.4 * np.log1p(np.exp(-x)) / (f @ norm.pdf(grid) * 0.001)
            mu = obs["true_size_factor"].iloc[n] * var["true_mean"].iloc[j] * basis
            mu *= var["true_scale"].iloc[j] * np.exp(adata.varm["true_batch_offset"][j, batch])
            assert expected_counts(adata)[n, j] == pytest.approx(mu, rel=1e-7)


def test_expected_counts_of_a_subset_are_the_subset():
    adata = simulate_counts(n_obs=60, n_vars=8, n_batches=3, seed=4)
    cells = np.flatnonzero(adata.obs["batch"] != "batch0")[::-1]
    part = adata[cells, [5, 2]].copy()
    expected = expected_counts(adata)[np.ix_(cells, [5, 2])]
    np.testing.assert_allclose(expected_counts(part), expected, rtol=1e-12)


def test_expected_counts_without_truth():
    with pytest.raises(ValueError, match="true_scale"):
        expected_counts(ad.AnnData(np.ones((2, 2))))


@pytest.mark.parametrize("per_gene", [False, True])
def test_dropout_rate(per_gene):
    n_obs, n_vars = 4000, 40
    rate = np.linspace(0, 0.9, n_vars) if per_gene else 0.4
    # So high a level that a zero can only come from dropout.
    adata = simulate_counts(
        n_obs=n_obs,
        n_vars=n_vars,
        shapes=("flat",),
        likelihood="zinb",
        mean_count=np.full(n_vars, 200.0),
        dispersion=50.0,
        dropout=rate,
        seed=8,
    )
    zeros = 1 - adata.X.getnnz(axis=0) / n_obs
    error = np.sqrt(np.maximum(adata.var["true_dropout"] * (1 - adata.var["true_dropout"]), 1e-9))
    assert (np.abs(zeros - rate) < 5 * error / np.sqrt(n_obs) + 1e-9).all()


def test_batches_shift_genes_by_their_offset():
    adata = simulate_counts(n_obs=6001, n_vars=50, n_batches=3, mean_count=5.0, batch_sd=0.5)
    offset = adata.varm["true_batch_offset"]
    assert offset.shape == (50, 3)
    np.testing.assert_allclose(offset.mean(axis=1), 0, atol=1e-12)
    # Removing the mean over 3 batches leaves 2/3 of the variance.
    assert offset.std() == pytest.approx(0.5 * np.sqrt(2 / 3), rel=0.15)
    assert sorted(adata.obs["batch"].value_counts()) == [2000, 2000, 2001]
    plain = expected_counts(adata) / np.exp(offset)[:, adata.obs["batch"].cat.codes].T
    for b, name in enumerate(["batch0", "batch1", "batch2"]):
        cells = (adata.obs["batch"] == name).to_numpy()
        ratio = np.asarray(adata.X[cells].sum(axis=0)).ravel() / plain[cells].sum(axis=0)
        np.testing.assert_allclose(np.log(ratio), offset[:, b], atol=0.12)


def test_one_batch_has_no_batch_column():
    adata = simulate_counts(n_obs=20, n_vars=5)
    assert "batch" not in adata.obs
    assert len(adata.varm) == 0


def test_a_gene_with_positive_shift_peaks_earlier():
    shapes = ("early", "peak", "late")
    adata = simulate_counts(n_obs=20000, n_vars=30, shapes=shapes, max_shift=0.4, mean_count=8.0)
    z, scaled = (
        adata.obs["true_z"].to_numpy(),
        adata.X.multiply(1 / adata.obs["true_size_factor"].to_numpy()[:, None]),
    )
    # Under a uniform z the centroid of a bump that fits into the window is its peak; of one that
    # is cut by the edge, it follows from the same integral over the window.
    grid = np.linspace(-2, 2, 4001)
    curve = basis_values("transient", grid + adata.var["true_shift"].to_numpy()[:, None])
    expected = curve @ grid / curve.sum(axis=1)
    found = np.asarray(scaled.T @ z).ravel() / np.asarray(scaled.sum(axis=0)).ravel()
    np.testing.assert_allclose(found, expected, atol=0.05)
    assert np.corrcoef(found, adata.var["true_shift"])[0, 1] < -0.99
    center = {"early": -1.5, "peak": 0.0, "late": 1.5}
    own = adata.var["true_shift"] + adata.var["true_group"].astype(str).map(center)
    assert (own.abs() <= 0.4).all()
    assert own.std() > 0.1


def test_spreads_of_the_gene_parameters():
    n = 4000
    var = simulate_counts(n_obs=2, n_vars=n, log_scale_sd=0.5, log_mean_sd=0.8, max_shift=1.0).var
    assert np.log(var["true_scale"]).std() == pytest.approx(0.5, abs=5 * 0.5 / np.sqrt(2 * n))
    assert np.log(var["true_mean"]).std() == pytest.approx(0.8, abs=5 * 0.8 / np.sqrt(2 * n))
    for column, mean, sd in [("true_scale", 1.0, 0.5), ("true_mean", 0.6, 0.8)]:
        error = mean * np.sqrt(np.expm1(sd**2) / n)
        assert var[column].mean() == pytest.approx(mean, abs=5 * error)
    flat = var["true_group"] == "flat"
    assert (var.loc[flat, "true_shift"] == 0).all()
    assert var.loc[~flat, "true_shift"].var() == pytest.approx(1 / 3, abs=0.03)


def test_size_factors_have_median_one():
    s = simulate_counts(n_obs=5000, n_vars=1, library_sd=0.4).obs["true_size_factor"]
    assert np.log(s).mean() == pytest.approx(0, abs=5 * 0.4 / np.sqrt(5000))
    assert np.log(s).std() == pytest.approx(0.4, abs=5 * 0.4 / np.sqrt(10000))


def test_group_sizes_follow_the_proportions():
    shapes = ("up", "flat", "double")
    var = simulate_counts(n_obs=2, n_vars=101, shapes=shapes, proportions=[6, 3, 1]).var
    assert var["true_group"].value_counts().to_dict() == {"up": 61, "flat": 30, "double": 10}
    assert list(var["true_group"].cat.categories) == list(shapes)
    # Shuffled: a model must not be able to read the group off the position.
    assert (var["true_group"].to_numpy()[1:] != var["true_group"].to_numpy()[:-1]).sum() > 30


def test_counts_are_sparse_whole_float32():
    x = simulate_counts(n_obs=50, n_vars=20).X
    assert sp.issparse(x)
    assert x.format == "csr"
    assert x.dtype == np.float32
    assert (x.data > 0).all()
    assert np.array_equal(x.data, np.round(x.data))


def test_blocks_cover_every_gene(monkeypatch):
    whole = simulate_counts(n_obs=200, n_vars=30, likelihood="poisson", mean_count=50.0, seed=2)
    monkeypatch.setattr(counts_module, "BLOCK", 1400)
    parts = simulate_counts(n_obs=200, n_vars=30, likelihood="poisson", mean_count=50.0, seed=2)
    assert whole.var.equals(parts.var)
    mu = expected_counts(parts)
    assert_standard(z_scores(parts, mean=mu, variance=mu))


def test_same_seed_same_data():
    first, again, other = (
        simulate_counts(n_obs=60, n_vars=15, n_batches=2, seed=seed) for seed in (5, 5, 6)
    )
    assert (first.X != again.X).nnz == 0
    assert first.obs.equals(again.obs)
    assert first.var.equals(again.var)
    assert np.array_equal(first.varm["true_batch_offset"], again.varm["true_batch_offset"])
    assert (first.X != other.X).nnz > 0


@pytest.mark.parametrize(
    "arguments",
    [
        {"n_obs": -5},
        {"n_vars": 0},
        {"n_batches": 0},
        {"shapes": ("peak", "peek")},
        {"shapes": ()},
        {"shapes": "peak"},
        {"proportions": [1, 2]},
        {"proportions": [1, 1, 1, -1]},
        {"proportions": [0, 0, 0, 0]},
        {"mean_count": 0.0},
        {"mean_count": [1.0, 2.0]},
        {"log_mean_sd": -1.0},
        {"max_shift": -0.1},
        {"log_scale_sd": -0.1},
        {"shape_deviation": -0.1},
        {"dispersion": 0.0},
        {"dispersion": [np.inf, 1.0, 1.0]},
        {"likelihood": "gamma"},
        {"dropout": 0.2},
        {"likelihood": "zinb", "dropout": 1.0},
        {"library_sd": -0.3},
        {"batch_sd": -0.3},
        {"z_distribution": "cauchy"},
    ],
)
def test_errors_name_the_argument(arguments):
    named = list(arguments)[-1]
    with pytest.raises(ValueError, match=rf"^{named} "):
        simulate_counts(**{"n_obs": 10, "n_vars": 3, **arguments})


def test_own_deviations_have_their_size_and_are_in_the_counts():
    adata = simulate_counts(n_obs=400, n_vars=400, shape_deviation=0.3, mean_count=20.0, seed=2)
    own, flat = adata.varm["true_deviation"], (adata.var["true_shape"] == "flat").to_numpy()
    z = np.linspace(-4.0, 4.0, own.shape[1])
    weight = np.exp(-0.5 * z**2) / np.exp(-0.5 * z**2).sum()
    np.testing.assert_allclose(own @ weight, 0.0, atol=1e-7)
    assert not own[flat].any()
    # Of a process of length 1, what its mean over N(0, 1) leaves: 1 - 1/sqrt(3).
    expected = 0.09 * (1.0 - 1.0 / np.sqrt(3.0))
    assert (own[~flat] ** 2 @ weight).mean() == pytest.approx(expected, rel=0.1)
    at = adata.obs["true_z"].to_numpy()
    course = np.exp(np.stack([np.interp(at, z, values) for values in own], axis=1))
    bare = adata.copy()
    del bare.varm["true_deviation"]
    np.testing.assert_allclose(expected_counts(adata), expected_counts(bare) * course)
    assert adata.X.sum() == pytest.approx(expected_counts(adata).sum(), rel=0.02)
    again = simulate_counts(n_obs=400, n_vars=400, mean_count=20.0, seed=2)
    assert again.var.equals(adata.var)
