"""Groups of genes: soft assignments, shifts and scales integrated out, and the bound."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from scipy.special import softmax

from ._cells import divergence, learned_prior, posterior
from ._curves import CurveSums
from ._evidence import ScaleMoments, WorkingEvidence
from ._proportions import GroupPrior

_MAX_FIXED_POINT_STEPS = 60
# A group of less than this many genes is no longer one.
_MIN_MEMBERS = 0.3
# Genes that hardly belong to a group do not take part in fitting its curve.
_NEGLIGIBLE_SHARE = 1e-3
# Genes whose table over all curves and shifts is in memory at a time.
_GENES_PER_BLOCK = 512


@dataclass(frozen=True)
class Structure:
    """Curves, and where the genes are.

    Attributes
    ----------
    curves
        Shape ``(K, C)``; log curves for counts. The flat one is not among them.
    complexity
        What each curve costs, shape ``(K,)``, negative.
    phi
        Responsibilities, shape ``(P, K + 1)``; column 0 is the flat basis.
    evidence
        Log evidence of every gene for every basis, shape ``(P, K + 1)``.
    at_shift
        q(δ) of every gene under every curve, shape ``(P, K, D)``.
    scale
        Moments of λ at every shift, of the same shape.
    bound
        Of the genes, cells held, in nats.
    total
        ``bound`` less what the cells pay for their places.
    share
        Responsibilities of the grid points for the cells, shape ``(N, G)``.
    """

    curves: np.ndarray
    complexity: np.ndarray
    phi: np.ndarray
    evidence: np.ndarray
    at_shift: np.ndarray
    scale: ScaleMoments
    bound: float
    total: float = -np.inf
    share: np.ndarray | None = field(default=None, repr=False)

    @property
    def n_curves(self) -> int:
        """Number of curves K beside the flat one."""
        return len(self.curves)

    @property
    def label(self) -> np.ndarray:
        """Most probable basis of every gene, 0 for the flat one, shape ``(P,)``."""
        return self.phi.argmax(1)

    @property
    def joint(self) -> np.ndarray:
        """Joint responsibilities of curves and shifts, shape ``(P, K, D)``."""
        return self.phi[:, 1:, None] * self.at_shift


class Hyperparameters(NamedTuple):
    """What all genes share beside the curves.

    Attributes
    ----------
    composition
        Log of a factor of the size factors over the grid of z, shape ``(G,)``.
    composition_complexity
        What it costs in nats, negative.
    shift_prior_sd
        Standard deviation of the prior of shifts.
    deviation
        Standard deviation τ of the genes' own deviations from the course of their group.
    """

    composition: np.ndarray
    composition_complexity: float
    shift_prior_sd: float
    deviation: float


class GroupedGenes:
    """Coordinate ascent on groups, curves, shifts and scales, for cells that stay in place.

    Parameters
    ----------
    evidence
        Working evidence.
    prior
        What groups cost.
    composes
        Whether the composition of the libraries may be fitted to the flat genes.
    learns_deviation
        Whether τ of the evidence may be fitted to all genes.
    shift_prior_sd
        Standard deviation of the prior of shifts.

    Attributes
    ----------
    log_shift_prior
        That prior on the grid, shape ``(D,)``.
    """

    def __init__(
        self,
        evidence: WorkingEvidence,
        *,
        prior: GroupPrior,
        composes: bool = False,
        learns_deviation: bool = False,
        shift_prior_sd: float = 1.0,
    ):
        self.learns_deviation = learns_deviation
        self.evidence, self.grid = evidence, evidence.grid
        self.prior, self.n_basis, self.composes = prior, prior.n_basis, composes
        self.all_genes = np.arange(evidence.n_genes)
        self.set_shift_prior(shift_prior_sd)

    def set_shift_prior(self, sd: float) -> None:
        """Give shifts the prior N(0, sd²)."""
        self.shift_prior_sd, self.log_shift_prior = sd, self.grid.log_shift_prior(sd)

    @property
    def deviation(self) -> float:
        """Standard deviation τ of the genes' own deviations."""
        return self.evidence.deviation

    def set_deviation(self, deviation: float) -> None:
        """Replace τ."""
        if deviation != self.evidence.deviation:
            self.evidence.set_deviation(deviation)

    @property
    def hyperparameters(self) -> Hyperparameters:
        """Composition, prior of shifts and own deviations as they are."""
        evidence = self.evidence
        return Hyperparameters(
            evidence.composition,
            evidence.composition_complexity,
            self.shift_prior_sd,
            evidence.deviation,
        )

    def set_hyperparameters(self, values: Hyperparameters) -> None:
        """Replace them; they take part once cells are pooled."""
        self.set_deviation(values.deviation)
        self.evidence.set_composition(values.composition, values.composition_complexity)
        self.set_shift_prior(values.shift_prior_sd)

    def look(self, curves: np.ndarray, genes: np.ndarray):
        """Evidence of genes for curves, ``(P', K)``, with q(δ) and λ at every shift."""
        parts = []
        # At least one block: no gene at all may belong to the curves of a move.
        for start in range(0, max(len(genes), 1), _GENES_PER_BLOCK):
            block = genes[start : start + _GENES_PER_BLOCK]
            evidence, scale = self.evidence.table(curves, block)
            evidence += self.log_shift_prior
            top = evidence.max(axis=2)
            at_shift = np.exp(evidence - top[..., None])
            mass = at_shift.sum(axis=2)
            at_shift /= mass[..., None]
            total = top + np.log(mass) + self.grid.between_shifts(evidence, mass)
            parts.append((total, at_shift, *scale))
        total, at_shift, first, second = (np.concatenate(p) for p in zip(*parts, strict=True))
        return total, at_shift, ScaleMoments(first, second)

    def assign(self, evidence: np.ndarray, others: np.ndarray) -> np.ndarray:
        """φ of some genes at the collapsed fixed point; ``others`` is n_k of the rest."""
        evidence = evidence / self.prior.weight
        phi = softmax(evidence, axis=1)
        for _ in range(_MAX_FIXED_POINT_STEPS):
            new = softmax(evidence + self.prior.log_weights(others + phi.sum(0)), axis=1)
            change, phi = np.abs(new - phi).max(initial=0.0), new
            if change < 1e-5:
                break
        return phi

    def structure(self, curves: np.ndarray, complexity: np.ndarray) -> Structure:
        """Genes assigned to given curves."""
        if len(curves):
            looked, at_shift, scale = self.look(curves, self.all_genes)
        else:
            empty = np.zeros((len(self.all_genes), 0, len(self.grid.shifts)))
            looked, at_shift, scale = empty[:, :, 0], empty, ScaleMoments(empty, empty)
        evidence = np.concatenate([self.evidence.flat_evidence[:, None], looked], axis=1)
        phi = self.assign(evidence, np.zeros(evidence.shape[1]))
        bound = self.prior.gene_terms(evidence, phi) + self.prior.log_partition(phi.sum(0))
        bound += complexity.sum() + self.evidence.composition_complexity
        return Structure(curves, complexity, phi, evidence, at_shift, scale, float(bound))

    def fit_curves(
        self,
        phi: np.ndarray,
        at_shift: np.ndarray,
        scale: ScaleMoments,
        genes: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Refit the curve of every group, and move it so that its genes' mean shift is 0.

        Parameters
        ----------
        phi
            Shape ``(P', K)``, without the flat basis.
        at_shift, scale
            Shape ``(P', K, D)``.
        genes
            Which genes these are, shape ``(P',)``.
        """
        curves = np.tile(self.evidence.level_curve, (phi.shape[1], 1))
        complexity = np.zeros(phi.shape[1])
        groups = np.flatnonzero((phi > _NEGLIGIBLE_SHARE).any(axis=0))
        sums, mean_shift = [], []
        for k in groups:
            kept = phi[:, k] > _NEGLIGIBLE_SHARE
            weight = phi[kept, k, None] * at_shift[kept, k]
            sums.append(self.evidence.curve_sums(weight, scale.at((kept, k)), genes[kept]))
            mean_shift.append(weight.sum(0) @ self.grid.shifts / weight.sum())
        if not len(groups):
            return curves, complexity
        fit = self.evidence.fit(CurveSums.stacked(sums))
        complexity[groups] = fit.complexity
        for k, curve, shift in zip(groups, fit.curve, mean_shift, strict=True):
            curves[k] = self.evidence.normalised(self.grid.moved(curve, shift))
        return curves, complexity

    def sweep(self, structure: Structure, n_sweeps: int, tolerance: float = 0.5) -> Structure:
        """Alternate curves and assignments; groups that lose their genes go."""
        for _ in range(n_sweeps):
            if not structure.n_curves:
                break
            before = structure.bound
            kept = structure.phi[:, 1:].sum(0) > _MIN_MEMBERS
            curves, complexity = self.fit_curves(
                structure.phi[:, 1:][:, kept],
                structure.at_shift[:, kept],
                structure.scale.at((slice(None), kept)),
                self.all_genes,
            )
            structure = replace(self.structure(curves, complexity), share=structure.share)
            if abs(structure.bound - before) < tolerance:
                break
        return structure


class SettledGenes(GroupedGenes):
    """As :class:`GroupedGenes`, with cells that can move.

    Parameters
    ----------
    evidence, **kwargs
        As in :class:`GroupedGenes`.
    log_z_prior
        Log prior of the cells over the grid, shape ``(G,)`` or ``(N, G)``.
    fixed_cells
        Whether cells stay in place, as for an observed z.
    learns_prior
        Whether the prior goes along with the cells, :func:`learned_prior`: that of shifts, which
        depend on the metric of z. Under N(0, 1) alone, a z that is stretched where many cells are
        costs less than the true one, and shapes do not fit each other on it.
    latent_weight
        β_z, by which KL(q(z) ‖ p(z)) counts.

    Attributes
    ----------
    log_anchor
        What keeps cells near the place where they start, shape ``(N, G)``; 0 for nothing. Cells of
        real tissue differ in more than one process, and without a hold z may turn to another one.
        The bound counts the prior alone.
    """

    def __init__(
        self,
        evidence: WorkingEvidence,
        *,
        log_z_prior: np.ndarray,
        fixed_cells: bool,
        learns_prior: bool = False,
        latent_weight: float = 1.0,
        **kwargs,
    ):
        super().__init__(evidence, **kwargs)
        self.log_z_prior, self.fixed_cells = log_z_prior, fixed_cells
        self.learns_prior, self.latent_weight = learns_prior, latent_weight
        self.log_anchor = np.zeros(1)

    def log_prior_at(self, share: np.ndarray) -> np.ndarray:
        """Log prior over the grid for cells at these places; see ``learns_prior``."""
        return learned_prior(self.grid, share) if self.learns_prior else self.log_z_prior

    def cell_log_likelihood(self, structure: Structure) -> np.ndarray:
        """Log p(x_n | z) of all cells given the genes, up to a constant of each, ``(N, G)``."""
        evidence = self.evidence
        weights = evidence.cell_weights(structure.curves, structure.joint, structure.scale)
        return evidence.cell_log_likelihood(
            evidence.values, evidence.size, evidence.batch, weights
        )

    def place(self, structure: Structure) -> np.ndarray:
        """Exact q(z) of all cells given the genes, shape ``(N, G)``."""
        log_prior = self.log_prior_at(structure.share) + self.log_anchor
        return posterior(self.cell_log_likelihood(structure) / self.latent_weight, log_prior)

    def at(self, share: np.ndarray, structure: Structure) -> Structure:
        """The structure for cells at other places."""
        self.evidence.pool(share)
        again = self.structure(structure.curves, structure.complexity)
        paid = 0.0
        if not self.fixed_cells:
            paid = self.latent_weight * divergence(share, self.log_prior_at(share))
        return replace(again, share=share, total=again.bound - paid)

    def settle(self, structure: Structure, n_rounds: int, n_sweeps: int = 1) -> Structure:
        """Alternate cells and genes.

        The total may fall: cells are placed under the hold, which it does not count.
        """
        for _ in range(n_rounds):
            before = structure.total
            share = structure.share if self.fixed_cells else self.place(structure)
            structure = self.at(share, structure)
            paid = structure.bound - structure.total
            structure = self.sweep(structure, n_sweeps)
            structure = replace(structure, share=share, total=structure.bound - paid)
            if abs(structure.total - before) < 0.5:
                break
        return structure
