"""Minibatches of cells from a matrix on disk, read in long runs and shuffled in memory.

Reading single rows at random costs more than a training step. Runs of neighbouring rows, in random
order, are read for several minibatches at a time, and the cells of such a window are shuffled.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from anndata.abc import CSRDataset
from scipy import sparse
from scvi import REGISTRY_KEYS
from scvi.data import AnnDataManager
from scvi.dataloaders import DataSplitter
from torch import Tensor

# Longer runs read faster, shorter ones mix better. anndata reads runs of more than seven at once.
_RUN_LENGTH = 12
_BATCHES_PER_WINDOW, _MIN_WINDOW = 16, 1024


def reads_rows_from_disk(manager: AnnDataManager) -> bool:
    """Whether the data matrix is a sparse one, stored by rows, that stays on disk.

    The AnnData need not be a backed one: in one that is in memory, X or a layer may be on disk.
    """
    return isinstance(manager.get_from_registry(REGISTRY_KEYS.X_KEY), CSRDataset)


class BackedBatches:
    """Minibatches in the form of scvi-tools' loaders, each cell once in every pass.

    Parameters
    ----------
    manager
        Manager of backed data; see :func:`reads_rows_from_disk`.
    cells
        Rows to visit, shape ``(N,)``.
    batch_size
        Cells per minibatch; the last may have fewer.
    shuffle
        Whether the order is drawn anew for every pass, from torch's generator.
    """

    def __init__(
        self, manager: AnnDataManager, cells: np.ndarray, batch_size: int, *, shuffle: bool
    ):
        self.cells, self.batch_size, self.shuffle = np.sort(cells), batch_size, shuffle
        # Of the matrix alone the loader reads nothing; all else is small and in memory.
        self.dataset = manager.create_torch_dataset()

    def __len__(self) -> int:
        return math.ceil(len(self.cells) / self.batch_size)

    def _order(self) -> np.ndarray:
        """Cells in the order of their windows: runs of neighbours, shuffled as a whole."""
        if not self.shuffle:
            return self.cells
        starts = np.arange(0, len(self.cells), _RUN_LENGTH)
        starts = starts[torch.randperm(len(starts)).numpy()]
        places = (starts[:, None] + np.arange(_RUN_LENGTH)).ravel()
        return self.cells[places[places < len(self.cells)]]

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        order = self._order()
        n_batches = max(_BATCHES_PER_WINDOW, math.ceil(_MIN_WINDOW / self.batch_size))
        width = n_batches * self.batch_size
        for start in range(0, len(order), width):
            rows = np.sort(order[start : start + width])
            matrix, rest = self._read(rows)
            within = torch.randperm(len(rows)).numpy() if self.shuffle else np.arange(len(rows))
            for first in range(0, len(rows), self.batch_size):
                chosen = within[first : first + self.batch_size]
                batch = {key: torch.from_numpy(value[chosen]) for key, value in rest.items()}
                yield {REGISTRY_KEYS.X_KEY: torch.from_numpy(matrix[chosen].toarray()), **batch}

    def _read(self, rows: np.ndarray) -> tuple[sparse.csr_matrix, dict[str, np.ndarray]]:
        """The matrix and all other data of ascending rows."""
        data, types = self.dataset.data, self.dataset.keys_and_dtypes
        mask = np.zeros(len(self.dataset), dtype=bool)
        mask[rows] = True
        matrix = sparse.csr_matrix(data[REGISTRY_KEYS.X_KEY][mask])
        rest = {
            key: np.asarray(values)[rows].astype(types[key], copy=False)
            for key, values in data.items()
            if key != REGISTRY_KEYS.X_KEY
        }
        return matrix.astype(types[REGISTRY_KEYS.X_KEY], copy=False), rest


class CellSplitter(DataSplitter):
    """scvi-tools' splitter, with :class:`BackedBatches` for sparse matrices on disk.

    Arguments for the data loader, as for several devices or workers, keep scvi-tools' own loader.
    """

    def _batches(self, cells: np.ndarray, *, shuffle: bool) -> BackedBatches | None:
        settings = {k: v for k, v in self.data_loader_kwargs.items() if k != "batch_size"}
        if any(settings.values()) or self.load_sparse_tensor or self.pin_memory or self.drop_last:
            return None
        if not len(cells) or not reads_rows_from_disk(self.adata_manager):
            return None
        batch_size = self.data_loader_kwargs.get("batch_size", 128)
        return BackedBatches(self.adata_manager, cells, batch_size, shuffle=shuffle)

    def train_dataloader(self):
        """Loader of the training cells."""
        batches = self._batches(self.train_idx, shuffle=True)
        return super().train_dataloader() if batches is None else batches

    def val_dataloader(self):
        """Loader of the validation cells."""
        batches = self._batches(self.val_idx, shuffle=False)
        return super().val_dataloader() if batches is None else batches
