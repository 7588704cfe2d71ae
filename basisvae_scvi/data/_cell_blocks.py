"""Chosen cells as minibatches, read when they are asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

_CELLS_PER_BLOCK = 2048


class CellBlocks(Sequence):
    """Minibatches of chosen cells, in ascending order.

    Parameters
    ----------
    dataset
        What the data loaders read from; takes a list of indices.
    cells
        Indices of the cells.
    """

    def __init__(self, dataset: Dataset, cells: np.ndarray):
        self.dataset, self.cells = dataset, np.sort(cells)

    def __len__(self) -> int:
        return math.ceil(len(self.cells) / _CELLS_PER_BLOCK)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        if not 0 <= index < len(self):
            raise IndexError(f"block {index} of {len(self)}")
        start = index * _CELLS_PER_BLOCK
        values = self.dataset[self.cells[start : start + _CELLS_PER_BLOCK].tolist()]
        return {key: torch.as_tensor(np.asarray(value)) for key, value in values.items()}
