"""How cells and pairs are laid out in memory for the Triton kernels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# 32 threads hold four cells each: enough independent work per thread to hide latencies, few
# enough registers that a multiprocessor holds a dozen such programs or more.
_MIN_BLOCK, _MAX_BLOCK = 32, 128

# A group of pairs spans this many grid steps of shift, and its lower edge lies this much lower,
# so that rounding never carries a point more than one grid cell beyond the cell of the edge.
_GROUP_WIDTH, _GROUP_MARGIN = 0.95, 0.02


@dataclass(frozen=True)
class CellLayout:
    """Cells in blocks of slots: every block of one batch, neighbours in z side by side.

    Then parameters per batch are constants of a block, and the threads of a block meet
    neighbouring grid points. The last block of each batch may have empty slots.

    Attributes
    ----------
    block
        Slots in a block.
    cell
        Cell of each slot, shape ``(S,)``; 0 for empty slots.
    slot
        Slot of each cell, shape ``(N,)``.
    live
        1 for slots that hold a cell, else 0, shape ``(S,)``.
    row
        Batch of each block, shape ``(n_blocks,)``, int32.
    """

    block: int
    cell: Tensor
    slot: Tensor
    live: Tensor
    row: Tensor

    @property
    def n_blocks(self) -> int:
        """Number of blocks, empty ones included."""
        return self.row.shape[0]

    @classmethod
    def arrange(
        cls, like: Tensor, batch: Tensor | None, n_batch: int, z: Tensor | None
    ) -> CellLayout:
        """Lay out the rows of ``like`` by batch if ``n_batch > 1``, and by ``z`` if given.

        Nothing here waits for the device: with several batches the number of blocks is the
        largest that could be needed.
        """
        n_cells, device = like.shape[0], like.device
        block = _MAX_BLOCK
        while block > _MIN_BLOCK and block // 2 * n_batch >= n_cells:
            block //= 2
        place = torch.arange(n_cells, device=device)
        order = place if z is None else torch.argsort(z.detach().reshape(-1))
        if n_batch == 1:
            n_blocks = -(-n_cells // block)
            slots = place
            row = torch.zeros(n_blocks, dtype=torch.int32, device=device)
        else:
            n_blocks = (n_cells + n_batch * (block - 1)) // block
            order = order[torch.argsort(batch[order], stable=True)]
            counts = torch.zeros(n_batch, dtype=torch.int64, device=device)
            counts.scatter_add_(0, batch, torch.ones_like(batch))
            blocks = (counts + block - 1) // block
            ends = blocks.cumsum(0)
            # From the place of a cell among all to its slot.
            ahead = block * (ends - blocks) - (counts.cumsum(0) - counts)
            slots = place + ahead[batch[order]]
            numbers = torch.arange(n_blocks, device=device)
            row = torch.searchsorted(ends, numbers, right=True).clamp_max(n_batch - 1).int()
        cell = torch.zeros(n_blocks * block, dtype=torch.int64, device=device)
        live = torch.zeros(n_blocks * block, dtype=torch.float32, device=device)
        slot = torch.empty_like(order)
        cell[slots], live[slots], slot[order] = order, 1.0, slots
        return cls(block, cell, slot, live, row)

    def spread(self, table: Tensor) -> Tensor:
        """From ``(N, C)`` to ``(C, S)``, or from ``(N,)`` to ``(S,)``; empty slots hold cell 0."""
        return table.detach().index_select(0, self.cell).t().contiguous()

    def collect(self, table: Tensor) -> Tensor:
        """From ``(C, S)`` to ``(N, C)``, or from ``(S,)`` to ``(N,)``."""
        return table.index_select(-1, self.slot).t()

    def per_batch(self, partial: Tensor, n_batch: int) -> Tensor:
        """Sum partial sums ``(n_blocks, C)`` over the blocks of each batch."""
        if n_batch == 1:
            return partial.sum(0, keepdim=True)
        return partial.new_zeros(n_batch, partial.shape[1]).index_add_(0, self.row, partial)


@dataclass(frozen=True)
class PairLayout:
    """The order in which pairs are visited.

    Attributes
    ----------
    order
        Pair at each place, shape ``(M,)``, or ``None`` for the order they came in.
    group
        Number that changes where a new group begins, shape ``(M,)``: a group has one basis and,
        on a grid, shifts in one interval of less than a grid step.
    edge
        A shift just below that interval, shape ``(M,)``.
    """

    order: Tensor | None
    group: Tensor
    edge: Tensor

    @classmethod
    def as_given(cls, basis: Tensor, like: Tensor) -> PairLayout:
        """No order and no groups."""
        return cls(None, basis, like)

    @classmethod
    def by_basis(cls, basis: Tensor, like: Tensor) -> PairLayout:
        """Basis after basis."""
        group, order = torch.sort(basis, stable=True)
        return cls(order, group, like)

    @classmethod
    def by_shift(
        cls, basis: Tensor, shift: Tensor, step: float, least: Tensor, most: Tensor
    ) -> PairLayout:
        """Basis after basis, and within a basis by intervals of the shift.

        Below ``least`` and above ``most`` all points lie beyond one end of the grid, whatever the
        shift. So there is no need to tell such shifts apart, and one outlier does not cost the
        others their digits.
        """
        width = _GROUP_WIDTH * step
        shift = shift.detach().nan_to_num(0.0, 0.0, 0.0).clamp(least, most)
        least = shift.min()
        interval = ((shift - least) / width).floor().clamp(0, 2**31 - 1)
        group, order = torch.sort(basis * 2**32 + interval.long(), stable=True)
        edge = least + interval * width - _GROUP_MARGIN * step
        return cls(order, group, edge[order])

    def arrange(self, values: Tensor) -> Tensor:
        """Values of the pairs ``(M,)`` in the order of the visit."""
        values = values.detach()
        return (values if self.order is None else values[self.order]).contiguous()

    def restore(self, values: Tensor) -> Tensor:
        """Undo :meth:`arrange` along the last axis."""
        if self.order is None:
            return values
        return torch.empty_like(values).index_copy_(-1, self.order, values)
