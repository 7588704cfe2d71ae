"""Unsuitable data: the message names the key and the cure, or the model copes."""

import warnings

import numpy as np
import pytest
from model_helpers import all_tables, build, fit, small_counts, train
from scipy import sparse

from basisvae_scvi import BasisVAE
from basisvae_scvi.datasets import toy_groups


def test_a_missing_layer_is_named_with_those_that_are_there(adata):
    adata.layers["spliced"] = adata.X.copy()
    with pytest.raises(KeyError, match=r"layer='counts' is not in adata\.layers.*spliced"):
        BasisVAE.setup_anndata(adata, layer="counts")


def test_a_missing_x_asks_for_a_layer(adata):
    adata.layers["counts"] = adata.X.copy()
    adata.X = None
    with pytest.raises(ValueError, match=r"adata\.X is empty; name the matrix with layer="):
        BasisVAE.setup_anndata(adata)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("batch_key", "nowhere"),
        ("size_factor_key", "nowhere"),
        ("categorical_covariate_keys", ["nowhere"]),
        ("continuous_covariate_keys", ["true_z", "nowhere"]),
        ("latent_key", "nowhere"),
    ],
)
def test_a_missing_obs_key_is_named_with_its_argument(adata, argument, value):
    expected = rf"{argument}='nowhere' is not a column of adata\.obs; there are: true_z"
    with pytest.raises(KeyError, match=expected):
        BasisVAE.setup_anndata(adata, **{argument: value})


@pytest.mark.parametrize("likelihood", ["zinb", "nb", "poisson"])
def test_negative_values_are_refused_for_counts(adata, likelihood):
    adata.X.data[-1] = -1.0
    BasisVAE.setup_anndata(adata)
    with pytest.raises(ValueError, match=r"negative values.*layer=.*gene_likelihood='gaussian'"):
        BasisVAE(adata, n_basis=3, gene_likelihood=likelihood)


def test_negative_values_are_refused_even_where_fractions_are_allowed(adata):
    adata.X.data[0] = -0.5
    BasisVAE.setup_anndata(adata)
    with pytest.raises(ValueError, match="negative values"):
        BasisVAE(adata, n_basis=3, allow_non_integer=True)


def test_log_normalised_data_are_recognised(adata):
    adata.X = adata.X.log1p()
    BasisVAE.setup_anndata(adata)
    with pytest.raises(ValueError, match=r"looks log-normalised.*layer=.*allow_non_integer=True"):
        BasisVAE(adata, n_basis=3)


@pytest.mark.parametrize("likelihood", ["zinb", "nb", "poisson"])
def test_fractional_counts_train_where_they_are_meant(adata, likelihood):
    adata.X = adata.X * np.float32(0.9)
    model = fit(adata, gene_likelihood=likelihood, allow_non_integer=True)
    assert np.isfinite(model.history["elbo_train"].to_numpy(dtype=float)).all()


def test_whole_numbers_of_any_type_are_counts(adata):
    expected = fit(adata.copy()).get_latent_representation()
    for dtype in (np.int64, np.uint16, np.float64):
        cells = adata.copy()
        cells.X = sparse.csr_matrix(cells.X.toarray().astype(dtype))
        np.testing.assert_allclose(fit(cells).get_latent_representation(), expected, atol=1e-5)


@pytest.fixture(scope="module")
def with_empty():
    """Model of data in which three cells and two genes have no counts, and what it warned."""
    adata = small_counts()
    dense = adata.X.toarray()
    dense[[0, 5, 99]] = 0
    dense[:, [2, 19]] = 0
    adata.X = sparse.csr_matrix(dense)
    model = build(adata, translation_invariant=True)
    with pytest.warns(UserWarning, match="have no counts") as caught:
        train(model, 2)
    return model, [str(w.message) for w in caught]


def test_empty_cells_and_genes_are_counted_in_warnings(with_empty):
    _, messages = with_empty
    assert any("3 cell(s) of adata.X" in m and "filter_cells(adata" in m for m in messages)
    assert any("2 gene(s) of adata.X" in m and "filter_genes(adata" in m for m in messages)


def test_empty_cells_and_genes_leave_all_results_finite(with_empty):
    model, _ = with_empty
    for name, table in all_tables(model).items():
        assert np.isfinite(table.to_numpy(dtype=float)).all(), name


def test_empty_genes_have_probabilities_like_all_others(with_empty):
    sums = with_empty[0].get_assignments().sum(axis=1)
    np.testing.assert_allclose(sums, 1.0, atol=1e-6)


def test_data_without_any_count_are_refused():
    adata = small_counts(40, 10)
    adata.X = sparse.csr_matrix(adata.X.shape, dtype=np.float32)
    with pytest.raises(ValueError, match=r"adata\.X .*no counts"):
        fit(adata, n_basis=3)


def test_more_bases_than_genes_are_refused_with_a_better_number():
    adata = small_counts(30, 6)
    BasisVAE.setup_anndata(adata)
    with pytest.raises(ValueError, match=r"n_basis=7 exceeds the 6 gene\(s\).*n_basis=3 or fewer"):
        BasisVAE(adata, n_basis=7)


def test_one_cell_cannot_be_ordered():
    model = build(small_counts(1, 10))
    with pytest.raises(ValueError, match=r"adata has 1 cell\(s\); at least 2 are needed"):
        train(model, 1)


def test_two_cells_train():
    model = fit(small_counts(2, 10, mean_count=20.0), max_epochs=1, n_basis=3)
    assert np.isfinite(model.get_latent_representation()).all()


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
@pytest.mark.parametrize("is_constant", [True, False])
def test_unusable_size_factors_are_refused(adata, value, is_constant):
    adata.obs["size"] = 1.0
    adata.obs.loc[adata.obs_names[: 100 if is_constant else 1], "size"] = value
    expected = r"size_factor_key='size': adata\.obs\['size'\] must be positive and finite"
    with pytest.raises(ValueError, match=expected):
        BasisVAE.setup_anndata(adata, size_factor_key="size")


def test_the_number_of_unusable_size_factors_is_given(adata):
    adata.obs["size"] = [np.inf, np.nan, 0.0, *[1.0] * 97]
    with pytest.raises(ValueError, match=r"3 value\(s\) are not"):
        BasisVAE.setup_anndata(adata, size_factor_key="size")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_observed_z_with_gaps_is_refused(adata, value):
    adata.obs["time"] = np.linspace(0, 1, 100)
    adata.obs.loc[adata.obs_names[3], "time"] = value
    with pytest.raises(ValueError, match=r"latent_key='time' has missing or infinite values"):
        BasisVAE.setup_anndata(adata, latent_key="time")


def test_a_continuous_covariate_with_gaps_is_refused(adata):
    adata.obs["age"] = np.linspace(0, 1, 100)
    adata.obs.loc[adata.obs_names[3], "age"] = np.nan
    with pytest.raises(ValueError, match="age"):
        build(adata, setup={"continuous_covariate_keys": ["age"]})


def test_an_observed_z_of_other_dimension_is_refused(adata):
    adata.obsm["plane"] = np.random.default_rng(0).normal(size=(100, 2))
    BasisVAE.setup_anndata(adata, latent_key="plane")
    with pytest.raises(ValueError, match=r"'plane' has 2 dimension\(s\), but n_latent=1"):
        BasisVAE(adata, n_basis=3)


def test_gaussian_data_may_be_negative_and_fractional():
    adata = toy_groups(n_obs=60, n_per_group=3)
    assert adata.X.min() < 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        BasisVAE.setup_anndata(adata)
        model = BasisVAE(adata, n_basis=3, gene_likelihood="gaussian")
    assert model.module.likelihood.name == "gaussian"


@pytest.mark.parametrize("value", [2.0, 0.5, -1.0])
def test_bernoulli_refuses_what_is_not_binary(value):
    adata = small_counts()
    adata.X = (adata.X > 0).astype(np.float32)
    adata.X.data[7] = value
    BasisVAE.setup_anndata(adata)
    expected = r"adata\.X contains values other than 0 and 1.*Threshold the data first"
    with pytest.raises(ValueError, match=expected):
        BasisVAE(adata, n_basis=3, gene_likelihood="bernoulli")


def test_new_cells_that_are_not_finite_are_refused(fitted):
    cells = small_counts(20, 24)
    cells.X.data[0] = np.nan
    with pytest.raises(ValueError, match=r"adata\.X contains NaN"):
        fitted.get_latent_representation(cells)


def test_missing_genes_of_new_cells_are_padded_as_the_message_says(fitted):
    cells = small_counts(20, 24, seed=8)[:, 2:].copy()
    expected = r"lacks 2 of the model's genes: gene0, gene1.*prepare_query_anndata"
    with pytest.raises(ValueError, match=expected):
        fitted.get_latent_representation(cells)
    BasisVAE.prepare_query_anndata(cells, fitted)
    assert np.isfinite(fitted.get_latent_representation(cells)).all()


def test_further_genes_of_new_cells_are_refused_with_the_cure(fitted):
    cells = small_counts(20, 30, seed=8)
    with pytest.raises(ValueError, match=r"adata\[:, model\.get_var_names\(\)\]\.copy\(\)"):
        fitted.get_latent_representation(cells)
    cured = cells[:, fitted.get_var_names()].copy()
    assert fitted.get_latent_representation(cured).shape == (20, 1)
