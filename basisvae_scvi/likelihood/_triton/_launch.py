"""Launches of the Triton kernels, and what their partial sums add up to."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from basisvae_scvi.likelihood._families import MEAN_FLOOR
from basisvae_scvi.likelihood._mixture import Pairs

from ._layout import CellLayout, PairLayout

# Programs of a launch: several for every place that a large device has for them, so that they
# finish together; and so few that their partial sums per cell stay small.
_PROGRAMS = 2**15

# Registers of a thread: with the 200 that the compiler likes to take for the grid, too few
# programs fit on a multiprocessor to hide the latency of memory.
_LAUNCH = {"num_warps": 1, "maxnreg": 128, "enable_fp_fusion": True}


@dataclass(frozen=True)
class Problem:
    """All of a call that no gradient goes to."""

    family: str
    kind: str
    x: Tensor
    cells: CellLayout
    pairs: Pairs
    n_batch: int
    grid: tuple[float, float] = (0.0, 0.0)
    gradients: bool = False
    cell_offset: bool = False


@dataclass(frozen=True)
class Inputs:
    """Tensors that gradients go to; ``None`` where there is none."""

    weight: Tensor
    scale: Tensor
    values: Tensor
    shift: Tensor | None
    z: Tensor | None
    size_factor: Tensor | None
    offset: Tensor | None
    dispersion: Tensor | None
    dropout_logits: Tensor | None

    NAMES = (
        "weight",
        "scale",
        "values",
        "shift",
        "z",
        "size_factor",
        "offset",
        "dispersion",
        "dropout_logits",
    )

    def tensors(self) -> tuple[Tensor | None, ...]:
        return tuple(getattr(self, name) for name in self.NAMES)


def _chunks(n_items: int, n_blocks: int) -> tuple[int, int]:
    """Items that one program visits, and number of programs per block of cells."""
    per_chunk = max(16, -(-n_items * n_blocks // _PROGRAMS))
    return per_chunk, -(-n_items // per_chunk)


def _per_batch(table: Tensor | None, like: Tensor) -> tuple[Tensor, int]:
    """A per-batch table for the kernels, and the distance of its rows (0 for a single one)."""
    if table is None:
        return like, 0
    return table.detach().contiguous(), table.shape[1] if table.shape[0] > 1 else 0


def _dropout(logits: Tensor | None, cells: CellLayout) -> tuple[Tensor, bool]:
    """Dropout logits for the kernels, and whether they differ between cells."""
    if logits is None:
        return cells.live, False
    if logits.shape[0] == 1:
        return logits.detach().reshape(-1).contiguous(), False
    return cells.spread(logits), True


@dataclass(frozen=True)
class PairSums:
    """What :func:`pair_sums` writes, with chunks and the order of pairs undone.

    ``by_cell`` is ``(rows, N)``, ``by_pair`` ``(rows, n_blocks, M)``, or ``(rows, 1, M)`` where
    blocks need not be told apart.
    """

    by_cell: Tensor
    by_pair: Tensor
    by_values: Tensor
    by_logit: Tensor
    by_offset: Tensor

    def pairs(self, row: int) -> Tensor:
        return self.by_pair[row].sum(0)


def _values(problem: Problem, values: Tensor) -> Tensor:
    if problem.kind == "grid":
        return values.detach().t().contiguous()
    return problem.cells.spread(values)


def _pair_layout(problem: Problem, shift: Tensor, z: Tensor | None, step: float) -> PairLayout:
    # Without gradients the order of genes is better: their observations stay in the cache.
    basis = problem.pairs.basis
    if problem.kind == "direct" or not problem.gradients:
        return PairLayout.as_given(basis, shift)
    if problem.kind == "table":
        return PairLayout.by_basis(basis, shift)
    (lower, upper), z = problem.grid, z.detach().nan_to_num(0.0, 0.0, 0.0)
    return PairLayout.by_shift(basis, shift, step, lower - z.max(), upper - z.min())


def launch_pairs(
    problem: Problem,
    inputs: Inputs,
    upstream: tuple[Tensor, Tensor, Tensor] | None = None,
) -> PairSums:
    """Run :func:`pair_sums`.

    ``upstream`` has the gradients of the cells ``(N,)`` and of the pairs ``(M,)``, and an integer
    that is not 0 if the kernel need not run; without it the gradients are those of the sum of
    ``per_cell``.
    """
    from . import _kernels as kernels

    cells, n_pairs = problem.cells, len(problem.pairs)
    live = cells.live
    values = _values(problem, inputs.values)
    n_grid = values.shape[1] if problem.kind == "grid" else 0
    lower, upper = problem.grid
    step = (upper - lower) / (n_grid - 1) if n_grid else 1.0
    shift = torch.zeros_like(inputs.scale) if inputs.shift is None else inputs.shift.detach()
    layout = _pair_layout(problem, shift, inputs.z, step)

    by_cell, by_pair, skip = live, inputs.weight, live.new_zeros(1, dtype=torch.int32)
    if upstream is not None:
        by_cell, by_pair, skip = upstream
        by_cell = cells.spread(by_cell) * live
    offset, offset_stride = (
        (cells.spread(inputs.offset), 0)
        if problem.cell_offset
        else _per_batch(inputs.offset, live)
    )
    dispersion, dispersion_stride = _per_batch(inputs.dispersion, live)
    logits, cell_logits = _dropout(inputs.dropout_logits, cells)

    per_chunk, n_chunks = _chunks(n_pairs, cells.n_blocks)
    rows = (3, 5) if problem.gradients else (1, 1)
    result = PairSums(
        by_cell=live.new_empty(rows[0], n_chunks, len(live)),
        by_pair=live.new_empty(rows[1], cells.n_blocks, n_pairs),
        by_values=torch.zeros_like(values) if problem.gradients else live,
        by_logit=torch.zeros_like(logits) if problem.gradients and cell_logits else live,
        by_offset=torch.zeros_like(offset) if problem.gradients and problem.cell_offset else live,
    )
    with torch.cuda.device_of(live):
        kernels.pair_sums[(cells.n_blocks, n_chunks)](
            problem.x,
            live if inputs.z is None else cells.spread(inputs.z.reshape(-1)),
            live if inputs.size_factor is None else cells.spread(inputs.size_factor.reshape(-1)),
            by_cell.contiguous(),
            live,
            cells.row,
            values,
            offset,
            dispersion,
            logits,
            layout.arrange(problem.pairs.gene),
            layout.arrange(problem.pairs.basis),
            layout.group,
            layout.edge,
            layout.arrange(shift),
            layout.arrange(inputs.scale),
            layout.arrange(inputs.weight),
            layout.arrange(by_pair),
            skip,
            result.by_cell,
            result.by_pair,
            result.by_values,
            result.by_logit,
            result.by_offset,
            lower,
            upper,
            1.0 / step,
            MEAN_FLOOR,
            n_pairs,
            per_chunk,
            n_grid,
            offset_stride,
            dispersion_stride,
            FAMILY=problem.family,
            KIND=problem.kind,
            GRADIENTS=problem.gradients,
            UPSTREAM=upstream is not None,
            OFFSET=inputs.offset is not None,
            DISPERSION=inputs.dispersion is not None,
            CELL_LOGITS=cell_logits,
            CELL_OFFSET=problem.cell_offset,
            BLOCK=cells.block,
            **_LAUNCH,
        )
    blocks = result.by_pair if problem.n_batch > 1 else result.by_pair.sum(1, keepdim=True)
    return PairSums(
        cells.collect(result.by_cell.sum(1)).t(),
        layout.restore(blocks),
        result.by_values,
        result.by_logit,
        result.by_offset,
    )


def _per_gene(problem: Problem, partial: Tensor, like: Tensor) -> Tensor:
    """Sum ``(n_blocks, M)`` to the shape of a per-batch table, ``(B, P)`` or ``(1, P)``."""
    rows = problem.cells.per_batch(partial, problem.n_batch if like.shape[0] > 1 else 1)
    return torch.zeros_like(like).index_add_(1, problem.pairs.gene, rows)


def pair_gradients(problem: Problem, inputs: Inputs, sums: PairSums) -> tuple[Tensor | None, ...]:
    """Gradients in the order of ``Inputs.NAMES``."""
    cells, additive = problem.cells, problem.family in ("gaussian", "bernoulli")
    by = dict.fromkeys(Inputs.NAMES)
    by["weight"], by["scale"] = sums.pairs(0), sums.pairs(1)
    if problem.kind == "grid":
        by["values"] = sums.by_values.t()
        by["z"] = sums.by_cell[1].reshape(inputs.z.shape)
        if inputs.shift is not None:
            by["shift"] = sums.pairs(2)
    else:
        by["values"] = cells.collect(sums.by_values)
    if inputs.size_factor is not None:
        by["size_factor"] = sums.by_cell[2][:, None] / inputs.size_factor
    if problem.cell_offset:
        by["offset"] = cells.collect(sums.by_offset)
    elif inputs.offset is not None:
        partial = sums.by_pair[4] if additive else sums.by_pair[1] * inputs.scale
        by["offset"] = _per_gene(problem, partial, inputs.offset)
    if inputs.dispersion is not None:
        by["dispersion"] = _per_gene(problem, sums.by_pair[3], inputs.dispersion)
    if inputs.dropout_logits is not None:
        if inputs.dropout_logits.shape[0] > 1:
            by["dropout_logits"] = cells.collect(sums.by_logit)
        else:
            by["dropout_logits"] = _per_gene(problem, sums.by_pair[4], inputs.dropout_logits)
    return tuple(by[name] for name in Inputs.NAMES)


def launch_genes(
    problem: Problem,
    weight: Tensor,
    dispersion: Tensor | None,
    dropout_logits: Tensor | None,
    upstream: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor | None, ...]:
    """Run :func:`gene_sums`.

    Without ``upstream`` the sums per cell ``(N,)`` and per gene ``(P,)``; with the upstream
    gradients of these the gradients of weight, dispersion and dropout logits.
    """
    from . import _kernels as kernels

    cells, n_genes = problem.cells, len(weight)
    live, gradients = cells.live, upstream is not None
    table, stride = _per_batch(dispersion, live)
    logits, cell_logits = _dropout(dropout_logits, cells)
    per_chunk, n_chunks = _chunks(n_genes, cells.n_blocks)
    by_cell = live.new_empty(1 if gradients else n_chunks, len(live))
    by_gene = live.new_empty(3 if gradients else 1, cells.n_blocks, n_genes)
    by_logit = torch.empty_like(logits) if gradients and cell_logits else live
    with torch.cuda.device_of(live):
        kernels.gene_sums[(cells.n_blocks, n_chunks)](
            problem.x,
            cells.spread(upstream[0]) * live if gradients else live,
            live,
            cells.row,
            table,
            logits,
            weight.contiguous(),
            upstream[1].contiguous() if gradients else weight,
            by_cell,
            by_gene,
            by_logit,
            n_genes,
            per_chunk,
            stride,
            FAMILY=problem.family,
            GRADIENTS=gradients,
            CELL_LOGITS=cell_logits,
            BLOCK=cells.block,
            **_LAUNCH,
        )
    if not gradients:
        return cells.collect(by_cell.sum(0)), by_gene[0].sum(0)
    by_dispersion = by_dropout = None
    if dispersion is not None:
        n_rows = problem.n_batch if dispersion.shape[0] > 1 else 1
        by_dispersion = cells.per_batch(by_gene[1], n_rows)
    if dropout_logits is not None:
        by_dropout = cells.collect(by_logit) if cell_logits else by_gene[2].sum(0, keepdim=True)
    return by_gene[0].sum(0), by_dispersion, by_dropout
