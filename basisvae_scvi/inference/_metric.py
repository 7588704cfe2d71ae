"""How far apart cells are in z, given their order: guesses that the search starts from.

Shifts only make sense where equal steps of z are equal steps of the process. The order of the
cells does not say how long they are, and how many cells there are on each does not either: most
tissues hold many cells of some stages and few of others. What the genes do says more.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri

from ._latent import quantiles, standardised
from ._pooling import PooledCells

# Share of the cells over which the speed of the genes is averaged. Chosen, as the others here.
_BANDWIDTH = 0.06
_MIN_POOLS_PER_BANDWIDTH = 1.5
_MAX_COMPONENTS = 10
_MIN_COMPONENTS = 2
_MIN_POOLS = 3
# Of the mean speed: where nothing is seen to change, z goes on none the less.
_MIN_SPEED = 0.1
_N_POINTS = 201


def normal_scores(order: np.ndarray) -> np.ndarray:
    """Places at which cells in this order are N(0, 1), shape ``(N,)``."""
    return ndtri(quantiles(order))


def _course(pooled: PooledCells, cells_per_pool: float) -> np.ndarray:
    """Means of the pools in the principal components that stand out, shape ``(B, C)``.

    Every gene in units of its spread within pools; the largest singular value of the noise alone
    is then about (√B + √P) / √n with n cells a pool (Bai & Yin 1993, Ann. Probab. 21, 1275).
    """
    mean = pooled.total / pooled.exposure[:, None]
    spread = np.sqrt(np.maximum(pooled.variance, 1e-12))
    left, singular, _ = np.linalg.svd((mean - mean.mean(0)) / spread, full_matrices=False)
    of_noise = sum(np.sqrt(mean.shape)) / np.sqrt(cells_per_pool)
    n = np.clip((singular > of_noise).sum(), _MIN_COMPONENTS, _MAX_COMPONENTS)
    return left[:, :n] * singular[:n]


def _speed(course: np.ndarray, at: np.ndarray) -> np.ndarray:
    """How fast a course of B even steps over (0, 1) moves at some points, by local lines."""
    n_pools = len(course)
    time = (np.arange(n_pools) + 0.5) / n_pools
    bandwidth = max(_BANDWIDTH, _MIN_POOLS_PER_BANDWIDTH / n_pools)
    weight = np.exp(-0.5 * ((at[:, None] - time) / bandwidth) ** 2)
    weight /= weight.sum(1, keepdims=True)
    centre = weight @ time
    variance = weight @ time**2 - centre**2
    covariance = weight @ (time[:, None] * course) - centre[:, None] * (weight @ course)
    return np.linalg.norm(covariance / variance[:, None], axis=1)


def even_change(order: np.ndarray, pooled: PooledCells, n_pooled_cells: int) -> np.ndarray:
    """Places at which the expression of all genes together changes at an even rate.

    Distances in z are lengths of the course that the mean expression takes, in standard deviations
    of each gene.

    Parameters
    ----------
    order
        Places of the cells whose ranks count, shape ``(N,)``.
    pooled
        Pools of these cells, or some of them, along this order.
    n_pooled_cells
        Number of cells that were pooled.

    Returns
    -------
    Shape ``(N,)``, of mean 0 and variance 1, in the same order; normal scores of less than three
    pools and where nothing changes.
    """
    if len(pooled.total) < _MIN_POOLS:
        return normal_scores(order)
    at = np.linspace(0.0, 1.0, _N_POINTS)
    speed = _speed(_course(pooled, n_pooled_cells / len(pooled.total)), at)
    if not speed.any():  # nothing changes at all
        return normal_scores(order)
    speed = np.maximum(speed, _MIN_SPEED * speed.mean())
    length = np.concatenate([[0.0], np.cumsum(speed[1:] + speed[:-1])])
    places = np.interp(quantiles(order), at, length)
    return standardised(places)
