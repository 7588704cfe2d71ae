"""A curve of its own for every gene along a given z: what two-stage rivals start from.

Counts and exposures are summed over a grid of normal scores of z. All curves are of log rates,
under a quasi-Poisson likelihood with one dispersion a gene, shape genes × points of ``GRID``.
Curves are smooth in normal scores or in ranks of z.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.interpolate import BSpline
from scipy.stats import norm

GRID = np.linspace(-3.0, 3.0, 61)
_STEP = GRID[1] - GRID[0]
# Coordinates of the points, in which a curve is smooth, from 0 to 1.
AXES = {"score": (GRID - GRID[0]) / (GRID[-1] - GRID[0]), "rank": norm.cdf(GRID)}
# Of the Gaussian process; lengths in units of an axis, sd in those of the log rate.
_LENGTHS, _SDS = (0.07, 0.14, 0.28, 0.5), (0.3, 0.7, 1.5)
_LEVEL_SD = 1.0
_N_SPLINES, _DEGREE = 20, 3
_PENALTIES = np.logspace(-2, 5, 15)
# Standard deviations of the kernel, in units of an axis.
WIDTHS = (0.01, 0.015, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15)
_MAX_STEPS, _TOLERANCE = 60, 1e-4


class Sums(NamedTuple):
    """Counts ``(P, G)`` and exposures ``(G,)`` at points of the grid, log mean rates ``(P,)``."""

    counts: np.ndarray
    exposure: np.ndarray
    level: np.ndarray


class _Fits(NamedTuple):
    """Curves about the level ``(P, G)``; log likelihood, coefficients, and their curvature."""

    curves: np.ndarray
    log_likelihood: np.ndarray
    coefficients: np.ndarray
    information: np.ndarray


def sums(counts: np.ndarray, size_factor: np.ndarray, z: np.ndarray) -> Sums:
    """Sum over cells, ``counts`` cells × genes, at the nearest point of the grid."""
    point = np.clip(np.round((z - GRID[0]) / _STEP).astype(int), 0, len(GRID) - 1)
    at = np.zeros((len(GRID), len(z)))
    at[point, np.arange(len(z))] = 1.0
    level = np.log(np.maximum(counts.sum(0), 0.5) / size_factor.sum())
    return Sums((at @ counts).T, at @ size_factor, level)


def _fit(design: np.ndarray, penalty: np.ndarray, data: Sums, dispersion: np.ndarray) -> _Fits:
    """Penalised likelihood curves of all genes at once, by Newton's method."""
    n_genes, n_terms = len(data.counts), design.shape[1]
    w = np.zeros((n_genes, n_terms))
    base = np.exp(data.level)[:, None] * data.exposure
    for _ in range(_MAX_STEPS):
        mean = base * np.exp(w @ design.T)
        weight = mean / dispersion[:, None]
        information = np.einsum("gr,pg,gs->prs", design, weight, design, optimize=True)
        gradient = ((data.counts - mean) / dispersion[:, None]) @ design - w @ penalty
        step = np.linalg.solve(information + penalty, gradient[:, :, None])[:, :, 0]
        # A curve moves by 1 at most, so that a bad start does not overshoot.
        size = np.abs(step @ design.T).max(1, keepdims=True)
        w = w + step / np.maximum(size, 1.0)
        if size.max() < _TOLERANCE:
            break
    curves = w @ design.T
    mean = base * np.exp(curves)
    log_likelihood = (data.counts * curves - mean).sum(1) / dispersion
    weight = mean / dispersion[:, None]
    information = np.einsum("gr,pg,gs->prs", design, weight, design, optimize=True)
    return _Fits(curves, log_likelihood, w, information)


def _process(axis: np.ndarray, length: float, sd: float) -> np.ndarray:
    """Curves of a Gaussian process and a free level, points × terms with prior N(0, 1)."""
    covariance = sd**2 * np.exp(-0.5 * ((axis[:, None] - axis) / length) ** 2)
    value, vector = np.linalg.eigh(covariance)
    kept = value > 1e-5 * value[-1]
    level = np.full((len(GRID), 1), _LEVEL_SD)
    return np.concatenate([level, vector[:, kept] * np.sqrt(value[kept])], axis=1)


def _degrees(information: np.ndarray, penalty: np.ndarray) -> np.ndarray:
    """Effective degrees of freedom of every gene."""
    return np.trace(np.linalg.solve(information + penalty, information), axis1=1, axis2=2)


def dispersions(data: Sums) -> np.ndarray:
    """Pearson's of every gene about a flexible curve, at least 1."""
    design = _process(AXES["score"], 0.14, 1.5)
    penalty, found = np.eye(design.shape[1]), np.ones(len(data.counts))
    for _ in range(2):
        fits = _fit(design, penalty, data, found)
        mean = np.exp(data.level)[:, None] * data.exposure * np.exp(fits.curves)
        seen = data.exposure > 0
        residual = ((data.counts - mean) ** 2 / np.maximum(mean, 0.5))[:, seen].sum(1)
        found = np.maximum(residual / (seen.sum() - _degrees(fits.information, penalty)), 1.0)
    return found


def gaussian_process(data: Sums, axis: np.ndarray = AXES["rank"]) -> np.ndarray:
    """Log rates of Gaussian processes; length and sd of every gene by its evidence."""
    designs = [_process(axis, length, sd) for length in _LENGTHS for sd in _SDS]
    return _best(data, [(design, np.eye(design.shape[1])) for design in designs])


def penalised_splines(data: Sums, axis: np.ndarray = AXES["rank"]) -> np.ndarray:
    """Log rates of cubic splines; penalty of every gene by restricted likelihood."""
    difference = np.diff(np.eye(_N_SPLINES), 2, axis=0)
    roughness, ridge = difference.T @ difference, 1e-3 * np.eye(_N_SPLINES)
    design = _splines(axis)
    return _best(data, [(design, weight * roughness + ridge) for weight in _PENALTIES])


def _splines(axis: np.ndarray) -> np.ndarray:
    """B-splines on equidistant knots, points × splines."""
    step = (axis[-1] - axis[0]) / (_N_SPLINES - _DEGREE)
    knots = axis[0] + step * np.arange(-_DEGREE, _N_SPLINES + 1)
    # The last knot interval is half open, so its end would fall outside it.
    inside = np.clip(axis, axis[0], axis[-1] - 1e-9)
    return BSpline.design_matrix(inside, knots, _DEGREE).toarray()


def _best(data: Sums, candidates: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Log rates of every gene under the design and penalty of largest evidence (Laplace's)."""
    dispersion = dispersions(data)
    best, chosen = np.full(len(data.counts), -np.inf), np.zeros_like(data.counts)
    for design, penalty in candidates:
        fits = _fit(design, penalty, data, dispersion)
        w = fits.coefficients
        evidence = fits.log_likelihood - 0.5 * ((w @ penalty) * w).sum(1)
        evidence += 0.5 * np.linalg.slogdet(penalty)[1]
        evidence -= 0.5 * np.linalg.slogdet(penalty + fits.information)[1]
        better = evidence > best
        best = np.where(better, evidence, best)
        chosen = np.where(better[:, None], fits.curves, chosen)
    return data.level[:, None] + chosen


def kernel(data: Sums, axis: np.ndarray, width: float) -> np.ndarray:
    """Log rates of a Gaussian kernel, with one cell of the gene's mean rate added everywhere."""
    weight = np.exp(-0.5 * ((axis[:, None] - axis) / width) ** 2)
    rate = (data.counts @ weight + np.exp(data.level)[:, None]) / (data.exposure @ weight + 1.0)
    return np.log(rate)


def at(curves: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Curves on ``GRID`` at cells, genes × cells; constant beyond the ends."""
    position = np.clip((z - GRID[0]) / _STEP, 0.0, len(GRID) - 1.0)
    left = np.minimum(position.astype(int), len(GRID) - 2)
    share = position - left
    return curves[:, left] * (1 - share) + curves[:, left + 1] * share
