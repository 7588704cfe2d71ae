"""One pass over genes, pairs and cells: sums of log p and all their gradients.

A block of genes belongs to one thread. Cells are taken in tiles that fit the first-level cache;
within a tile come the genes, within a gene its pairs, and the cells of a pair are vector lanes.
Memory is O(N P + P K + K G): no table of log p exists.
"""

from __future__ import annotations

import numpy as np

from ._arrays import DIRECT, ON_GRID
from ._grid import add_to_grid, interpolate, shift_gradient
from ._lanes import FIRST, HALF, load_cells, load_gene, whole_vectors
from ._rows import (
    BASIS,
    BASIS_GRADIENT,
    CONSTANT_BY_DISPERSION,
    CONSTANT_BY_LOGIT,
    DROPOUT_UNIT,
    LANES,
    LIVE,
    LIVE_UPSTREAM,
    N_ROWS,
    NUMBERS,
    SUM_CELL,
    SUM_DISPERSION,
    SUM_FACTOR,
    SUM_LOGIT,
    SUM_POSITION,
    TILE,
    VECTOR,
    gradient_row,
    n_loud,
    value_row,
)
from ._saturated import N_KEPT, N_REMEMBERED
from ._simd import COEFFICIENTS, REORDER, ZERO, compiled

_LINE = 64  # bytes
# Counts are few: half a vector of the widest kind is whole on most processors.
_HALF_ROUND = np.uintp(VECTOR // 2 - 1)


@compiled()
def _half_vectors(n):
    return (n + _HALF_ROUND) & ~_HALF_ROUND


@compiled(allocates=True)
def _scratch():
    """All rows, aligned with the lines of the cache: vectors must not straddle two."""
    memory = np.zeros(N_ROWS * LANES + VECTOR, np.float32)
    skipped = (-memory.ctypes.data % _LINE) // memory.itemsize
    rows = memory[skipped : skipped + N_ROWS * LANES]
    for i in range(len(COEFFICIENTS)):
        rows[NUMBERS + np.uintp(i)] = COEFFICIENTS[i]
    return rows


@compiled()
def _copy_basis(rows, values, n):
    for i in range(n):
        rows[BASIS + i] = values[i]


@compiled()
def _spread_basis(rows, cell_of, n_counts):
    """Give the lanes of counts the basis value of their cell."""
    for c in range(n_counts):
        rows[BASIS + HALF + c] = rows[BASIS + cell_of[c]]


@compiled()
def _collect_basis_gradient(rows, cell_of, n_counts):
    """Give the cells of counts the gradient of their lane; their own lane has none."""
    for c in range(n_counts):
        rows[BASIS_GRADIENT + cell_of[c]] = rows[BASIS_GRADIENT + HALF + c]


@compiled()
def _add_basis_gradient(rows, gradient, n):
    for i in range(n):
        gradient[i] += rows[BASIS_GRADIENT + i]


@compiled()
def _collect_sums(rows, cell_of, n, n_counts, weight, upstream):
    """Bring the sums of all lanes to the lanes of the cells, and add the constants' gradients."""
    for half, count in ((FIRST, n), (HALF, n_counts)):
        for i in range(half, half + count):
            total = rows[LIVE_UPSTREAM + i] * weight + rows[LIVE + i] * upstream
            rows[SUM_DISPERSION + i] += total * rows[CONSTANT_BY_DISPERSION + i]
            by_logit = rows[SUM_LOGIT + i] * rows[DROPOUT_UNIT + i]
            rows[SUM_LOGIT + i] = by_logit + total * rows[CONSTANT_BY_LOGIT + i]
    for c in range(n_counts):
        cell, lane = cell_of[c], HALF + c
        rows[SUM_CELL + cell] += rows[SUM_CELL + lane]
        rows[SUM_FACTOR + cell] += rows[SUM_FACTOR + lane]
        rows[SUM_DISPERSION + cell] += rows[SUM_DISPERSION + lane]
        rows[SUM_LOGIT + cell] += rows[SUM_LOGIT + lane]


@compiled(fastmath=REORDER)
def _total(rows, row, n):
    total = ZERO
    for i in range(n):
        total += rows[row + i]
    return total


@compiled()
def _add_to_cells(rows, row, sums, n):
    for i in range(n):
        sums[i] += rows[row + i]


@compiled()
def _add_to_table(rows, row, table, batch, j, n):
    """Add a row to column j of a table with one row, or with one for each batch."""
    if table.shape[0] == 1:
        table[FIRST, j] += _total(rows, row, n)
    else:
        for i in range(n):
            table[batch[i], j] += rows[row + i]


@compiled()
def _store_gene(rows, cells, genes, sums, j, block, start, n, gradient):
    """Add the sums of gene j over its pairs to the results."""
    end = start + n
    _add_to_cells(rows, SUM_CELL, sums.cell[block, start:end], n)
    if not gradient:
        return
    _add_to_cells(rows, SUM_POSITION, sums.position[block, start:end], n)
    _add_to_cells(rows, SUM_FACTOR, sums.size_factor[block, start:end], n)
    batch = cells.batch[start:end]
    if genes.offset_is_per_cell:
        _add_to_cells(rows, SUM_FACTOR, sums.offset[start:end, j], n)
    else:
        _add_to_table(rows, SUM_FACTOR, sums.offset, batch, j, n)
    _add_to_table(rows, SUM_DISPERSION, sums.dispersion, batch, j, n)
    if genes.logit.shape[0] > 1:
        _add_to_cells(rows, SUM_LOGIT, sums.logit[start:end, j], n)
    else:
        sums.logit[FIRST, j] += _total(rows, SUM_LOGIT, n)


@compiled()
def _zero_value(zero_case, quiet_case, rows, n, scale, weight):
    if quiet_case is None:
        return value_row(zero_case, rows, FIRST, n, scale, weight)
    if n_loud(rows, n, scale) > ZERO:
        return value_row(zero_case, rows, FIRST, n, scale, weight)
    return value_row(quiet_case, rows, FIRST, n, scale, weight)


@compiled()
def _zero_gradient(zero_case, quiet_case, rows, n, scale, weight, upstream):
    if quiet_case is None:
        return gradient_row(zero_case, rows, FIRST, n, scale, weight, upstream)
    if n_loud(rows, n, scale) > ZERO:
        return gradient_row(zero_case, rows, FIRST, n, scale, weight, upstream)
    return gradient_row(quiet_case, rows, FIRST, n, scale, weight, upstream)


@compiled()
def _pair_value(zero_case, quiet_case, case, rows, n, n_counts, scale, weight):
    n, n_counts = whole_vectors(n), _half_vectors(n_counts)
    if zero_case is None:
        return value_row(case, rows, FIRST, n, scale, weight)
    of_zeros = _zero_value(zero_case, quiet_case, rows, n, scale, weight)
    return of_zeros + value_row(case, rows, HALF, n_counts, scale, weight)


@compiled()
def _pair_gradient(zero_case, quiet_case, case, rows, n, n_counts, scale, weight, upstream):
    n, n_counts = whole_vectors(n), _half_vectors(n_counts)
    if zero_case is None:
        return gradient_row(case, rows, FIRST, n, scale, weight, upstream)
    a, b, c = _zero_gradient(zero_case, quiet_case, rows, n, scale, weight, upstream)
    d, e, f = gradient_row(case, rows, HALF, n_counts, scale, weight, upstream)
    return a + d, b + e, c + f


@compiled(allocates=True)
def visit_block(
    zero_case,
    quiet_case,
    case,
    cells,
    genes,
    pairs,
    table,
    mode,
    gradient,
    block,
    gene_range,
    sums,
):
    """Visit the pairs of a range of genes, for all cells.

    Parameters
    ----------
    zero_case, quiet_case, case
        Kinds of observation: zeros and zeros of small mean, if they have forms of their own, and
        all others.
    cells, genes, pairs
        Inputs.
    table
        Basis functions: ``(K, N)`` tabulated, ``(K, G)`` on a grid, or ``(M, N)`` direct.
    mode
        Which of these.
    gradient
        Whether gradients are wanted.
    block
        Index of the block in ``sums``.
    gene_range
        First gene, and the first gene after the block.
    sums
        Results, to which this adds.
    """
    rows = _scratch()
    first_points = np.zeros(TILE, np.int32)
    cell_of = np.zeros(TILE + 1, np.uintp)
    memory = np.zeros((genes.dispersion.shape[0], N_REMEMBERED, N_KEPT))
    n_known = np.zeros(genes.dispersion.shape[0], np.intp)
    for start in range(0, cells.x.shape[0], TILE):
        end = min(start + TILE, cells.x.shape[0])
        n, lanes = np.uintp(end - start), whole_vectors(np.uintp(end - start))
        load_cells(rows, cells, np.uintp(start), n)
        for j in range(gene_range[0], gene_range[1]):
            if genes.first[j] == genes.first[j + 1]:
                continue
            n_counts = load_gene(
                zero_case,
                case,
                rows,
                cell_of,
                cells,
                genes,
                j,
                np.uintp(start),
                n,
                memory,
                n_known,
            )
            gene_weight, gene_upstream = ZERO, ZERO
            for m in range(genes.first[j], genes.first[j + 1]):
                row = m if mode == DIRECT else pairs.basis[m]
                if mode == ON_GRID:
                    interpolate(rows, first_points, table[row], pairs.shift[m], lanes)
                else:
                    _copy_basis(rows, table[row, start:end], n)
                _spread_basis(rows, cell_of, n_counts)
                scale, weight, upstream = pairs.scale[m], pairs.weight[m], pairs.upstream[m]
                if not gradient:
                    sums.pair[m] += _pair_value(
                        zero_case, quiet_case, case, rows, n, n_counts, scale, weight
                    )
                    continue
                gene_weight += weight
                gene_upstream += upstream
                total, by_weight, by_scale = _pair_gradient(
                    zero_case, quiet_case, case, rows, n, n_counts, scale, weight, upstream
                )
                sums.pair[m] += total
                sums.weight[m] += by_weight
                sums.scale[m] += by_scale
                _collect_basis_gradient(rows, cell_of, n_counts)
                if mode == ON_GRID:
                    sums.shift[m] += shift_gradient(rows, n)
                    add_to_grid(rows, first_points, sums.table[block, row], n)
                else:
                    part = 0 if mode == DIRECT else block
                    _add_basis_gradient(rows, sums.table[part, row, start:end], n)
            _collect_sums(rows, cell_of, n, n_counts, gene_weight, gene_upstream)
            _store_gene(rows, cells, genes, sums, j, block, np.uintp(start), n, gradient)
