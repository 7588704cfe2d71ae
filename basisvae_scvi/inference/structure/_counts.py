"""Working evidence of counts, and the composition of the libraries."""

from __future__ import annotations

import numpy as np

from basisvae_scvi.module._smooth import SmoothFit, SmoothPrior

from ._curves import CurveSums
from ._deviation import deviation_directions
from ._evidence import (
    CellWeights,
    Predictor,
    ScaleMoments,
    WorkingEvidence,
    own_course_prior,
)
from ._own_courses import CountSums, Level, OwnCourses
from ._quadratic import Deviating

# Composition: curves of this length and of either slope, which libraries of drifting content have.
_COMPOSITION = {"length": 0.8, "level": 0.1}
_COMPOSITION_SLOPES = (0.15, 0.45)
_SIZE_QUANTILES = np.linspace(0.03, 0.97, 9)


class CountEvidence(WorkingEvidence):
    """Quasi-Poisson counts of log mean log(s_n m_j λ) + c_bj + f(z_n + δ) + ε_j(z_n).

    log λ ~ N(0, 1), which has the mode and the curvature of the Γ(1, 1) of λ there, so that λ and
    ε are integrated out alike. Libraries differ along z because the genes that change are in them.
    ``composition`` is the log of a factor of all size factors, a smooth function of z, that makes
    the flat genes level.

    Parameters
    ----------
    dispersion
        ψ_j, shape ``(P,)``.
    values, size, batch, grid, constants, scale_invariant, deviation
        See :class:`WorkingEvidence`.
    """

    positive = True

    def __init__(self, *args, dispersion: np.ndarray, **kwargs):
        super().__init__(*args, **kwargs)
        self.dispersion = dispersion
        self._own: OwnCourses | None = None  # before cells are pooled
        # Of the variance μ + μ²/θ that equals ψ μ at the mean of the gene.
        self.theta = np.clip(self.unit / np.maximum(dispersion - 1.0, 1e-9), 1e-2, 1e6)
        self.unit = self.unit / dispersion
        self._composition_priors = [
            SmoothPrior.of(self.grid.z, slope=slope, **_COMPOSITION)
            for slope in _COMPOSITION_SLOPES
        ]

    def pool(self, share: np.ndarray) -> None:
        self.sums = self._sums(share)
        self.at_grid = self.sums.count.sum(0)
        prior = own_course_prior()
        self._own = OwnCourses.fitted(self.sums, self.grid.basis, prior, self._own)
        self._take_composition()

    def _sums(self, share: np.ndarray) -> CountSums:
        count = self._by_batch(share) / self.dispersion[:, None]
        return CountSums(count, self._share_by_batch(share), self.unit)

    def _own_evidence(self, share, prior):
        return OwnCourses.fitted(self._sums(share), self.grid.basis, prior, None).evidence

    def _take_composition(self) -> None:
        """Courses are taken relative to the composition; libraries hold the same counts in all."""
        bare = self.sums.exposure.sum(0)
        size = np.log(bare.sum() / (bare @ np.exp(self.composition)))
        self.log_factor = self.composition + size
        self.given = self._own.quadratics.moved(self.grid.basis.T @ self.log_factor)
        expected = (self.sums.exposure @ np.exp(self.log_factor))[:, None] * self.unit
        self._flat = Level.fitted(self.sums.count.sum(2), expected, scales=self.scale_invariant)
        by_composition = self.at_grid @ self.log_factor
        self.flat_evidence = self._flat.evidence + by_composition
        self.own_course = self._own.course - self.grid.basis.T @ self.log_factor
        self._integrate_deviations()

    def _integrate_deviations(self) -> None:
        directions = deviation_directions(self.deviation)
        if self.scale_invariant:
            level = self.grid.basis.sum(0)  # the constant function 1: log λ
            directions = np.column_stack([level, directions])
        self.genes = Deviating(self.given, directions)
        self._by_level = self.genes.direction(0) if self.scale_invariant else None

    @property
    def offset(self) -> np.ndarray:
        """Log offsets c of the batches, shape ``(B, P)``."""
        return self._own.offset

    def set_deviation(self, deviation: float) -> None:
        self.deviation = deviation
        if self._own is not None:
            self._integrate_deviations()

    def set_composition(self, composition: np.ndarray, complexity: float) -> None:
        super().set_composition(composition, complexity)
        if self._own is not None:
            self._take_composition()

    def scales_of(self, course):
        mean, slope, _ = self._by_level
        return np.exp(mean - (slope * course).sum(1))

    def by_scale(self, course):
        return np.broadcast_to(self.grid.basis.sum(0), course.shape)

    def scaled(self, course, scale):
        return course + np.log(scale)[:, None] * self.grid.basis.sum(0)

    def fit_composition(self, weight: np.ndarray) -> SmoothFit:
        """Composition under which genes are level, with weights ``(P,)``; one curve, ``(G,)``."""
        bare = self.sums.exposure.sum(0)
        scale = self.at_grid.sum(1) / np.maximum(self.unit * bare.sum(), 1e-12)
        share = (weight * (scale if self.scale_invariant else 1.0) * self.unit).sum()
        sums = (weight @ self.at_grid)[None], (share * bare)[None]
        fits = [prior.fit_log(*sums).at(0) for prior in self._composition_priors]
        return max(fits, key=lambda fit: fit.evidence)

    def _log_scale(self, coordinates, genes):
        if self._by_level is None:
            return None
        mean, slope, _ = self._by_level
        return mean[genes, None] - slope[genes] @ coordinates.T

    def integrate(self, statistics, genes):
        linear, quadratic, log_scale = statistics
        evidence = self._constant(genes, linear) + linear - 0.5 * quadratic
        if log_scale is None:
            return evidence, ScaleMoments(np.ones_like(linear), np.ones_like(linear))
        variance = self._by_level[2][genes].reshape(-1, *[1] * (linear.ndim - 1))
        first = np.exp(log_scale + 0.5 * variance)
        return evidence, ScaleMoments(first, first**2 * np.exp(variance))

    def best_scale(self, statistics, genes):
        if statistics.log_scale is None:
            return np.ones_like(statistics.linear)
        return np.exp(statistics.log_scale)

    def flat_scale(self):
        mean = np.exp(self._flat.log_scale + 0.5 * self._flat.variance)
        return mean, mean * np.sqrt(np.expm1(self._flat.variance))

    def curve_sums(self, weight, scale, genes):
        linear = weight.T @ self.genes.marginal.linear[genes]
        return CurveSums(linear[None], (weight.T @ self.genes.marginal_packed[genes])[None])

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

    def log_courses(self, curves: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """E[log λ + f + ε] of every gene at the grid points, given its groups, ``(P, G)``."""
        coordinates = self.grid.coordinates(curves)
        flat = coordinates.reshape(-1, coordinates.shape[2])
        moving = weight.sum((1, 2))
        course = weight.reshape(len(weight), -1) @ flat
        course = self.genes.courses(course, moving) @ self.grid.basis.T
        return course + ((1.0 - moving) * self._flat.log_scale)[:, None]

    def cell_weights(self, curves, weight, scale):
        """Negative binomial, with the size factors rounded to some quantiles of theirs.

        log p = x log μ − (x + θ) log(μ + θ) is linear in the counts of cells of one size.
        """
        log_mean = self.log_courses(curves, weight) + self.log_factor
        log_mean += np.log(np.maximum(self.unit * self.dispersion, 1e-300))[:, None]
        log_mean = log_mean + self._own.offset[..., None]  # (B, P, G)
        size = np.quantile(self.size, _SIZE_QUANTILES)
        theta = self.theta[:, None]
        log_sum = np.log(size[:, None, None] * np.exp(log_mean)[:, None] + theta)
        return CellWeights(size, log_mean[:, None] - log_sum, -(theta * log_sum).sum(2))
