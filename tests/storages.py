"""The same matrix, stored in every way that AnnData keeps."""

import dask.array as da
import numpy as np
import zarr
from scipy import sparse


def with_duplicates(matrix, kind=sparse.csr_matrix):
    """CSR or CSC in which every entry of two and more is stored as two."""
    entries = kind(matrix).tocoo()
    is_split = entries.data >= 2
    rows = np.r_[entries.row, entries.row[is_split]]
    columns = np.r_[entries.col, entries.col[is_split]]
    ones = np.ones(is_split.sum(), entries.dtype)
    values = np.r_[np.where(is_split, entries.data - 1, entries.data), ones]
    lines, places = (rows, columns) if kind is sparse.csr_matrix else (columns, rows)
    order = np.lexsort((places, lines))
    ends = np.cumsum(np.bincount(lines, minlength=entries.shape[kind is sparse.csc_matrix]))
    stored = kind((values[order], places[order], np.r_[0, ends]), shape=entries.shape)
    assert not stored.has_canonical_format
    return stored


def unsorted(matrix):
    """CSR whose entries of each row stand in reverse order."""
    stored = sparse.csr_matrix(matrix)
    for start, stop in zip(stored.indptr[:-1], stored.indptr[1:], strict=True):
        stored.indices[start:stop] = stored.indices[start:stop][::-1].copy()
        stored.data[start:stop] = stored.data[start:stop][::-1].copy()
    return sparse.csr_matrix((stored.data, stored.indices, stored.indptr), stored.shape)


def with_zeros(matrix):
    """CSR in which every entry is stored."""
    dense = np.asarray(matrix)
    n, p = dense.shape
    ends, places = np.arange(n + 1) * p, np.tile(np.arange(p), n)
    return sparse.csr_matrix((dense.ravel(), places, ends), shape=dense.shape)


def with_slack(matrix):
    """CSR that keeps room for further entries, filled with what is left there."""
    stored = sparse.csr_matrix(matrix)
    stored.data = np.r_[stored.data, np.full(5, 7, stored.dtype)]
    stored.indices = np.r_[stored.indices, np.zeros(5, stored.indices.dtype)]
    return stored


def of_type(dtype):
    """CSR whose values have a type in which scipy does not calculate."""

    def store(matrix):
        stored = sparse.csr_matrix(matrix)
        stored.data = stored.data.astype(dtype)
        return stored

    return store


def lazy(matrix):
    """Dask, in chunks of rows and columns."""
    dense = np.asarray(matrix)
    return da.from_array(dense, chunks=tuple(-(-n // 2) for n in dense.shape))


STORAGES = {
    "dense": np.array,
    "by columns": np.asfortranarray,
    "a part of a larger array": lambda x: np.repeat(np.asarray(x), 2, axis=0)[::2],
    "other byte order": lambda x: np.asarray(x).astype(">f4"),
    "float16": lambda x: np.asarray(x).astype(np.float16),
    "longdouble": lambda x: np.asarray(x).astype(np.longdouble),
    "int8": lambda x: np.asarray(x).astype(np.int8),
    "masked array": lambda x: np.ma.masked_invalid(np.asarray(x)),
    "csr": sparse.csr_matrix,
    "csc": sparse.csc_matrix,
    "csr_array": sparse.csr_array,
    "csc_array": sparse.csc_array,
    "csr of uint16": lambda x: sparse.csr_matrix(np.asarray(x).astype(np.uint16)),
    "csr with duplicates": with_duplicates,
    "csc with duplicates": lambda x: with_duplicates(x, sparse.csc_matrix),
    "csr_array with duplicates": lambda x: sparse.csr_array(with_duplicates(x)),
    "unsorted csr": unsorted,
    "csr with zeros": with_zeros,
    "csr with slack": with_slack,
    "lazy": lazy,
    "lazy masked array": lambda x: lazy(x).map_blocks(np.ma.masked_invalid),
    "lazy csr": lambda x: lazy(x).map_blocks(sparse.csr_matrix),
    "lazy csc": lambda x: lazy(x).map_blocks(sparse.csc_matrix),
    "lazy csr_array": lambda x: lazy(x).map_blocks(sparse.csr_array),
    "lazy csr with duplicates": lambda x: lazy(x).map_blocks(
        with_duplicates, dtype=np.asarray(x).dtype, meta=sparse.csr_matrix((0, 0), dtype=x.dtype)
    ),
    "csr of other byte order": of_type(">f4"),
    "csr of float16": of_type(np.float16),
    "zarr": lambda x: zarr.array(np.asarray(x)),
}
