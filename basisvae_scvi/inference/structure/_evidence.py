"""What every gene says about every curve, λ integrated out, from sums of the cells over the grid.

Counts are quasi-Poisson (Poisson, all nats divided by the gene's dispersion ψ_j ≥ 1 within pools),
other data Gaussian; both are conjugate enough that λ ~ Γ(1, 1) can be integrated in closed form.
Cells enter through their responsibilities for the grid points of z alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
from scipy.special import expit, gammaln, log_ndtr

from basisvae_scvi.likelihood import Likelihood
from basisvae_scvi.module import FeatureConstants

from ._grid import CurveGrid
from ._smooth import SmoothFit, SmoothPrior, smooth_priors

_LOG_2PI = np.log(2.0 * np.pi)
# Composition: curves of this slope and length, which libraries of drifting content have.
_COMPOSITION = {"length": 0.8, "slope": 0.15, "level": 0.1}
_MIN_PRECISION = 1e-10
_SIZE_QUANTILES = np.linspace(0.03, 0.97, 9)


class ScaleMoments(NamedTuple):
    """E[λ] and E[λ²] given the data, of one shape."""

    first: np.ndarray
    second: np.ndarray

    def at(self, index) -> ScaleMoments:
        """Moments at an index."""
        return ScaleMoments(self.first[index], self.second[index])


class CellWeights(NamedTuple):
    """Log p of a cell at grid point g is Σ_j x_j per_gene_jg + constant_g, up to its own constant.

    Attributes
    ----------
    size
        Size factors for which these weights hold, ascending, shape ``(B,)``; a cell takes the
        nearest.
    per_gene
        Shape ``(B, P, G)``.
    constant
        Shape ``(B, G)``.
    """

    size: np.ndarray
    per_gene: np.ndarray
    constant: np.ndarray


class WorkingEvidence(ABC):
    """Sufficient statistics of the genes for cells on the grid.

    Parameters
    ----------
    grid
        The grid.
    constants
        Data constants of the P features.
    scale_invariant
        Whether λ is free; otherwise it is 1.
    """

    positive: bool

    def __init__(self, grid: CurveGrid, constants: FeatureConstants, scale_invariant: bool):
        self.grid, self.scale_invariant = grid, scale_invariant
        self.unit = np.asarray(constants.scale, dtype=np.float64)
        self.level = np.asarray(constants.level, dtype=np.float64)
        self.flat_evidence = np.zeros(self.n_genes)
        self.priors = smooth_priors(len(grid.x), grid.x[1] - grid.x[0])

    @property
    def n_genes(self) -> int:
        """Number of features P."""
        return len(self.unit)

    @abstractmethod
    def pool(self, share: np.ndarray) -> None:
        """Take in responsibilities ``(N, G)``; sets ``flat_evidence``, shape ``(P,)``."""

    @abstractmethod
    def table(self, curves: np.ndarray, genes: np.ndarray) -> tuple[np.ndarray, ScaleMoments]:
        """Log evidence of genes for curves ``(K, C)`` under every shift, ``(P', K, D)``."""

    @abstractmethod
    def optimum(self, curves: np.ndarray, genes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As :meth:`table`, at the best λ: log likelihood plus log prior of λ, and that λ."""

    @abstractmethod
    def flat_optimum(self) -> tuple[np.ndarray, np.ndarray]:
        """The same for the flat basis, each of shape ``(P,)``."""

    @abstractmethod
    def second_moment(self, scale: ScaleMoments, genes: np.ndarray) -> np.ndarray:
        """E[λ²] given the data, of the shape of ``scale``."""

    @abstractmethod
    def flat_scale_sd(self) -> np.ndarray:
        """Standard deviation of λ under the flat basis, shape ``(P,)``."""

    @abstractmethod
    def curve_sums(
        self, weight: np.ndarray, scale: ScaleMoments, genes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """What genes, with weights ``(P', D)`` over shifts, say about one curve; each ``(C,)``."""

    @abstractmethod
    def fit_under(
        self, prior: SmoothPrior, sums: tuple[np.ndarray, np.ndarray], near: np.ndarray | None
    ) -> SmoothFit:
        """Fit a curve to such sums; ``near`` is one close by, where it is known."""

    @abstractmethod
    def normalised(self, curve: np.ndarray) -> np.ndarray:
        """The curve at its conventional size, which λ makes up for."""

    @abstractmethod
    def cell_weights(
        self, curves: np.ndarray, weight: np.ndarray, scale: ScaleMoments
    ) -> CellWeights:
        """What log p of a cell is made of, expected over the places of the genes.

        Parameters
        ----------
        curves
            Shape ``(K, C)``.
        weight
            Joint responsibilities of curves and shifts for genes, ``(P, K, D)``.
        scale
            Moments of λ, of the same shape.
        """

    @staticmethod
    def cell_log_likelihood(values, size: np.ndarray, weights: CellWeights) -> np.ndarray:
        """Log p of cells at every grid point, up to a constant of each, shape ``(N, G)``.

        Parameters
        ----------
        values
            Cells × genes.
        size
            Size factors, shape ``(N,)``.
        weights
            From :meth:`cell_weights`.
        """
        result = np.empty((values.shape[0], weights.constant.shape[1]))
        middle = 0.5 * (weights.size[1:] + weights.size[:-1])
        which = np.searchsorted(middle, size)
        for bin_, (per_gene, constant) in enumerate(
            zip(weights.per_gene, weights.constant, strict=True)
        ):
            cells = np.flatnonzero(which == bin_)
            if len(cells):
                result[cells] = np.asarray(values[cells] @ per_gene) + constant
        return result

    def fit(self, sums: tuple[np.ndarray, np.ndarray]) -> SmoothFit:
        """Fit a curve under the prior of the largest evidence, and give it its size."""
        best = None
        for prior in reversed(self.priors):  # smoothest first
            fit = self.fit_under(prior, sums, None if best is None else best.curve)
            if best is None or fit.evidence > best.evidence:
                best = fit
        return best._replace(curve=self.normalised(best.curve))

    @property
    @abstractmethod
    def level_curve(self) -> np.ndarray:
        """The constant curve, shape ``(C,)``."""


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
        # Of the variance μ + μ²/θ that equals ψ μ at the mean of the gene.
        self.theta = np.clip(self.unit / np.maximum(dispersion - 1.0, 1e-9), 1e-2, 1e6)
        self.unit = self.unit / dispersion
        self.composition = np.zeros(len(grid.z))
        self._composition_prior = SmoothPrior.of(grid.z, **_COMPOSITION)

    def pool(self, share: np.ndarray) -> None:
        self.at_grid = np.asarray(self.values.T @ share) / self.dispersion[:, None]
        self.total = self.at_grid.sum(1)
        self.bare_exposure = share.T @ self.size
        self._take_composition()

    def _take_composition(self) -> None:
        exposure = self.bare_exposure * np.exp(self.composition)
        self.log_factor = self.composition + np.log(self.bare_exposure.sum() / exposure.sum())
        self.exposure = self.bare_exposure * np.exp(self.log_factor)
        self._by_composition = self.at_grid @ self.log_factor
        expected = (self.unit * self.exposure.sum())[:, None]
        evidence, _ = self._integrate(self._by_composition[:, None], expected, self.total)
        self.flat_evidence = evidence[:, 0]

    def set_composition(self, composition: np.ndarray) -> None:
        """Replace the composition, shape ``(G,)``, keeping the cells where they are."""
        self.composition = composition
        self._take_composition()

    def fit_composition(self, weight: np.ndarray) -> SmoothFit:
        """Composition under which genes are level, with weights ``(P,)``."""
        expected = self.unit * self.bare_exposure.sum()
        scale = (self.total + 1.0) / (1.0 + expected) if self.scale_invariant else 1.0
        share = (weight * scale * self.unit).sum()
        return self._composition_prior.fit_log(weight @ self.at_grid, share * self.bare_exposure)

    def _integrate(self, fit: np.ndarray, expected: np.ndarray, total: np.ndarray):
        """∫ exp(fit + X log λ − λ M) Γ(λ | 1, 1) dλ = exp(fit) Γ(X + 1) / (1 + M)^(X + 1)."""
        if not self.scale_invariant:
            return fit - expected, ScaleMoments(np.ones_like(fit), np.ones_like(fit))
        shape = total.reshape(-1, *[1] * (fit.ndim - 1)) + 1.0
        rate = 1.0 + expected
        first = shape / rate
        evidence = fit + gammaln(shape) - shape * np.log(rate)
        return evidence, ScaleMoments(first, first)  # of log-linear curves no E[λ²] is asked

    def _statistics(self, curves: np.ndarray, genes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Σ X log(mean at λ = 1) and Σ of that mean, each ``(P', K, D)``."""
        windows = self.grid.windows(curves)
        shape = (len(genes), *windows.shape[:2])
        flat = windows.reshape(-1, windows.shape[2])
        fit = self.at_grid[genes] @ flat.T + self._by_composition[genes, None]
        expected = self.unit[genes, None] * (np.exp(flat) @ self.exposure)
        return fit.reshape(shape), expected.reshape(shape)

    def table(self, curves: np.ndarray, genes: np.ndarray) -> tuple[np.ndarray, ScaleMoments]:
        return self._integrate(*self._statistics(curves, genes), self.total[genes])

    def _maximise(self, fit: np.ndarray, expected: np.ndarray, total: np.ndarray):
        if not self.scale_invariant:
            return fit - expected, np.ones_like(fit)
        # A thousandth of a count, so that λ stays positive for a gene without counts.
        count = total.reshape(-1, *[1] * (fit.ndim - 1)) + 1e-3
        scale = count / (1.0 + expected)
        return fit + count * np.log(scale) - count, scale

    def optimum(self, curves, genes):
        return self._maximise(*self._statistics(curves, genes), self.total[genes])

    def second_moment(self, scale, genes):
        if not self.scale_invariant:
            return scale.first**2
        return scale.first**2 * (1.0 + 1.0 / (self.total[genes, None, None] + 1.0))

    def flat_scale_sd(self):
        shape = self.total + 1.0
        sd = np.sqrt(shape) / (1.0 + self.unit * self.exposure.sum())
        return sd if self.scale_invariant else 0.0 * sd

    def flat_optimum(self):
        expected = self.unit * self.exposure.sum()
        return self._maximise(self._by_composition, expected, self.total)

    def curve_sums(self, weight, scale, genes):
        count = self.grid.collect(weight.T @ self.at_grid[genes])
        share = (weight * scale.first).T @ self.unit[genes]
        return count, self.grid.collect(share[:, None] * self.exposure)

    def fit_under(self, prior, sums, near):
        return prior.fit_log(*sums, near)

    def normalised(self, curve):
        return curve - np.log(self.grid.mean(np.exp(curve)))

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
        weighted = np.asarray(self.values.T @ share) * self.gene_precision[:, None]
        self._take(weighted, precision, np.zeros(self.n_genes))

    def _take(self, weighted: np.ndarray, precision: np.ndarray, constant: np.ndarray) -> None:
        self.weighted, self.precision, self.constant = weighted, precision, constant
        self._flat = self.level * weighted.sum(1), self.level**2 * precision.sum(1)
        self.flat_evidence = self._integrate(*self._flat)[0] + constant

    def _integrate(self, cross: np.ndarray, square: np.ndarray):
        """∫₀^∞ exp(−λ + λ c − ½ λ² h) dλ: a Gaussian cut at 0."""
        if not self.scale_invariant:
            return cross - 0.5 * square, ScaleMoments(np.ones_like(cross), np.ones_like(cross))
        square = np.maximum(square, _MIN_PRECISION)
        sd = 1.0 / np.sqrt(square)
        mean = (cross - 1.0) / square
        log_mass = log_ndtr(mean / sd)
        evidence = 0.5 * mean * (cross - 1.0) + np.log(sd) + 0.5 * _LOG_2PI + log_mass
        ratio = np.exp(-0.5 * (mean / sd) ** 2 - 0.5 * _LOG_2PI - log_mass)
        first = np.maximum(mean + sd * ratio, 0.0)
        return evidence, ScaleMoments(first, mean * first + sd**2)

    def _statistics(self, curves: np.ndarray, genes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Linear and quadratic coefficient of λ in the log likelihood, each ``(P', K, D)``."""
        windows = self.grid.windows(curves)
        shape = (len(genes), *windows.shape[:2])
        flat = windows.reshape(-1, windows.shape[2])
        unit = self.unit[genes, None]
        cross = unit * (self.weighted[genes] @ flat.T)
        square = unit**2 * (self.precision[genes] @ (flat**2).T)
        return cross.reshape(shape), square.reshape(shape)

    def table(self, curves: np.ndarray, genes: np.ndarray) -> tuple[np.ndarray, ScaleMoments]:
        evidence, scale = self._integrate(*self._statistics(curves, genes))
        return evidence + self.constant[genes, None, None], scale

    def _maximise(self, cross: np.ndarray, square: np.ndarray):
        if not self.scale_invariant:
            return cross - 0.5 * square, np.ones_like(cross)
        scale = np.maximum(cross - 1.0, 0.0) / np.maximum(square, _MIN_PRECISION)
        return scale * (cross - 1.0) - 0.5 * scale**2 * square, scale

    def optimum(self, curves, genes):
        value, scale = self._maximise(*self._statistics(curves, genes))
        return value + self.constant[genes, None, None], scale

    def second_moment(self, scale, genes):
        return scale.second

    def flat_scale_sd(self):
        moments = self._integrate(*self._flat)[1]
        return np.sqrt(np.maximum(moments.second - moments.first**2, 0.0))

    def flat_optimum(self):
        value, scale = self._maximise(*self._flat)
        return value + self.constant, scale

    def curve_sums(self, weight, scale, genes):
        unit = self.unit[genes, None]
        linear = (weight * scale.first * unit).T @ self.weighted[genes]
        quadratic = (weight * scale.second * unit**2).T @ self.precision[genes]
        return self.grid.collect(linear), self.grid.collect(quadratic)

    def fit_under(self, prior, sums, near):
        return prior.fit_linear(*sums)

    def normalised(self, curve):
        return curve / max(np.sqrt(self.grid.mean(curve**2)), 1e-8)

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
        p = (np.asarray(self.values.T @ share) + 0.5) / (n_cells + 1.0)
        precision, logit = n_cells * p * (1.0 - p), np.log(p / (1.0 - p))
        # Of the parabola through the peak of the likelihood at every point: its height.
        peak = n_cells * (p * np.log(p) + (1.0 - p) * np.log1p(-p))
        constant = (peak - 0.5 * precision * logit**2).sum(1)
        self._take(precision * logit, precision, constant)

    def cell_weights(self, curves, weight, scale):
        level = 1.0 - weight.sum((1, 2))
        logit = self._moments_at_grid(curves, weight, scale)[0]
        logit += (level * self.level)[:, None]
        log_absent = np.log(np.maximum(expit(-logit), 1e-300)).sum(0)
        return CellWeights(np.ones(1), logit[None], log_absent[None])


def working_evidence(
    likelihood: Likelihood,
    values,
    size: np.ndarray,
    variance: np.ndarray,
    grid: CurveGrid,
    constants: FeatureConstants,
    scale_invariant: bool,
) -> WorkingEvidence:
    """Working evidence that goes with a likelihood.

    Parameters
    ----------
    likelihood
        Observation model.
    values
        Cells × genes, dense or sparse.
    size
        Size factors, shape ``(N,)``.
    variance
        Variance of the size-normalised values among cells of equal z, shape ``(P,)``.
    grid
        The grid.
    constants
        Data constants of the features.
    scale_invariant
        Whether λ is free.
    """
    if likelihood.is_count:
        mean = np.asarray(constants.scale, dtype=np.float64)
        dispersion = np.maximum(1.0, variance / np.maximum(mean, 1e-12))
        return CountEvidence(values, size, dispersion, grid, constants, scale_invariant)
    if likelihood.name == "bernoulli":
        return BinaryEvidence(values, grid, constants, scale_invariant)
    floor = 1e-6 * max(float(variance.max()), 1e-12)
    return GaussianEvidence(values, np.maximum(variance, floor), grid, constants, scale_invariant)
