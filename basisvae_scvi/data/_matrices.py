"""Reading a data matrix of any storage, block by block: dense, sparse, or backed on disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import sparse

BLOCK_ROWS = 2048


def iter_rows(matrix, block_rows: int = BLOCK_ROWS) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield ``(rows, block)`` over a cells × genes matrix; blocks are dense or scipy sparse."""
    for start in range(0, matrix.shape[0], block_rows):
        rows = slice(start, min(start + block_rows, matrix.shape[0]))
        yield rows, matrix[rows]


def stored_values(block) -> np.ndarray:
    """Stored entries of a block: all of a dense one, the explicit ones of a sparse one."""
    return block.data if sparse.issparse(block) else np.asarray(block).ravel()


def to_dense(block) -> np.ndarray:
    """Dense float64 copy of a block."""
    dense = block.toarray() if sparse.issparse(block) else np.asarray(block)
    return dense.astype(np.float64)


def row_sums(matrix) -> np.ndarray:
    """Sum of every row, shape ``(n_obs,)``, float64."""
    sums = [np.asarray(block.sum(axis=1), dtype=np.float64) for _, block in iter_rows(matrix)]
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
