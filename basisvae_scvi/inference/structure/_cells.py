"""Cells on the grid of z."""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

from ._grid import STEP, CurveGrid


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
