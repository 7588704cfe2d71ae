"""The checks of data/_checks.py, one by one."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from basisvae_scvi.data import (
    check_binary,
    check_counts,
    check_same_genes,
    describe_location,
    warn_empty,
)
from basisvae_scvi.data._checks import check_finite, check_layer, check_names

STORAGES = [np.asarray, sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array]
COUNTS = np.array([[0.0, 2.0, 1.0], [3.0, 0.0, 0.0]])


def changed(value):
    matrix = COUNTS.copy()
    matrix[1, 0] = value
    return matrix


def test_the_place_of_the_matrix_is_written_as_the_user_writes_it():
    assert describe_location(None) == "adata.X"
    assert describe_location("raw counts") == "adata.layers['raw counts']"


@pytest.mark.parametrize("store", STORAGES)
def test_counts_pass(store):
    assert check_counts(store(COUNTS), "adata.X") is None


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.float16, bool])
def test_counts_of_any_type_pass(dtype):
    assert check_counts(COUNTS.astype(dtype), "adata.X") is None


@pytest.mark.parametrize("store", STORAGES)
def test_negative_counts_are_refused(store):
    with pytest.raises(ValueError, match=r"^here contains negative values"):
        check_counts(store(changed(-1.0)), "here")


@pytest.mark.parametrize("store", STORAGES)
def test_fractions_are_refused(store):
    with pytest.raises(ValueError, match=r"^here contains non-integer values \(it looks log"):
        check_counts(store(changed(0.5)), "here")


def test_large_fractions_do_not_look_log_normalised():
    expected = r"^here contains non-integer values \(it looks normalised or corrected\), but"
    with pytest.raises(ValueError, match=expected):
        check_counts(changed(500.5), "here")


def test_fractions_pass_where_they_are_meant():
    assert check_counts(changed(0.5), "here", allow_non_integer=True) is None


def test_a_matrix_without_stored_values_passes():
    assert check_counts(sparse.csr_matrix((3, 2)), "here") is None


@pytest.mark.parametrize("store", STORAGES)
def test_binary_data_pass(store):
    assert check_binary(store((COUNTS > 0).astype(float)), "here") is None


@pytest.mark.parametrize("store", STORAGES)
def test_other_values_are_not_binary(store):
    with pytest.raises(ValueError, match=r"^here contains values other than 0 and 1"):
        check_binary(store(COUNTS), "here")


@pytest.mark.parametrize("store", STORAGES)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_must_be_finite(store, value):
    with pytest.raises(ValueError, match=r"^here contains NaN or infinite .* cells 0-1\)"):
        check_finite(store(changed(value)), "here")


def test_the_cells_where_a_value_is_not_finite_are_named():
    matrix = np.zeros((5000, 2))
    matrix[3000, 1] = np.nan
    with pytest.raises(ValueError, match="first in cells 2048-4095"):
        check_finite(matrix, "here")


@pytest.fixture
def adata():
    return AnnData(COUNTS)


def test_a_layer_that_is_not_there_is_named_with_those_that_are(adata):
    adata.layers["spliced"] = COUNTS
    assert check_layer(adata, "spliced") is None
    with pytest.raises(KeyError, match=r"layer='counts'.*there are: spliced.*Leave layer out"):
        check_layer(adata, "counts")


def test_an_empty_x_asks_for_a_layer():
    empty = AnnData(obs=pd.DataFrame(index=["a"]), var=pd.DataFrame(index=["g"]))
    with pytest.raises(ValueError, match=r"adata\.X is empty; name the matrix with layer="):
        check_layer(empty, None)


def test_many_duplicates_are_listed_in_short():
    adata = AnnData(np.zeros((1, 16)))
    adata.var_names = [f"g{j // 2}" for j in range(16)]
    with pytest.raises(ValueError, match=r"duplicates: g0, g1, g2, g3, g4, … \(8 in all\)"):
        check_names(adata)


def test_the_same_genes_in_the_same_order_pass():
    assert check_same_genes(pd.Index(["a", "b"]), np.array(["a", "b"])) is None


def test_missing_genes_are_named():
    expected = r"adata lacks 2 of the model's genes: b, d\..*prepare_query_anndata"
    with pytest.raises(ValueError, match=expected):
        check_same_genes(pd.Index(["a", "c"]), np.array(["a", "b", "c", "d"]))


@pytest.mark.parametrize("found", [["b", "a"], ["a", "b", "c"]])
def test_genes_in_another_order_or_number_are_refused(found):
    with pytest.raises(ValueError, match=r"Reorder with adata\[:, model\.get_var_names\(\)\]"):
        check_same_genes(pd.Index(found), np.array(["a", "b"]))


@pytest.mark.parametrize("store", STORAGES)
def test_empty_cells_and_genes_are_counted(store):
    matrix = store(np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]))
    with pytest.warns(UserWarning, match="have no counts") as caught:
        warn_empty(matrix, np.array([1.0, 0.0, 0.0]), "here")
    messages = [str(w.message) for w in caught]
    assert [m.split(" have")[0] for m in messages] == ["1 cell(s) of here", "2 gene(s) of here"]


@pytest.mark.filterwarnings("error")
def test_full_data_pass_without_a_warning():
    assert warn_empty(np.ones((2, 2)), np.array([2.0, 2.0]), "here") is None
