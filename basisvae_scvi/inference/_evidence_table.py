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
    shift_mean, shift_sd
        Mean and standard deviation of δ given the data.
    scale_sd
        Standard deviation of λ given the data, the uncertainty of δ included.
    dependence
        Correlation of δ and log λ given the data: near ±1, one can stand in for the other.
    """

    evidence: np.ndarray
    scale: np.ndarray
    shift: np.ndarray
    volume: np.ndarray
    shift_mean: np.ndarray
    shift_sd: np.ndarray
    scale_sd: np.ndarray
    dependence: np.ndarray


def _curves(module: BasisVAEModule, grid: CurveGrid) -> np.ndarray:
    """Bases beside the flat one on the support of the grid, ``(K - 1, C)``; logs for counts."""
    device = module.genes.feature_scale.device
    with torch.no_grad():
        points = torch.as_tensor(grid.x, dtype=torch.float32, device=device)[:, None]
        values = module.basis(points)[:, 1:].double().cpu().numpy().T
    return np.log(values) if module.likelihood.is_count else values


def _look(evidence: WorkingEvidence, curves: np.ndarray, genes: np.ndarray) -> list[np.ndarray]:
    """Columns of :class:`EvidenceTable` for some genes and the bases beside the flat one."""
    grid = evidence.grid
    table, scale = evidence.table(curves, genes)
    joint = table + grid.log_shift_prior
    total = logsumexp(joint, axis=2)
    at_shift = np.exp(joint - total[..., None])
    mean = at_shift @ grid.shifts
    spread = _spread(joint, at_shift, grid.shifts)
    first = (at_shift * scale.first).sum(2)
    second = (at_shift * evidence.second_moment(scale, genes)).sum(2)
    scale_sd = np.sqrt(np.maximum(second - first**2, 0.0))
    optimum, mode = evidence.optimum(curves, genes)
    if len(grid.shifts) > 1:
        optimum = optimum - 0.5 * grid.shifts**2 - 0.5 * _LOG_2PI
    best = optimum.argmax(axis=2)[..., None]
    at_best = np.take_along_axis(optimum, best, 2)[..., 0]
    dependence = _dependence(at_shift, grid.shifts, np.log(np.maximum(mode, 1e-12)))
    mode = np.take_along_axis(mode, best, 2)[..., 0]
    shift, volume = grid.shifts[best[..., 0]], total - at_best
    return [total, mode, shift, volume, mean, spread, scale_sd, dependence]


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


def evidence_table(
    module: BasisVAEModule,
    z: np.ndarray,
    values: np.ndarray,
    size: np.ndarray,
    constants: FeatureConstants,
) -> EvidenceTable:
    """Look at all pairs of a module with one latent dimension.

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
    """
    genes, is_count = module.genes, module.likelihood.is_count
    grid = CurveGrid(genes.translation_invariant)
    pooled = pool_cells(values, z[:, None], size if is_count else None)
    evidence = working_evidence(
        module.likelihood, values, size, pooled.variance, grid, constants, genes.scale_invariant
    )
    evidence.pool(place_on_grid(grid, z))
    curves, n_genes = _curves(module, grid), genes.n_genes
    blocks = [
        _look(evidence, curves, np.arange(start, min(start + _GENES_PER_BLOCK, n_genes)))
        for start in range(0, n_genes, _GENES_PER_BLOCK)
    ]
    columns = [np.concatenate(part) for part in zip(*blocks, strict=True)]
    flat = evidence.flat_evidence
    flat_optimum, flat_scale = evidence.flat_optimum()
    if len(grid.shifts) > 1:
        flat_optimum = flat_optimum - 0.5 * _LOG_2PI  # the module counts δ = 0 of the flat basis
    zero = np.zeros(n_genes)
    flat_sd = evidence.flat_scale_sd()
    of_flat = [flat, flat_scale, zero, flat - flat_optimum, zero, zero, flat_sd, zero]
    return EvidenceTable(
        *(np.concatenate([f[:, None], c], axis=1) for f, c in zip(of_flat, columns, strict=True))
    )
