"""Cells known by their values: which are the same, and whether a matrix is still what it was."""

from __future__ import annotations

import numpy as np
from anndata.abc import CSCDataset
from scipy import sparse

from ._counts import describe_look
from ._matrices import iter_rows, read_rows, stored_values

# A matrix is looked at in so many runs of neighbouring cells, whatever its size and storage.
_N_RUNS, _RUN_LENGTH = 16, 64
_BLOCK_ROWS = 512
# Sums of a cell with weights that no two genes share: other values would have to agree in all.
_STEPS = np.array([0.6180339887498949, 0.7548776662466927, 0.5698402909980532])
# What a change of type, or another order of summation, does to a sum.
_RELATIVE, _ABSOLUTE = 1e-6, 1e-7


def cell_digests(matrix, columns: np.ndarray | None = None) -> np.ndarray:
    """Three numbers that tell cells of different values apart, ``(N, 3)``.

    They do not depend on how the matrix is stored. One pass over it is needed.

    Parameters
    ----------
    matrix
        Cells × genes.
    columns
        Genes to look at, in the order in which they are compared; by default all.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy import sparse
    >>> from basisvae_scvi.data import cell_digests, same_cells
    >>> counts = np.array([[0, 2, 1], [3, 0, 0]])
    >>> first, second = cell_digests(counts), cell_digests(sparse.csr_matrix(counts[::-1]))
    >>> same_cells(first, second).tolist(), same_cells(first, second[::-1]).tolist()
    ([False, False], [True, True])
    """
    n_genes = matrix.shape[1] if columns is None else len(columns)
    weights = 0.5 + np.modf(np.arange(1, n_genes + 1)[:, None] * _STEPS)[0]
    parts = [np.empty((0, len(_STEPS)))]
    for _, block in iter_rows(matrix, _BLOCK_ROWS):
        part = block if sparse.issparse(block) else np.asarray(block)
        part = part if columns is None else part[:, columns]
        parts.append(np.asarray(part @ weights, dtype=np.float64))
    return np.concatenate(parts)


def same_cells(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Which rows of two tables of :func:`cell_digests` belong to equal cells, ``(N,)``."""
    smallest = _ABSOLUTE * np.abs(second).max(initial=0.0)
    return np.isclose(first, second, rtol=_RELATIVE, atol=smallest).all(axis=1)


def sample_digests(matrix) -> np.ndarray:
    """Digests of up to 1,024 cells at even distances, ``(n, 3)``; cheap for any matrix.

    One that is stored by columns on disk, where cells cannot be read alone, is given none.
    """
    if isinstance(matrix, CSCDataset):
        return np.empty((0, len(_STEPS)))
    return np.concatenate([cell_digests(read_rows(matrix, r)) for r in _runs(matrix.shape[0])])


def matrix_total(matrix, columns: np.ndarray) -> float:
    """Sum of some genes over all cells."""
    return float(sum(b[:, columns].sum(dtype=np.float64) for _, b in iter_rows(matrix)))


def describe_values(matrix) -> str:
    """What the values of a sample of the cells look like, in brackets; empty for counts."""
    if isinstance(matrix, CSCDataset):
        return ""
    blocks = [read_rows(matrix, rows) for rows in _runs(matrix.shape[0])]
    values = np.concatenate([np.asarray(stored_values(block)).ravel() for block in blocks])
    is_whole = bool((values == np.rint(values)).all())
    look = describe_look(values.min(initial=0.0), values.max(initial=0.0), is_whole=is_whole)
    return f" (they look {look})" if look else ""


def _runs(n_obs: int) -> list[slice]:
    if n_obs <= _N_RUNS * _RUN_LENGTH:
        return [slice(0, n_obs)]
    starts = np.linspace(0, n_obs - _RUN_LENGTH, _N_RUNS).astype(int)
    return [slice(int(start), int(start) + _RUN_LENGTH) for start in starts]
