"""Triton backend: fused sums over cells and pairs on a CUDA device, in float32."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from basisvae_scvi.likelihood._evaluators import BasisEvaluator, GridBasis, TabulatedBasis
from basisvae_scvi.likelihood._families import Likelihood
from basisvae_scvi.likelihood._mixture import MixtureLogLikelihood, Observations, Pairs

from ._launch import Inputs, Problem, launch_genes, launch_pairs, pair_gradients
from ._layout import CellLayout

# Entries of the cells × pairs table to hold at a time for evaluators without a kernel.
CHUNK_ELEMENTS = 2**22

# Partial sums per pair that one launch may write: at most 5 × 64 MB. Only large minibatches with
# millions of pairs need more than one launch.
_PARTIAL_SUMS = 2**24


def is_available() -> bool:
    """Whether Triton can be imported. Its kernels also need a CUDA device, or its interpreter."""
    return find_spec("triton") is not None


class _PairSums(torch.autograd.Function):
    """Sums per cell and per pair of the part of log p that depends on the location.

    The forward pass already takes the gradients of the sum of ``per_cell``. Training needs no
    others, up to a factor; the backward pass computes anew whatever differs from that.
    """

    @staticmethod
    def forward(ctx: Any, problem: Problem, *tensors: Tensor | None) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        inputs = Inputs(*tensors)
        sums = launch_pairs(problem, inputs)
        if problem.gradients:
            ctx.problem = problem
            ctx.save_for_backward(*tensors, *pair_gradients(problem, inputs, sums))
        return sums.by_cell[0], sums.pairs(0)

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, by_cell: Tensor | None, by_pair: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        if by_cell is None and by_pair is None:
            return (None,) * (1 + len(Inputs.NAMES))
        saved = ctx.saved_tensors
        inputs, ready = Inputs(*saved[: len(Inputs.NAMES)]), saved[len(Inputs.NAMES) :]
        constant = None
        if by_pair is None:
            if by_cell.stride(0) == 0:
                return (None, *(None if g is None else g * by_cell[0] for g in ready))
            # Whether it is constant only the device knows. It decides there, without waiting.
            constant = (by_cell == by_cell[0]).all()
        skip = inputs.weight.new_zeros(1, dtype=torch.int32)
        upstream = (
            inputs.weight.new_zeros(ctx.problem.cells.slot.shape) if by_cell is None else by_cell,
            torch.zeros_like(inputs.weight) if by_pair is None else by_pair,
            skip if constant is None else constant.int().reshape(1),
        )
        anew = pair_gradients(ctx.problem, inputs, launch_pairs(ctx.problem, inputs, upstream))
        if constant is not None:
            anew = tuple(
                None if g is None else torch.where(constant, r * by_cell[0], g)
                for r, g in zip(ready, anew, strict=True)
            )
        return None, *anew


class _GeneSums(torch.autograd.Function):
    """Sums per cell and per gene of the part of log p that no basis enters."""

    @staticmethod
    def forward(
        ctx: Any,
        problem: Problem,
        weight: Tensor,
        dispersion: Tensor | None,
        dropout_logits: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.problem = problem
        ctx.save_for_backward(weight, dispersion, dropout_logits)
        return launch_genes(problem, weight, dispersion, dropout_logits)

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, by_cell: Tensor | None, by_gene: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        if by_cell is None and by_gene is None:
            return None, None, None, None
        problem = ctx.problem
        weight, dispersion, dropout_logits = ctx.saved_tensors
        if by_cell is None:
            by_cell = weight.new_zeros(problem.cells.slot.shape)
        by_gene = torch.zeros_like(weight) if by_gene is None else by_gene
        upstream = (by_cell, by_gene)
        return None, *launch_genes(problem, weight, dispersion, dropout_logits, upstream)


def _constant_sums(
    likelihood: Likelihood, problem: Problem, observations: Observations, weight: Tensor
) -> tuple[Tensor, Tensor] | None:
    """Sums per cell ``(N,)`` and per gene ``(P,)`` of the part of log p that no basis enters.

    ``weight`` is the sum of the weights of each gene's pairs, shape ``(P,)``.
    """
    if likelihood.is_count:
        dispersion, dropout = observations.dispersion, observations.dropout_logits
        return _GeneSums.apply(problem, weight, dispersion, dropout)
    if not likelihood.has_dispersion:
        return None
    rows = likelihood.saturated(observations.dispersion, observations.dispersion)
    per_cell = (rows * weight).sum(1)
    n_cells = observations.x.shape[0]
    if len(rows) == 1:
        return per_cell.expand(n_cells), rows[0] * n_cells
    batch = observations.batch
    counts = rows.new_zeros(len(rows)).index_add_(0, batch, rows.new_ones(n_cells))
    return per_cell[batch], (rows * counts[:, None]).sum(0)


def _check(observations: Observations) -> None:
    from . import _densities as densities

    x = observations.x
    if densities.triton is None:
        raise ImportError("The Triton backend needs the package triton.")
    if not (x.is_cuda or densities.INTERPRETED):
        raise ValueError(f"The Triton backend needs a CUDA device; the data are on {x.device}.")
    if x.dtype != torch.float32:
        raise TypeError(f"The Triton backend computes in float32; the data are {x.dtype}.")


def _pair_sums(
    problem: Problem,
    likelihood: Likelihood,
    observations: Observations,
    weight: Tensor,
    scale: Tensor,
    values: Tensor,
    shift: Tensor | None = None,
    z: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """:class:`_PairSums` of what the family uses, with gradients where any is wanted."""
    inputs = Inputs(
        weight,
        scale,
        values,
        shift,
        z,
        observations.size_factor if likelihood.is_count else None,
        observations.total_offset,
        observations.dispersion if likelihood.has_dispersion else None,
        observations.dropout_logits if likelihood.has_dropout else None,
    ).tensors()
    wanted = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in inputs)
    return _PairSums.apply(replace(problem, gradients=wanted), *inputs)


def _n_batch(likelihood: Likelihood, observations: Observations) -> int:
    """Rows of the largest per-batch table."""
    tables = [observations.dispersion]
    if observations.deviation is None:
        tables.append(observations.offset)
    n_batch = max([1, *(table.shape[0] for table in tables if table is not None)])
    if n_batch > 1 and observations.batch is None:
        raise ValueError("A table with one row per batch needs the batch of every cell.")
    return n_batch


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
    """Σ over pairs and over cells of log p by fused kernels, float32 on a CUDA device.

    Nothing of size cells × pairs is stored: besides the inputs and their gradients, a copy of the
    observations, and partial sums of at most 400 MB. The forward pass takes the gradients of the
    sum of ``per_cell`` along the way; a backward pass whose upstream gradient is one constant for
    all cells only scales them, and any other runs the kernel once more.

    Gradients of basis values and of dropout logits per cell, and sums over the pairs of a gene,
    are gathered with atomic additions, so their last digits vary from run to run. All other
    results are the same in every run.

    Parameters
    ----------
    likelihood
        Observation model.
    observations
        Minibatch of N cells and P genes with its nuisance parameters.
    z
        Latent coordinates, shape ``(N, Q)``.
    basis
        Basis functions. :class:`TabulatedBasis` and :class:`GridBasis` are read by the kernel;
        any other is evaluated in chunks of pairs, which the backward pass evaluates again.
    pairs
        The M (gene, basis) pairs to visit.
    weight
        Weight φ of each pair, shape ``(M,)``.
    scale
        Scale of each pair in units of the data, m_j λ_jk, shape ``(M,)``.
    shift
        Shift δ_jk of each pair in units of z, shape ``(M,)``, or ``None``.
    chunk_elements
        Entries of the cells × pairs table to hold at a time, for other evaluators.

    Returns
    -------
    Sums per cell (weighted) and per pair (not weighted), both differentiable.
    """
    _check(observations)
    n_cells, n_genes = observations.x.shape
    if not (n_cells and len(pairs)):
        return MixtureLogLikelihood(z.new_zeros(n_cells), torch.zeros_like(weight))
    n_batch = _n_batch(likelihood, observations)
    on_grid, tabulated = isinstance(basis, GridBasis), isinstance(basis, TabulatedBasis)
    cells = CellLayout.arrange(observations.x, observations.batch, n_batch, z if on_grid else None)
    common = Problem(
        likelihood.name,
        "",
        cells.spread(observations.x),
        cells,
        pairs,
        n_batch,
        cell_offset=observations.deviation is not None,
    )

    def visit(part: slice) -> tuple[Tensor, Tensor]:
        some, shift_part = Pairs(pairs.gene[part], pairs.basis[part]), None
        if shift is not None:
            shift_part = shift[part]
        arguments = (likelihood, observations, weight[part], scale[part])
        if on_grid:
            problem = replace(common, kind="grid", pairs=some, grid=(basis.lower, basis.upper))
            return _pair_sums(problem, *arguments, basis.values, shift_part, z)
        if tabulated:
            return _pair_sums(replace(common, kind="table", pairs=some), *arguments, basis.values)
        values = basis.at_pairs(z, shift_part, some.basis)
        return _pair_sums(replace(common, kind="direct", pairs=some), *arguments, values)

    by_kernel = on_grid or tabulated
    width = max(1, _PARTIAL_SUMS // cells.n_blocks if by_kernel else chunk_elements // n_cells)
    recompute = torch.is_grad_enabled() and not by_kernel
    sums = []
    for start in range(0, len(pairs), width):
        part = slice(start, start + width)
        sums.append(
            checkpoint(visit, part, use_reentrant=False, preserve_rng_state=False)
            if recompute
            else visit(part)
        )
    per_cell, per_pair = sum(s[0] for s in sums), torch.cat([s[1] for s in sums])
    gene_weight = weight.new_zeros(n_genes).index_add(0, pairs.gene, weight)
    constant = _constant_sums(likelihood, common, observations, gene_weight)
    if constant is not None:
        per_cell, per_pair = per_cell + constant[0], per_pair + constant[1][pairs.gene]
    return MixtureLogLikelihood(per_cell, per_pair)
