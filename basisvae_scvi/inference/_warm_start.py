"""Make the module agree with the starting values, so that training does not un-learn them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scvi import REGISTRY_KEYS
from torch import Tensor

from basisvae_scvi.likelihood import Pairs
from basisvae_scvi.module import OUTPUT_KEYS, BasisFunctions, BasisVAEModule, FeatureConstants

from ._evidence_table import PairEvidence, WorkingBases
from ._pooling import PooledCells, pool_cells
from ._profile import shortlist, working_model
from ._shapes import CurveSpace, ShapeSearch, shift_grid

_BASIS_FIT_STEPS = 400
_BASIS_FIT_RATE = 0.03
# Enough to tell unused bases apart, little enough to leave them level.
_UNUSED_AMPLITUDE = 1e-2
ENCODER_STEPS = 600
ENCODER_RATE = 2e-3
# Pairs with more than this responsibility may keep their trained scale and shift.
_ACTIVE = 1e-3
# Bases per gene, best first by the profile table, that the exact likelihood looks at.
_SHORTLIST = 8


def fit_basis_functions(
    functions: BasisFunctions, points: np.ndarray, curves: np.ndarray, *, level_unused: bool
) -> None:
    """Fit the first networks to curves by least squares.

    Parameters
    ----------
    functions
        Basis functions; basis k + 1 is fitted to ``curves[k]``.
    points
        Support points, shape ``(G, Q)``.
    curves
        Values, shape ``(K', G)`` with K' ≤ K − 1.
    level_unused
        Whether the other networks start level. A random one would attract genes that happen to
        fluctuate like it.
    """
    if level_unused:
        with torch.no_grad():
            functions.amplitude[len(curves) :] *= _UNUSED_AMPLITUDE
            if not functions.positive:
                functions.level[len(curves) :] = 1.0
    if len(curves) == 0:
        return
    target = curves
    if functions.normalize:
        size = np.abs(curves).mean(axis=1, keepdims=True)
        target = curves / np.maximum(size, 1e-8)
    z = torch.as_tensor(points, dtype=torch.float32)
    goal = torch.as_tensor(target.T, dtype=torch.float32)
    optimizer = torch.optim.Adam(functions.parameters(), lr=_BASIS_FIT_RATE, fused=True)
    for step in range(_BASIS_FIT_STEPS):
        optimizer.param_groups[0]["lr"] = _BASIS_FIT_RATE * (1.0 - step / _BASIS_FIT_STEPS)
        optimizer.zero_grad()
        fitted = functions._link(functions._raw(z, slice(len(curves))))
        (fitted - goal).square().mean(0).sum().backward()
        optimizer.step()


def fit_encoder(
    module: BasisVAEModule, batches: Iterable[tuple[np.ndarray, dict[str, Tensor]]], z: np.ndarray
) -> Iterator[float]:
    """Train the encoder to predict z⁰, with its own error as variance; yields the loss.

    Parameters
    ----------
    module
        Module whose encoder is trained.
    batches
        Minibatches as ``(cell indices, tensors)``; as many steps are made as there are batches.
    z
        Starting values of all cells, shape ``(N, Q)``.
    """
    target = torch.as_tensor(z, dtype=torch.float32)
    optimizer = torch.optim.Adam(module.z_encoder.parameters(), lr=ENCODER_RATE, fused=True)
    module.train()
    for step, (cells, tensors) in enumerate(batches):
        optimizer.param_groups[0]["lr"] = ENCODER_RATE * max(0.05, 1.0 - step / ENCODER_STEPS)
        qz = module.inference(**module._get_inference_input(tensors))[OUTPUT_KEYS.QZ]
        loss = -qz.log_prob(target[cells].to(qz.loc.device)).sum(-1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()


def start_shapes(
    module: BasisVAEModule,
    pooled: PooledCells,
    constants: FeatureConstants,
    *,
    n_obs: int,
    seed: int,
) -> int:
    """Find the shapes of the genes on pooled cells and fit the basis functions to them.

    Returns
    -------
    Number of bases that were given a shape, the flat one not counted.
    """
    genes = module.genes
    model = working_model(module.likelihood, pooled, constants, genes.scale_invariant)
    space = CurveSpace.over(pooled.z, shift_grid(genes.translation_invariant))
    search = ShapeSearch(
        model,
        space,
        positive=module.likelihood.is_count,
        n_obs=n_obs,
        rng=np.random.default_rng(seed),
    )
    curves = search.run(module.n_basis - 1)
    fit_basis_functions(
        module.basis, space.points, curves, level_unused=not genes.translation_invariant
    )
    return len(curves)


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
    volume
        Log of what integrating λ and δ out gains over their optimum; ``None`` to hold them there.
    coarseness
        What the log likelihood of each gene is divided by, shape ``(P,)``; ``None`` for 1.
    """

    scale: Tensor
    shift: Tensor | None
    listed: Tensor
    volume: Tensor | None = None
    coarseness: Tensor | None = None

    def at(self, pairs: Pairs) -> tuple[Tensor, Tensor | None]:
        """λ and δ at the pairs."""
        return pairs.select(self.scale), None if self.shift is None else pairs.select(self.shift)


class AssignmentRefresher:
    """Coordinate ascent on q(w), λ and δ, with z, the bases and the nuisances held.

    The profile table proposes λ and δ for every (gene, basis) pair; the exact likelihood on a
    fixed sample of cells decides between proposal and current value, and sets φ in closed form.

    Parameters
    ----------
    tensors
        Minibatch of all sampled cells, with the keys of the data loader.
    n_obs
        Number of training cells that the sample stands for.
    constants
        Data constants of the features.
    integrates
        Whether φ weighs bases by evidence, with λ and δ integrated out under the working model, so
        that a basis pays for the freedom it gives to a gene. Otherwise λ and δ are held at their
        optimum, as in the paper.
    """

    def __init__(
        self,
        tensors: dict[str, Tensor],
        n_obs: int,
        constants: FeatureConstants,
        *,
        integrates: bool = False,
    ):
        self.tensors, self.n_obs, self.constants = tensors, n_obs, constants
        self.integrates = integrates

    @property
    def n_sampled(self) -> int:
        """Number of sampled cells."""
        return self.tensors[REGISTRY_KEYS.X_KEY].shape[0]

    def _latent(self, module: BasisVAEModule, tensors: dict[str, Tensor]) -> Tensor:
        outputs = module.inference(**module._get_inference_input(tensors))
        qz = outputs[OUTPUT_KEYS.QZ]
        return outputs[OUTPUT_KEYS.Z] if qz is None else qz.loc

    def _propose(self, module: BasisVAEModule, z: Tensor, tensors: dict[str, Tensor]) -> Proposal:
        """λ and δ of all pairs from the profile table on pooled cells, and the best bases."""
        genes, device = module.genes, z.device
        size_factor = module.size_factors(tensors)
        if self.integrates:
            return self._propose_by_evidence(module, z, tensors[REGISTRY_KEYS.X_KEY], size_factor)
        pooled = pool_cells(
            tensors[REGISTRY_KEYS.X_KEY].cpu().numpy(),
            z.double().cpu().numpy(),
            None if size_factor is None else size_factor.double().cpu().numpy().ravel(),
        )
        shifts = shift_grid(genes.translation_invariant)
        points = torch.as_tensor(pooled.z, dtype=torch.float32, device=device)
        deltas = torch.tensor([0.0] if shifts is None else shifts.tolist(), device=device)
        moved = (points + deltas[:, None, None]).reshape(-1, points.shape[1])
        values = module.basis(moved).reshape(len(deltas), len(points), -1).transpose(1, 2)
        model = working_model(module.likelihood, pooled, self.constants, genes.scale_invariant)
        table = model.table(values.double().cpu().numpy(), shifts)

        def as_tensor(array: np.ndarray) -> Tensor:
            return torch.as_tensor(array, dtype=torch.float32, device=device)

        return Proposal(
            scale=as_tensor(table.scale).clamp_min(1e-4),
            shift=None if shifts is None else as_tensor(shifts[table.shift_index]),
            listed=shortlist(as_tensor(table.evidence), _SHORTLIST),
        )

    def _propose_by_evidence(
        self, module: BasisVAEModule, z: Tensor, x: Tensor, size_factor: Tensor | None
    ) -> Proposal:
        """As :meth:`_propose`, from the evidence of the structure search."""
        factor = module.composition_factor(z)
        size = np.ones(len(z)) if size_factor is None else size_factor.double().cpu().numpy()[:, 0]
        if factor is not None:
            size = size * factor.double().cpu().numpy()[:, 0]
        at, weight = z[:, 0].double().cpu().numpy(), self.n_obs / self.n_sampled
        bases, values = WorkingBases.of(module), x.cpu().numpy()
        table = PairEvidence(bases, at, values, size, self.constants, weight).table()

        def as_tensor(array: np.ndarray) -> Tensor:
            return torch.as_tensor(array, dtype=torch.float32, device=z.device)

        return Proposal(
            scale=as_tensor(table.scale).clamp_min(1e-4),
            shift=as_tensor(table.shift) if module.genes.translation_invariant else None,
            listed=shortlist(as_tensor(table.evidence), _SHORTLIST),
            volume=as_tensor(table.volume),
            coarseness=as_tensor(table.coarseness),
        )

    def _evidence(
        self, module: BasisVAEModule, z: Tensor, tensors, pairs: Pairs, coarseness: Tensor | None
    ) -> Tensor:
        """What a gene gains by a basis: Σ_n log p, scaled to all cells, plus its log priors.

        Under ``gene_prior="all"`` the priors hold for every pair, used or not, and drop out.
        """
        weight = z.new_zeros(len(pairs))
        per_pair = module.log_likelihood(tensors, z, pairs, weight).per_pair
        evidence = per_pair * (self.n_obs / self.n_sampled)
        if coarseness is not None:
            evidence = evidence / coarseness[pairs.gene]
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
        tensors = {key: value.to(module.device) for key, value in self.tensors.items()}
        z = self._latent(module, tensors)
        genes = module.genes
        everything = Pairs.all(genes.n_genes, module.n_basis, z.device)
        proposal = self._propose(module, z, tensors)
        active = Pairs.active(module.assignment(), _ACTIVE)
        kept, coarseness = genes.gene_state(active), proposal.coarseness
        current = self._evidence(module, z, tensors, active, coarseness) if keep_active else None
        if not (keep_active and module.gene_prior == "all"):
            genes.set_state(everything, *proposal.at(everything))
        if keep_active:
            proposal.listed[active.gene, active.basis] = True
        listed = Pairs(*torch.nonzero(proposal.listed, as_tuple=True))
        evidence = listed.scatter(
            self._evidence(module, z, tensors, listed, coarseness),
            genes.n_genes,
            module.n_basis,
            fill=-torch.inf,
        )
        if proposal.volume is not None:
            evidence = evidence + proposal.volume
            current = None if current is None else current + active.select(proposal.volume)
        if keep_active:
            is_better = current > active.select(evidence)
            better = Pairs(active.gene[is_better], active.basis[is_better])
            genes.set_state(better, *(None if v is None else v[is_better] for v in kept))
            evidence[better.gene, better.basis] = current[is_better]
        module.assignment.update(evidence, module.assignment_weight)
        module.train(was_training)


def pooled_start(matrix, z: np.ndarray, size_factor: np.ndarray | None, seed: int) -> PooledCells:
    """Pool the cells for the search of shapes: more pools for more latent dimensions."""
    n_pools = 60 if z.shape[1] == 1 else 200
    return pool_cells(matrix, z, size_factor, n_pools=n_pools, seed=seed)
