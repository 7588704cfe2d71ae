"""Cells on the grid of z."""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

from ._grid import STEP, CurveGrid

_PRIOR_BANDWIDTH = 0.15
# How many cells the prior before there are any counts for.
_PRIOR_CELLS = 10.0

# How far cells may leave their place on the manifold, in standard deviations of z: farther with
# shifts, which depend on the metric of z and hold it.
_ANCHOR_WIDTH, _ANCHOR_WIDTH_WITH_SHIFTS = 0.3, 0.6


def place_on_grid(grid: CurveGrid, z: np.ndarray) -> np.ndarray:
    """Responsibilities of the grid points for cells at known places, shape ``(N, G)``.

    Parameters
    ----------
    grid
        The grid.
    z
        Shape ``(N,)``; a cell is shared by its two neighbours, so that its mean is its place.
    """
    position = np.clip((z - grid.z[0]) / STEP, 0, len(grid.z) - 1)
    left = np.minimum(position.astype(int), len(grid.z) - 2)
    share = np.zeros((len(z), len(grid.z)))
    rows = np.arange(len(z))
    share[rows, left + 1] = position - left
    share[rows, left] = 1.0 - (position - left)
    return share


def posterior(log_likelihood: np.ndarray, log_prior: np.ndarray) -> np.ndarray:
    """Exact q(z_n) on the grid, shape ``(N, G)``.

    Parameters
    ----------
    log_likelihood
        Log p(x_n | z) at the grid points, shape ``(N, G)``.
    log_prior
        Log prior over the grid, shape ``(G,)`` or ``(N, G)``.
    """
    log_joint = log_likelihood + log_prior
    return np.exp(log_joint - logsumexp(log_joint, axis=1, keepdims=True))


def divergence(share: np.ndarray, log_prior: np.ndarray) -> float:
    """Σ_n KL(q(z_n) ‖ p(z_n)) over the grid, in nats."""
    log_share = np.log(np.maximum(share, 1e-300))
    return float((share * (log_share - log_prior)).sum())


def learned_prior(grid: CurveGrid, share: np.ndarray) -> np.ndarray:
    """Log prior half-way between N(0, 1) and where the cells are, shape ``(G,)``.

    Where the cells are is the smoothed mean of all q(z_n), which of all priors costs them least
    (the aggregated posterior; Hoffman & Johnson 2016, ELBO surgery). Alone, it lets z be stretched
    until shapes that differ look like shifts of one another; N(0, 1) alone holds z to a metric
    that cells of uneven density do not have. Half-way, their geometric mean, is chosen.
    """
    kernel = np.exp(-0.5 * ((grid.z[:, None] - grid.z) / _PRIOR_BANDWIDTH) ** 2)
    counts = (kernel / kernel.sum(0)) @ share.sum(0) + _PRIOR_CELLS * np.exp(grid.log_z_prior)
    log_mean = 0.5 * (np.log(counts / counts.sum()) + grid.log_z_prior)
    return log_mean - logsumexp(log_mean)


def anchor(grid: CurveGrid, start: np.ndarray) -> np.ndarray:
    """What holds cells near the places ``(N,)`` where they start, in nats, shape ``(N, G)``."""
    width = _ANCHOR_WIDTH_WITH_SHIFTS if len(grid.shifts) > 1 else _ANCHOR_WIDTH
    return -0.5 * ((grid.z - start[:, None]) / width) ** 2
