"""Further genes on a trained model: with z and the bases frozen, each is a problem of its own.

A block of genes is fitted as training would fit it, on arrays alone, so that blocks can be sent
anywhere. A working model proposes λ and δ for every basis; gradient steps on minibatches of cells
bring λ, δ and the nuisances of the bases that can still matter to their optimum; the exact
likelihood of all cells, averaged over q(z), decides, and φ follows in closed form from the
proportions of the trained genes. Where training weighed bases by evidence, so does this: the
working model tells what integrating λ and δ out adds. Minibatches and draws of z depend on the
seed alone: what is found for a gene does not depend on the genes beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from basisvae_scvi.likelihood import Observations, Pairs, expected_log_likelihood
from basisvae_scvi.module import BasisFunctions, FeatureConstants, GeneParameters
from basisvae_scvi.module._priors import log_prior_normal, log_prior_scale

from ._evidence_table import PairEvidence
from ._frozen import PROFILE_SHIFTS, FrozenCells, FrozenModel
from ._own_courses import set_own_courses
from ._pooling import pool_cells
from ._profile import shortlist, working_model
from .structure import OwnCourse

# Bases per gene, best first by the working model, that are fitted; the flat one comes on top. The
# evidence of the search ranks them better than the profile table does.
_SHORTLIST, _SHORTLIST_BY_PROFILE = 8, 25
_LIST_MARGIN = 10.0
_LIST_SHARE = 0.2
# Nats (times β_w) behind the best within which the exact likelihood has the last word.
_FINAL_MARGIN = 10.0
_MIN_SCALE = 1e-4


class Round(NamedTuple):
    """Gradient steps on the pairs that are close behind the best of their gene.

    Attributes
    ----------
    margin
        Pairs more than so many nats (times β_w) behind are left out.
    temperature
        Power by which the responsibilities are flattened, so that the nuisances are not fitted to
        one basis before the others had their chance.
    n_steps, n_cells
        Number of steps, and cells in each.
    rate, last_rate
        Learning rate at the first and at the last step.
    """

    margin: float
    temperature: float
    n_steps: int
    n_cells: int
    rate: float
    last_rate: float


# First the best basis of each gene alone, which is cheap and brings the nuisances to their place;
# then all bases that the table lists; then those with φ > 1 % of the best. Found on the marrow
# data of the benchmarks: five times as many steps gain another 0.3 nats a gene.
ROUNDS = (
    Round(0.0, temperature=1.0, n_steps=100, n_cells=128, rate=0.2, last_rate=0.05),
    Round(np.inf, temperature=4.0, n_steps=40, n_cells=128, rate=0.1, last_rate=0.03),
    Round(4.6, temperature=1.0, n_steps=60, n_cells=320, rate=0.05, last_rate=0.002),
)


def is_near(log_phi: Tensor, margin: float, share: float = 0.0) -> Tensor:
    """Pairs that are not far behind the best of their gene.

    An approximate evidence errs by a part of what is at stake, which for a gene of many counts is
    a large number of nats: so the margin grows with the lead of the best basis over the flat one.

    Parameters
    ----------
    log_phi
        Log responsibilities, shape ``(P, K)``.
    margin
        Nats (times β_w) that a pair may be behind.
    share
        Further share of the lead over the flat basis.
    """
    best = log_phi.amax(1, keepdim=True)
    if share:
        margin = margin + share * (best - log_phi[:, [BasisFunctions.flat]])
    return best - log_phi <= margin


@dataclass(frozen=True)
class GeneFit:
    """What was found of a block of genes, float64, in the module's units.

    Attributes
    ----------
    assignment, scale, shift
        φ, λ and δ, each of shape ``(P, K)``.
    deviation
        Own deviations, of :class:`~basisvae_scvi.inference.structure.OwnCourse`; ``None`` for a
        model without.
    """

    assignment: np.ndarray
    scale: np.ndarray
    shift: np.ndarray
    deviation: OwnCourse | None = None


class PairParameters:
    """λ and δ of the pairs that take part in gradient steps, taken out of the tables of all pairs.

    Parameters
    ----------
    genes
        Parameters of all pairs.
    pairs
        The M pairs to take out.
    """

    def __init__(self, genes: GeneParameters, pairs: Pairs):
        self.genes, self.pairs = genes, pairs
        scale, shift = genes.gene_state(pairs)
        self.moves = pairs.basis != BasisFunctions.flat
        with torch.no_grad():
            unit = genes.pair_scales(pairs)
            self.unit = unit if scale is None else unit / scale
        self.log_scale = None if scale is None else scale.log().detach().requires_grad_()
        self.shift = None if shift is None else shift.detach().requires_grad_()

    def free(self) -> list[Tensor]:
        """What gradients are taken of."""
        return [p for p in (self.log_scale, self.shift) if p is not None]

    def values(self) -> tuple[Tensor, Tensor | None]:
        """Scale in units of the data, and shift."""
        scale = self.unit if self.log_scale is None else self.unit * self.log_scale.exp()
        return scale, None if self.shift is None else self.shift * self.moves

    def log_prior(self, weight: Tensor) -> Tensor:
        """Σ_m w_m [log N(δ_m | 0, σ_δ²) + log Γ(λ_m | 1, 1)]."""
        total = weight.new_zeros(())
        if self.log_scale is not None:
            total = total + weight @ log_prior_scale(self.log_scale.exp())
        if self.shift is not None:
            total = total + weight @ self.genes.log_prior_shift(self.shift * self.moves)
        return total

    def store(self) -> None:
        """Put them back."""
        scale = None if self.log_scale is None else self.log_scale.detach().exp()
        self.genes.set_state(
            self.pairs, scale, None if self.shift is None else self.shift.detach()
        )


class GeneBlock:
    """The parameters of a block of genes, and the steps by which they are found.

    Parameters
    ----------
    frozen
        Trained model.
    cells
        Its cells.
    values
        Cells × genes of the block, dense or sparse.
    constants
        Data constants of the block's genes.
    """

    def __init__(
        self,
        frozen: FrozenModel,
        cells: FrozenCells,
        values: np.ndarray | sparse.spmatrix,
        constants: FeatureConstants,
    ):
        self.frozen, self.cells, self.constants, self.values = frozen, cells, constants, values
        dense = values.toarray() if sparse.issparse(values) else np.asarray(values)
        self.x = torch.tensor(dense, dtype=torch.float32)
        self.size_factor = None
        if cells.size_factor is not None:
            self.size_factor = torch.tensor(cells.size_factor, dtype=torch.float32)[:, None]
        self.batch = torch.tensor(cells.batch, dtype=torch.int64)
        self.genes = frozen.gene_parameters(constants)
        self.shape = self.genes.n_genes, frozen.n_basis
        self.integrated: Tensor | None = None
        self.working: PairEvidence | None = None

    def _log_likelihood(self, chosen, z: Tensor, pairs: Pairs, weight: Tensor, scale, shift):
        genes = self.genes
        observations = Observations(
            x=self.x[chosen],
            size_factor=None if self.size_factor is None else self.size_factor[chosen],
            offset=genes.offsets(),
            dispersion=genes.dispersions(),
            dropout_logits=genes.dropout_logits(z),
            batch=self.batch[chosen],
            deviation=genes.deviations(z),
        )
        evaluator = self.frozen.evaluator(z, shift)
        return expected_log_likelihood(
            genes.likelihood, observations, z, evaluator, pairs, weight, scale, shift
        )

    def propose(self) -> Tensor:
        """Set λ and δ of all pairs from the working model.

        Returns
        -------
        Log responsibilities by that model, ``(P, K)``; −∞ for pairs that are not worth a fit.
        """
        integrates = self.frozen.working is not None
        evidence = self._propose_by_evidence() if integrates else self._propose_by_profile()
        log_phi = self.log_responsibilities(evidence)
        listed = shortlist(log_phi, _SHORTLIST if integrates else _SHORTLIST_BY_PROFILE)
        listed &= is_near(log_phi, _LIST_MARGIN, _LIST_SHARE)
        listed[:, BasisFunctions.flat] = True
        return torch.where(listed, log_phi, -torch.inf)

    def _take(self, scale: np.ndarray, shift: np.ndarray | None) -> None:
        """Set λ and δ of all pairs, each ``(P, K)``."""

        def at_pairs(values: np.ndarray) -> Tensor:
            return torch.tensor(values, dtype=torch.float32).reshape(-1)

        shift = at_pairs(shift) if self.genes.translation_invariant else None
        scale = at_pairs(scale).clamp_min(_MIN_SCALE)
        self.genes.set_state(Pairs.all(*self.shape), scale, shift)

    def _propose_by_profile(self) -> Tensor:
        """λ and δ at the optimum on pooled cells, and the log likelihood there, ``(P, K)``."""
        genes, cells = self.genes, self.cells
        pooled = pool_cells(self.values, cells.mean, cells.size_factor)
        shifts = PROFILE_SHIFTS if genes.translation_invariant else None
        model = working_model(genes.likelihood, pooled, self.constants, genes.scale_invariant)
        table = model.table(self.frozen.pool_values, shifts)
        self._take(table.scale, None if shifts is None else shifts[table.shift_index])
        return torch.tensor(table.evidence)

    def _propose_by_evidence(self) -> Tensor:
        """λ and δ as the search for the structure sees them, and the evidence, ``(P, K)``."""
        cells = self.cells
        size = np.ones(len(cells.mean)) if cells.size_factor is None else cells.size_factor
        weight = cells.n_obs / len(cells.mean)
        self.working = PairEvidence(
            self.frozen.working,
            cells.mean[:, 0],
            self.values,
            size,
            self.constants,
            weight,
            np.asarray(cells.batch).astype(int).ravel(),
        )
        table = self.working.table()
        self._take(table.scale, table.shift)
        self.integrated = torch.tensor(table.evidence)
        return self.integrated

    @torch.no_grad()
    def deviate(self, log_phi: Tensor) -> OwnCourse | None:
        """Own deviations, and λ along with them, for log φ ``(P, K)`` and δ as they are."""
        if self.working is None:
            return None
        table, phi = self.working, log_phi.exp().double().numpy()
        return set_own_courses(self.genes, phi, table.working, table.curves, table.z)

    @torch.no_grad()
    def evidence(self, listed: Tensor, *, exact: bool) -> Tensor:
        """Σ_n E_q(z) log p of the listed pairs plus log priors, ``(P, K)``; −∞ elsewhere.

        Where bases are weighed by evidence, λ, δ and own deviations integrated out, it is that.

        Parameters
        ----------
        listed
            Pairs to look at, bool, shape ``(P, K)``.
        exact
            Whether to average over q(z); otherwise its mean is put in.
        """
        if self.integrated is not None:
            return torch.where(listed, self.integrated, -torch.inf)
        pairs = Pairs(*torch.nonzero(listed, as_tuple=True))
        weight = torch.zeros(len(pairs))
        total = torch.zeros(len(pairs), dtype=torch.float64)
        scale, shift = self.genes.pair_scales(pairs), self.genes.pair_shifts(pairs)
        for share, z in self.cells.quadrature() if exact else [(1.0, self.cells.mean)]:
            z = torch.tensor(z, dtype=torch.float32)
            sums = self._log_likelihood(slice(None), z, pairs, weight, scale, shift)
            total += share * sums.per_pair.double()
        total *= self.cells.n_obs / len(self.cells.mean)
        if self.frozen.weighs_priors:
            total += self.genes.log_prior_per_pair(pairs)
        return pairs.scatter(total, *self.shape, fill=-torch.inf)

    def log_responsibilities(self, evidence: Tensor) -> Tensor:
        """Log φ in closed form, with the proportions of the trained genes held."""
        logits = evidence / self.frozen.assignment_weight + torch.tensor(self.frozen.log_weight)
        return torch.log_softmax(logits, dim=1)

    def fit(self, round_: Round, log_phi: Tensor, seed: int) -> None:
        """Gradient steps on λ, δ and the nuisances.

        Parameters
        ----------
        round_
            What to leave out, and how to step.
        log_phi
            Log responsibilities, shape ``(P, K)``.
        seed
            Seed of the minibatches.
        """
        listed = is_near(log_phi, round_.margin) & log_phi.isfinite()
        pairs = Pairs(*torch.nonzero(listed, as_tuple=True))
        flattened = torch.where(listed, log_phi / round_.temperature, -torch.inf)
        weight = pairs.select(torch.softmax(flattened, dim=1)).float()
        prior_weight = weight if self.frozen.weighs_priors else torch.ones_like(weight)
        own = PairParameters(self.genes, pairs)
        tables = {"log_scale", "shift"}
        nuisances = [p for n, p in self.genes.named_parameters() if n not in tables]
        free = [p for p in [*own.free(), *nuisances] if p.requires_grad]
        if not free:
            return
        optimizer = torch.optim.Adam(free, lr=round_.rate, fused=True)
        batches = self.cells.minibatches(seed, round_.n_cells)
        for step in range(round_.n_steps):
            done = step / max(1, round_.n_steps - 1)
            optimizer.param_groups[0]["lr"] = round_.rate ** (1 - done) * round_.last_rate**done
            optimizer.zero_grad()
            sums = self._log_likelihood(*next(batches), pairs, weight, *own.values())
            log_prior = own.log_prior(prior_weight)
            if self.genes.n_batch > 1:
                log_prior = log_prior + log_prior_normal(self.genes.batch_offset).sum()
            (-self.cells.n_obs * sums.per_cell.mean() - log_prior).backward()
            optimizer.step()
        own.store()

    def state(self, log_phi: Tensor) -> GeneFit:
        """What was found."""
        own = self.deviate(log_phi)
        with torch.no_grad():
            scale, shift = self.genes.scales(self.shape[1]), self.genes.shifts()
            shift = torch.zeros(self.shape) if shift is None else shift
        return GeneFit(log_phi.exp().numpy(), scale.double().numpy(), shift.double().numpy(), own)


def fit_gene_block(
    frozen: FrozenModel,
    cells: FrozenCells,
    values: np.ndarray | sparse.spmatrix,
    constants: FeatureConstants,
    seed: int,
) -> GeneFit:
    """Find φ, λ and δ of a block of genes; see the module."""
    block = GeneBlock(frozen, cells, values, constants)
    alone, listed, last = np.random.SeedSequence(seed).generate_state(len(ROUNDS)).tolist()
    log_phi = block.propose()
    block.deviate(log_phi)
    block.fit(ROUNDS[0], log_phi, alone)
    block.fit(ROUNDS[1], log_phi, listed)
    log_phi = block.log_responsibilities(block.evidence(log_phi.isfinite(), exact=False))
    block.fit(ROUNDS[2], log_phi, last)
    evidence = block.evidence(is_near(log_phi, _FINAL_MARGIN), exact=True)
    return block.state(block.log_responsibilities(evidence))
