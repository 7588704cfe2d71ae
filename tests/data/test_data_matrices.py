"""Block-wise reading of matrices against numpy on the whole."""

import h5py
import numpy as np
import pytest
from anndata.io import sparse_dataset, write_elem
from scipy import sparse

from basisvae_scvi.data import feature_moments, iter_rows, row_sums, to_dense
from basisvae_scvi.data._matrices import stored_values

STORAGES = {
    "dense": np.asarray,
    "csr": sparse.csr_matrix,
    "csc": sparse.csc_matrix,
    "csr_array": sparse.csr_array,
    "csc_array": sparse.csc_array,
}


@pytest.fixture(scope="module")
def values():
    """More rows than a block."""
    return np.random.default_rng(3).poisson(0.7, (4500, 6)).astype(np.float64)


@pytest.fixture(params=[*STORAGES, "dense on disk", "csr on disk"])
def matrix(request, values, tmp_path):
    if request.param in STORAGES:
        yield STORAGES[request.param](values)
        return
    with h5py.File(tmp_path / "matrix.h5", "w") as file:
        if request.param == "dense on disk":
            yield file.create_dataset("x", data=values)
        else:
            write_elem(file, "x", sparse.csr_matrix(values))
            yield sparse_dataset(file["x"])


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


@pytest.mark.parametrize("store", STORAGES.values(), ids=STORAGES)
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
