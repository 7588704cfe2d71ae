"""Evidence of every gene for every basis of a module, λ and δ integrated out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from scipy.special import logsumexp, ndtri

from basisvae_scvi.likelihood import Likelihood
from basisvae_scvi.module import BasisVAEModule, FeatureConstants

from ._joint_posterior import GeneVariances, PlacedGenes, joint_variances
from ._pooling import variance_within
from .structure import (
    CurveGrid,
    GroupedGenes,
    GroupPrior,
    WorkingEvidence,
    place_on_grid,
    working_evidence,
)

_GENES_PER_BLOCK = 128
# Cells that the joint posterior looks at; each then stands for more of them.
_MAX_JOINT_CELLS = 600
_REFIT_STEPS = 5


@dataclass(frozen=True)
class EvidenceTable:
    """What the working model says of all pairs, of shape ``(P, K)``; basis 0 is the flat one.

    Attributes
    ----------
    evidence
        Log evidence, in nats, up to a constant per gene.
    scale, shift
        λ and δ at the optimum.
    """

    evidence: np.ndarray
    scale: np.ndarray
    shift: np.ndarray


@dataclass(frozen=True)
class GenePosterior:
    """What the working model knows of λ and δ of all pairs, each of shape ``(P, K)``.

    Attributes
    ----------
    shift_mean, shift_sd
        Mean and standard deviation of δ.
    shift_lower, shift_upper
        Ends of the central interval of δ.
    scale_sd
        Standard deviation of λ, the uncertainty of δ included.
    dependence
        Correlation of δ and log λ: near ±1, one can stand in for the other.
    """

    shift_mean: np.ndarray
    shift_sd: np.ndarray
    shift_lower: np.ndarray
    shift_upper: np.ndarray
    scale_sd: np.ndarray
    dependence: np.ndarray


@dataclass(frozen=True)
class WorkingBases:
    """The bases of a module with one latent dimension, as the working model sees them.

    Attributes
    ----------
    likelihood
        Observation model.
    curves
        Bases beside the flat one on the support of the grid, ``(K - 1, C)``; logs for counts.
    translation_invariant, scale_invariant
        Whether δ and λ are free.
    shape_deviation
        Standard deviation τ of the genes' own deviations from their basis.
    shift_prior_sd
        Standard deviation σ_δ of the prior of δ by which bases are weighed.
    """

    likelihood: Likelihood
    curves: np.ndarray
    translation_invariant: bool
    scale_invariant: bool
    shape_deviation: float = 0.0
    shift_prior_sd: float = 1.0

    @classmethod
    @torch.no_grad()
    def of(cls, module: BasisVAEModule) -> WorkingBases:
        """Evaluate the bases of a module."""
        genes = module.genes
        support = CurveGrid(genes.translation_invariant).x
        points = torch.as_tensor(support, dtype=torch.float32, device=genes.feature_scale.device)
        values = module.basis(points[:, None])[:, 1:].double().cpu().numpy().T
        return cls(
            module.likelihood,
            np.log(values) if module.likelihood.is_count else values,
            genes.translation_invariant,
            genes.scale_invariant,
            float(genes.shape_deviation),
            float(genes.shift_prior_sd),
        )


class PairEvidence:
    """Cells on the grid and the bases of a module with one latent dimension.

    Parameters
    ----------
    bases
        The bases.
    z
        Latent coordinates of some cells, shape ``(N,)``.
    values
        Their data, cells × genes, dense or sparse.
    size
        Their size factors, the composition included, shape ``(N,)``.
    constants
        Data constants of the features.
    weight
        Number of cells that each of these stands for.
    batch
        Their batches, integers from 0, shape ``(N,)``; by default one.
    """

    def __init__(
        self,
        bases: WorkingBases,
        z: np.ndarray,
        values: np.ndarray,
        size: np.ndarray,
        constants: FeatureConstants,
        weight: float = 1.0,
        batch: np.ndarray | None = None,
    ):
        self.grid, self.n_genes = CurveGrid(bases.translation_invariant), values.shape[1]
        self.working = working_evidence(
            bases.likelihood,
            values,
            size,
            variance_within(values, z, size if bases.likelihood.is_count else None, batch),
            self.grid,
            constants,
            bases.scale_invariant,
            batch=batch,
            deviation=bases.shape_deviation,
        )
        self.z, self.weight = z, weight
        self.working.pool(weight * place_on_grid(self.grid, z))
        self.curves, self.shift_prior_sd = bases.curves, bases.shift_prior_sd
        self._free = bases.translation_invariant, bases.scale_invariant

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
        working = self.working
        of_flat = [working.flat_evidence, working.flat_scale()[0], np.zeros(self.n_genes)]
        return EvidenceTable(*self._in_blocks(partial(_optima, self.shift_prior_sd), of_flat))

    def posterior(self, level: float = 0.9) -> GenePosterior:
        """How well λ and δ are known under every basis, z and bases given.

        Here δ has the prior N(0, 1), whatever σ_δ bases are weighed by: that is no wider than the
        shifts of all genes, which helps to tell shapes apart, but would make shifts that their
        own data do not tell look better known than they are.

        Parameters
        ----------
        level
            Probability of the intervals.
        """
        zero = np.zeros(self.n_genes)
        of_flat = [zero, zero, zero, zero, self.working.flat_scale()[1], zero]
        return GenePosterior(*self._in_blocks(partial(_moments, level), of_flat))

    def is_at_limit(self, shift: np.ndarray) -> np.ndarray:
        """Whether shifts are within a step of the largest that are looked at; their shape."""
        shifts = self.grid.shifts
        if len(shifts) == 1:
            return np.zeros_like(shift, dtype=bool)
        return np.abs(shift) > shifts[-2]

    def refit(self, label: np.ndarray) -> None:
        """Fit the curves anew to their genes, δ and λ integrated out.

        Training holds every δ at its best value, under the pull of its prior: it draws shifts that
        the data hardly tell towards 0 and bends the curve to suit, which makes these shifts look
        better known than they are. A few steps of expectation and maximisation undo that.

        Parameters
        ----------
        label
            Basis of each gene, shape ``(P,)``.
        """
        grouped = GroupedGenes(self.working, prior=GroupPrior(len(self.curves) + 1, 1.0))
        curves = self.curves.copy()
        for k in np.unique(label[label > 0]) - 1:
            genes = np.flatnonzero(label == k + 1)
            curve, one = curves[[k]], np.ones((len(genes), 1))
            for _ in range(_REFIT_STEPS):
                _, at_shift, scale = grouped.look(curve, genes)
                curve, _ = grouped.fit_curves(one, at_shift, scale, genes)
            curves[k] = curve[0]
        self.curves = curves

    def joint_variances(
        self,
        label: np.ndarray,
        shift: np.ndarray,
        scale: np.ndarray,
        z_sd: np.ndarray | None,
        *,
        has_unit: bool,
    ) -> GeneVariances:
        """Variances of δ and log λ under the basis of each gene, each ``(P,)``.

        Parameters
        ----------
        label
            Basis of each gene, shape ``(P,)``; on the flat one all are NaN.
        shift, scale
            δ and λ there.
        z_sd
            Standard deviations of the priors of z, shape ``(N,)``; ``None`` for an observed z.
        has_unit
            Whether z is measured in its own standard deviation over the cells.
        """
        step = -(-len(self.z) // _MAX_JOINT_CELLS)
        cells = np.arange(0, len(self.z), step)
        members = [np.flatnonzero(label == k + 1) for k in range(len(self.curves))]
        used = [k for k, genes in enumerate(members) if len(genes)]
        placed = []
        for k in used:
            genes, curve = members[k], self.working.normalised(self.curves[k])
            signal = np.interp(self.z[cells, None] + shift[genes], self.grid.x, curve)
            predictor = self.working.predictor(signal, scale[genes], genes, cells)
            gradient = self.working.size_gradient(curve)
            placed.append(PlacedGenes(curve, gradient, shift[genes], scale[genes], predictor))
        variances = joint_variances(
            self.grid,
            self.z[cells],
            None if z_sd is None else z_sd[cells] ** -2.0,
            placed,
            weight=self.weight * len(self.z) / len(cells),
            free=self._free,
            has_unit=has_unit,
        )
        result = GeneVariances(*np.full((4, self.n_genes), np.nan))
        for k, found in zip(used, variances, strict=True):
            for values, part in zip(result, found, strict=True):
                values[members[k]] = part
        return result


def _optima(
    prior_sd: float, working: WorkingEvidence, curves: np.ndarray, genes: np.ndarray
) -> list[np.ndarray]:
    """Columns of :class:`EvidenceTable` for some genes and the bases beside the flat one."""
    grid = working.grid
    statistics = working.statistics(curves, genes)
    joint = working.integrate(statistics, genes)[0]
    if len(grid.shifts) == 1:
        joint = joint[..., 0]
        return [joint, working.best_scale(statistics, genes)[..., 0], np.zeros_like(joint)]
    joint += grid.log_shift_prior(prior_sd)
    index = joint.argmax(axis=2)
    top = np.take_along_axis(joint, index[..., None], 2)
    mass = np.exp(joint - top).sum(axis=2)
    evidence = top[..., 0] + np.log(mass) + grid.between_shifts(joint, mass)

    def best_scale(at: np.ndarray) -> np.ndarray:
        return working.best_scale(statistics.at_shift(at), genes)[..., 0]

    # δ between the points of the grid, where λ is what it is between them.
    peak = grid.peak(joint)
    offset = np.where(peak.is_inner, peak.offset, 0.0)
    slope = 0.5 * (best_scale(peak.index + 1) - best_scale(peak.index - 1))
    step = grid.shifts[1] - grid.shifts[0]
    scale = np.maximum(best_scale(index) + offset * slope, 0.0)
    return [evidence, scale, grid.shifts[index] + step * offset]


def _moments(
    level: float, working: WorkingEvidence, curves: np.ndarray, genes: np.ndarray
) -> list[np.ndarray]:
    """Columns of :class:`GenePosterior` for some genes and the bases beside the flat one."""
    shifts = working.grid.shifts
    statistics = working.statistics(curves, genes)
    table, scale = working.integrate(statistics, genes)
    joint = table + working.grid.log_shift_prior()
    share = np.exp(joint - logsumexp(joint, axis=2, keepdims=True))
    first = (share * scale.first).sum(2)
    second = (share * scale.second).sum(2)
    mode = working.best_scale(statistics, genes)
    return [
        *_shift_posterior(working.grid, joint, share, level),
        np.sqrt(np.maximum(second - first**2, 0.0)),
        _dependence(share, shifts, np.log(np.maximum(mode, 1e-12))),
    ]


def _shift_posterior(
    grid: CurveGrid, joint: np.ndarray, share: np.ndarray, level: float
) -> list[np.ndarray]:
    """Mean, standard deviation and interval of δ, each ``(P, K)``.

    Of the distribution on the grid where it covers several points; else of the parabola through
    the highest point and its neighbours.
    """
    shifts = grid.shifts
    if len(shifts) == 1:
        return 4 * [np.zeros(joint.shape[:2])]
    step, peak = shifts[1] - shifts[0], grid.peak(joint)
    mean = share @ shifts
    sd = np.sqrt(np.maximum(share @ shifts**2 - mean**2, 0.0))
    # Every point stands for the step around it.
    below = np.cumsum(share, axis=2)
    tails = 0.5 - 0.5 * level, 0.5 + 0.5 * level
    ends = [_quantile(below, share, shifts, step, tail) for tail in tails]
    is_narrow = peak.is_inner & (sd < 2 * step)
    top = shifts[peak.index] + step * peak.offset
    width = step / np.sqrt(peak.curvature)
    narrow_ends = [top + ndtri(tail) * width for tail in tails]
    return [
        np.where(is_narrow, top, mean),
        np.where(is_narrow, width, np.maximum(sd, step / np.sqrt(12.0))),
        *(np.where(is_narrow, a, b) for a, b in zip(narrow_ends, ends, strict=True)),
    ]


def _quantile(
    below: np.ndarray, share: np.ndarray, shifts: np.ndarray, step: float, level: float
) -> np.ndarray:
    """Quantile of a distribution that is even within a step of the grid, shape ``(P, K)``."""
    index = (below < level).sum(axis=2).clip(max=len(shifts) - 1)[..., None]
    end, own = (np.take_along_axis(values, index, 2)[..., 0] for values in (below, share))
    return shifts[index[..., 0]] + step * (0.5 - (end - level) / np.maximum(own, 1e-12))


def _dependence(share: np.ndarray, shifts: np.ndarray, log_scale: np.ndarray) -> np.ndarray:
    """Correlation of δ with the best log λ at δ, under q(δ), shape ``(P, K)``."""

    def moment(values):
        return (share * values).sum(2)

    shift_mean, scale_mean = share @ shifts, moment(log_scale)
    covariance = moment(shifts * log_scale) - shift_mean * scale_mean
    power = (share @ shifts**2 - shift_mean**2) * (moment(log_scale**2) - scale_mean**2)
    return np.where(power > 1e-12, covariance / np.sqrt(np.maximum(power, 1e-12)), 0.0)
