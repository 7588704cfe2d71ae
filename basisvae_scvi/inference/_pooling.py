"""Pool cells that lie close together in z: the small data set on which starts are found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from sklearn.cluster import KMeans

from basisvae_scvi.data import iter_rows

_MIN_CELLS_PER_POOL = 5
_N_POOLS = 60
# Three sparse copies of so many rows are in memory at a time.
_ROWS_PER_BLOCK = 512


@dataclass(frozen=True)
class PooledCells:
    """Sums over B groups of neighbouring cells, float64.

    Attributes
    ----------
    z
        Mean latent coordinates of each pool, shape ``(B, Q)``.
    exposure
        Σ s_n of each pool (the number of cells without size factors), shape ``(B,)``.
    total
        Σ_n x_nj of each pool, shape ``(B, P)``.
    variance
        Unbiased variance of the normalised values within pools, shape ``(P,)``.
    """

    z: np.ndarray
    exposure: np.ndarray
    total: np.ndarray
    variance: np.ndarray


def _pool_labels(z: np.ndarray, n_pools: int, seed: int) -> np.ndarray:
    """Pool of every cell: equal-sized runs along a one-dimensional z, k-means otherwise."""
    n_pools = max(1, min(n_pools, len(z) // _MIN_CELLS_PER_POOL))
    if z.shape[1] == 1:
        ranks = np.argsort(np.argsort(z[:, 0], kind="stable"), kind="stable")
        return ranks * n_pools // len(z)
    return KMeans(n_pools, n_init=1, random_state=seed).fit_predict(z)


def pool_cells(
    matrix,
    z: np.ndarray,
    size_factor: np.ndarray | None,
    *,
    n_pools: int = _N_POOLS,
    seed: int = 0,
) -> PooledCells:
    """Pool cells with similar z.

    Parameters
    ----------
    matrix
        Cells × genes, dense, sparse or backed.
    z
        Latent coordinates, shape ``(N, Q)``.
    size_factor
        Shape ``(N,)``, or ``None`` for 1.
    n_pools
        Number of pools B wanted; fewer if a pool would have fewer than five cells.
    seed
        Seed of k-means, used for more than one latent dimension.
    """
    s = np.ones(len(z)) if size_factor is None else np.asarray(size_factor, dtype=np.float64)
    labels = _pool_labels(z, n_pools, seed)
    n_pools = int(labels.max()) + 1
    membership = sparse.csr_matrix((np.ones(len(z)), (labels, np.arange(len(z)))))
    total = np.zeros((n_pools, matrix.shape[1]))
    first, second = np.zeros_like(total), np.zeros_like(total)
    for rows, block in iter_rows(matrix, _ROWS_PER_BLOCK):
        values = sparse.csr_matrix(block, dtype=np.float64)
        normalised = sparse.diags(1.0 / np.maximum(s[rows], 1e-12)) @ values
        part = membership[:, rows]
        total += (part @ values).toarray()
        first += (part @ normalised).toarray()
        second += (part @ normalised.power(2)).toarray()
    n_cells = np.bincount(labels, minlength=n_pools)[:, None]
    within = np.maximum(second / n_cells - (first / n_cells) ** 2, 0.0)
    return PooledCells(
        z=(membership @ z) / n_cells,
        exposure=np.bincount(labels, weights=s, minlength=n_pools),
        total=total,
        # Every pool has spent one cell on its mean: of few cells that is a fifth of them.
        variance=(within * n_cells).sum(0) / max(len(z) - n_pools, 1),
    )


def variance_within(
    matrix, z: np.ndarray, size_factor: np.ndarray | None, batch: np.ndarray | None = None
) -> np.ndarray:
    """Variance of the normalised values among cells of similar z and one batch, shape ``(P,)``.

    Parameters
    ----------
    matrix
        Cells × genes.
    z
        Places, shape ``(N,)``.
    size_factor
        Shape ``(N,)``, or ``None`` for 1.
    batch
        Batches, integers from 0, shape ``(N,)``; by default one.
    """
    batch = np.zeros(len(z), dtype=int) if batch is None else batch
    share = np.bincount(batch) / len(z)
    total, freedom = np.zeros(matrix.shape[1]), 0
    for b in np.flatnonzero(share):
        rows = np.flatnonzero(batch == b)
        n_pools = max(1, round(_N_POOLS * share[b]))
        size = None if size_factor is None else size_factor[rows]
        pooled = pool_cells(matrix[rows], z[rows, None], size, n_pools=n_pools)
        left = max(len(rows) - len(pooled.exposure), 1)
        total, freedom = total + left * pooled.variance, freedom + left
    return total / freedom
