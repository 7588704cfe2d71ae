"""Block-wise reading of matrices against numpy on the whole."""

import h5py
import numpy as np
import pytest
from anndata.io import sparse_dataset, write_elem
from scipy import sparse
from storages import STORAGES, lazy, with_duplicates

from basisvae_scvi.data import (
    ColumnReader,
    feature_moments,
    iter_rows,
    plain_matrix,
    row_sums,
    to_dense,
)
from basisvae_scvi.data._matrices import stored_values


@pytest.fixture(scope="module")
def values():
    """More rows than a block."""
    return np.random.default_rng(3).poisson(0.7, (4500, 6)).astype(np.float64)


ON_DISK = {
    "dense on disk": np.array,
    "csr on disk": sparse.csr_matrix,
    "csc on disk": sparse.csc_matrix,
    "csr with duplicates on disk": with_duplicates,
}


@pytest.fixture(params=[*STORAGES, *ON_DISK])
def matrix(request, values, tmp_path):
    if request.param in STORAGES:
        yield STORAGES[request.param](values)
        return
    with h5py.File(tmp_path / "matrix.h5", "w") as file:
        write_elem(file, "x", ON_DISK[request.param](values))
        yield file["x"] if isinstance(file["x"], h5py.Dataset) else sparse_dataset(file["x"])


def test_a_plain_matrix_is_canonical_and_the_given_one_as_it_was(values):
    for name, store in STORAGES.items():
        given = store(values)
        parts = {}
        if sparse.issparse(given):
            parts = {part: getattr(given, part).copy() for part in ("data", "indices")}
        plain = plain_matrix(given)
        if sparse.issparse(plain):
            assert type(plain) in (sparse.csr_matrix, sparse.csc_matrix), name
            assert plain.has_canonical_format, name
            assert plain.nnz == len(plain.data) == np.count_nonzero(values), name
        else:
            assert type(plain) is np.ndarray, name
        np.testing.assert_array_equal(to_dense(plain), values, err_msg=name)
        for part, before in parts.items():
            np.testing.assert_array_equal(getattr(given, part), before, err_msg=name)


def test_a_canonical_matrix_is_not_copied(values):
    for matrix in (values, sparse.csr_matrix(values), sparse.csc_array(values)):
        given, plain = (m if m is values else m.data for m in (matrix, plain_matrix(matrix)))
        assert np.shares_memory(given, plain)


def test_flags_that_no_longer_hold_are_not_believed(values):
    matrix = sparse.csr_matrix(values)
    assert matrix.has_canonical_format
    matrix.indices[:2] = matrix.indices[1::-1].copy()
    matrix.data[:2] = [3.0, 5.0]
    dense = matrix.toarray()
    assert plain_matrix(matrix).has_sorted_indices
    np.testing.assert_array_equal(plain_matrix(matrix).toarray(), dense)


def test_columns_come_as_they_are(matrix, values):
    rows, columns = np.arange(0, 4500, 7)[::-1], np.array([0, 2, 3, 5])
    reader = ColumnReader(matrix, rows, columns)
    for start, stop in ((0, 4), (1, 3)):
        found = to_dense(reader.block(start, stop))
        np.testing.assert_array_equal(found, values[rows][:, columns[start:stop]])


@pytest.mark.parametrize("make", [np.array, lazy])
def test_masked_values_are_counted(make):
    matrix = np.ma.masked_equal(np.array([[1.0, 9.0], [9.0, 2.0], [3.0, 4.0]]), 9.0)
    matrix = matrix if make is np.array else lazy(matrix.data).map_blocks(np.ma.masked_equal, 9.0)
    with pytest.raises(ValueError, match=r"adata\.X has 2 masked value\(s\).*\.filled\(0\)"):
        plain_matrix(matrix, "adata.X")


def test_a_broken_sparse_matrix_is_refused(values):
    matrix = sparse.csr_matrix(values)
    matrix.indices[3] = 60
    with pytest.raises(ValueError, match=r"layers\['a'\] is no valid sparse matrix"):
        plain_matrix(matrix, "adata.layers['a']")


class OnAnotherDevice:
    """As cupy's: it does not become a NumPy array by itself."""

    dtype = np.dtype(np.float32)

    def __array__(self, *args, **kwargs):
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")


def test_a_matrix_that_cannot_be_read_is_named():
    expected = r"adata\.X is a .*OnAnotherDevice, which cannot be read.*\.get\(\)"
    with pytest.raises(ValueError, match=expected):
        plain_matrix(OnAnotherDevice(), "adata.X")


def test_sums_of_half_precision_do_not_overflow():
    values = np.full((300, 200), 1000, dtype=np.float16)
    np.testing.assert_array_equal(row_sums(values), 200_000.0)
    np.testing.assert_allclose(feature_moments(values).total, 300_000.0)


def test_blocks_cover_all_rows_once(matrix, values):
    rows, blocks = zip(*iter_rows(matrix), strict=True)
    assert [(r.start, r.stop) for r in rows] == [(0, 2048), (2048, 4096), (4096, 4500)]
    np.testing.assert_array_equal(np.concatenate([to_dense(b) for b in blocks]), values)


def test_row_sums_are_those_of_numpy(matrix, values):
    sums = row_sums(matrix)
    assert sums.dtype == np.float64
    np.testing.assert_array_equal(sums, values.sum(axis=1))


def test_plain_moments_are_those_of_numpy(matrix, values):
    moments = feature_moments(matrix)
    np.testing.assert_allclose(moments.mean, values.mean(axis=0))
    np.testing.assert_allclose(moments.variance, values.var(axis=0))
    np.testing.assert_allclose(moments.total, values.sum(axis=0))


def test_moments_with_size_factors_are_those_of_normalised_values(matrix, values):
    s = np.random.default_rng(1).uniform(0.5, 2.0, len(values))
    moments = feature_moments(matrix, s)
    np.testing.assert_allclose(moments.mean, values.sum(axis=0) / s.sum())
    np.testing.assert_allclose(moments.variance, (values / s[:, None]).var(axis=0))
    np.testing.assert_allclose(moments.total, values.sum(axis=0))


@pytest.mark.parametrize("store", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_cells_of_size_zero_do_not_count(store):
    values = np.array([[0.0, 0.0], [2.0, 1.0], [4.0, 1.0]])
    moments = feature_moments(store(values), np.array([0.0, 1.0, 2.0]))
    np.testing.assert_allclose(moments.mean, [2.0, 2.0 / 3.0])
    np.testing.assert_allclose(moments.variance, [0.0, 1.0 / 16.0])


def test_moments_of_integers_do_not_overflow():
    values = np.full((300, 2), 255, dtype=np.uint8)
    moments = feature_moments(values)
    np.testing.assert_allclose(moments.mean, 255.0)
    np.testing.assert_allclose(moments.variance, 0.0, atol=1e-9)
    np.testing.assert_array_equal(row_sums(sparse.csr_matrix(values)), 510.0)


def test_moments_of_float32_are_summed_in_float64():
    values = np.full((3000, 1), 16_777_217 / 3, dtype=np.float32)
    np.testing.assert_allclose(feature_moments(values).mean, values.astype(float).mean(axis=0))


def test_stored_values_are_the_explicit_ones():
    dense = np.array([[0.0, 2.0], [3.0, 0.0]])
    np.testing.assert_array_equal(np.sort(stored_values(dense)), [0, 0, 2, 3])
    np.testing.assert_array_equal(np.sort(stored_values(sparse.csc_array(dense))), [2, 3])


def test_a_dense_copy_is_a_copy():
    block = np.zeros((2, 2))
    to_dense(block)[0, 0] = 1.0
    assert block[0, 0] == 0.0
