"""CPU backend: value and gradients in one compiled pass, in single precision."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from basisvae_scvi.likelihood._evaluators import BasisEvaluator, GridBasis, TabulatedBasis
from basisvae_scvi.likelihood._families import Likelihood
from basisvae_scvi.likelihood._mixture import MixtureLogLikelihood, Observations, Pairs
from basisvae_scvi.likelihood._torch import sum_over_chunks

from ._arrays import DIRECT, ON_GRID, TABULATED, Cells, Genes, PairArrays, Sums
from ._checks import check
from ._densities import CASES
from ._kernel import visit_block

# Results are added up block by block in fixed order, so that they do not depend on the number of
# threads. A block is large enough to outweigh the few hundred kB of its own grid of gradients.
_ENTRIES_PER_BLOCK = 2**17
_MAX_BLOCKS = 32
# Entries of the cells × pairs block of directly evaluated bases that is alive at one time.
CHUNK_ELEMENTS = 2**22


@cache
def _workers(n_threads: int, process: int) -> ThreadPoolExecutor:
    # One pool for each process: a fork has none of its parent's threads.
    return ThreadPoolExecutor(n_threads, thread_name_prefix="basisvae")


def _array(tensor: Tensor, dtype=np.float32) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().numpy(), dtype=dtype)


@dataclass(frozen=True)
class _Problem:
    """Inputs of a pass as arrays, and what kind of pass it is."""

    likelihood: Likelihood
    cells: Cells
    genes: Genes
    pairs: PairArrays
    table: np.ndarray
    mode: int

    @property
    def n_cells(self) -> int:
        return self.cells.x.shape[0]

    def blocks(self) -> list[tuple[int, int]]:
        """Ranges of genes with about equally many pairs."""
        first, n_pairs = self.genes.first, len(self.pairs.basis)
        n_blocks = -(-n_pairs * self.n_cells // _ENTRIES_PER_BLOCK)
        n_blocks = int(np.clip(n_blocks, 1, _MAX_BLOCKS))
        targets = np.linspace(0, n_pairs, n_blocks + 1)[1:-1]
        ends = np.searchsorted(first, targets)
        bounds = np.unique(np.concatenate([[0], ends, [len(first) - 1]]))
        return list(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True))

    def empty_sums(self, n_blocks: int, gradient: bool) -> Sums:
        """Zeros of every shape; where no gradients are wanted, of no size."""
        n, m = self.n_cells, len(self.pairs.basis)
        table = (1 if self.mode == DIRECT else n_blocks, *self.table.shape)

        def zeros(*shape: int, dtype=np.float64) -> np.ndarray:
            return np.zeros(shape if gradient else (0,) * len(shape), dtype)

        return Sums(
            cell=np.zeros((n_blocks, n)),
            pair=np.zeros(m),
            weight=zeros(m),
            scale=zeros(m),
            shift=zeros(m),
            offset=zeros(*self.genes.offset.shape, dtype=np.float32),
            dispersion=zeros(*self.genes.dispersion.shape, dtype=np.float32),
            logit=zeros(*self.genes.logit.shape, dtype=np.float32),
            size_factor=zeros(n_blocks, n),
            position=zeros(n_blocks, n),
            table=zeros(*table, dtype=np.float32),
        )

    def run(self, gradient: bool) -> Sums:
        """Visit all blocks, as many at a time as torch uses threads."""
        blocks = self.blocks()
        sums = self.empty_sums(len(blocks), gradient)

        def visit(block: int) -> None:
            visit_block(
                *CASES[self.likelihood.name],
                self.cells,
                self.genes,
                self.pairs,
                self.table,
                self.mode,
                gradient,
                block,
                blocks[block],
                sums,
            )

        n_threads = min(torch.get_num_threads(), len(blocks))
        if n_threads <= 1:
            for block in range(len(blocks)):
                visit(block)
        else:
            list(_workers(n_threads, os.getpid()).map(visit, range(len(blocks))))
        return sums


def _cells(likelihood: Likelihood, observations: Observations, position: Tensor | None) -> Cells:
    x = observations.x
    n = x.shape[0]
    size_factor = observations.size_factor if likelihood.is_count else None
    batch = observations.batch
    return Cells(
        x=_array(x),
        size_factor=np.ones(n, np.float32) if size_factor is None else _array(size_factor.ravel()),
        batch=np.zeros(n, np.uintp) if batch is None else _array(batch, np.uintp),
        position=np.zeros(n, np.float32) if position is None else _array(position.ravel()),
        upstream=np.ones(n, np.float32),
    )


def _genes(
    likelihood: Likelihood, observations: Observations, pairs: Pairs, offset_is_per_cell: bool
) -> Genes:
    n_genes = observations.x.shape[1]
    absent = np.zeros((1, n_genes), np.float32)
    offset, dispersion = observations.offset, observations.dispersion
    logit = observations.dropout_logits
    if offset is not None:
        offset = _array(offset.detach().exp() if likelihood.is_count else offset)
    elif likelihood.is_count:
        offset = absent + 1
    else:
        offset = absent
    first = np.searchsorted(pairs.gene.numpy(), np.arange(n_genes + 1))
    return Genes(
        offset=offset,
        offset_is_per_cell=offset_is_per_cell,
        dispersion=absent + 1 if dispersion is None else _array(dispersion),
        logit=absent if logit is None else _array(logit),
        has_dropout=likelihood.has_dropout,
        first=first.astype(np.int64),
    )


class _Static(NamedTuple):
    """What a pass needs besides tensors."""

    likelihood: Likelihood
    pairs: Pairs
    mode: int
    lower: float
    step: float
    gradient: bool
    offset_is_per_cell: bool


class _Inputs(NamedTuple):
    """The tensors of a pass, in the order in which autograd sees them."""

    x: Tensor
    batch: Tensor | None
    size_factor: Tensor | None
    offset: Tensor | None
    dispersion: Tensor | None
    logit: Tensor | None
    table: Tensor
    z: Tensor
    weight: Tensor
    scale: Tensor
    shift: Tensor | None

    def problem(self, static: _Static) -> _Problem:
        """Arrays of a pass whose objective is the sum over cells."""
        likelihood, pairs, mode, lower, step = static[:5]
        observations = Observations(
            self.x, self.size_factor, self.offset, self.dispersion, self.logit, self.batch
        )
        position = (self.z - lower) / step if mode == ON_GRID else None
        shift = torch.zeros_like(self.scale) if self.shift is None else self.shift / step
        return _Problem(
            likelihood,
            _cells(likelihood, observations, position),
            _genes(likelihood, observations, pairs, static.offset_is_per_cell),
            PairArrays(
                basis=_array(pairs.basis, np.int64),
                weight=_array(self.weight),
                scale=_array(self.scale),
                shift=_array(shift),
                upstream=np.zeros(len(pairs), np.float32),
            ),
            _array(self.table),
            mode,
        )

    def gradients(self, sums: Sums, static: _Static) -> list[Tensor]:
        """Gradients of all inputs but the observations and the batch."""
        by_size = sums.size_factor.sum(0)
        if not static.likelihood.is_count:
            by_size[:] = 0.0
        elif self.size_factor is not None:
            by_size /= self.size_factor.detach().ravel().numpy()
        return [
            torch.from_numpy(by)
            for by in (
                by_size,
                sums.offset,
                sums.dispersion,
                sums.logit,
                sums.table.sum(0),
                sums.position.sum(0) / static.step,
                sums.weight,
                sums.scale,
                sums.shift / static.step,
            )
        ]


class _FusedSums(torch.autograd.Function):
    """Sums of log p whose gradients come from the same pass.

    In training the objective is the mean over cells, whose gradient is one number for all of them:
    then the forward pass has already found all gradients but for that number. For any other
    gradient from above, the backward pass visits all pairs again.
    """

    @staticmethod
    def forward(ctx: Any, static: _Static, *tensors: Tensor | None) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.static, inputs = static, _Inputs(*tensors)
        sums = inputs.problem(static).run(static.gradient)
        if static.gradient:
            ctx.save_for_backward(*tensors, *inputs.gradients(sums, static))
        dtype = inputs.x.dtype
        return torch.from_numpy(sums.cell.sum(0)).to(dtype), torch.from_numpy(sums.pair).to(dtype)

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, by_cell: Tensor | None, by_pair: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        if by_cell is None and by_pair is None:
            return (None,) * len(ctx.needs_input_grad)
        n_inputs, saved = len(_Inputs._fields), ctx.saved_tensors
        inputs, ready = _Inputs(*saved[:n_inputs]), saved[n_inputs:]
        factor = 1.0
        if by_pair is None and bool((by_cell == by_cell[:1]).all()):
            factor = by_cell[0].item() if len(by_cell) else 0.0
        else:
            ready = _gradients_anew(ctx.static, inputs, by_cell, by_pair)
        # Neither the static part nor the observations nor the batch.
        results = [None, None, None]
        for by, like, wanted in zip(ready, inputs[2:], ctx.needs_input_grad[3:], strict=True):
            results.append((by * factor).to(like.dtype).reshape(like.shape) if wanted else None)
        return tuple(results)


def _gradients_anew(
    static: _Static, inputs: _Inputs, by_cell: Tensor | None, by_pair: Tensor | None
) -> list[Tensor]:
    """Gradients for given gradients of the two sums."""
    problem = inputs.problem(static)
    if by_cell is None:
        by_cell = torch.zeros(problem.n_cells)
    if by_pair is None:
        by_pair = torch.zeros(len(static.pairs))
    problem = replace(
        problem,
        cells=problem.cells._replace(upstream=_array(by_cell)),
        pairs=problem.pairs._replace(upstream=_array(by_pair)),
    )
    return inputs.gradients(problem.run(gradient=True), static)


def _fused(
    likelihood: Likelihood,
    observations: Observations,
    z: Tensor,
    basis: BasisEvaluator,
    pairs: Pairs,
    weight: Tensor,
    scale: Tensor,
    shift: Tensor | None,
) -> MixtureLogLikelihood:
    """One fused pass; bases that are neither tabulated nor on a grid are evaluated before it."""
    lower, step = 0.0, 1.0
    if isinstance(basis, GridBasis):
        table, mode, lower, step = basis.values.T, ON_GRID, basis.lower, basis.step
    elif isinstance(basis, TabulatedBasis):
        table, mode, shift = basis.values.T, TABULATED, None
    else:
        table, mode, shift = basis.at_pairs(z, shift, pairs.basis).T, DIRECT, None
    inputs = _Inputs(
        observations.x,
        observations.batch,
        observations.size_factor,
        observations.total_offset,
        observations.dispersion,
        observations.dropout_logits,
        table,
        z if mode == ON_GRID else z.detach(),
        weight,
        scale,
        shift,
    )
    wanted = any(tensor is not None and tensor.requires_grad for tensor in inputs)
    gradient = wanted and torch.is_grad_enabled()
    static = _Static(
        likelihood, pairs, mode, lower, step, gradient, observations.deviation is not None
    )
    check(inputs, static, on_grid=mode == ON_GRID, direct=mode == DIRECT)
    return MixtureLogLikelihood(*_FusedSums.apply(static, *inputs))


def expected_log_likelihood(
    likelihood: Likelihood,
    observations: Observations,
    z: Tensor,
    basis: BasisEvaluator,
    pairs: Pairs,
    weight: Tensor,
    scale: Tensor,
    shift: Tensor | None = None,
    chunk_elements: int = CHUNK_ELEMENTS,
) -> MixtureLogLikelihood:
    """Σ over pairs and over cells of log p; the contract is that of the torch backend.

    Memory is O(N P + P K + K G). Bases of several latent dimensions with shifts are evaluated by
    torch for ``chunk_elements`` entries of cells × pairs at a time, and once more in the backward
    pass.
    """
    if isinstance(basis, GridBasis | TabulatedBasis):
        return _fused(likelihood, observations, z, basis, pairs, weight, scale, shift)

    def visit(part: slice, z: Tensor, weight: Tensor, scale: Tensor, shift: Tensor | None):
        chunk = Pairs(pairs.gene[part], pairs.basis[part])
        return tuple(_fused(likelihood, observations, z, basis, chunk, weight, scale, shift))

    return sum_over_chunks(visit, len(pairs), z, weight, scale, shift, chunk_elements)
