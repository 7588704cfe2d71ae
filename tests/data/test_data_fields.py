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
        (np.asarray, np.ndarray),
    ],
)
@pytest.mark.parametrize("layer", [None, "counts"])
def test_only_sparse_arrays_change_their_type(stored, expected, layer):
    adata = AnnData(COUNTS.copy())
    if layer is None:
        adata.X = stored(COUNTS)
    else:
        adata.layers[layer] = stored(COUNTS)
    field = MatrixField("X", layer)
    field.register_field(adata)
    data = field.get_field_data(adata)
    assert type(data) is expected
    np.testing.assert_array_equal(
        data.toarray() if sparse.issparse(data) else data,
        COUNTS,
    )


def test_a_sparse_array_is_not_copied():
    matrix = sparse.csr_array(COUNTS)
    adata = AnnData(matrix)
    field = MatrixField("X", None)
    before = field.get_field_data(adata).data
    field.register_field(adata)
    assert np.shares_memory(field.get_field_data(adata).data, before)


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


def test_transfer_turns_sparse_arrays_too():
    field = MatrixField("X", None)
    state = field.register_field(AnnData(COUNTS))
    target = AnnData(sparse.csr_array(COUNTS))
    field.transfer_field(state, target)
    assert type(target.X) is sparse.csr_matrix


def test_a_missing_layer_is_named():
    with pytest.raises(KeyError, match=r"layer='counts' is not in adata\.layers"):
        MatrixField("X", "counts").register_field(AnnData(COUNTS))
