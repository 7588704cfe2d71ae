"""What stays as it is when genes are added to a trained model: its cells, its basis functions."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from basisvae_scvi.likelihood import BasisEvaluator, GridBasis, TabulatedBasis
from basisvae_scvi.module import (
    Z_LIMIT,
    BasisFunctions,
    BasisVAEModule,
    FeatureConstants,
    GeneParameters,
)

from ._evidence_table import WorkingBases
from ._pooling import pool_cells

# Shifts at which the profile table looks; gradient steps go on from the best of them.
PROFILE_SHIFTS = 0.15 * np.arange(-20, 21)
# The grid covers all that shifts can reach with a step like that of training.
_MIN_GRID = 1025
# Standard deviation of q(z) up to which two points are enough.
_NARROW = 0.1
# Modules draw their starting values from torch's generator, which is one for all threads.
_GENERATOR = threading.Lock()


@dataclass(frozen=True)
class FrozenCells:
    """What the genes need to know of the cells.

    Attributes
    ----------
    mean
        Mean of q(z), in the module's units, shape ``(N, Q)``.
    sd
        Standard deviation of q(z), shape ``(N, Q)``; 0 for an observed z.
    size_factor
        s_n, shape ``(N,)``, or ``None`` where they do not apply.
    batch
        Batch of each cell, shape ``(N,)``.
    n_obs
        Number of cells that these N stand for.
    """

    mean: np.ndarray
    sd: np.ndarray
    size_factor: np.ndarray | None
    batch: np.ndarray
    n_obs: int

    def quadrature(self) -> list[tuple[float, np.ndarray]]:
        """Weights, and latent coordinates ``(N, Q)`` that stand for q(z) in averages.

        In one dimension the Gauss-Hermite rule of two points, or of seven where q(z) is wide
        against the bends of the bases; beyond, the cubature rule of 2 Q points, exact for
        polynomials of the third degree.
        """
        if not self.sd.any():
            return [(1.0, self.mean)]
        n_latent = self.mean.shape[1]
        if n_latent == 1:
            is_narrow = np.sqrt(np.mean(self.sd**2)) < _NARROW
            steps, weights = np.polynomial.hermite_e.hermegauss(2 if is_narrow else 7)
            steps, weights = steps[:, None], weights / weights.sum()
        else:
            steps = np.sqrt(n_latent) * np.concatenate([np.eye(n_latent), -np.eye(n_latent)])
            weights = np.full(len(steps), 1.0 / len(steps))
        return [(w, self.mean + s * self.sd) for w, s in zip(weights.tolist(), steps, strict=True)]

    def minibatches(self, seed: int, n_cells: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Endless minibatches ``(cell indices, z)``, each cell with a draw from q(z)."""
        rng = np.random.default_rng(seed)
        n_all, n_latent = self.mean.shape
        size = min(n_all, n_cells)
        order = np.empty(0, dtype=np.int64)
        while True:
            while len(order) < size:
                order = np.concatenate([order, rng.permutation(n_all)])
            chosen, order = order[:size], order[size:]
            z = self.mean[chosen] + rng.standard_normal((size, n_latent)) * self.sd[chosen]
            yield torch.from_numpy(chosen), torch.tensor(z, dtype=torch.float32)


@dataclass(frozen=True)
class FrozenModel:
    """What the genes need to know of a trained module, and of its bases at the cells.

    Attributes
    ----------
    functions
        The basis functions.
    settings
        Arguments of :class:`~basisvae_scvi.module.GeneParameters`, all but the constants.
    reference
        Which batches are those of the reference, shape ``(B,)``.
    shift_prior_sd
        Standard deviation of the prior of δ.
    shape_deviation
        Standard deviation τ of own deviations.
    dropout_layer
        Hidden layer of dropout logits that depend on z, or ``None``.
    grid
        The bases on the range on which they are not constant, shape ``(G, K)``, or ``None``. It is
        the same for all blocks: a grid that followed their shifts would tie genes together.
    working
        The bases as the working model of the search sees them, where bases are weighed by
        evidence, with λ and δ integrated out; else ``None``.
    pool_values
        The bases at the pooled cells under every shift of the profile table, ``(D, K, B)``, where
        that makes the proposals; else ``None``.
    log_weight
        η_k = E log π_k up to a constant, from the trained genes, shape ``(K,)``.
    assignment_weight
        β_w.
    weighs_priors
        Whether the priors of a pair count as far as it is used (``gene_prior="assigned"``).
    """

    functions: BasisFunctions
    settings: dict
    reference: np.ndarray
    shift_prior_sd: float
    shape_deviation: float
    dropout_layer: nn.Module | None
    grid: np.ndarray | None
    working: WorkingBases | None
    pool_values: np.ndarray | None
    log_weight: np.ndarray
    assignment_weight: float
    weighs_priors: bool

    @classmethod
    @torch.no_grad()
    def of(
        cls, module: BasisVAEModule, cells: FrozenCells, *, integrates: bool = False
    ) -> FrozenModel:
        """Copy what matters to the CPU, and evaluate the bases once for all genes.

        Parameters
        ----------
        module
            Trained module.
        cells
            Its cells.
        integrates
            Whether training weighed bases by evidence, with λ and δ integrated out.
        """
        genes = module.genes
        functions = copy.deepcopy(module.basis).cpu().eval().requires_grad_(False)
        is_latent = isinstance(getattr(genes, "dropout", None), nn.Module)
        by_batch = genes.likelihood.has_dispersion and genes.log_dispersion.shape[0] > 1
        weight = module.assignment.proportions.expected_log_weights(module.assignment().double())
        if integrates:
            weight = weight.masked_fill(module.assignment.idle(), -torch.inf)
        grid, pool_values = None, None
        if not integrates:
            pool_values = _values_at_pools(functions, cells, genes.translation_invariant)
        if functions.n_grid:
            points = torch.linspace(-Z_LIMIT, Z_LIMIT, max(_MIN_GRID, functions.n_grid))
            grid = functions(points[:, None]).numpy()
        return cls(
            functions=functions,
            settings={
                "likelihood": genes.likelihood,
                "n_basis": module.n_basis,
                "n_batch": genes.n_batch,
                "n_latent": module.n_latent,
                "scale_invariant": genes.scale_invariant,
                "translation_invariant": genes.translation_invariant,
                "dispersion": "gene-batch" if by_batch else "gene",
                "zero_inflation": "latent" if is_latent else "gene",
                "deviates": genes.deviation is not None,
            },
            reference=genes.batch_is_reference.cpu().numpy().copy(),
            shift_prior_sd=float(genes.shift_prior_sd),
            shape_deviation=float(genes.shape_deviation),
            dropout_layer=copy.deepcopy(genes.dropout.hidden).cpu() if is_latent else None,
            grid=grid,
            working=WorkingBases.of(module) if integrates else None,
            pool_values=pool_values,
            log_weight=weight.cpu().numpy(),
            assignment_weight=module.assignment_weight,
            weighs_priors=module.gene_prior == "assigned",
        )

    @property
    def n_basis(self) -> int:
        """Number of bases K."""
        return self.functions.n_basis

    def gene_parameters(self, constants: FeatureConstants) -> GeneParameters:
        """Parameters of new genes at their starting values."""
        with _GENERATOR, torch.random.fork_rng(devices=[]):
            genes = GeneParameters(constants, **self.settings)
        genes.batch_is_reference.copy_(torch.tensor(self.reference))
        genes.shift_prior_sd.fill_(self.shift_prior_sd)
        genes.shape_deviation.fill_(self.shape_deviation)
        if self.dropout_layer is not None:
            genes.dropout.hidden.load_state_dict(self.dropout_layer.state_dict())
            genes.dropout.hidden.requires_grad_(False)
        return genes

    def evaluator(self, z: Tensor, shift: Tensor | None) -> BasisEvaluator:
        """Bases of a minibatch."""
        if self.grid is None:
            return self.functions.evaluator(z, shift)
        grid = GridBasis(torch.tensor(self.grid), -Z_LIMIT, Z_LIMIT)
        if shift is None:
            return TabulatedBasis(grid.at_pairs(z, None, torch.arange(self.n_basis)))
        return grid


def _values_at_pools(
    functions: BasisFunctions, cells: FrozenCells, translation_invariant: bool
) -> np.ndarray:
    """Basis k at pool b under shift d, shape ``(D, K, B)``, float64."""
    nothing = sparse.csr_matrix((len(cells.mean), 1))
    pools = pool_cells(nothing, cells.mean, cells.size_factor).z
    shifts = PROFILE_SHIFTS if translation_invariant else np.zeros(1)
    points = torch.tensor(pools + shifts[:, None, None], dtype=torch.float32)
    values = functions(points.reshape(-1, points.shape[-1]))
    return values.reshape(len(shifts), len(pools), -1).transpose(1, 2).double().numpy()
