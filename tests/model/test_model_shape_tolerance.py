"""Genes that differ a little from the course of their group stay in it."""

import warnings

import anndata as ad
import numpy as np
import pytest
from model_helpers import small_counts
from sklearn.metrics import adjusted_rand_score

from basisvae_scvi import BasisVAE
from basisvae_scvi.inference.structure import CurveGrid, working_evidence
from basisvae_scvi.likelihood import get_likelihood
from basisvae_scvi.module import FeatureConstants

N_OBS, N_VARS, DEVIATION = 300, 60, 0.15


@pytest.fixture(scope="module")
def adata():
    """Poisson counts of two shapes, every gene with smooth log deviations of its own."""
    rng = np.random.default_rng(4)
    z = np.sort(rng.standard_normal(N_OBS))
    group = np.arange(N_VARS) % 2
    course = np.where(group == 0, np.tanh(z)[:, None], -np.tanh(z)[:, None])
    knots = np.linspace(-2.5, 2.5, 6)
    own = [np.interp(z, knots, DEVIATION * rng.standard_normal(6)) for _ in range(N_VARS)]
    counts = rng.poisson(30.0 * np.exp(0.8 * course + np.transpose(own)))
    adata = ad.AnnData(counts.astype(np.float32))
    adata.obs["z"], adata.obs["ones"], adata.var["group"] = z, 1.0, group
    return adata


def find(adata, tolerance):
    """Clusters with z given."""
    BasisVAE.setup_anndata(adata, latent_key="z", size_factor_key="ones")
    model = BasisVAE(adata, n_basis=20, gene_likelihood="nb", shape_tolerance=tolerance)
    model.train(2, seed=0, n_restarts=1, accelerator="cpu", enable_progress_bar=False)
    return model.get_clusters()["cluster"]


def test_small_deviations_make_no_groups(adata):
    """With the tolerance the two true groups are found; without, the deviations split them."""
    tolerant, strict = find(adata, 0.2), find(adata, 0.0)
    assert adjusted_rand_score(adata.var["group"], tolerant) == 1.0
    assert tolerant.nunique() == 2
    assert strict.nunique() >= 6


def test_dispersion_grows_with_the_counts():
    """ψ + τ² X / 6, and evidence as under that dispersion."""
    rng = np.random.default_rng(0)
    x = rng.poisson([0.2, 3.0, 50.0], (200, 3)).astype(float)
    constants = FeatureConstants(x.mean(0), np.zeros(3), np.ones(3), 1.0)
    variance, size, grid = np.array([0.3, 6.0, 50.0]), np.ones(200), CurveGrid(False)
    arguments = get_likelihood("nb"), x, size
    evidence = working_evidence(
        *arguments, variance, grid, constants, True, tolerance=0.3, weight=5.0
    )
    psi = np.maximum(variance / x.mean(0), 1.0)
    total = psi + 0.3**2 * 5.0 * x.sum(0) / 6.0
    np.testing.assert_allclose(evidence.coarseness, total / psi, rtol=1e-12)
    other = working_evidence(*arguments, total * x.mean(0), grid, constants, True)
    share = np.full((200, len(grid.z)), 5.0 / len(grid.z))
    for working in (evidence, other):
        working.pool(share)
    curve = np.sin(grid.x)[None]
    found, expected = (w.table(curve, np.arange(3))[0] for w in (evidence, other))
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    plain = working_evidence(*arguments, variance, grid, constants, True)
    np.testing.assert_array_equal(plain.coarseness, np.ones(3))


@pytest.mark.parametrize("tolerance", [-0.1, np.nan, np.inf])
def test_impossible_tolerances_are_refused(adata, tolerance):
    """A sentence that names the argument."""
    BasisVAE.setup_anndata(adata)
    with pytest.raises(ValueError, match=r"shape_tolerance=.* must be 0 or positive"):
        BasisVAE(adata, n_basis=4, shape_tolerance=tolerance)


@pytest.mark.parametrize(
    "arguments", [{"gene_likelihood": "gaussian"}, {"objective": "paper"}, {"n_latent": 2}]
)
def test_a_tolerance_that_nothing_would_heed_is_refused(adata, arguments):
    BasisVAE.setup_anndata(adata)
    with pytest.raises(ValueError, match=r"shape_tolerance=0\.2 takes counts"):
        BasisVAE(adata, n_basis=4, shape_tolerance=0.2, **arguments)
    BasisVAE(adata, n_basis=4, **arguments)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, 0.1),
        ({"gene_likelihood": "poisson"}, 0.1),
        ({"gene_likelihood": "gaussian"}, 0.0),
        ({"objective": "paper"}, 0.0),
        ({"n_latent": 2}, 0.0),
        ({"shape_tolerance": 0.0}, 0.0),
    ],
)
def test_counts_have_a_tolerance_by_default(adata, arguments, expected):
    BasisVAE.setup_anndata(adata)
    model = BasisVAE(adata, n_basis=4, **arguments)
    assert model.module.shape_tolerance == expected
    assert model.init_params_["non_kwargs"]["shape_tolerance"] == expected


def test_intervals_know_the_tolerance(adata):
    """Evidence to the power 1 / c makes standard deviations √c times as large."""
    BasisVAE.setup_anndata(adata, latent_key="z", size_factor_key="ones")
    model = BasisVAE(adata, n_basis=4, gene_likelihood="nb", shape_tolerance=0.0)
    model.train(2, seed=0, n_restarts=1, accelerator="cpu", enable_progress_bar=False)
    strict = model.get_gene_intervals()["scale_sd"]
    model.module.shape_tolerance = 0.2
    tolerant = model.get_gene_intervals()["scale_sd"]
    coarseness = model._pair_evidence()[0].working.coarseness
    assert coarseness.min() > 2.0
    np.testing.assert_allclose(tolerant / strict, np.sqrt(coarseness), rtol=0.05)


def searched(adata, tolerance):
    """Model after the search, its warnings aside."""
    BasisVAE.setup_anndata(adata)
    model = BasisVAE(adata, n_basis=4, gene_likelihood="nb", shape_tolerance=tolerance)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No gene changes along z")
        model.train(1, seed=0, n_restarts=1, accelerator="cpu", enable_progress_bar=False)
    return model


def test_a_small_trajectory_is_not_lost_to_the_tolerance():
    """Few counts leave little of a tempered bound; whether genes change is judged by the whole."""
    model = searched(small_counts(120, 24), 0.2)
    gain = max(model.search_["bounds"]) - model.search_["flat_bound"]
    assert gain < 50.0  # what a trajectory must gain, and what is left here
    assert model.get_clusters()["cluster"].astype(str).nunique() > 1


def test_nothing_becomes_no_trajectory_by_the_tolerance():
    adata = small_counts(120, 24, proportions=[0.0, 0.0, 0.0, 1.0])
    assert searched(adata, 0.4).get_clusters()["cluster"].astype(str).unique().tolist() == ["0"]
