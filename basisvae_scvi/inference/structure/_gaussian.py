"""Working evidence of Gaussian and of binary data."""

from __future__ import annotations

import numpy as np
from scipy.special import expit, log_ndtr

from ._curves import CurveSums
from ._deviation import deviation_directions
from ._evidence import (
    CellWeights,
    Predictor,
    ScaleMoments,
    Statistics,
    WorkingEvidence,
    own_course_prior,
)
from ._own_courses import squares_of_rows
from ._quadratic import Deviating, Quadratics, unpacked

_LOG_2PI = np.log(2.0 * np.pi)
_MIN_PRECISION = 1e-10
_OFFSET_ROUNDS = 5


class GaussianEvidence(WorkingEvidence):
    """Gaussian data of mean m_j (λ f(z_n + δ) + ε_j(z_n)) + c_bj and variance σ_j².

    Parameters
    ----------
    variance
        σ_j², shape ``(P,)``.
    values, size, batch, grid, constants, scale_invariant, deviation
        See :class:`WorkingEvidence`.
    """

    positive = False

    def __init__(self, *args, variance: np.ndarray, **kwargs):
        super().__init__(*args, **kwargs)
        self.size = np.ones(self.values.shape[0])
        self.gene_precision = 1.0 / variance

    def pool(self, share: np.ndarray) -> None:
        self._take(*self._sums(share))

    def _sums(self, share: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """w and h ``(B, P, G)`` and k ``(P,)`` of log p = k + Σ [w η − ½ h η²]."""
        weighted = self._by_batch(share) * self.gene_precision[:, None]
        precision = self.gene_precision[:, None] * self._share_by_batch(share)[:, None]
        return weighted, precision, np.zeros(self.n_genes)

    def _take(self, weighted: np.ndarray, precision: np.ndarray, constant: np.ndarray) -> None:
        self.given, own, self.offset = self._fitted(
            weighted, precision, constant, own_course_prior()
        )
        self.own_course = own.courses(np.zeros_like(self.given.linear), np.ones(self.n_genes))
        told = (weighted - self.offset[..., None] * precision).sum(0)
        flat = Statistics(self.level * told.sum(1), self.level**2 * precision.sum((0, 2)))
        self._flat_moments = self._integrated(flat, constant)
        self.flat_evidence = self._flat_moments[0]
        self._integrate_deviations()

    def _own_evidence(self, share, prior):
        return self._fitted(*self._sums(share), prior)[1].marginal.constant

    def _fitted(self, weighted, precision, constant, prior):
        """Quadratics of the courses in units m, own courses under a prior, and offsets."""
        basis, unit = self.grid.basis, self.unit[:, None]
        curvature = unpacked(unit**2 * (precision.sum(0) @ squares_of_rows(basis)))
        offset = np.zeros((self.n_batch, self.n_genes))
        for _ in range(_OFFSET_ROUNDS if self.n_batch > 1 else 1):
            told = (weighted - offset[..., None] * precision).sum(0)
            given = Quadratics(constant, unit * (told @ basis), curvature)
            own = Deviating(given, prior)
            if self.n_batch > 1:
                course = own.courses(np.zeros_like(given.linear), np.ones(self.n_genes))
                offset = self._offsets(weighted, precision, course)
        return given, own, offset

    def _offsets(self, weighted, precision, course) -> np.ndarray:
        """The most probable c ~ N(0, 1) for courses ``(P, S)``, centred, ``(B, P)``."""
        course = self.unit[:, None] * (course @ self.grid.basis.T)
        rest = (weighted - precision * course).sum(2)
        offset = rest / (precision.sum(2) + 1.0)
        return offset - offset.mean(0)

    def _integrate_deviations(self) -> None:
        self.genes = Deviating(self.given, deviation_directions(self.deviation))

    def set_deviation(self, deviation: float) -> None:
        self.deviation = deviation
        if self.given is not None:
            self._integrate_deviations()

    def scales_of(self, course):
        marginal = self.genes.marginal
        square = ((marginal.quadratic @ course[..., None])[..., 0] * course).sum(1)
        cross = (marginal.linear * course).sum(1)
        return self.best_scale(Statistics(cross, square), slice(None))

    def by_scale(self, course):
        size = np.sqrt((course @ self.grid.basis.T) ** 2 @ np.exp(self.grid.log_z_prior))
        return course / np.maximum(size, 1e-8)[:, None]

    def scaled(self, course, scale):
        return course * scale[:, None]

    def integrate(self, statistics, genes):
        return self._integrated(statistics, self._constant(genes, statistics.linear))

    def _integrated(self, statistics: Statistics, constant):
        """∫₀^∞ exp(−λ + λ c − ½ λ² h) dλ: a Gaussian cut at 0."""
        cross, square, _ = statistics
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

    def best_scale(self, statistics, genes):
        cross, square, _ = statistics
        if not self.scale_invariant:
            return np.ones_like(cross)
        return np.maximum(cross - 1.0, 0.0) / np.maximum(square, _MIN_PRECISION)

    def flat_scale(self):
        moments = self._flat_moments[1]
        return moments.first, np.sqrt(np.maximum(moments.second - moments.first**2, 0.0))

    def curve_sums(self, weight, scale, genes):
        linear = (weight * scale.first).T @ self.genes.marginal.linear[genes]
        quadratic = (weight * scale.second).T @ self.genes.marginal_packed[genes]
        return CurveSums(linear[None], quadratic[None])

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
        """E[m (λ f + ε)] and its variance over what each gene may follow, each ``(P, G)``."""
        coordinates = self.grid.coordinates(curves)
        flat = coordinates.reshape(-1, coordinates.shape[2])
        first = (weight * scale.first).reshape(len(weight), -1) @ flat
        course = self.genes.courses(first, weight.sum((1, 2))) @ self.grid.basis.T
        second = (weight * scale.second).reshape(len(weight), -1) @ (flat @ self.grid.basis.T) ** 2
        spread = np.maximum(second - (first @ self.grid.basis.T) ** 2, 0.0)
        # What may differ between groups and shifts is less where the gene's own course is known.
        spread *= self.genes.freedom()[:, None]
        return self.unit[:, None] * course, self.unit[:, None] ** 2 * spread

    def cell_weights(self, curves, weight, scale):
        # What is flat does not depend on z, and the genes' own squares neither.
        course, spread = self._moments_at_grid(curves, weight, scale)
        precision = self.gene_precision[:, None]
        location = course + self.offset[..., None]  # (B, P, G)
        constant = -0.5 * (precision * (location**2 + spread)).sum(1)
        return CellWeights(np.ones(1), (location * precision)[:, None], constant[:, None])


class BinaryEvidence(GaussianEvidence):
    """Binary data through empirical logits at the grid points; cells through their exact log p."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, variance=np.ones(args[0].shape[1]), **kwargs)

    def _sums(self, share):
        n_cells = self._share_by_batch(share)[:, None]
        p = (self._by_batch(share) + 0.5) / (n_cells + 1.0)
        precision, logit = n_cells * p * (1.0 - p), np.log(p / (1.0 - p))
        # Of the parabola through the peak of the likelihood at every point: its height.
        peak = n_cells * (p * np.log(p) + (1.0 - p) * np.log1p(-p))
        return precision * logit, precision, (peak - 0.5 * precision * logit**2).sum((0, 2))

    def _information(self, location, genes):
        p = expit(location)
        return p * (1.0 - p)

    def cell_weights(self, curves, weight, scale):
        level = 1.0 - weight.sum((1, 2))
        logit = self._moments_at_grid(curves, weight, scale)[0]
        logit = logit + (level * self.level)[:, None] + self.offset[..., None]
        log_absent = np.log(np.maximum(expit(-logit), 1e-300)).sum(1)
        return CellWeights(np.ones(1), logit[:, None], log_absent[:, None])
