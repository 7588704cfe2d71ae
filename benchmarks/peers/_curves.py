"""Smoothed curves of genes along pseudotime, for rivals that cluster curves."""

from __future__ import annotations

import numpy as np
import scanpy as sc
from _peer import Problem
from scipy.interpolate import BSpline
from scipy.linalg import eigh

N_POINTS = 50
N_SPLINES = 20
DEGREE = 3
PENALTIES = np.logspace(-3, 5, 33)


def expression(problem: Problem) -> np.ndarray:
    """Cells × genes: log counts per median library, or the values themselves if they are real."""
    if problem.likelihood == "gaussian":
        return np.asarray(problem.adata.X, dtype=np.float64)
    cells = problem.adata.copy()
    if "size_factor" in cells.obs:  # of all genes, where only the variable ones are kept
        counts = cells.X.toarray() / cells.obs["size_factor"].to_numpy()[:, None]
    else:
        sc.pp.normalize_total(cells)
        counts = cells.X.toarray()
    return np.log1p(counts).astype(np.float64)


def _design(points: np.ndarray) -> np.ndarray:
    """B-splines on equidistant knots over [0, 1], points × splines."""
    step = 1 / (N_SPLINES - DEGREE)
    knots = step * np.arange(-DEGREE, N_SPLINES + 1)
    # The last knot interval is half open, so 1 itself would fall outside it.
    inside = np.clip(points, 0.0, 1.0 - 1e-9)
    return BSpline.design_matrix(inside, knots, DEGREE).toarray()


def smooth(values: np.ndarray, pseudotime: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Penalised splines with a penalty per gene by generalised cross-validation.

    ``values`` is cells × genes; returns genes × points.
    """
    design = _design(pseudotime)
    difference = np.diff(np.eye(N_SPLINES), 2, axis=0)
    gram = design.T @ design + 1e-6 * np.eye(N_SPLINES)
    # In the joint eigenbasis of penalty and gram matrix, every penalty is a shrinkage of numbers.
    roughness, basis = eigh(difference.T @ difference, gram)
    loading = basis.T @ (design.T @ values)
    total = (values**2).sum(axis=0)
    n_cells = len(values)
    best = np.full(values.shape[1], np.inf)
    chosen = np.zeros_like(loading)
    for penalty in PENALTIES:
        shrink = 1 / (1 + penalty * np.clip(roughness, 0.0, None))
        residual = total - ((2 * shrink - shrink**2)[:, None] * loading**2).sum(axis=0)
        score = residual / (1 - shrink.sum() / n_cells) ** 2
        better = score < best
        best = np.where(better, score, best)
        chosen = np.where(better, shrink[:, None] * loading, chosen)
    return (_design(points) @ basis @ chosen).T


def standardised(problem: Problem, n_points: int = N_POINTS) -> np.ndarray:
    """Smoothed curves with mean 0 and standard deviation 1, genes × points."""
    points = np.linspace(0.0, 1.0, n_points)
    curves = smooth(expression(problem), problem.pseudotime, points)
    curves -= curves.mean(axis=1, keepdims=True)
    spread = curves.std(axis=1, keepdims=True)
    return curves / np.where(spread > 0, spread, 1.0)
