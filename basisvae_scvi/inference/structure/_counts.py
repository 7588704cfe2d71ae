"""Working evidence of counts, and the composition of the libraries."""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln

from ._evidence import (
    CellWeights,
    Predictor,
    ScaleMoments,
    Statistics,
    WorkingEvidence,
    sums_over_cells,
)
from ._smooth import SmoothFit, SmoothPrior

# Composition: curves of this length and of either slope, which libraries of drifting content have.
_COMPOSITION = {"length": 0.8, "level": 0.1}
_COMPOSITION_SLOPES = (0.15, 0.45)
_SIZE_QUANTILES = np.linspace(0.03, 0.97, 9)


class CountEvidence(WorkingEvidence):
    """Quasi-Poisson counts of mean s_n m_j λ exp(f(z_n + δ)); curves are log f.

    Libraries differ along z because the genes that change are in them. ``composition`` is the log
    of a factor of all size factors, a smooth function of z, that makes the flat genes level.

    Parameters
    ----------
    values, size
        Counts, cells × genes, and size factors.
    dispersion
        ψ_j, shape ``(P,)``.
    grid, constants, scale_invariant
        See :class:`WorkingEvidence`.
    """

    positive = True

    def __init__(self, values, size, dispersion, grid, constants, scale_invariant):
        super().__init__(grid, constants, scale_invariant)
        self.dispersion = dispersion
        self.values, self.size = values, np.asarray(size, dtype=np.float64)
        self.bare_exposure: np.ndarray | None = None  # before cells are pooled
        # Of the variance μ + μ²/θ that equals ψ μ at the mean of the gene. A tolerance of
        # shapes is in it, so that frequent genes, whose own courses may mislead, do not place
        # the cells alone.
        self.theta = np.clip(self.unit / np.maximum(dispersion - 1.0, 1e-9), 1e-2, 1e6)
        self.unit = self.unit / dispersion
        self._composition_priors = [
            SmoothPrior.of(grid.z, slope=slope, **_COMPOSITION) for slope in _COMPOSITION_SLOPES
        ]

    def pool(self, share: np.ndarray) -> None:
        self.at_grid = sums_over_cells(self.values, share) / self.dispersion[:, None]
        self.total = self.at_grid.sum(1)
        self.bare_exposure = share.T @ self.size
        self._take_composition()

    def _take_composition(self) -> None:
        exposure = self.bare_exposure * np.exp(self.composition)
        self.log_factor = self.composition + np.log(self.bare_exposure.sum() / exposure.sum())
        self.exposure = self.bare_exposure * np.exp(self.log_factor)
        self._by_composition = self.at_grid @ self.log_factor
        expected = (self.unit * self.exposure.sum())[:, None]
        flat = Statistics(self._by_composition[:, None], expected)
        self.flat_evidence = self.integrate(flat, np.arange(self.n_genes))[0][:, 0]

    def set_composition(self, composition: np.ndarray, complexity: float) -> None:
        super().set_composition(composition, complexity)
        if self.bare_exposure is not None:
            self._take_composition()

    def fit_composition(self, weight: np.ndarray) -> SmoothFit:
        """Composition under which genes are level, with weights ``(P,)``; one curve, ``(G,)``."""
        expected = self.unit * self.bare_exposure.sum()
        scale = (self.total + 1.0) / (1.0 + expected) if self.scale_invariant else 1.0
        share = (weight * scale * self.unit).sum()
        sums = (weight @ self.at_grid)[None], (share * self.bare_exposure)[None]
        fits = [prior.fit_log(*sums).at(0) for prior in self._composition_priors]
        return max(fits, key=lambda fit: fit.evidence)

    def _of_genes(self, values: np.ndarray, genes: np.ndarray, like: np.ndarray) -> np.ndarray:
        return values[genes].reshape(-1, *[1] * (like.ndim - 1))

    def integrate(self, statistics, genes):
        """∫ exp(fit + X log λ − λ M) Γ(λ | 1, 1) dλ = exp(fit) Γ(X + 1) / (1 + M)^(X + 1)."""
        fit, expected = statistics
        if not self.scale_invariant:
            return fit - expected, ScaleMoments(np.ones_like(fit), np.ones_like(fit))
        shape = self._of_genes(self.total, genes, fit) + 1.0
        rate = 1.0 + expected
        first = shape / rate
        evidence = fit + gammaln(shape) - shape * np.log(rate)
        return evidence, ScaleMoments(first, first)  # of log-linear curves no E[λ²] is asked

    def statistics(self, curves, genes):
        windows = self.grid.windows(curves)
        shape = (len(genes), *windows.shape[:2])
        flat = windows.reshape(-1, windows.shape[2])
        fit = self.at_grid[genes] @ flat.T + self._by_composition[genes, None]
        expected = self.unit[genes, None] * (np.exp(flat) @ self.exposure)
        return Statistics(fit.reshape(shape), expected.reshape(shape))

    def maximise(self, statistics, genes):
        fit, expected = statistics
        if not self.scale_invariant:
            return fit - expected, np.ones_like(fit)
        # A thousandth of a count, so that λ stays positive for a gene without counts.
        count = self._of_genes(self.total, genes, fit) + 1e-3
        scale = count / (1.0 + expected)
        return fit + count * np.log(scale) - count, scale

    def second_moment(self, scale, genes):
        if not self.scale_invariant:
            return scale.first**2
        return scale.first**2 * (1.0 + 1.0 / (self.total[genes, None, None] + 1.0))

    def flat_scale_sd(self):
        shape = self.total + 1.0
        sd = np.sqrt(shape) / (1.0 + self.unit * self.exposure.sum())
        return sd if self.scale_invariant else 0.0 * sd

    def flat_optimum(self):
        flat = Statistics(self._by_composition, self.unit * self.exposure.sum())
        return self.maximise(flat, np.arange(self.n_genes))

    def curve_sums(self, weight, scale, genes):
        count = self.grid.collect(weight.T @ self.at_grid[genes])
        share = (weight * scale.first).T @ self.unit[genes]
        return count, self.grid.collect(share[:, None] * self.exposure)

    def fit_under(self, prior, sums, near):
        return prior.fit_log(*sums, near)

    def normalised(self, curve):
        return curve - np.log(self.grid.mean(np.exp(curve)))

    def size_gradient(self, curve):
        return self.grid.weights * np.exp(curve)

    def predictor(self, signal, scale, genes, cells):
        mean = np.exp(signal) * (scale * self.unit[genes] * self.dispersion[genes])
        mean *= self.size[cells, None]
        return Predictor(
            np.ones_like(mean), np.ones_like(mean), mean / (1.0 + mean / self.theta[genes])
        )

    @property
    def level_curve(self):
        return np.zeros(len(self.grid.x))

    def cell_weights(self, curves, weight, scale):
        """Negative binomial, with the size factors rounded to some quantiles of theirs.

        log p = x log μ − (x + θ) log(μ + θ) is linear in the counts of cells of one size.
        """
        windows = self.grid.windows(curves)
        flat = windows.reshape(-1, windows.shape[2])
        level = 1.0 - weight.sum((1, 2))
        # Genes on the flat basis have their posterior mean λ under it.
        base = (self.total + 1.0) / (1.0 + self.unit * self.exposure.sum())
        moving = (weight * scale.first).reshape(len(weight), -1) @ np.exp(flat)
        mean = moving + (level * (base if self.scale_invariant else 1.0))[:, None]
        log_mean = np.log(mean * (self.unit * self.dispersion)[:, None]) + self.log_factor
        size = np.quantile(self.size, _SIZE_QUANTILES)
        theta = self.theta[:, None]
        log_sum = np.log(size[:, None, None] * np.exp(log_mean) + theta)
        return CellWeights(size, log_mean - log_sum, -(theta * log_sum).sum(1))
