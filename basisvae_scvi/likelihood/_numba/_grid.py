"""Cubic interpolation of a basis function at the cells of one tile, and its transpose.

The cubic is that of :class:`~basisvae_scvi.likelihood.GridBasis`. Reading the grid, arithmetic
and adding to the gradient of the grid are loops of their own.
"""

from __future__ import annotations

import numpy as np

from ._quads import read_quads
from ._rows import (
    BASIS,
    BASIS_GRADIENT,
    BASIS_SLOPE,
    FRACTION,
    POINT_0,
    POINT_1,
    POINT_2,
    POINT_3,
    POSITION,
    SUM_POSITION,
    VECTOR,
)
from ._simd import HALF, ONE, REORDER, STRICT, TWO, ZERO, compiled, single

_THIRD, _SIXTH, _THREE = single(1.0 / 3.0), single(1.0 / 6.0), single(3.0)
_FIRST, _VECTOR = np.uintp(0), np.uintp(VECTOR)
_NEXT, _SECOND, _THIRD_POINT = np.uintp(1), np.uintp(2), np.uintp(3)


@compiled(fastmath=STRICT)  # or else the difference of a position from itself is always 0
def _locate(rows, first_points, shift, n_points, n):
    """First of the four nearest grid points, and how far the cell lies beyond the second."""
    last, last_cell = np.float32(n_points - 1), np.float32(n_points - 3)
    for i in range(n):
        position = rows[POSITION + i] + shift
        # Comparisons in this order send a position that is not a number to the grid's start; its
        # difference from itself carries the failure on.
        inside = position if position > ZERO else ZERO
        inside = inside if inside < last else last
        cell = min(max(np.float32(np.int32(inside)), ONE), last_cell)
        first_points[i] = np.int32(cell - ONE)
        rows[BASIS_SLOPE + i] = ONE if position == inside else ZERO
        rows[FRACTION + i] = inside - cell + (position - position)


@compiled(fastmath=REORDER)
def interpolate(rows, first_points, values, shift, n):
    """Fill the rows of the basis and of its slope in grid units.

    Parameters
    ----------
    rows
        Scratch array.
    first_points
        Receives the first of the four grid points of each cell.
    values
        One basis function on the grid.
    shift
        δ in grid units.
    n
        Number of cells, a multiple of the vector's width.
    """
    _locate(rows, first_points, shift, values.shape[0], n)
    for lanes in range(_FIRST, n, _VECTOR):
        read_quads(values, first_points, lanes, rows, POINT_0, POINT_1, POINT_2, POINT_3)
    for i in range(n):
        t = rows[FRACTION + i]
        y0, y1 = rows[POINT_0 + i], rows[POINT_1 + i]
        y2, y3 = rows[POINT_2 + i], rows[POINT_3 + i]
        c3 = (y3 - y0) * _SIXTH + (y1 - y2) * HALF
        c2 = (y0 + y2) * HALF - y1
        c1 = y2 - y0 * _THIRD - y1 * HALF - y3 * _SIXTH
        rows[BASIS + i] = y1 + t * (c1 + t * (c2 + t * c3))
        rows[BASIS_SLOPE + i] *= c1 + t * (TWO * c2 + t * (_THREE * c3))


@compiled(fastmath=REORDER)
def add_to_grid(rows, first_points, gradient, n):
    """Hand the gradient of each cell's basis value to its four grid points."""
    for i in range(n):
        t, by_basis = rows[FRACTION + i], rows[BASIS_GRADIENT + i]
        before, after, beyond = t + ONE, t - ONE, t - TWO
        outer, inner = by_basis * _SIXTH * t, by_basis * HALF * before
        rows[POINT_0 + i] = -outer * after * beyond
        rows[POINT_1 + i] = inner * after * beyond
        rows[POINT_2 + i] = -inner * t * beyond
        rows[POINT_3 + i] = outer * before * after
    # One by one: cells that are close share some of their points, and a vector that overlaps one
    # that has just been stored would have to wait for it.
    for i in range(n):
        at = np.uintp(first_points[i])
        gradient[at] += rows[POINT_0 + i]
        gradient[at + _NEXT] += rows[POINT_1 + i]
        gradient[at + _SECOND] += rows[POINT_2 + i]
        gradient[at + _THIRD_POINT] += rows[POINT_3 + i]


@compiled(fastmath=REORDER)
def shift_gradient(rows, n):
    """Σ_n of the gradient with respect to z_n + δ, which is also added to that of each cell."""
    total = ZERO
    for i in range(n):
        by_position = rows[BASIS_GRADIENT + i] * rows[BASIS_SLOPE + i]
        rows[SUM_POSITION + i] += by_position
        total += by_position
    return total
