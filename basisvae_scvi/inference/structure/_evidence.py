"""What every gene says about every curve, λ integrated out, from sums of the cells over the grid.

Counts are quasi-Poisson (Poisson, all nats divided by the gene's dispersion ψ_j ≥ 1 within pools),
other data Gaussian; both are conjugate enough that λ ~ Γ(1, 1) can be integrated in closed form.
Cells enter through their responsibilities for the grid points of z alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
from scipy import sparse

from basisvae_scvi.module import FeatureConstants

from ._grid import CurveGrid
from ._smooth import SmoothFit, SmoothPrior, smooth_priors

# Columns of single precision that are in memory in double precision at a time.
_GENES_PER_BLOCK = 512


def sums_over_cells(values, share: np.ndarray) -> np.ndarray:
    """Σ_n x_nj r_ng of cells × genes, dense or sparse, and responsibilities, ``(P, G)``."""
    if sparse.issparse(values):
        return np.asarray(values.T @ share)
    starts = range(0, values.shape[1], _GENES_PER_BLOCK)
    return np.concatenate([values[:, s : s + _GENES_PER_BLOCK].T @ share for s in starts])


def stacked(sums: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Sums of one curve each, ``(C,)``, one row a curve, ``(K, C)``."""
    first, second = (np.stack(values) for values in zip(*sums, strict=True))
    return first, second


class ScaleMoments(NamedTuple):
    """E[λ] and E[λ²] given the data, of one shape."""

    first: np.ndarray
    second: np.ndarray

    def at(self, index) -> ScaleMoments:
        """Moments at an index."""
        return ScaleMoments(self.first[index], self.second[index])


class Statistics(NamedTuple):
    """What the log likelihood of genes under curves depends on, as a function of λ, of one shape.

    For counts Σ x log(mean at λ = 1) and Σ of that mean; for Gaussian data the linear and the
    quadratic coefficient of λ.
    """

    first: np.ndarray
    second: np.ndarray

    def at_shift(self, index: np.ndarray) -> Statistics:
        """Those under one shift of each pair, ``(P, K, 1)``; ``index`` of shape ``(P, K)``."""
        return Statistics(
            *(np.take_along_axis(values, index[..., None], axis=2) for values in self)
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

    Attributes
    ----------
    flat_evidence
        Log evidence of the genes for the flat basis, shape ``(P,)``.
    composition
        Log of a factor of the size factors over the grid of z, shape ``(G,)``; 0 where data have
        none.
    composition_complexity
        What it costs in nats, negative.
    coarseness
        What the likelihood of each gene is divided by, for its own course may differ a little
        from that of its basis; shape ``(P,)``.
    """

    positive: bool

    def __init__(self, grid: CurveGrid, constants: FeatureConstants, scale_invariant: bool):
        self.grid, self.scale_invariant = grid, scale_invariant
        self.unit = np.asarray(constants.scale, dtype=np.float64)
        self.level = np.asarray(constants.level, dtype=np.float64)
        self.flat_evidence = np.zeros(self.n_genes)
        self.coarseness = np.ones(self.n_genes)
        self.priors = smooth_priors(len(grid.x), grid.x[1] - grid.x[0])
        self.composition, self.composition_complexity = np.zeros(len(grid.z)), 0.0

    @property
    def n_genes(self) -> int:
        """Number of features P."""
        return len(self.unit)

    @abstractmethod
    def pool(self, share: np.ndarray) -> None:
        """Take in responsibilities ``(N, G)``; sets ``flat_evidence``, shape ``(P,)``."""

    @abstractmethod
    def statistics(self, curves: np.ndarray, genes: np.ndarray) -> Statistics:
        """Statistics of genes under curves ``(K, C)`` and every shift, ``(P', K, D)``."""

    @abstractmethod
    def integrate(
        self, statistics: Statistics, genes: np.ndarray
    ) -> tuple[np.ndarray, ScaleMoments]:
        """Log evidence of such statistics, λ integrated out, and the moments of λ."""

    @abstractmethod
    def maximise(self, statistics: Statistics, genes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log likelihood plus log prior of λ at the best λ, and that λ."""

    def table(self, curves: np.ndarray, genes: np.ndarray) -> tuple[np.ndarray, ScaleMoments]:
        """Log evidence of genes for curves ``(K, C)`` under every shift, ``(P', K, D)``."""
        return self.integrate(self.statistics(curves, genes), genes)

    @abstractmethod
    def flat_optimum(self) -> tuple[np.ndarray, np.ndarray]:
        """As :meth:`maximise` for the flat basis, each of shape ``(P,)``."""

    def set_composition(self, composition: np.ndarray, complexity: float) -> None:
        """Replace the composition, shape ``(G,)``; takes part once cells are pooled."""
        self.composition, self.composition_complexity = composition, complexity

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
        """Fit curves to such sums; ``near`` are some close by, where they are known."""

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

    def fit(
        self, sums: tuple[np.ndarray, np.ndarray], near: np.ndarray | None = None
    ) -> SmoothFit:
        """Fit curves, each under the prior of the largest evidence, and give them their size.

        Parameters
        ----------
        sums
            From :meth:`curve_sums`, one row a curve, each ``(K, C)``.
        near
            Curves close by, ``(K, C)``, where they are known.
        """
        best = None
        for prior in reversed(self.priors):  # smoothest first
            fit = self.fit_under(prior, sums, near if best is None else best.curve)
            best = fit if best is None else best.better(fit)
        return best._replace(curve=np.stack([self.normalised(curve) for curve in best.curve]))

    @property
    @abstractmethod
    def level_curve(self) -> np.ndarray:
        """The constant curve, shape ``(C,)``."""
