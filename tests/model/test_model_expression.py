"""What scvi-tools offers every model: bounds, expression, draws, differential expression."""

import numpy as np
import pytest
import torch
from model_helpers import fit, small_counts
from scipy import sparse


def test_with_observed_z_the_bound_is_the_reconstruction_alone(fitted_by_time):
    elbo = float(fitted_by_time.get_elbo())
    error = float(fitted_by_time.get_reconstruction_error()["reconstruction_loss"])
    assert error > 0
    assert elbo == pytest.approx(-error, rel=1e-5)


def test_the_bound_can_be_had_per_cell(fitted_by_time):
    per_cell = fitted_by_time.get_elbo(return_mean=False)
    assert per_cell.shape == (150,)
    assert float(per_cell.mean()) == pytest.approx(float(fitted_by_time.get_elbo()), rel=1e-5)


def test_the_bound_does_not_depend_on_the_minibatch(fitted_by_time):
    bounds = [float(fitted_by_time.get_elbo(batch_size=size)) for size in (7, 150)]
    assert bounds[0] == pytest.approx(bounds[1], rel=1e-5)


def test_the_bound_lies_below_the_marginal_likelihood(fitted):
    torch.manual_seed(0)
    elbo = np.mean([float(fitted.get_elbo()) for _ in range(20)])
    assert elbo < fitted.get_marginal_ll(n_mc_samples=200)


def test_the_marginal_likelihood_is_exact_where_z_is_observed(fitted_by_time):
    # scvi-tools averages minibatches, whatever their size: so here is one.
    marginal = fitted_by_time.get_marginal_ll(n_mc_samples=2, batch_size=150)
    error = fitted_by_time.get_reconstruction_error()["reconstruction_loss"]
    assert marginal == pytest.approx(-float(error), rel=1e-5)


def test_the_marginal_likelihood_can_be_had_per_cell(fitted):
    per_cell = fitted.get_marginal_ll(n_mc_samples=5, return_mean=False)
    assert np.shape(per_cell) == (120,)
    assert np.isfinite(np.asarray(per_cell)).all()


def test_more_training_raises_the_bound(adata):
    bounds = [
        float(fit(adata.copy(), setup={"latent_key": "true_z"}, max_epochs=n).get_elbo())
        for n in (1, 40)
    ]
    assert bounds[1] > bounds[0] + 0.05


def test_normalised_expression_sums_to_about_one(fitted_by_time):
    total = fitted_by_time.get_normalized_expression(library_size=1).sum(axis=1)
    assert total.mean() == pytest.approx(1.0, abs=0.05)
    assert total.between(0.7, 1.3).all()


def test_normalised_expression_is_the_trend_at_the_cells_z(fitted_by_time):
    model = fitted_by_time
    expression = model.get_normalized_expression(library_size=1)
    trends = model.get_gene_trends(z=model.get_latent_representation()[:, 0])
    unit = float(model.module.genes.feature_scale.sum())
    np.testing.assert_allclose(expression, trends / unit, rtol=1e-4)
    assert list(expression.columns) == list(model.adata.var_names)


def test_normalised_expression_scales_with_the_library(fitted_by_time):
    one, many = (fitted_by_time.get_normalized_expression(library_size=size) for size in (1, 1e4))
    np.testing.assert_allclose(many, 1e4 * one, rtol=1e-5)


def test_expression_at_the_cells_own_library_has_their_size(fitted_by_time):
    expected = fitted_by_time.get_normalized_expression(library_size="latent")
    total = fitted_by_time.adata.X.sum(axis=1).A1
    assert np.corrcoef(expected.sum(axis=1), total)[0, 1] > 0.95
    assert expected.to_numpy().sum() == pytest.approx(total.sum(), rel=0.05)


@pytest.mark.parametrize("name", ["gene3", "gene11"])
def test_expression_of_some_genes_is_a_part_of_all(fitted_by_time, name):
    whole = fitted_by_time.get_normalized_expression(library_size=1)
    part = fitted_by_time.get_normalized_expression(library_size=1, gene_list=[name])
    assert list(part.columns) == [name]
    np.testing.assert_allclose(part[name], whole[name], rtol=1e-5)


def test_transforming_the_batch_moves_every_gene_by_its_offset(fitted_batches):
    model = fitted_batches
    indices = np.arange(20)

    def expression(batch):
        torch.manual_seed(0)
        return model.get_normalized_expression(
            indices=indices, transform_batch=batch, library_size=1
        ).to_numpy()

    ratio = expression("batch1") / expression("batch0")
    offsets = model.module.genes.offsets().detach().cpu().numpy()
    np.testing.assert_allclose(
        ratio, np.exp(offsets[1] - offsets[0])[None].repeat(20, 0), rtol=1e-4
    )


def test_draws_have_the_expected_mean(fitted_by_time):
    """The sum of each gene over cells and draws, standardised by its spread over draws."""
    torch.manual_seed(0)
    n_draws = 60
    draws = fitted_by_time.posterior_predictive_sample(n_samples=n_draws).todense()
    assert draws.shape == (150, 20, n_draws)
    expected = fitted_by_time.get_normalized_expression(library_size="latent").to_numpy().sum(0)
    totals = draws.sum(axis=0)
    error = totals.std(axis=1, ddof=1) / np.sqrt(n_draws)
    assert (np.abs(totals.mean(axis=1) - expected) < 5 * error).all()


def test_draws_are_counts_and_one_draw_has_two_dimensions(fitted):
    draw = fitted.posterior_predictive_sample().todense()
    assert draw.shape == (120, 24)
    assert (draw >= 0).all()
    np.testing.assert_array_equal(draw, np.rint(draw))


def test_draws_of_some_cells_and_genes(fitted):
    draw = fitted.posterior_predictive_sample(
        indices=[3, 1], gene_list=["gene2", "gene5", "gene7"], n_samples=4
    )
    assert draw.shape == (2, 3, 4)


@pytest.fixture(scope="module")
def planted():
    """Flat genes, some that rise, and one that rises far more than all others."""
    adata = small_counts(150, 20, shapes=("flat", "flat", "up"), max_shift=0.0, seed=3)
    rate = 0.2 * np.exp(1.5 * adata.obs["true_z"].to_numpy())
    counts = adata.X.toarray()
    counts[:, 4] = np.random.default_rng(0).poisson(rate)
    adata.X = sparse.csr_matrix(counts)
    return fit(adata, setup={"latent_key": "true_z"}, max_epochs=30)


@pytest.mark.parametrize("mode", ["change", "vanilla"])
def test_differential_expression_ranks_the_planted_gene_first(planted, mode):
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002  scvi-tools draws cells from the global generator
    late = planted.adata.obs["true_z"].to_numpy() > 0.8
    early = planted.adata.obs["true_z"].to_numpy() < -0.8
    table = planted.differential_expression(idx1=late, idx2=early, mode=mode, silent=True)
    assert set(table.index) == set(planted.adata.var_names)
    change = np.log(table["scale1"] / table["scale2"])
    assert change.idxmax() == "gene4"
    assert change["gene4"] > 2.0
    if mode == "change":
        assert table.loc["gene4", "proba_de"] > 0.95
        assert table["lfc_mean"].idxmax() == "gene4"


def test_differential_expression_takes_importance_weights(fitted):
    early = np.arange(120) < 40
    table = fitted.differential_expression(
        idx1=early, idx2=~early, weights="importance", silent=True
    )
    assert np.isfinite(table["bayes_factor"]).all()


@pytest.mark.parametrize("likelihood", ["nb", "zinb"])
def test_likelihood_parameters_are_those_of_the_genes(adata, likelihood):
    model = fit(adata, gene_likelihood=likelihood)
    parameters = model.get_likelihood_parameters()
    theta = model.module.genes.dispersions().detach().cpu().numpy()
    assert parameters["mean"].shape == (100, 20)
    np.testing.assert_allclose(parameters["dispersions"], theta.repeat(100, 0), rtol=1e-5)


def test_the_latent_library_is_the_observed_one(fitted):
    library = np.asarray(fitted.get_latent_library_size(give_mean=False)).ravel()
    np.testing.assert_allclose(library, fitted.adata.X.sum(axis=1).A1, rtol=1e-5)


def test_gene_correlations_have_unit_diagonal(fitted):
    table = fitted.get_feature_correlation_matrix(n_samples=3)
    np.testing.assert_allclose(np.diag(table), 1.0, rtol=1e-5)
