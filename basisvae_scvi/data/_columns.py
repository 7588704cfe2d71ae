"""Reading some genes of a data matrix at a time, whatever its storage."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from ._matrices import BLOCK_ROWS, iter_rows, plain_matrix


class ColumnReader:
    """Blocks of columns of a cells × genes matrix, for some cells in a given order.

    A matrix stored by rows (CSR, in memory or backed) is read once, a block of rows at a time, and
    the wanted entries are kept by columns. Any other is read a block of columns at a time.

    Parameters
    ----------
    matrix
        Cells × genes, of any storage.
    rows
        Row of every wanted cell, each once, shape ``(N,)``.
    columns
        Column of every wanted gene, ascending, shape ``(P,)``.

    Examples
    --------
    >>> import numpy as np
    >>> from basisvae_scvi.data import ColumnReader
    >>> reader = ColumnReader(np.arange(12).reshape(3, 4), rows=[2, 0], columns=[0, 1, 3])
    >>> reader.block(1, 3).tolist()
    [[9.0, 11.0], [1.0, 3.0]]
    """

    def __init__(self, matrix, rows: np.ndarray, columns: np.ndarray):
        self.rows, self.columns = np.asarray(rows), np.asarray(columns)
        self._matrix, self._kept = plain_matrix(matrix), None
        if getattr(self._matrix, "format", None) == "csr":
            self._kept = self._read_rows()

    def _read_rows(self) -> sparse.csc_matrix:
        ascending = np.sort(self.rows)
        parts = [sparse.csr_matrix((0, len(self.columns)), dtype=np.float32)]
        for block_rows, block in iter_rows(self._matrix):
            first, last = np.searchsorted(ascending, [block_rows.start, block_rows.stop])
            if last > first:
                wanted = sparse.csr_matrix(block)[ascending[first:last] - block_rows.start]
                parts.append(wanted[:, self.columns].astype(np.float32))
        return sparse.vstack(parts, format="csc")

    def block(self, start: int, stop: int) -> np.ndarray | sparse.csr_matrix:
        """Wanted genes ``start`` to ``stop`` of all wanted cells, CSR or dense, float32."""
        if self._kept is not None:
            order = np.argsort(np.argsort(self.rows, kind="stable"), kind="stable")
            return self._kept[:, start:stop].tocsr()[order]
        columns = self.columns[start:stop]
        if getattr(self._matrix, "format", None) == "csc":
            part = sparse.csr_matrix(self._matrix[:, columns], dtype=np.float32)
            return part[self.rows]
        return self._dense(columns)

    def _dense(self, columns: np.ndarray) -> np.ndarray:
        """One pass over the rows; of a contiguous block nothing else is read."""
        low, high = int(columns[0]), int(columns[-1]) + 1
        is_span = high - low == len(columns)
        n_all = self._matrix.shape[0]
        values = np.empty((n_all, len(columns)), dtype=np.float32)
        for start in range(0, n_all, BLOCK_ROWS):
            rows = slice(start, min(start + BLOCK_ROWS, n_all))
            part = self._matrix[rows, low:high] if is_span else self._matrix[rows][:, columns]
            values[rows] = np.asarray(part)
        return values[self.rows]
