"""Observed z, batches and covariates."""

import numpy as np
import pytest
from model_helpers import build, fit, small_counts, train

from basisvae_scvi import BasisVAE


def standardised(z):
    return (z - z.mean(axis=0)) / z.std(axis=0)


def test_observed_z_of_a_column_is_standardised(fitted_by_time):
    z = fitted_by_time.get_latent_representation()[:, 0]
    expected = standardised(fitted_by_time.adata.obs["true_z"].to_numpy())
    np.testing.assert_allclose(z, fitted_by_time.orientation_ * expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n_latent", [1, 2])
def test_observed_z_of_obsm_is_standardised(adata, n_latent):
    adata.obsm["plane"] = 5.0 + 3.0 * np.random.default_rng(0).normal(size=(100, n_latent))
    model = fit(adata, setup={"latent_key": "plane"}, n_latent=n_latent)
    z = model.orientation_ * model.get_latent_representation()
    np.testing.assert_allclose(z, standardised(adata.obsm["plane"]), rtol=1e-4, atol=1e-5)


def test_observed_z_may_be_a_constant(adata):
    adata.obs["time"] = 3.0
    model = fit(adata, setup={"latent_key": "time"})
    np.testing.assert_array_equal(model.get_latent_representation(), 0.0)
    np.testing.assert_array_equal(model.get_pseudotime(), 0.0)


def test_observed_z_may_be_of_whole_numbers(adata):
    adata.obs["day"] = np.arange(100) % 5
    model = fit(adata, setup={"latent_key": "day"})
    assert len(np.unique(model.get_latent_representation())) == 5


def test_with_observed_z_there_is_no_encoder(fitted_by_time):
    names = [name for name, _ in fitted_by_time.module.named_parameters()]
    assert not [name for name in names if "encoder" in name]
    assert any(name.startswith("basis.") for name in names)


def test_observed_z_has_no_variance(fitted_by_time):
    mean, variance = fitted_by_time.get_latent_representation(return_dist=True)
    assert mean.shape == variance.shape == (150, 1)
    assert (variance == 0).all()


def test_observed_z_of_new_cells_is_put_on_the_scale_of_the_old(fitted_by_time):
    cells = small_counts(30, 20, seed=9)
    z = fitted_by_time.orientation_ * fitted_by_time.get_latent_representation(cells)[:, 0]
    old = fitted_by_time.adata.obs["true_z"]
    expected = (cells.obs["true_z"] - old.mean()) / old.std(ddof=0)
    np.testing.assert_allclose(z, expected, rtol=1e-4, atol=1e-5)


def test_new_cells_without_the_observed_z_are_refused(fitted_by_time):
    cells = small_counts(30, 20, seed=9)
    del cells.obs["true_z"]
    with pytest.raises(KeyError, match="true_z"):
        fitted_by_time.get_latent_representation(cells)


def test_the_spread_of_inferred_z_is_positive(fitted):
    mean, variance = fitted.get_latent_representation(return_dist=True)
    np.testing.assert_array_equal(mean, fitted.get_latent_representation())
    assert (variance > 0).all()


def test_draws_of_z_average_to_its_mean(fitted):
    draws = fitted.get_latent_representation(give_mean=False, mc_samples=2000)
    mean, variance = fitted.get_latent_representation(return_dist=True)
    error = np.abs(draws - mean) / np.sqrt(variance / 2000)
    assert error.max() < 5
    assert error.max() > 0.5


def test_batches_get_offsets_of_mean_zero(fitted_batches):
    offsets = fitted_batches.module.genes.offsets().detach().cpu().numpy()
    assert offsets.shape == (2, 20)
    assert np.abs(offsets).max() > 1e-3
    np.testing.assert_allclose(offsets.mean(axis=0), 0.0, atol=1e-6)


def test_offsets_find_a_gene_that_differs_between_batches():
    adata = small_counts(150, 20, n_batches=2, batch_sd=0.0, mean_count=3.0)
    dense = adata.X.toarray()
    second = (adata.obs["batch"] == "batch1").to_numpy()
    dense[second, 6] = dense[second, 6] * 5
    adata.X = dense
    model = fit(adata, setup={"batch_key": "batch", "latent_key": "true_z"}, max_epochs=60)
    offsets = model.module.genes.offsets().detach().cpu().numpy()
    gap = offsets[1] - offsets[0]
    assert np.argmax(gap) == 6
    assert gap[6] > 0.8


def test_one_dispersion_per_gene_and_batch(fitted_batches):
    theta = fitted_batches.module.genes.dispersions().detach().cpu().numpy()
    assert theta.shape == (2, 20)
    assert not np.allclose(theta[0], theta[1])


@pytest.fixture
def covariates():
    adata = small_counts(90)
    adata.obs["site"] = np.resize(["a", "b", "c"], 90)
    adata.obs["age"] = np.linspace(20, 60, 90)
    return adata


def test_covariates_reach_the_encoder(covariates):
    setup = {"categorical_covariate_keys": ["site"], "continuous_covariate_keys": ["age"]}
    model = fit(covariates, setup=setup)
    cells = covariates.copy()
    for key, value in (("site", "b"), ("age", 80.0)):
        moved = cells.copy()
        moved.obs[key] = value
        # A covariate that nothing reads would leave z as it was.
        difference = model.get_latent_representation(moved) - model.get_latent_representation()
        assert np.abs(difference).max() > 1e-4, key


def test_an_unknown_covariate_value_is_refused_with_the_cure(covariates):
    model = fit(covariates, setup={"categorical_covariate_keys": ["site"]})
    cells = covariates.copy()
    cells.obs["site"] = "elsewhere"
    with pytest.raises(ValueError, match=r"load_query_data\(adata, model\)"):
        model.get_latent_representation(cells)


def test_a_query_brings_a_new_value_of_a_covariate(covariates):
    model = fit(covariates, setup={"categorical_covariate_keys": ["site"]})
    cells = small_counts(30, seed=3)
    cells.obs["site"] = "elsewhere"
    query = BasisVAE.load_query_data(cells, model, accelerator="cpu")
    train(query, 1)
    assert np.isfinite(query.get_latent_representation()).all()


def test_the_encoder_sees_genes_and_covariates(covariates):
    setup = {"continuous_covariate_keys": ["age"], "categorical_covariate_keys": ["site"]}
    weight = build(covariates, setup=setup).module.z_encoder.encoder.fc_layers[0][0].weight
    assert weight.shape == (8, 20 + 1 + 3)
