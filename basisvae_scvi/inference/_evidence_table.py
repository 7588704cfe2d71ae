"""Evidence of every gene for every basis of a module, λ and δ integrated out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import logsumexp

from basisvae_scvi.module import BasisVAEModule, FeatureConstants

from ._pooling import pool_cells
from .structure import CurveGrid, WorkingEvidence, place_on_grid, working_evidence

_LOG_2PI = np.log(2.0 * np.pi)
_GENES_PER_BLOCK = 128


@dataclass(frozen=True)
class EvidenceTable:
    """What the working model says of all pairs, each of shape ``(P, K)``; basis 0 is the flat one.

    Attributes
    ----------
    evidence
        Log evidence, in nats, up to a constant per gene.
    scale, shift
        λ and δ at the optimum.
    volume
        ``evidence`` less the log likelihood and log priors at the optimum.
    """

    evidence: np.ndarray
    scale: np.ndarray
    shift: np.ndarray
    volume: np.ndarray


@dataclass(frozen=True)
class GenePosterior:
    """What the working model knows of λ and δ of all pairs, each of shape ``(P, K)``.

    Attributes
    ----------
    shift_mean, shift_sd
        Mean and standard deviation of δ.
    scale_sd
        Standard deviation of λ, the uncertainty of δ included.
    dependence
        Correlation of δ and log λ: near ±1, one can stand in for the other.
    """

    shift_mean: np.ndarray
    shift_sd: np.ndarray
    scale_sd: np.ndarray
    dependence: np.ndarray


class PairEvidence:
    """Cells on the grid and the bases of a module with one latent dimension.

    Parameters
    ----------
    module
        The module.
    z
        Latent coordinates of some cells, shape ``(N,)``.
    values
        Their data, cells × genes.
    size
        Their size factors, the composition included, shape ``(N,)``.
    constants
        Data constants of the features.
    weight
        Number of cells that each of these stands for.
    """

    def __init__(
        self,
        module: BasisVAEModule,
        z: np.ndarray,
        values: np.ndarray,
        size: np.ndarray,
        constants: FeatureConstants,
        weight: float = 1.0,
    ):
        genes, is_count = module.genes, module.likelihood.is_count
        self.grid, self.n_genes = CurveGrid(genes.translation_invariant), genes.n_genes
        pooled = pool_cells(values, z[:, None], size if is_count else None)
        self.working = working_evidence(
            module.likelihood,
            values,
            size,
            pooled.variance,
            self.grid,
            constants,
            genes.scale_invariant,
        )
        self.working.pool(weight * place_on_grid(self.grid, z))
        self.curves = _curves(module, self.grid)

    def _in_blocks(self, look, of_flat: list[np.ndarray]) -> list[np.ndarray]:
        """Tables of blocks of genes for the curves, one under the other, beside the flat basis."""
        starts = range(0, self.n_genes, _GENES_PER_BLOCK)
        genes = [np.arange(s, min(s + _GENES_PER_BLOCK, self.n_genes)) for s in starts]
        columns = zip(*(look(self.working, self.curves, block) for block in genes), strict=True)
        return [
            np.concatenate([flat[:, None], np.concatenate(column)], axis=1)
            for flat, column in zip(of_flat, columns, strict=True)
        ]

    def table(self) -> EvidenceTable:
        """Evidence, and the optimum under every basis."""
        optimum, scale = self.working.flat_optimum()
        if len(self.grid.shifts) > 1:
            optimum = optimum - 0.5 * _LOG_2PI  # the module counts δ = 0 of the flat basis
        evidence = self.working.flat_evidence
        of_flat = [evidence, scale, np.zeros(self.n_genes), evidence - optimum]
        return EvidenceTable(*self._in_blocks(_optima, of_flat))

    def posterior(self) -> GenePosterior:
        """How well λ and δ are known under every basis."""
        zero = np.zeros(self.n_genes)
        of_flat = [zero, zero, self.working.flat_scale_sd(), zero]
        return GenePosterior(*self._in_blocks(_moments, of_flat))


def _curves(module: BasisVAEModule, grid: CurveGrid) -> np.ndarray:
    """Bases beside the flat one on the support of the grid, ``(K - 1, C)``; logs for counts."""
    device = module.genes.feature_scale.device
    with torch.no_grad():
        points = torch.as_tensor(grid.x, dtype=torch.float32, device=device)[:, None]
        values = module.basis(points)[:, 1:].double().cpu().numpy().T
    return np.log(values) if module.likelihood.is_count else values


def _optima(working: WorkingEvidence, curves: np.ndarray, genes: np.ndarray) -> list[np.ndarray]:
    """Columns of :class:`EvidenceTable` for some genes and the bases beside the flat one."""
    grid = working.grid
    statistics = working.statistics(curves, genes)
    joint = working.integrate(statistics, genes)[0]
    if len(grid.shifts) == 1:
        joint = joint[..., 0]
        optimum, scale = working.maximise(statistics, genes)
        return [joint, scale[..., 0], np.zeros_like(joint), joint - optimum[..., 0]]
    joint += grid.log_shift_prior
    index = joint.argmax(axis=2)
    top = np.take_along_axis(joint, index[..., None], 2)
    mass = np.exp(joint - top).sum(axis=2)
    evidence = top[..., 0] + np.log(mass) + grid.between_shifts(joint, mass)

    def best_scale(at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        optimum, scale = working.maximise(statistics.at_shift(at), genes)
        return optimum[..., 0], scale[..., 0]

    # δ between the points of the grid, where λ is what it is between them.
    peak = grid.peak(joint)
    offset = np.where(peak.is_inner, peak.offset, 0.0)
    optimum, scale = best_scale(index)
    slope = 0.5 * (best_scale(peak.index + 1)[1] - best_scale(peak.index - 1)[1])
    step = grid.shifts[1] - grid.shifts[0]
    shift = grid.shifts[index] + step * offset
    optimum = optimum - 0.5 * grid.shifts[index] ** 2 - 0.5 * _LOG_2PI
    optimum = optimum + np.where(peak.is_inner, peak.gain, 0.0)
    return [evidence, np.maximum(scale + offset * slope, 0.0), shift, evidence - optimum]


def _moments(working: WorkingEvidence, curves: np.ndarray, genes: np.ndarray) -> list[np.ndarray]:
    """Columns of :class:`GenePosterior` for some genes and the bases beside the flat one."""
    shifts = working.grid.shifts
    statistics = working.statistics(curves, genes)
    table, scale = working.integrate(statistics, genes)
    joint = table + working.grid.log_shift_prior
    share = np.exp(joint - logsumexp(joint, axis=2, keepdims=True))
    first = (share * scale.first).sum(2)
    second = (share * working.second_moment(scale, genes)).sum(2)
    mode = working.maximise(statistics, genes)[1]
    return [
        share @ shifts,
        _spread(joint, share, shifts),
        np.sqrt(np.maximum(second - first**2, 0.0)),
        _dependence(share, shifts, np.log(np.maximum(mode, 1e-12))),
    ]


def _spread(joint: np.ndarray, share: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """Standard deviation of δ, shape ``(P, K)``.

    Of the distribution on the grid where it covers several points; else of the parabola through
    the highest point and its neighbours.
    """
    if len(shifts) == 1:
        return np.zeros(joint.shape[:2])
    step = shifts[1] - shifts[0]
    variance = np.maximum(share @ shifts**2 - (share @ shifts) ** 2, 0.0)
    middle = joint.argmax(2).clip(1, len(shifts) - 2)[..., None]
    left, top, right = (np.take_along_axis(joint, middle + i, 2)[..., 0] for i in (-1, 0, 1))
    curvature = np.maximum((2 * top - left - right) / step**2, 1.0)  # at least that of the prior
    return np.where(variance > (2 * step) ** 2, np.sqrt(variance), 1 / np.sqrt(curvature))


def _dependence(share: np.ndarray, shifts: np.ndarray, log_scale: np.ndarray) -> np.ndarray:
    """Correlation of δ with the best log λ at δ, under q(δ), shape ``(P, K)``."""

    def moment(values):
        return (share * values).sum(2)

    shift_mean, scale_mean = share @ shifts, moment(log_scale)
    covariance = moment(shifts * log_scale) - shift_mean * scale_mean
    power = (share @ shifts**2 - shift_mean**2) * (moment(log_scale**2) - scale_mean**2)
    return np.where(power > 1e-12, covariance / np.sqrt(np.maximum(power, 1e-12)), 0.0)
