"""Checks of what compiled code reads without looking: shapes, and indices within them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from basisvae_scvi.likelihood._mixture import Pairs

if TYPE_CHECKING:
    from ._backend import _Inputs, _Static

_MIN_GRID = 4


def _check_shape(name: str, tensor: Tensor | None, *allowed: tuple[int, ...]) -> None:
    if tensor is not None and tuple(tensor.shape) not in allowed:
        expected = " or ".join(map(str, allowed))
        raise ValueError(f"{name} has the shape {tuple(tensor.shape)}, not {expected}.")


def _check_range(name: str, indices: Tensor, size: int) -> None:
    if len(indices):
        least, largest = indices.aminmax()
        if least < 0 or largest >= size:
            raise IndexError(f"{name} must lie in [0, {size}).")


def _check_pairs(pairs: Pairs, n_genes: int) -> None:
    gene = pairs.gene
    _check_shape("pairs.basis", pairs.basis, tuple(gene.shape))
    if (gene[1:] < gene[:-1]).any():
        raise ValueError("Pairs must be sorted by gene.")
    if len(gene) and (gene[0] < 0 or gene[-1] >= n_genes):
        raise IndexError(f"pairs.gene must lie in [0, {n_genes}).")


def _check_batches(batch: Tensor | None, n_cells: int, *tables: Tensor | None) -> None:
    rows = [len(table) for table in tables if table is not None and len(table) > 1]
    if not rows:
        return
    if batch is None:
        raise ValueError("A table with one row per batch needs the batch of every cell.")
    _check_shape("batch", batch, (n_cells,))
    _check_range("batch", batch, min(rows))


def check(inputs: _Inputs, static: _Static, on_grid: bool, direct: bool) -> None:
    """Check shapes and indices of a pass.

    Raises
    ------
    ValueError
        If shapes do not fit each other, pairs are not sorted by gene, or a batch is needed.
    IndexError
        If a gene, a basis or a batch is out of range.
    """
    n_cells, n_genes = inputs.x.shape
    pairs = static.pairs
    n_pairs, width = len(pairs), inputs.table.shape[1]
    _check_pairs(pairs, n_genes)
    for name in ("weight", "scale", "shift"):
        _check_shape(name, getattr(inputs, name), (n_pairs,))
    if on_grid:
        _check_shape("z", inputs.z, (n_cells, 1))
        if width < _MIN_GRID:
            raise ValueError(f"A grid needs {_MIN_GRID} points at least; this one has {width}.")
    elif width != n_cells:
        raise ValueError(f"There are basis values for {width} cells, not for {n_cells}.")
    if direct:
        _check_shape("basis values", inputs.table, (n_pairs, n_cells))
    else:
        _check_range("pairs.basis", pairs.basis, len(inputs.table))
    _check_shape("size_factor", inputs.size_factor, (n_cells, 1), (n_cells,))
    for name in ("offset", "dispersion"):
        table = getattr(inputs, name)
        _check_shape(name, table, *(() if table is None else ((len(table), n_genes),)))
    _check_shape("dropout_logits", inputs.logit, (1, n_genes), (n_cells, n_genes))
    per_batch = [inputs.dispersion]
    if static.offset_is_per_cell:
        _check_shape("offset", inputs.offset, (n_cells, n_genes))
    else:
        per_batch.append(inputs.offset)
    _check_batches(inputs.batch, n_cells, *per_batch)
