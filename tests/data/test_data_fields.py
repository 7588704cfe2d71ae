"""The field of the data matrix."""

import numpy as np
import pytest
from anndata import AnnData
from scipy import sparse

from basisvae_scvi.data import MatrixField

COUNTS = np.arange(12, dtype=np.float32).reshape(4, 3)


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (sparse.csr_array, sparse.csr_matrix),
        (sparse.csc_array, sparse.csc_matrix),
        (sparse.csr_matrix, sparse.csr_matrix),
        (np.asfortranarray, np.ndarray),
    ],
)
@pytest.mark.parametrize("layer", [None, "counts"])
def test_the_field_reads_what_the_user_keeps_as_it_is(stored, expected, layer):
    adata, matrix = AnnData(COUNTS.copy()), stored(COUNTS)
    if layer is None:
        adata.X = matrix
    else:
        adata.layers[layer] = matrix
    field = MatrixField("X", layer)
    field.register_field(adata)
    data = field.get_field_data(adata)
    assert (adata.X if layer is None else adata.layers[layer]) is matrix
    assert type(data) is expected
    np.testing.assert_array_equal(
        data.toarray() if sparse.issparse(data) else data,
        COUNTS,
    )


def test_a_sparse_array_is_not_copied():
    matrix = sparse.csr_array(COUNTS)
    matrix.eliminate_zeros()
    data = MatrixField("X", None).get_field_data(AnnData(matrix))
    assert np.shares_memory(data.data, matrix.data)


def test_the_genes_are_registered_in_their_order():
    adata = AnnData(COUNTS)
    adata.var_names = ["c", "a", "b"]
    state = MatrixField("X", None).register_field(adata)
    assert list(state["column_names"]) == ["c", "a", "b"]
    assert (state["n_obs"], state["n_vars"]) == (4, 3)


def test_transfer_refuses_another_order_of_genes():
    adata = AnnData(COUNTS)
    adata.var_names = ["c", "a", "b"]
    field = MatrixField("X", None)
    state = field.register_field(adata)
    with pytest.raises(ValueError, match="not the model's genes in the model's order"):
        field.transfer_field(state, adata[:, ["a", "b", "c"]].copy())


def test_transfer_leaves_sparse_arrays_too():
    field = MatrixField("X", None)
    state = field.register_field(AnnData(COUNTS))
    target = AnnData(sparse.csr_array(COUNTS))
    field.transfer_field(state, target)
    assert type(target.X) is sparse.csr_array


def test_a_missing_layer_is_named():
    with pytest.raises(KeyError, match=r"layer='counts' is not in adata\.layers"):
        MatrixField("X", "counts").register_field(AnnData(COUNTS))
