"""Profile table: how well each gene fits each basis once its own scale and shift are optimal.

Given basis functions, a gene is a small problem of its own: L_jk = max over λ, δ of the log
likelihood plus log priors. On pooled cells it has a closed form in λ, and δ is searched on a grid,
so that no local optimum in δ is missed. Counts use a quasi-Poisson working model (Poisson counts,
divided by the gene's within-pool dispersion); other data use weighted least squares, for binary
data on empirical logits. The table proposes; the exact likelihood decides.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from basisvae_scvi.likelihood import Likelihood
from basisvae_scvi.module import BasisFunctions, FeatureConstants

from ._pooling import PooledCells

_LOG_2PI = np.log(2.0 * np.pi)
_ALL = slice(None)
# Genes whose table over all shifts and bases is in memory at a time.
_GENES_PER_BLOCK = 512


@dataclass(frozen=True)
class ProfileTable:
    """Best fit of every gene (rows) under every basis (columns), each of shape ``(P, K)``.

    Attributes
    ----------
    evidence
        Log likelihood plus log priors at the optimum, in nats, up to a constant per gene.
    scale
        λ at the optimum.
    shift_index
        Index into the grid of shifts at the optimum.
    """

    evidence: np.ndarray
    scale: np.ndarray
    shift_index: np.ndarray


class WorkingModel(ABC):
    """Pooled data of P genes with a closed-form scale.

    Parameters
    ----------
    pooled
        Pooled cells.
    constants
        Data constants of the features.
    scale_invariant
        Whether λ is free; otherwise it is 1.
    """

    def __init__(self, pooled: PooledCells, constants: FeatureConstants, scale_invariant: bool):
        self.pooled, self.scale_invariant = pooled, scale_invariant
        self.unit = np.asarray(constants.scale, dtype=np.float64)
        self.level = np.asarray(constants.level, dtype=np.float64)

    @abstractmethod
    def fit(
        self, values: np.ndarray, unit: np.ndarray, genes: slice | np.ndarray = _ALL
    ) -> tuple[np.ndarray, np.ndarray]:
        """Evidence and λ of some genes under curves ``(M, B)``; both of shape ``(P, M)``.

        ``unit``, of shape ``(n_genes,)``, is what λ = 1 means for each of *all* genes.
        """

    @abstractmethod
    def curve_sums(self, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Numerator and denominator of a curve's estimate, per gene and pool, ``(P, B)``."""

    def table(self, values: np.ndarray, shifts: np.ndarray | None) -> ProfileTable:
        """Optimise λ and δ of every gene under every basis.

        Parameters
        ----------
        values
            Basis k at pool b under shift d, shape ``(D, K, B)``; basis 0 is the flat one.
        shifts
            The D shifts, or ``None`` for none (then D = 1).
        """
        blocks = [
            self._table(values, shifts, slice(start, start + _GENES_PER_BLOCK))
            for start in range(0, len(self.unit), _GENES_PER_BLOCK)
        ]
        return ProfileTable(*(np.concatenate(parts) for parts in zip(*blocks, strict=True)))

    def _table(
        self, values: np.ndarray, shifts: np.ndarray | None, genes: slice
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Evidence, λ and index of the shift of some genes; see :meth:`table`."""
        n_shifts, n_basis, n_pools = values.shape
        evidence, scale = self.fit(values.reshape(-1, n_pools), self.unit, genes)
        evidence = evidence.reshape(-1, n_shifts, n_basis)
        scale = scale.reshape(-1, n_shifts, n_basis)
        flat = np.ones((1, n_pools))
        evidence[:, :, 0], scale[:, :, 0] = self.fit(flat, self.level, genes)
        if shifts is not None:
            log_prior = -0.5 * shifts**2 - 0.5 * _LOG_2PI
            log_prior = np.repeat(log_prior[:, None], n_basis, axis=1)
            log_prior[:, 0] = -0.5 * _LOG_2PI
            evidence = evidence + log_prior
        best = evidence.argmax(axis=1)
        if shifts is not None:
            best[:, 0] = int(np.abs(shifts).argmin())
        at_best = best[:, None, :]
        return (
            np.take_along_axis(evidence, at_best, 1)[:, 0],
            np.take_along_axis(scale, at_best, 1)[:, 0],
            best,
        )


class QuasiPoisson(WorkingModel):
    """Pooled counts: (Σ_b X_jb log μ_jb − μ_jb) / ψ_j with μ_jb = λ m_j S_b b(z_b).

    ψ_j ≥ 1 is the within-pool variance over the mean, so that one nat means the same for a
    noisy gene as for a quiet one. The optimum is λ = X_j / (m_j Σ_b S_b b(z_b) + ψ_j), with a
    thousandth of a count added to X_j, so that λ stays positive for a gene without counts.
    """

    def __init__(self, pooled: PooledCells, constants: FeatureConstants, scale_invariant: bool):
        super().__init__(pooled, constants, scale_invariant)
        mean = pooled.total.sum(0) / pooled.exposure.sum()
        self.dispersion = np.maximum(1.0, pooled.variance / np.maximum(mean, 1e-12))

    def fit(
        self, values: np.ndarray, unit: np.ndarray, genes: slice | np.ndarray = _ALL
    ) -> tuple[np.ndarray, np.ndarray]:
        """Closed form in λ; see the class."""
        values, unit = np.maximum(values, 1e-8), unit[genes]
        counts = self.pooled.total[:, genes]
        total = counts.sum(0)[:, None]
        expected = unit[:, None] * (values @ self.pooled.exposure)
        psi = self.dispersion[genes, None]
        scale = np.ones_like(expected)
        if self.scale_invariant:
            scale = (total + 1e-3) / (expected + psi)
        fit = counts.T @ np.log(values).T + total * np.log(scale * unit[:, None])
        prior = -scale if self.scale_invariant else 0.0
        return (fit - scale * expected) / psi + prior, scale

    def curve_sums(self, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Counts, and the counts a curve of value 1 would give, both over ψ."""
        expected = (scale * self.unit)[:, None] * self.pooled.exposure
        return self.pooled.total.T / self.dispersion[:, None], expected / self.dispersion[:, None]


class LeastSquares(WorkingModel):
    """Pooled means y_jb with precisions w_jb: −½ Σ_b w_jb (y_jb − λ m_j b(z_b))².

    The optimum is λ = max(0, Σ w y m b − 1) / Σ w m² b².
    """

    def __init__(
        self,
        pooled: PooledCells,
        constants: FeatureConstants,
        scale_invariant: bool,
        binary: bool = False,
    ):
        super().__init__(pooled, constants, scale_invariant)
        n = pooled.exposure[:, None]
        if binary:
            p = (pooled.total + 0.5) / (n + 1.0)
            self.y, self.precision = np.log(p / (1.0 - p)).T, (n * p * (1.0 - p)).T
        else:
            variance = np.maximum(pooled.variance, 1e-6 * max(pooled.variance.max(), 1e-12))
            self.y, self.precision = (pooled.total / n).T, (n / variance).T

    def fit(
        self, values: np.ndarray, unit: np.ndarray, genes: slice | np.ndarray = _ALL
    ) -> tuple[np.ndarray, np.ndarray]:
        """Closed form in λ; see the class."""
        y, precision, unit = self.y[genes], self.precision[genes], unit[genes]
        cross = unit[:, None] * ((precision * y) @ values.T)
        square = unit[:, None] ** 2 * (precision @ (values**2).T)
        scale = np.ones_like(cross)
        if self.scale_invariant:
            scale = np.maximum(cross - 1.0, 0.0) / np.maximum(square, 1e-12)
        prior = -scale if self.scale_invariant else 0.0
        constant = 0.5 * (precision * y**2).sum(1)[:, None]
        return scale * cross - 0.5 * scale**2 * square - constant + prior, scale

    def curve_sums(self, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weighted normal equations of a curve, gene by gene."""
        factor = (scale * self.unit)[:, None]
        return self.precision * factor * self.y, self.precision * factor**2


def working_model(
    likelihood: Likelihood, pooled: PooledCells, constants: FeatureConstants, scale_invariant: bool
) -> WorkingModel:
    """Working model that goes with a likelihood."""
    if likelihood.is_count:
        return QuasiPoisson(pooled, constants, scale_invariant)
    return LeastSquares(pooled, constants, scale_invariant, binary=likelihood.name == "bernoulli")


def shortlist(evidence: Tensor, n_best: int) -> Tensor:
    """Pairs worth an exact look: the best bases of each gene and the flat one, bool, ``(P, K)``.

    Parameters
    ----------
    evidence
        By which bases are ranked, shape ``(P, K)``.
    n_best
        Number of bases per gene.
    """
    listed = torch.zeros_like(evidence, dtype=torch.bool)
    best = evidence.topk(min(n_best, evidence.shape[1]), dim=1).indices
    listed.scatter_(1, best, True)
    listed[:, BasisFunctions.flat] = True
    return listed
