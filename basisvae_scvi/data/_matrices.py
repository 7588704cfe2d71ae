"""Reading a data matrix of any storage: the numbers of the canonical matrix, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import h5py
import numpy as np
from anndata import AnnData
from anndata.abc import CSCDataset, CSRDataset
from scipy import sparse

BLOCK_ROWS = 2048


def plain_matrix(matrix, location: str = "The matrix"):
    """A matrix in one of the forms that everything else reads; the user's own stays as it is.

    Parameters
    ----------
    matrix
        Cells × genes: dense or sparse, in memory, lazy or on disk.
    location
        Where the user finds it.

    Returns
    -------
    What can be read row by row on disk, as it is. Else a NumPy array, or a canonical CSR or CSC
    matrix: every entry stored once, in order, and no zeros; of the same memory where it is so
    already. Lazy matrices are computed.

    Raises
    ------
    ValueError
        For masked values, a broken sparse matrix, or a matrix of another kind.
    """
    if isinstance(matrix, h5py.Dataset | CSRDataset):
        return matrix
    if isinstance(matrix, CSCDataset):
        matrix = matrix.to_memory()  # its rows are not in one place
    elif hasattr(matrix, "to_delayed"):
        matrix = _computed(matrix)
    if isinstance(matrix, np.ma.MaskedArray):
        matrix = _unmasked(matrix, location)
    if sparse.issparse(matrix):
        return _canonical(matrix, location)
    try:
        return _native(np.asarray(matrix))
    except TypeError as error:  # of matrices on a GPU, which do not move by themselves
        kind = f"{type(matrix).__module__}.{type(matrix).__name__}"
        raise ValueError(
            f"{location} is a {kind}, which cannot be read. Bring it into main memory first, "
            "e.g. with .get()."
        ) from error


def _computed(matrix):
    """A lazy matrix in memory; dask itself puts no sparse arrays together."""
    import dask

    [parts] = dask.compute(matrix.to_delayed().tolist())
    if sparse.issparse(parts[0][0]):
        return sparse.vstack([sparse.hstack(row, format="csr") for row in parts], format="csr")
    package = np.ma if isinstance(parts[0][0], np.ma.MaskedArray) else np
    return package.concatenate([package.concatenate(row, axis=1) for row in parts])


def _unmasked(matrix: np.ma.MaskedArray, location: str) -> np.ndarray:
    if n_masked := int(np.ma.count_masked(matrix)):
        raise ValueError(
            f"{location} has {n_masked} masked value(s). Fill them first, e.g. with .filled(0)."
        )
    return matrix.data


def _native(values: np.ndarray) -> np.ndarray:
    """The same numbers in a type and a byte order that scipy and torch calculate with."""
    kind = {"f2": np.float32, "f16": np.float64}.get(values.dtype.str[1:])
    return values.astype(values.dtype.newbyteorder("=") if kind is None else kind, copy=False)


def with_known_types(adata: AnnData, *, inplace: bool) -> AnnData:
    """Cells whose dense matrices have types of which sparse ones can be made.

    Parameters
    ----------
    adata
        The cells.
    inplace
        Whether matrices of other types may be replaced in ``adata``; else in a copy.
    """
    # anndata 0.13 lists X among the layers, under the name None.
    places = {None: adata.X} | {name: adata.layers[name] for name in adata.layers}
    dense = {name: x for name, x in places.items() if isinstance(x, np.ndarray)}
    plain = {name: own for name, x in dense.items() if (own := _native(x)) is not x}
    if not plain:
        return adata
    adata = adata if inplace else adata.copy()
    for name, matrix in plain.items():
        if name is None:
            adata.X = matrix
        else:
            adata.layers[name] = matrix
    return adata


def _canonical(matrix, location: str) -> sparse.csr_matrix | sparse.csc_matrix:
    matrix = matrix if matrix.format in ("csr", "csc") else matrix.tocsr()
    make = sparse.csr_matrix if matrix.format == "csr" else sparse.csc_matrix
    # One of our own on the same memory: scipy puts a matrix in order in place.
    parts = (_native(matrix.data), matrix.indices, matrix.indptr)
    own = make(parts, shape=matrix.shape, copy=False)
    try:
        own.check_format(full_check=True)
    except ValueError as error:
        raise ValueError(
            f"{location} is no valid sparse matrix: {error}. Read it again from its source."
        ) from error
    is_filled = own.nnz == len(own.data) and np.count_nonzero(own.data) == own.nnz
    if own.has_canonical_format and is_filled:
        return own
    own = own.copy()
    own.sum_duplicates()
    own.eliminate_zeros()
    own.prune()
    return own


def read_rows(matrix, rows):
    """Some rows, dense or canonical sparse, in single or double precision."""
    if sparse.issparse(matrix) and _native(matrix.data) is not matrix.data:
        matrix = plain_matrix(matrix)  # scipy takes no rows of such types
    block = plain_matrix(matrix[rows])
    return block if block.dtype in (np.float32, np.float64) else block.astype(np.float64)


def iter_rows(matrix, block_rows: int = BLOCK_ROWS) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield ``(rows, block)`` over a cells × genes matrix; see :func:`read_rows`."""
    for start in range(0, matrix.shape[0], block_rows):
        rows = slice(start, min(start + block_rows, matrix.shape[0]))
        yield rows, read_rows(matrix, rows)


def stored_values(block) -> np.ndarray:
    """Stored entries of a block: all of a dense one, the explicit ones of a sparse one."""
    return block.data if sparse.issparse(block) else np.asarray(block).ravel()


def to_dense(block) -> np.ndarray:
    """Dense float64 copy of a block."""
    dense = block.toarray() if sparse.issparse(block) else np.asarray(block)
    return dense.astype(np.float64)


def row_sums(matrix) -> np.ndarray:
    """Sum of every row, shape ``(n_obs,)``, float64."""
    sums = [np.asarray(block.sum(axis=1, dtype=np.float64)) for _, block in iter_rows(matrix)]
    return np.concatenate([s.ravel() for s in sums])


@dataclass(frozen=True)
class FeatureMoments:
    """Per-feature sums over cells, float64.

    Attributes
    ----------
    mean
        Ratio estimate Σ_n x_nj / Σ_n s_n, shape ``(P,)``; with unit size factors the plain mean.
    variance
        Variance of the normalised values x_nj / s_n over cells with s_n > 0, shape ``(P,)``.
    total
        Σ_n x_nj, shape ``(P,)``.
    """

    mean: np.ndarray
    variance: np.ndarray
    total: np.ndarray


def feature_moments(matrix, size_factor: np.ndarray | None = None) -> FeatureMoments:
    """Moments of every feature in one pass over the rows."""
    n_obs, n_vars = matrix.shape
    s = np.ones(n_obs) if size_factor is None else np.asarray(size_factor, dtype=np.float64)
    inverse = np.divide(1.0, s, out=np.zeros_like(s), where=s > 0)
    total, first, second = np.zeros(n_vars), np.zeros(n_vars), np.zeros(n_vars)
    for rows, block in iter_rows(matrix):
        values = sparse.csr_matrix(block) if sparse.issparse(block) else to_dense(block)
        normalised = (
            sparse.diags(inverse[rows]) @ values.astype(np.float64)
            if sparse.issparse(values)
            else inverse[rows, None] * values
        )
        squared = normalised.power(2) if sparse.issparse(normalised) else normalised**2
        total += np.asarray(values.sum(axis=0), dtype=np.float64).ravel()
        first += np.asarray(normalised.sum(axis=0)).ravel()
        second += np.asarray(squared.sum(axis=0)).ravel()
    n_used = max(1, int((s > 0).sum()))
    variance = np.maximum(second / n_used - (first / n_used) ** 2, 0.0)
    return FeatureMoments(mean=total / max(s.sum(), 1e-12), variance=variance, total=total)
