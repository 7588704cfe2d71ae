"""Data that scvi-tools lets through, or fails on deep inside, end in a clear answer."""

import numpy as np
import pytest
from anndata import AnnData
from model_helpers import build, fit, small_counts
from scipy import sparse

from basisvae_scvi import BasisVAE


@pytest.fixture(scope="module")
def reordered():
    adata = small_counts(120, 24)
    return adata[:, adata.var_names[::-1]].copy()


def test_latent_representation_refuses_genes_in_another_order(fitted, reordered):
    with pytest.raises(ValueError, match=r"not the model's genes in the model's order"):
        fitted.get_latent_representation(reordered)


def test_genes_in_another_order_are_cured_as_the_message_says(fitted, reordered):
    cured = reordered[:, fitted.get_var_names()].copy()
    np.testing.assert_array_equal(
        fitted.get_latent_representation(cured), fitted.get_latent_representation()
    )


# scvi-tools itself warns of the order before the model refuses it.
@pytest.mark.filterwarnings("ignore:`var_names` for the loaded")
def test_load_refuses_genes_in_another_order(fitted, reordered, tmp_path):
    fitted.save(str(tmp_path / "model"))
    with pytest.raises(ValueError, match=r"not the model's genes in the model's order"):
        BasisVAE.load(str(tmp_path / "model"), adata=reordered, accelerator="cpu")


@pytest.mark.filterwarnings("ignore:`var_names` for the loaded")
def test_load_query_data_refuses_genes_in_another_order(fitted, reordered):
    with pytest.raises(ValueError, match=r"not the model's genes in the model's order"):
        BasisVAE.load_query_data(reordered, fitted, accelerator="cpu")


@pytest.mark.parametrize("make", [sparse.csr_array, sparse.csc_array])
@pytest.mark.parametrize("layer", [None, "counts"])
def test_sparse_arrays_give_the_numbers_of_sparse_matrices(make, layer):
    results = []
    for convert in (sparse.csr_matrix, make):
        adata = small_counts()
        matrix = convert(adata.X)
        if layer is None:
            adata.X = matrix
        else:
            adata.layers[layer] = matrix
            adata.X = None
        model = fit(adata, setup={"layer": layer})
        results.append((model.get_latent_representation(), model.get_assignments().to_numpy()))
    for found, expected in zip(results[1], results[0], strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", [sparse.csr_array, sparse.csc_array])
def test_new_cells_may_come_as_sparse_arrays(fitted, make):
    cells = small_counts(120, 24)
    cells.X = make(cells.X)
    np.testing.assert_allclose(
        fitted.get_latent_representation(cells), fitted.get_latent_representation(), atol=1e-6
    )


@pytest.mark.parametrize("as_storage", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_one_fraction_among_many_counts_is_found(as_storage):
    counts = np.random.default_rng(0).poisson(1.0, (4100, 25)).astype(np.float32)
    counts[-1, -1] = 0.5
    adata = AnnData(as_storage(counts))
    BasisVAE.setup_anndata(adata)
    with pytest.raises(ValueError, match=r"adata\.X contains non-integer values.*layer="):
        BasisVAE(adata, n_basis=3)


def test_a_fraction_in_a_layer_is_reported_with_the_name_of_the_layer(adata):
    adata.layers["spliced"] = adata.X.copy()
    adata.layers["spliced"].data[-1] = 0.5
    BasisVAE.setup_anndata(adata, layer="spliced")
    with pytest.raises(ValueError, match=r"adata\.layers\['spliced'\] contains non-integer"):
        BasisVAE(adata, n_basis=3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("as_storage", [np.asarray, sparse.csr_matrix])
def test_a_value_that_is_not_finite_is_refused_at_setup(adata, value, as_storage):
    dense = adata.X.toarray()
    dense[3, 5] = value
    adata.X = as_storage(dense)
    with pytest.raises(ValueError, match=r"adata\.X contains NaN or infinite values"):
        BasisVAE.setup_anndata(adata)


def test_duplicate_gene_names_are_refused_by_name(adata):
    adata.var_names = ["twice", "twice", *adata.var_names[2:]]
    with pytest.raises(ValueError, match=r"duplicates: twice.*var_names_make_unique"):
        BasisVAE.setup_anndata(adata)


def test_duplicate_gene_names_are_refused_in_new_cells(fitted):
    cells = small_counts(120, 24)
    cells.var_names = [cells.var_names[1], *cells.var_names[1:]]
    with pytest.raises(ValueError, match=r"lacks 1 of the model's genes: gene0"):
        fitted.get_latent_representation(cells)


def test_setup_leaves_the_values_of_a_sparse_array_as_they_were(adata):
    before = adata.X.toarray()
    adata.X = sparse.csr_array(adata.X)
    build(adata)
    np.testing.assert_array_equal(adata.X.toarray(), before)
