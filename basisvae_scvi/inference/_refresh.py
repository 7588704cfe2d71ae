"""Refreshes of q(w), λ and δ in closed form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from scvi import REGISTRY_KEYS
from torch import Tensor

from basisvae_scvi.likelihood import Pairs
from basisvae_scvi.module import OUTPUT_KEYS, BasisVAEModule, FeatureConstants

from ._evidence_table import PairEvidence, WorkingBases
from ._own_courses import set_own_courses
from ._pooling import pool_cells
from ._profile import shortlist, working_model
from ._shapes import shift_grid

# Pairs with more than this responsibility may keep their trained scale and shift.
_ACTIVE = 1e-3
# Bases per gene, best first by the profile table, that the exact likelihood looks at.
_SHORTLIST = 8


@dataclass(frozen=True)
class Proposal:
    """What the profile table proposes, of shape ``(P, K)``.

    Attributes
    ----------
    scale
        λ.
    shift
        δ, or ``None`` without shifts.
    listed
        Pairs worth an exact look: the best bases of each gene, and the flat one.
    """

    scale: Tensor
    shift: Tensor | None
    listed: Tensor

    def at(self, pairs: Pairs) -> tuple[Tensor, Tensor | None]:
        """λ and δ at the pairs."""
        return pairs.select(self.scale), None if self.shift is None else pairs.select(self.shift)


@dataclass(frozen=True)
class PlacedCells:
    """Cells at their places, block by block, and their data in one piece.

    Attributes
    ----------
    z
        Latent coordinates block by block, each ``(N_b, Q)``.
    values
        Data of all blocks, cells × genes; sparse for counts.
    size_factor
        Shape ``(N,)``; ``None`` where they do not apply.
    batch
        Batches, integers from 0, shape ``(N,)``.
    """

    z: list[Tensor]
    values: np.ndarray | sparse.csr_matrix
    size_factor: np.ndarray | None
    batch: np.ndarray

    @property
    def n_cells(self) -> int:
        """Number of cells N."""
        return self.values.shape[0]


def _on_device(module: BasisVAEModule, blocks: Sequence) -> Iterator[dict[str, Tensor]]:
    for block in blocks:
        yield {key: value.to(module.device) for key, value in block.items()}


def place_cells(module: BasisVAEModule, blocks: Sequence[dict[str, Tensor]]) -> PlacedCells:
    """E[z] of cells, which come in minibatches, and their data in one piece.

    The module is in eval mode, and no gradients are recorded.
    """
    z, values, sizes, batches = [], [], [], []
    for tensors in _on_device(module, blocks):
        outputs = module.inference(**module._get_inference_input(tensors))
        qz = outputs[OUTPUT_KEYS.QZ]
        z.append(outputs[OUTPUT_KEYS.Z] if qz is None else qz.loc)
        x = tensors[REGISTRY_KEYS.X_KEY].cpu().numpy()
        values.append(sparse.csr_matrix(x) if module.likelihood.is_count else x)
        batches.append(tensors[REGISTRY_KEYS.BATCH_KEY].cpu().numpy().ravel().astype(int))
        size = module.size_factors(tensors)
        sizes.append(None if size is None else size.double().cpu().numpy()[:, 0])
    stack = sparse.vstack if module.likelihood.is_count else np.concatenate
    size = None if sizes[0] is None else np.concatenate(sizes)
    return PlacedCells(z, stack(values), size, np.concatenate(batches))


def pair_evidence(
    module: BasisVAEModule, cells: PlacedCells, constants: FeatureConstants, n_obs: int
) -> PairEvidence:
    """Evidence of all pairs of a module with one latent dimension.

    Parameters
    ----------
    module
        The module.
    cells
        Some cells.
    constants
        Data constants of the features.
    n_obs
        Number of cells that these stand for.
    """
    z = torch.cat(cells.z)
    size = np.ones(cells.n_cells) if cells.size_factor is None else cells.size_factor
    factor = module.composition_factor(z)
    if factor is not None:
        size = size * factor.double().cpu().numpy()[:, 0]
    at, weight = z[:, 0].double().cpu().numpy(), n_obs / cells.n_cells
    bases = WorkingBases.of(module)
    return PairEvidence(bases, at, cells.values, size, constants, weight, cells.batch)


class AssignmentRefresher:
    """Coordinate ascent on q(w), λ and δ, with z, the bases and the nuisances held.

    Where bases pay for themselves, the evidence of a fixed set of cells sets φ in closed form.
    Otherwise the profile table proposes λ and δ for every (gene, basis) pair, and the exact
    likelihood decides between proposal and current value.

    Parameters
    ----------
    blocks
        Minibatches of these cells, with the keys of the data loader; gone through three times in
        every refresh, so that they need not be in memory together.
    n_obs
        Number of training cells that the cells stand for.
    constants
        Data constants of the features.
    integrates
        Whether φ weighs bases by evidence, with λ and δ integrated out under the working model, so
        that a basis pays for the freedom it gives to a gene. Otherwise λ and δ are held at their
        optimum, as in the paper.
    """

    def __init__(
        self,
        blocks: Sequence[dict[str, Tensor]],
        n_obs: int,
        constants: FeatureConstants,
        *,
        integrates: bool = False,
    ):
        self.blocks, self.n_obs, self.constants = blocks, n_obs, constants
        self.integrates = integrates

    def _propose(self, module: BasisVAEModule, cells: PlacedCells) -> Proposal:
        """λ and δ of all pairs from the profile table on pooled cells, and the best bases."""
        genes, z = module.genes, torch.cat(cells.z)
        pooled = pool_cells(cells.values, z.double().cpu().numpy(), cells.size_factor)
        shifts = shift_grid(genes.translation_invariant)
        points = torch.as_tensor(pooled.z, dtype=torch.float32, device=z.device)
        deltas = torch.tensor([0.0] if shifts is None else shifts.tolist(), device=z.device)
        moved = (points + deltas[:, None, None]).reshape(-1, points.shape[1])
        bases = module.basis(moved).reshape(len(deltas), len(points), -1).transpose(1, 2)
        model = working_model(module.likelihood, pooled, self.constants, genes.scale_invariant)
        table = model.table(bases.double().cpu().numpy(), shifts)

        def as_tensor(array: np.ndarray) -> Tensor:
            return torch.as_tensor(array, dtype=torch.float32, device=z.device)

        return Proposal(
            scale=as_tensor(table.scale).clamp_min(1e-4),
            shift=None if shifts is None else as_tensor(shifts[table.shift_index]),
            listed=shortlist(as_tensor(table.evidence), _SHORTLIST),
        )

    def _by_evidence(
        self, module: BasisVAEModule, cells: PlacedCells, *, keep_active: bool
    ) -> None:
        """φ from the evidence, λ, δ and own deviations integrated out; λ and δ of idle pairs."""
        pairs = pair_evidence(module, cells, self.constants, self.n_obs)
        table = pairs.table()
        genes, device = module.genes, module.device
        everything = Pairs.all(genes.n_genes, module.n_basis, device)
        active = Pairs.active(module.assignment(), _ACTIVE)
        kept = genes.gene_state(active)

        def at_pairs(array: np.ndarray) -> Tensor:
            values = torch.as_tensor(array, dtype=torch.float32, device=device)
            return everything.select(values)

        if not (keep_active and module.gene_prior == "all"):
            shift = at_pairs(table.shift) if genes.translation_invariant else None
            genes.set_state(everything, at_pairs(table.scale).clamp_min(1e-4), shift)
        if keep_active:  # these have been trained
            genes.set_state(active, *kept)
        evidence = torch.as_tensor(table.evidence, device=device)
        # Bases that the search has left level are no groups: with its own deviation any gene fits.
        evidence[:, module.assignment.idle()] = -torch.inf
        module.assignment.update(evidence, module.assignment_weight)
        phi = module.assignment().double().cpu().numpy()
        set_own_courses(genes, phi, pairs.working, pairs.curves, pairs.z)

    def _evidence(self, module: BasisVAEModule, cells: PlacedCells, pairs: Pairs) -> Tensor:
        """What a gene gains by a basis: Σ_n log p, scaled to all cells, plus its log priors.

        Under ``gene_prior="all"`` the priors hold for every pair, used or not, and drop out.
        """
        weight = cells.z[0].new_zeros(len(pairs))
        evidence = torch.zeros_like(weight)
        for tensors, z in zip(_on_device(module, self.blocks), cells.z, strict=True):
            evidence += module.log_likelihood(tensors, z, pairs, weight).per_pair
        evidence *= self.n_obs / cells.n_cells
        if module.gene_prior == "all":
            return evidence
        return evidence + module.genes.log_prior_per_pair(pairs)

    @torch.no_grad()
    def __call__(self, module: BasisVAEModule, *, keep_active: bool = True) -> None:
        """Refresh q(w), λ and δ.

        Parameters
        ----------
        module
            Module to update in place.
        keep_active
            Whether pairs in use keep their λ and δ where these fit better than the proposal;
            ``False`` takes over every proposal, as at the start. Under ``gene_prior="all"``,
            where a proposal costs its prior even if it is not used, only φ is refreshed.
        """
        was_training = module.training
        module.eval()
        cells = place_cells(module, self.blocks)
        refresh = self._by_evidence if self.integrates else self._by_likelihood
        refresh(module, cells, keep_active=keep_active)
        module.train(was_training)

    def _by_likelihood(
        self, module: BasisVAEModule, cells: PlacedCells, *, keep_active: bool
    ) -> None:
        """φ, λ and δ from the exact likelihood at the best λ and δ."""
        genes = module.genes
        everything = Pairs.all(genes.n_genes, module.n_basis, module.device)
        proposal = self._propose(module, cells)
        active = Pairs.active(module.assignment(), _ACTIVE)
        kept = genes.gene_state(active)
        current = self._evidence(module, cells, active) if keep_active else None
        if not (keep_active and module.gene_prior == "all"):
            genes.set_state(everything, *proposal.at(everything))
        if keep_active:
            proposal.listed[active.gene, active.basis] = True
        listed = Pairs(*torch.nonzero(proposal.listed, as_tuple=True))
        evidence = listed.scatter(
            self._evidence(module, cells, listed),
            genes.n_genes,
            module.n_basis,
            fill=-torch.inf,
        )
        if keep_active:
            is_better = current > active.select(evidence)
            better = Pairs(active.gene[is_better], active.basis[is_better])
            genes.set_state(better, *(None if v is None else v[is_better] for v in kept))
            evidence[better.gene, better.basis] = current[is_better]
        module.assignment.update(evidence, module.assignment_weight)
