"""What every gene says about every curve, λ and its own deviation integrated out.

Counts are quasi-Poisson (Poisson, all nats divided by the gene's dispersion ψ_j ≥ 1 within pools),
other data Gaussian. Cells enter through their responsibilities for the grid points of z alone. A
gene is summarised by its log likelihood as a quadratic function of its course, :mod:`._quadratic`:
exact for Gaussian data, for counts about the gene's own smooth course.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cache
from typing import NamedTuple

import numpy as np
from scipy import sparse

from basisvae_scvi.module import FeatureConstants
from basisvae_scvi.module._smooth import SmoothFit

from ._curves import CurveSums, curve_space
from ._grid import CurveGrid
from ._quadratic import Deviating, Quadratics, squares

# Columns of single precision that are in memory in double precision at a time.
_GENES_PER_BLOCK = 512
# A gene's own course: prior standard deviation, its length, and that of its level.
OWN_COURSE = {"sd": 1.2, "length": 0.5, "level": 1.0}
# Length of own courses where orders of the cells are compared. A process has few bends: with
# shorter lengths, an order that winds through several processes at once explains more. Of 0.5, 1,
# 1.6, 2.5 and 4, on four lines of the worm embryo whose times are known: 0.5 takes a wrong order
# in all four, 1 in one, and 1.6 and above in none.
_PROCESS_LENGTH = 1.6


def sums_over_cells(values, share: np.ndarray) -> np.ndarray:
    """Σ_n x_nj r_ng of cells × genes, dense or sparse, and responsibilities, ``(P, G)``."""
    if sparse.issparse(values):
        return np.asarray(values.T @ share)
    starts = range(0, values.shape[1], _GENES_PER_BLOCK)
    return np.concatenate([values[:, s : s + _GENES_PER_BLOCK].T @ share for s in starts])


@cache
def own_course_prior(length: float = OWN_COURSE["length"]) -> np.ndarray:
    """Square root of the prior covariance of a gene's own course, ``(S, R)``."""
    grid, sd, level = CurveGrid(False), OWN_COURSE["sd"], OWN_COURSE["level"]
    covariance = sd**2 * np.exp(-0.5 * ((grid.z[:, None] - grid.z) / length) ** 2) + level**2
    variance, direction = np.linalg.eigh(grid.basis.T @ covariance @ grid.basis)
    kept = variance > 1e-6 * variance[-1]
    return direction[:, kept] * np.sqrt(variance[kept])


class ScaleMoments(NamedTuple):
    """E[λ] and E[λ²] given the data, of one shape."""

    first: np.ndarray
    second: np.ndarray

    def at(self, index) -> ScaleMoments:
        """Moments at an index."""
        return ScaleMoments(self.first[index], self.second[index])


class Statistics(NamedTuple):
    """What the log likelihood of genes under curves depends on, of one shape.

    Attributes
    ----------
    linear
        q·c of the marginal log likelihood, deviations integrated out (for counts λ, too).
    quadratic
        c·M c.
    log_scale
        E[log λ] under each, for counts; else ``None``.
    """

    linear: np.ndarray
    quadratic: np.ndarray
    log_scale: np.ndarray | None = None

    def at_shift(self, index: np.ndarray) -> Statistics:
        """Those under one shift of each pair, ``(P, K, 1)``; ``index`` of shape ``(P, K)``."""
        return Statistics(
            *(
                None if values is None else np.take_along_axis(values, index[..., None], axis=2)
                for values in self
            )
        )


class Predictor(NamedTuple):
    """What genes predict of cells as a function of their curve f, each ``(N, P')``.

    Attributes
    ----------
    amplitude
        Derivative of the linear predictor η by f.
    by_log_scale
        Its derivative by log λ.
    information
        Expected information of an observation in η.
    """

    amplitude: np.ndarray
    by_log_scale: np.ndarray
    information: np.ndarray


class CellWeights(NamedTuple):
    """Log p of a cell at grid point g is Σ_j x_j per_gene_jg + constant_g, up to its own constant.

    Attributes
    ----------
    size
        Size factors for which these weights hold, ascending, shape ``(W,)``; a cell takes the
        nearest.
    per_gene
        Of every batch and size, shape ``(B, W, P, G)``.
    constant
        Shape ``(B, W, G)``.
    """

    size: np.ndarray
    per_gene: np.ndarray
    constant: np.ndarray


class WorkingEvidence(ABC):
    """Sufficient statistics of the genes for cells on the grid.

    Parameters
    ----------
    values
        Cells × genes.
    size
        Size factors, shape ``(N,)``.
    batch
        Batch of each cell, integers from 0, shape ``(N,)``.
    grid
        The grid.
    constants
        Data constants of the P features.
    scale_invariant
        Whether λ is free; otherwise it is 1.
    deviation
        Standard deviation τ of the genes' own deviations.

    Attributes
    ----------
    flat_evidence
        Log evidence of the genes for the flat basis, without a deviation, shape ``(P,)``.
    offset
        Offsets c of the batches, shape ``(B, P)``.
    own_course
        The genes' own courses in terms of the grid's basis, shape ``(P, S)``.
    genes
        The genes, their deviations integrated out.
    given
        Log likelihoods of the genes' courses; ``None`` before cells are pooled.
    composition
        Log of a factor of the size factors over the grid of z, shape ``(G,)``; 0 where data have
        none.
    composition_complexity
        What it costs in nats, negative.
    """

    positive: bool
    flat_evidence: np.ndarray
    offset: np.ndarray
    own_course: np.ndarray
    genes: Deviating
    given: Quadratics | None = None

    def __init__(
        self,
        values,
        size: np.ndarray,
        batch: np.ndarray,
        grid: CurveGrid,
        constants: FeatureConstants,
        scale_invariant: bool,
        deviation: float,
    ):
        self.values, self.size, self.batch = values, np.asarray(size, dtype=np.float64), batch
        self.grid, self.scale_invariant, self.deviation = grid, scale_invariant, deviation
        self.n_batch = int(batch.max(initial=0)) + 1
        self.unit = np.asarray(constants.scale, dtype=np.float64)
        self.level = np.asarray(constants.level, dtype=np.float64)
        self.curve_space = curve_space(len(grid.shifts) > 1)
        self.priors = self.curve_space.priors
        self.composition, self.composition_complexity = np.zeros(len(grid.z)), 0.0

    @property
    def n_genes(self) -> int:
        """Number of features P."""
        return len(self.unit)

    def _by_batch(self, share: np.ndarray) -> np.ndarray:
        """Σ x r over the cells of each batch, shape ``(B, P, G)``."""
        if self.n_batch == 1:
            return sums_over_cells(self.values, share)[None]
        cells = [np.flatnonzero(self.batch == b) for b in range(self.n_batch)]
        return np.stack([sums_over_cells(self.values[rows], share[rows]) for rows in cells])

    def _share_by_batch(self, share: np.ndarray) -> np.ndarray:
        """Σ s r over the cells of each batch, shape ``(B, G)``."""
        weighted = self.size[:, None] * share
        return np.stack([weighted[self.batch == b].sum(0) for b in range(self.n_batch)])

    @abstractmethod
    def pool(self, share: np.ndarray) -> None:
        """Take in responsibilities ``(N, G)``."""

    def order_evidence(self, share: np.ndarray) -> float:
        """Log evidence of all genes for smooth courses of their own, cells at these places.

        Which order of the cells is the process is seen by that: how well groups explain the genes
        is partly luck of the search.
        """
        return float(self._own_evidence(share, own_course_prior(_PROCESS_LENGTH)).sum())

    @abstractmethod
    def _own_evidence(self, share: np.ndarray, prior: np.ndarray) -> np.ndarray:
        """Log evidence of every gene for a course of its own, shape ``(P,)``.

        Parameters
        ----------
        share
            Responsibilities ``(N, G)``.
        prior
            Square root of the prior covariance of courses, shape ``(S, R)``.
        """

    @abstractmethod
    def set_deviation(self, deviation: float) -> None:
        """Replace τ; takes part at once if cells are pooled."""

    @abstractmethod
    def scales_of(self, course: np.ndarray) -> np.ndarray:
        """λ of every gene ``(P,)`` for courses ``(P, S)``, deviations integrated out."""

    @abstractmethod
    def scaled(self, course: np.ndarray, scale: np.ndarray) -> np.ndarray:
        """Courses ``(P', S)`` of genes of given λ ``(P',)``."""

    @abstractmethod
    def by_scale(self, course: np.ndarray) -> np.ndarray:
        """What courses ``(P', S)`` change by with log λ (other than of counts: with λ)."""

    @abstractmethod
    def integrate(
        self, statistics: Statistics, genes: np.ndarray
    ) -> tuple[np.ndarray, ScaleMoments]:
        """Log evidence of such statistics, λ integrated out, and the moments of λ."""

    @abstractmethod
    def best_scale(self, statistics: Statistics, genes: np.ndarray) -> np.ndarray:
        """The most probable λ, of their shape."""

    def _log_scale(self, coordinates: np.ndarray, genes: np.ndarray) -> np.ndarray | None:
        """E[log λ] of genes for curves ``(M, S)``, ``(P', M)``, where λ is part of the course."""
        return None

    def statistics(self, curves: np.ndarray, genes: np.ndarray) -> Statistics:
        """Statistics of genes under curves ``(K, C)`` and every shift, ``(P', K, D)``."""
        coordinates = self.grid.coordinates(curves)
        shape = (len(genes), *coordinates.shape[:2])
        flat = coordinates.reshape(-1, coordinates.shape[2])
        linear = self.genes.marginal.linear[genes] @ flat.T
        quadratic = self.genes.marginal_packed[genes] @ squares(flat).T
        log_scale = self._log_scale(flat, genes)
        log_scale = None if log_scale is None else log_scale.reshape(shape)
        return Statistics(linear.reshape(shape), quadratic.reshape(shape), log_scale)

    def table(self, curves: np.ndarray, genes: np.ndarray) -> tuple[np.ndarray, ScaleMoments]:
        """Log evidence of genes for curves ``(K, C)`` under every shift, ``(P', K, D)``."""
        return self.integrate(self.statistics(curves, genes), genes)

    def _constant(self, genes: np.ndarray, like: np.ndarray) -> np.ndarray:
        return self.genes.marginal.constant[genes].reshape(-1, *[1] * (like.ndim - 1))

    def set_composition(self, composition: np.ndarray, complexity: float) -> None:
        """Replace the composition, shape ``(G,)``; takes part once cells are pooled."""
        self.composition, self.composition_complexity = composition, complexity

    @abstractmethod
    def flat_scale(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of λ under the flat basis, each ``(P,)``."""

    def own_curves(self, genes: np.ndarray) -> np.ndarray:
        """The genes' own courses as curves, ``(P', C)``."""
        curves = self.grid.extended(self.own_course[genes] @ self.grid.basis.T)
        return np.stack([self.normalised(curve) for curve in curves])

    @abstractmethod
    def curve_sums(self, weight: np.ndarray, scale: ScaleMoments, genes: np.ndarray) -> CurveSums:
        """What genes, with weights ``(P', D)`` over shifts, say about one curve."""

    @abstractmethod
    def normalised(self, curve: np.ndarray) -> np.ndarray:
        """The curve at its conventional size, which λ makes up for."""

    @abstractmethod
    def size_gradient(self, curve: np.ndarray) -> np.ndarray:
        """Derivative of that size by the values of a curve that has it, shape ``(C,)``."""

    @abstractmethod
    def predictor(
        self, signal: np.ndarray, scale: np.ndarray, genes: np.ndarray, cells: np.ndarray
    ) -> Predictor:
        """What genes predict.

        Parameters
        ----------
        signal
            Their curves at the cells, ``(N, P')``.
        scale
            λ, shape ``(P',)``.
        genes, cells
            Which these are.
        """

    @abstractmethod
    def cell_weights(
        self, curves: np.ndarray, weight: np.ndarray, scale: ScaleMoments
    ) -> CellWeights:
        """What log p of a cell is made of, at the genes' own courses given their groups.

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
    def cell_log_likelihood(
        values, size: np.ndarray, batch: np.ndarray, weights: CellWeights
    ) -> np.ndarray:
        """Log p of cells at every grid point, up to a constant of each, shape ``(N, G)``.

        Parameters
        ----------
        values
            Cells × genes.
        size, batch
            Size factors and batches, each ``(N,)``.
        weights
            From :meth:`cell_weights`.
        """
        result = np.empty((values.shape[0], weights.constant.shape[2]))
        middle = 0.5 * (weights.size[1:] + weights.size[:-1])
        which = np.searchsorted(middle, size)
        for b, w in np.ndindex(*weights.constant.shape[:2]):
            cells = np.flatnonzero((which == w) & (batch == b))
            if len(cells):
                part = np.asarray(values[cells] @ weights.per_gene[b, w])
                result[cells] = part + weights.constant[b, w]
        return result

    def fit(self, sums: CurveSums) -> SmoothFit:
        """Fit curves, each under the prior of the largest evidence, and give them their size."""
        best = self.curve_space.fit(sums, self.priors)
        return best._replace(curve=np.stack([self.normalised(curve) for curve in best.curve]))

    @property
    @abstractmethod
    def level_curve(self) -> np.ndarray:
        """The constant curve, shape ``(C,)``."""
