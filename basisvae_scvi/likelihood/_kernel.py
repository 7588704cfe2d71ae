"""One pass over genes, pairs and cells: sums of log p and all their gradients.

A block of genes belongs to one thread. Cells are taken in tiles that fit the first-level cache;
within a tile come the genes, within a gene its pairs, and the cells of a pair are vector lanes.
Memory is O(N P + P K + K G): no table of log p exists.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ._rows import (
    BASIS,
    BASIS_GRADIENT,
    BASIS_SLOPE,
    DISPERSION,
    FACTOR,
    INTERPOLATION,
    LOGIT,
    N_ROWS,
    POSITION,
    SATURATED,
    SATURATED_SLOPE,
    SIGMOID,
    SOFTPLUS,
    SUM_CELL,
    SUM_DISPERSION,
    SUM_FACTOR,
    SUM_LOGIT,
    SUM_POSITION,
    TILE,
    UPSTREAM,
    X,
    gradient_row,
    value_row,
)
from ._saturated import N_REMEMBERED, remembered
from ._simd import HALF, ONE, REORDER, TWO, ZERO, compiled, single

# How the basis functions are given.
TABULATED, ON_GRID, DIRECT = 0, 1, 2


class Cells(NamedTuple):
    """Arrays over the cells of a minibatch.

    Attributes
    ----------
    x
        Observations, shape ``(N, P)``.
    size_factor
        s_n, shape ``(N,)``, 1 where it does not apply.
    batch
        Batch of each cell, shape ``(N,)``.
    position
        Latent coordinate in grid units, shape ``(N,)``.
    upstream
        Gradient of the objective with respect to the sum of each cell, shape ``(N,)``.
    """

    x: np.ndarray
    size_factor: np.ndarray
    batch: np.ndarray
    position: np.ndarray
    upstream: np.ndarray


class Genes(NamedTuple):
    """Arrays over the genes.

    Attributes
    ----------
    offset
        exp(c_bj) for counts, c_bj otherwise, shape ``(B, P)`` or ``(1, P)``.
    dispersion
        θ or σ, shape ``(B, P)`` or ``(1, P)``.
    logit
        Dropout logits, shape ``(N, P)`` or ``(1, P)``.
    first
        First pair of each gene, and the number of pairs, shape ``(P + 1,)``.
    """

    offset: np.ndarray
    dispersion: np.ndarray
    logit: np.ndarray
    first: np.ndarray


class PairArrays(NamedTuple):
    """Arrays over the pairs, each of shape ``(M,)``; shifts are in grid units."""

    basis: np.ndarray
    weight: np.ndarray
    scale: np.ndarray
    shift: np.ndarray
    upstream: np.ndarray


class Sums(NamedTuple):
    """What a pass adds up; every block of genes has its own row where cells or bases are summed.

    Attributes
    ----------
    cell, pair
        Weighted log p per cell, ``(blocks, N)``, and log p per pair, ``(M,)``.
    weight, scale, shift
        Gradients per pair, ``(M,)``.
    offset, dispersion, logit
        Gradients of the tables of the genes, in their shapes.
    size_factor, position
        Gradients per cell, ``(blocks, N)``.
    table
        Gradient of the basis table: ``(blocks, K, width)``, or ``(1, M, N)`` for direct values.
    """

    cell: np.ndarray
    pair: np.ndarray
    weight: np.ndarray
    scale: np.ndarray
    shift: np.ndarray
    offset: np.ndarray
    dispersion: np.ndarray
    logit: np.ndarray
    size_factor: np.ndarray
    position: np.ndarray
    table: np.ndarray


_FIRST = np.uintp(0)
_THIRD, _SIXTH = single(1.0 / 3.0), single(1.0 / 6.0)
_THREE = single(3.0)


@compiled()
def _load_cells(rows, cells, start, n):
    for i in range(n):
        rows[POSITION + i] = cells.position[start + i]
        rows[UPSTREAM + i] = cells.upstream[start + i]


@compiled()
def _load_gene(family, rows, cells, genes, j, start, n, memory, additive):
    """Fill the rows of gene j that do not depend on the basis, and clear its sums."""
    memory[:] = np.nan
    wide_offset, wide_dispersion = genes.offset.shape[0] > 1, genes.dispersion.shape[0] > 1
    wide_logit = genes.logit.shape[0] > 1
    logit = genes.logit[0, j]
    softplus = np.float32(math.log1p(math.exp(-abs(logit))))
    sigmoid = np.float32(1.0 / (1.0 + math.exp(logit)))
    for i in range(n):
        cell = start + i
        batch = cells.batch[cell]
        x = cells.x[cell, j]
        offset = genes.offset[batch if wide_offset else _FIRST, j]
        row = batch if wide_dispersion else _FIRST
        theta = genes.dispersion[row, j]
        rows[X + i] = x
        rows[FACTOR + i] = offset if additive else offset * cells.size_factor[cell]
        rows[DISPERSION + i] = theta
        value, slope = remembered(family, x, theta, memory[row])
        rows[SATURATED + i] = value
        rows[SATURATED_SLOPE + i] = slope
        if wide_logit:
            logit = genes.logit[cell, j]
            softplus = np.float32(math.log1p(math.exp(-abs(logit))))
            sigmoid = np.float32(1.0 / (1.0 + math.exp(logit)))
        rows[LOGIT + i] = logit
        rows[SOFTPLUS + i] = softplus
        rows[SIGMOID + i] = sigmoid
        rows[SUM_CELL + i] = ZERO
        rows[SUM_POSITION + i] = ZERO
        rows[SUM_FACTOR + i] = ZERO
        rows[SUM_DISPERSION + i] = ZERO
        rows[SUM_LOGIT + i] = ZERO


@compiled(fastmath=REORDER)
def _copy_basis(rows, values, n):
    for i in range(n):
        rows[BASIS + i] = values[i]


@compiled(fastmath=REORDER)
def _interpolate(rows, first_points, values, shift, n):
    """Cubic through the four nearest grid points, and its slope in grid units.

    ``first_points`` receives the first of the four points of each cell.
    """
    last = np.float32(values.shape[0] - 1)
    last_cell = np.float32(values.shape[0] - 3)
    for i in range(n):
        position = rows[POSITION + i] + shift
        # Comparisons in this order send a position that is not a number to the grid's start; its
        # difference from itself carries the failure on.
        inside = position if position > ZERO else ZERO
        inside = inside if inside < last else last
        cell = min(max(np.float32(np.int32(inside)), ONE), last_cell)
        first_points[i] = np.int32(cell - ONE)
        rows[BASIS_SLOPE + i] = ONE if position == inside else ZERO
        rows[BASIS + i] = inside - cell + (position - position)
    for i in range(n):
        at = np.uintp(first_points[i])
        t = rows[BASIS + i]
        y0, y1 = values[at], values[at + np.uintp(1)]
        y2, y3 = values[at + np.uintp(2)], values[at + np.uintp(3)]
        c3 = (y3 - y0) * _SIXTH + (y1 - y2) * HALF
        c2 = (y0 + y2) * HALF - y1
        c1 = y2 - y0 * _THIRD - y1 * HALF - y3 * _SIXTH
        rows[BASIS + i] = y1 + t * (c1 + t * (c2 + t * c3))
        rows[BASIS_SLOPE + i] *= c1 + t * (TWO * c2 + t * (_THREE * c3))


@compiled(fastmath=REORDER)
def _interpolation_weights(rows, shift, n_points, n):
    last, last_cell = np.float32(n_points - 1), np.float32(n_points - 3)
    for i in range(n):
        position = rows[POSITION + i] + shift
        inside = position if position > ZERO else ZERO
        inside = inside if inside < last else last
        t = inside - min(max(np.float32(np.int32(inside)), ONE), last_cell)
        before, after, beyond = t + ONE, t - ONE, t - TWO
        at = INTERPOLATION + np.uintp(4) * i
        rows[at] = -t * after * beyond * _SIXTH
        rows[at + np.uintp(1)] = before * after * beyond * HALF
        rows[at + np.uintp(2)] = -before * t * beyond * HALF
        rows[at + np.uintp(3)] = before * t * after * _SIXTH


@compiled(fastmath=REORDER)
def _scatter(rows, first_points, gradient, shift, n):
    """Hand the gradient of each cell's basis value to its four grid points."""
    _interpolation_weights(rows, shift, gradient.shape[0], n)
    for i in range(n):
        at = np.uintp(first_points[i])
        weights = INTERPOLATION + np.uintp(4) * i
        by_basis = rows[BASIS_GRADIENT + i]
        g0, g1 = by_basis * rows[weights], by_basis * rows[weights + np.uintp(1)]
        g2, g3 = (
            by_basis * rows[weights + np.uintp(2)],
            by_basis * rows[weights + np.uintp(3)],
        )
        g0, g1 = gradient[at] + g0, gradient[at + np.uintp(1)] + g1
        g2, g3 = gradient[at + np.uintp(2)] + g2, gradient[at + np.uintp(3)] + g3
        gradient[at], gradient[at + np.uintp(1)] = g0, g1
        gradient[at + np.uintp(2)], gradient[at + np.uintp(3)] = g2, g3


@compiled(fastmath=REORDER)
def _shift_gradient(rows, n):
    """Σ_n of the gradient with respect to z_n + δ, which is added to that of each cell."""
    total = ZERO
    for i in range(n):
        by_position = rows[BASIS_GRADIENT + i] * rows[BASIS_SLOPE + i]
        rows[SUM_POSITION + i] += by_position
        total += by_position
    return total


@compiled(fastmath=REORDER)
def _add_basis_gradient(rows, gradient, n):
    for i in range(n):
        gradient[i] += rows[BASIS_GRADIENT + i]


@compiled()
def _store_gene(rows, cells, genes, sums, j, block, start, n, weight, upstream, gradient):
    """Add the sums of gene j over its pairs to the results."""
    wide_offset, wide_dispersion = genes.offset.shape[0] > 1, genes.dispersion.shape[0] > 1
    wide_logit = genes.logit.shape[0] > 1
    for i in range(n):
        sums.cell[block, start + i] += rows[SUM_CELL + i]
    if not gradient:
        return
    for i in range(n):
        cell = start + i
        batch = cells.batch[cell]
        total_upstream = rows[UPSTREAM + i] * weight + upstream
        by_dispersion = rows[SUM_DISPERSION + i] + total_upstream * rows[SATURATED_SLOPE + i]
        sums.position[block, cell] += rows[SUM_POSITION + i]
        sums.size_factor[block, cell] += rows[SUM_FACTOR + i]
        sums.offset[batch if wide_offset else _FIRST, j] += rows[SUM_FACTOR + i]
        sums.dispersion[batch if wide_dispersion else _FIRST, j] += by_dispersion
        sums.logit[cell if wide_logit else _FIRST, j] += rows[SUM_LOGIT + i]


@compiled()
def visit_block(
    family, cells, genes, pairs, table, mode, additive, gradient, block, gene_range, sums
):
    """Visit the pairs of a range of genes, for all cells.

    Parameters
    ----------
    family
        Family of the likelihood.
    cells, genes, pairs
        Inputs.
    table
        Basis functions: ``(K, N)`` tabulated, ``(K, G)`` on a grid, or ``(M, N)`` direct.
    mode
        Which of these.
    additive
        Whether the offset is added (to a mean or a logit) or multiplies (a count).
    gradient
        Whether gradients are wanted.
    block
        Index of the block in ``sums``.
    gene_range
        First gene, and the first gene after the block.
    sums
        Results, to which this adds.
    """
    rows = np.empty(N_ROWS * TILE, np.float32)
    first_points = np.empty(TILE, np.int32)
    memory = np.empty((genes.dispersion.shape[0], N_REMEMBERED, 2))
    for start in range(0, cells.x.shape[0], TILE):
        count = min(TILE, cells.x.shape[0] - start)
        n = np.uintp(count)
        _load_cells(rows, cells, np.uintp(start), n)
        for j in range(gene_range[0], gene_range[1]):
            first, end = genes.first[j], genes.first[j + 1]
            if first == end:
                continue
            _load_gene(family, rows, cells, genes, j, np.uintp(start), n, memory, additive)
            gene_weight, gene_upstream = ZERO, ZERO
            for m in range(first, end):
                row = m if mode == DIRECT else pairs.basis[m]
                if mode == ON_GRID:
                    _interpolate(rows, first_points, table[row], pairs.shift[m], n)
                else:
                    _copy_basis(rows, table[row, start : start + count], n)
                scale, weight, upstream = pairs.scale[m], pairs.weight[m], pairs.upstream[m]
                if not gradient:
                    sums.pair[m] += value_row(family, rows, n, scale, weight)
                    continue
                gene_weight += weight
                gene_upstream += upstream
                total, by_weight, by_scale = gradient_row(
                    family, rows, n, scale, weight, upstream
                )
                sums.pair[m] += total
                sums.weight[m] += by_weight
                sums.scale[m] += by_scale
                if mode == ON_GRID:
                    sums.shift[m] += _shift_gradient(rows, n)
                    _scatter(rows, first_points, sums.table[block, row], pairs.shift[m], n)
                elif mode == TABULATED:
                    _add_basis_gradient(rows, sums.table[block, row, start : start + count], n)
                else:
                    _add_basis_gradient(rows, sums.table[0, row, start : start + count], n)
            _store_gene(
                rows,
                cells,
                genes,
                sums,
                j,
                block,
                np.uintp(start),
                n,
                gene_weight,
                gene_upstream,
                gradient,
            )
