"""Working evidence of Gaussian and of binary data."""

from __future__ import annotations

import numpy as np
from scipy.special import expit, log_ndtr

from ._evidence import (
    CellWeights,
    Predictor,
    ScaleMoments,
    Statistics,
    WorkingEvidence,
    sums_over_cells,
)

_LOG_2PI = np.log(2.0 * np.pi)
_MIN_PRECISION = 1e-10


class GaussianEvidence(WorkingEvidence):
    """Gaussian data of mean λ m_j f(z_n + δ) and variance σ_j².

    Parameters
    ----------
    values
        Cells × genes.
    variance
        σ_j², shape ``(P,)``.
    grid, constants, scale_invariant
        See :class:`WorkingEvidence`.
    """

    positive = False

    def __init__(self, values, variance, grid, constants, scale_invariant):
        super().__init__(grid, constants, scale_invariant)
        self.values = values
        self.size = np.ones(values.shape[0])
        self.gene_precision = 1.0 / variance

    def pool(self, share: np.ndarray) -> None:
        precision = np.outer(self.gene_precision, share.sum(0))
        weighted = sums_over_cells(self.values, share) * self.gene_precision[:, None]
        self._take(weighted, precision, np.zeros(self.n_genes))

    def _take(self, weighted: np.ndarray, precision: np.ndarray, constant: np.ndarray) -> None:
        self.weighted, self.precision, self.constant = weighted, precision, constant
        self._flat = Statistics(self.level * weighted.sum(1), self.level**2 * precision.sum(1))
        self.flat_evidence = self.integrate(self._flat, np.arange(self.n_genes))[0]

    def _constant(self, genes: np.ndarray, like: np.ndarray) -> np.ndarray:
        return self.constant[genes].reshape(-1, *[1] * (like.ndim - 1))

    def integrate(self, statistics, genes):
        """∫₀^∞ exp(−λ + λ c − ½ λ² h) dλ: a Gaussian cut at 0."""
        cross, square = statistics
        constant = self._constant(genes, cross)
        if not self.scale_invariant:
            one = np.ones_like(cross)
            return constant + cross - 0.5 * square, ScaleMoments(one, one)
        square = np.maximum(square, _MIN_PRECISION)
        sd = 1.0 / np.sqrt(square)
        mean = (cross - 1.0) / square
        log_mass = log_ndtr(mean / sd)
        evidence = 0.5 * mean * (cross - 1.0) + np.log(sd) + 0.5 * _LOG_2PI + log_mass + constant
        ratio = np.exp(-0.5 * (mean / sd) ** 2 - 0.5 * _LOG_2PI - log_mass)
        first = np.maximum(mean + sd * ratio, 0.0)
        return evidence, ScaleMoments(first, mean * first + sd**2)

    def statistics(self, curves, genes):
        windows = self.grid.windows(curves)
        shape = (len(genes), *windows.shape[:2])
        flat = windows.reshape(-1, windows.shape[2])
        unit = self.unit[genes, None]
        cross = unit * (self.weighted[genes] @ flat.T)
        square = unit**2 * (self.precision[genes] @ (flat**2).T)
        return Statistics(cross.reshape(shape), square.reshape(shape))

    def maximise(self, statistics, genes):
        cross, square = statistics
        constant = self._constant(genes, cross)
        if not self.scale_invariant:
            return constant + cross - 0.5 * square, np.ones_like(cross)
        scale = np.maximum(cross - 1.0, 0.0) / np.maximum(square, _MIN_PRECISION)
        return constant + scale * (cross - 1.0) - 0.5 * scale**2 * square, scale

    def second_moment(self, scale, genes):
        return scale.second

    def flat_scale_sd(self):
        moments = self.integrate(self._flat, np.arange(self.n_genes))[1]
        return np.sqrt(np.maximum(moments.second - moments.first**2, 0.0))

    def flat_optimum(self):
        return self.maximise(self._flat, np.arange(self.n_genes))

    def curve_sums(self, weight, scale, genes):
        unit = self.unit[genes, None]
        linear = (weight * scale.first * unit).T @ self.weighted[genes]
        quadratic = (weight * scale.second * unit**2).T @ self.precision[genes]
        return self.grid.collect(linear), self.grid.collect(quadratic)

    def fit_under(self, prior, sums, near):
        return prior.fit_linear(*sums)

    def normalised(self, curve):
        return curve / max(np.sqrt(self.grid.mean(curve**2)), 1e-8)

    def size_gradient(self, curve):
        return self.grid.weights * curve

    def _information(self, location, genes):
        return np.broadcast_to(self.gene_precision[genes], location.shape)

    def predictor(self, signal, scale, genes, cells):
        amplitude = np.broadcast_to(scale * self.unit[genes], signal.shape)
        location = amplitude * signal
        return Predictor(amplitude, location, self._information(location, genes))

    @property
    def level_curve(self):
        return np.ones(len(self.grid.x))

    def _moments_at_grid(self, curves, weight, scale):
        """E[λ m f] and E[(λ m f)²] of every gene, each ``(P, G)``, without its flat part."""
        windows = self.grid.windows(curves)
        flat = windows.reshape(-1, windows.shape[2])
        first = (weight * scale.first * self.unit[:, None, None]).reshape(len(weight), -1)
        second = (weight * scale.second * self.unit[:, None, None] ** 2).reshape(len(weight), -1)
        return first @ flat, second @ flat**2

    def cell_weights(self, curves, weight, scale):
        # What is flat does not depend on z, and the genes' own squares neither.
        first, second = self._moments_at_grid(curves, weight, scale)
        per_gene = first * self.gene_precision[:, None]
        return CellWeights(np.ones(1), per_gene[None], -0.5 * (self.gene_precision @ second)[None])


class BinaryEvidence(GaussianEvidence):
    """Binary data through empirical logits at the grid points; cells through their exact log p."""

    def __init__(self, values, grid, constants, scale_invariant):
        super().__init__(values, np.ones(values.shape[1]), grid, constants, scale_invariant)

    def pool(self, share: np.ndarray) -> None:
        n_cells = share.sum(0)
        p = (sums_over_cells(self.values, share) + 0.5) / (n_cells + 1.0)
        precision, logit = n_cells * p * (1.0 - p), np.log(p / (1.0 - p))
        # Of the parabola through the peak of the likelihood at every point: its height.
        peak = n_cells * (p * np.log(p) + (1.0 - p) * np.log1p(-p))
        constant = (peak - 0.5 * precision * logit**2).sum(1)
        self._take(precision * logit, precision, constant)

    def _information(self, location, genes):
        p = expit(location)
        return p * (1.0 - p)

    def cell_weights(self, curves, weight, scale):
        level = 1.0 - weight.sum((1, 2))
        logit = self._moments_at_grid(curves, weight, scale)[0]
        logit += (level * self.level)[:, None]
        log_absent = np.log(np.maximum(expit(-logit), 1e-300)).sum(0)
        return CellWeights(np.ones(1), logit[None], log_absent[None])
