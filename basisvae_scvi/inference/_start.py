"""Starting values of a one-dimensional model: the structure that the search has found."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import sparse
from scipy.special import logsumexp

from basisvae_scvi.data import iter_rows, read_rows
from basisvae_scvi.likelihood import Pairs
from basisvae_scvi.module import BasisVAEModule, FeatureConstants

from ._latent import LatentPrior
from ._metric import even_change, normal_scores
from ._own_courses import set_own_courses
from ._pooling import PooledCells, pool_cells, variance_within
from ._warm_start import fit_basis_functions
from .structure import (
    CurveGrid,
    FoundStructure,
    GroupedGenes,
    GroupPrior,
    SettledGenes,
    WorkingEvidence,
    anchor,
    find_structure,
    posterior,
    working_evidence,
)

# The search looks at up to so many cells and genes; what it finds is carried over to the others.
_MAX_CELLS = 5000
_MAX_GENES = 1000
# Share of entries above 0 from which dense matrices multiply faster than sparse ones; measured.
_MIN_DENSITY = 0.12
# Nats that a trajectory must gain over no trajectory at all. Without one, the search still gains
# up to some tens by fitting cells and curves to noise.
_MIN_TRAJECTORY_GAIN = 50.0
_MIN_SCALE = 1e-4
# Where the search begins to learn the size of the genes' own deviations: that of real lineages.
_FIRST_DEVIATION = 0.3
_GENES_PER_BLOCK = 512


@dataclass(frozen=True)
class Start:
    """Where training starts.

    Attributes
    ----------
    z
        Shape ``(N,)``.
    points, curves
        Support ``(C,)``, and values of the bases beside the flat one there, ``(K, C)``.
    evidence
        Log evidence of every gene for the flat basis and these, ``(P, K + 1)``.
    scale, shift
        λ and δ under each, of the same shape.
    composition
        Log factor of the size factors over ``grid_z``, shape ``(G,)``.
    grid_z
        Grid of z, shape ``(G,)``.
    offset
        Log offsets of the batches, shape ``(B, P)``.
    working
        What the cells, at their places, say of all genes.
    has_trajectory
        Whether the genes change along z at all.
    found
        The search itself.
    searched_genes
        Indices of the genes that it looked at.
    """

    z: np.ndarray
    points: np.ndarray
    curves: np.ndarray
    evidence: np.ndarray
    scale: np.ndarray
    shift: np.ndarray
    composition: np.ndarray
    grid_z: np.ndarray
    offset: np.ndarray
    working: WorkingEvidence
    has_trajectory: bool
    found: FoundStructure
    searched_genes: np.ndarray


def _rows(matrix, rows: np.ndarray):
    """Some rows of a matrix in memory, float64."""
    values = read_rows(matrix, rows)
    return (
        values.astype(np.float64).tocsr() if sparse.issparse(values) else np.asarray(values, float)
    )


def _dense_if_faster(values):
    """Dense where that makes products with the grid faster: 2.7 times at 40 % of entries."""
    is_crowded = sparse.issparse(values) and values.nnz > _MIN_DENSITY * np.prod(values.shape)
    return values.toarray() if is_crowded else values


def _best_seen(pooled: PooledCells, is_count: bool) -> np.ndarray:
    """Indices of the features that the search looks at, ascending.

    Those with most counts; of other data those whose means differ most between pools, in units of
    their spread within.
    """
    signal = pooled.total.sum(0)
    if not is_count:
        means = pooled.total / pooled.exposure[:, None]
        signal = means.var(axis=0) / np.maximum(pooled.variance, 1e-12)
    return np.sort(np.argsort(-signal, kind="stable")[:_MAX_GENES])


class StartSearch:
    """Search for the structure of a module's data, z included unless it is observed.

    Parameters
    ----------
    module
        The module; its settings are read and its parameters left alone.
    matrix
        Cells × genes.
    size_factor
        Shape ``(N,)``, or ``None`` where they do not apply.
    constants
        Data constants of the features.
    composes
        Whether size factors may be corrected for the composition of libraries.
    seed
        Seed.
    batch
        Batches of the cells, integers from 0, shape ``(N,)``; by default one.
    prior
        Prior of z of all cells, if it is not N(0, 1).
    silent
        Whether to show no progress.
    """

    def __init__(
        self,
        module: BasisVAEModule,
        matrix,
        size_factor: np.ndarray | None,
        constants: FeatureConstants,
        *,
        composes: bool,
        seed: int,
        batch: np.ndarray | None = None,
        prior: LatentPrior | None = None,
        silent: bool = True,
    ):
        self.prior = prior
        self.silent = silent
        self.module, self.matrix, self.constants = module, matrix, constants
        self.composes, self.seed = composes and module.likelihood.is_count, seed
        n_obs = matrix.shape[0]
        self.size = np.ones(n_obs) if size_factor is None else np.maximum(size_factor, 1e-6)
        self.batch = np.zeros(n_obs, dtype=int) if batch is None else batch
        self.grid = CurveGrid(module.genes.translation_invariant)
        # Shifts tell the metric of z, where nobody else does.
        is_told = module.observed_latent or prior is not None
        self.finds_metric = module.genes.translation_invariant and not is_told

    def _part(self, genes: np.ndarray) -> FeatureConstants:
        c = self.constants
        return FeatureConstants(c.scale[genes], c.level[genes], c.dispersion[genes], c.library)

    def _evidence(self, values, cells, variance, genes, deviation):
        return working_evidence(
            self.module.likelihood,
            values,
            self.size[cells],
            variance[genes],
            self.grid,
            self._part(genes),
            self.module.genes.scale_invariant,
            batch=self.batch[cells],
            deviation=deviation,
        )

    def run(self, orders: list[np.ndarray], n_restarts: int) -> Start:
        """Search from cells at places ``(N,)``, and carry the result over to all data.

        Of several orders the one is taken from which a search gets farthest.
        """
        module, rng = self.module, np.random.default_rng(self.seed)
        n_obs = self.matrix.shape[0]
        cells = np.sort(rng.choice(n_obs, min(n_obs, _MAX_CELLS), replace=False))
        values, size = _rows(self.matrix, cells), self.size[cells]
        of_counts = size if module.likelihood.is_count else None
        pooled = [pool_cells(values, z[cells, None], of_counts, seed=self.seed) for z in orders]
        genes = _best_seen(pooled[0], module.likelihood.is_count)
        # Orders can only be compared under one variance: the better it is told, the smaller.
        at = self.batch[cells]
        within = [variance_within(values, order[cells], of_counts, at) for order in orders]
        variance = np.min(within, axis=0)
        given = module.shape_deviation
        first = _FIRST_DEVIATION if given == "learned" else given
        searched = SettledGenes(
            self._evidence(_dense_if_faster(values[:, genes]), cells, variance, genes, first),
            learns_deviation=given == "learned",
            log_z_prior=self._log_z_prior(cells),
            fixed_cells=module.observed_latent,
            learns_prior=self.finds_metric,
            latent_weight=module.latent_weight,
            **self._settings(),
        )
        starts = [
            self._guesses(z, part, len(cells)) for z, part in zip(orders, pooled, strict=True)
        ]
        of_cells = [[places[cells] for places in order] for order in starts]
        found = find_structure(searched, of_cells, self.seed, n_restarts, silent=self.silent)
        working, evidence, scale, shift = self._all_genes(values, cells, variance, found)
        curves, places = found.structure.curves, starts[found.order][found.start]
        if not module.observed_latent:
            held = _as_nearest(places, places[cells], found.places)
            places = self._all_cells(found, searched, genes, held)
        return Start(
            z=places,
            points=self.grid.x,
            curves=np.exp(curves) if module.likelihood.is_count else curves,
            evidence=evidence,
            scale=scale,
            shift=shift,
            composition=found.hyperparameters.composition,
            grid_z=self.grid.z,
            offset=working.offset,
            working=working,
            has_trajectory=found.structure.total - found.flat_total > _MIN_TRAJECTORY_GAIN,
            found=found,
            searched_genes=genes,
        )

    def _guesses(self, order: np.ndarray, pooled: PooledCells, n_pooled: int) -> list[np.ndarray]:
        """Where the cells may be in this order, best guess first, each ``(N,)``."""
        if not self.finds_metric:
            return [order]
        return [even_change(order, pooled, n_pooled), normal_scores(order), order]

    def _log_z_prior(self, cells) -> np.ndarray:
        """Log prior of z of some cells over the grid, shape ``(G,)`` or ``(N, G)``."""
        if self.prior is None:
            return self.grid.log_z_prior
        prior = self.prior.part(cells)
        log_density = -0.5 * ((self.grid.z - prior.mean) / prior.sd) ** 2
        return log_density - logsumexp(log_density, axis=1, keepdims=True)

    def _settings(self) -> dict:
        module = self.module
        prior = GroupPrior(
            module.n_basis, module.concentration, module.scheme, module.assignment_weight
        )
        return {"prior": prior, "composes": self.composes}

    def _all_cells(self, found: FoundStructure, searched: SettledGenes, genes, places):
        """E[z] of all cells, given the genes of the search, shape ``(N,)``."""
        structure, evidence = found.structure, searched.evidence
        weights = evidence.cell_weights(structure.curves, structure.joint, structure.scale)
        learned = searched.log_prior_at(structure.share) if searched.learns_prior else None
        means = []
        for rows, block in iter_rows(self.matrix):
            part = block[:, genes]
            part = part.astype(np.float64) if sparse.issparse(part) else np.asarray(part, float)
            log_likelihood = evidence.cell_log_likelihood(
                part, self.size[rows], self.batch[rows], weights
            )
            prior = self._log_z_prior(rows) if learned is None else learned
            held = prior + anchor(self.grid, places[rows])
            weighed = log_likelihood / self.module.latent_weight
            means.append(posterior(weighed, held) @ self.grid.z)
        return np.concatenate(means)

    def _all_genes(
        self, values, cells, variance, found: FoundStructure
    ) -> tuple[WorkingEvidence, np.ndarray, np.ndarray, np.ndarray]:
        """Evidence of all genes, and its table, λ and δ on what was found, ``(P, K + 1)``.

        Block by block: the table over all shifts would not fit into memory.
        """
        n_genes = self.matrix.shape[1]
        deviation = found.hyperparameters.deviation
        evidence = self._evidence(values, cells, variance, np.arange(n_genes), deviation)
        evidence.set_composition(found.hyperparameters.composition, 0.0)
        evidence.pool(found.structure.share)
        grouped = GroupedGenes(
            evidence, shift_prior_sd=found.hyperparameters.shift_prior_sd, **self._settings()
        )
        curves = found.structure.curves
        flat = evidence.flat_evidence[:, None]
        if not len(curves):
            return evidence, flat, np.ones_like(flat), np.zeros_like(flat)
        parts = []
        for start in range(0, n_genes, _GENES_PER_BLOCK):
            genes = np.arange(start, min(start + _GENES_PER_BLOCK, n_genes))
            looked, at_shift, scale = grouped.look(curves, genes)
            best = at_shift.argmax(2)[..., None]
            at_best = np.take_along_axis(scale.first, best, 2)[..., 0]
            parts.append((looked, at_best, self.grid.shifts[best[..., 0]]))
        columns = [np.concatenate(part) for part in zip(*parts, strict=True)]
        of_flat = flat, np.ones_like(flat), np.zeros_like(flat)
        tables = [np.concatenate(pair, axis=1) for pair in zip(of_flat, columns, strict=True)]
        return evidence, *tables


def _as_nearest(at: np.ndarray, known: np.ndarray, values: np.ndarray) -> np.ndarray:
    """What holds at the nearest of some known places, for places ``(N,)``."""
    order = np.argsort(known)
    middle = 0.5 * (known[order][1:] + known[order][:-1])
    return values[order][np.searchsorted(middle, at)]


@torch.no_grad()
def _set_genes(module: BasisVAEModule, start: Start) -> None:
    """Give genes their λ and δ, and q(w) its optimum for the evidence of the search."""
    n_genes, n_used = start.scale.shape
    device = module.genes.feature_scale.device
    pairs = Pairs.all(n_genes, n_used, device)
    module.genes.shift_prior_sd.fill_(start.found.hyperparameters.shift_prior_sd)
    deviation = start.found.hyperparameters.deviation if start.has_trajectory else 0.0
    module.genes.shape_deviation.fill_(deviation)
    if module.n_batch > 1:
        offset = torch.as_tensor(start.offset, dtype=torch.float32, device=device)
        module.genes.batch_offset[: len(offset)] = offset

    def at_pairs(values: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(values, dtype=torch.float32, device=device).reshape(-1)

    scale = at_pairs(start.scale).clamp_min(_MIN_SCALE)
    module.genes.set_state(pairs, scale, at_pairs(start.shift))
    evidence = torch.full((n_genes, module.n_basis), -torch.inf, dtype=torch.float64)
    evidence[:, :n_used] = torch.as_tensor(start.evidence)
    module.assignment.update(evidence.to(device), module.assignment_weight)
    phi = module.assignment().double().cpu().numpy()[:, :n_used]
    curves = np.log(start.curves) if module.likelihood.is_count else start.curves
    set_own_courses(module.genes, phi, start.working, curves, start.z)


def apply_start(module: BasisVAEModule, start: Start) -> None:
    """Make a module agree with what the search has found.

    Parameters
    ----------
    module
        Fresh module; changed in place.
    start
        What the search has found. Without a trajectory all genes start on the flat basis.
    """
    n_curves = len(start.curves) if start.has_trajectory else 0
    kept = slice(0, n_curves + 1)
    start = replace(
        start,
        curves=start.curves[:n_curves],
        evidence=start.evidence[:, kept],
        scale=start.scale[:, kept],
        shift=start.shift[:, kept],
        composition=start.composition if start.has_trajectory else 0.0 * start.composition,
    )
    fit_basis_functions(module.basis, start.points[:, None], start.curves, level_unused=True)
    module.set_composition(start.grid_z, start.composition)
    _set_genes(module, start)
