"""Vector loops over the cells of one tile.

Everything the loops read and write lies in one scratch array, in rows of fixed length at fixed
places: LLVM then knows that the rows do not overlap, and turns each loop into vector instructions.

The first half of a row has a lane for every cell of the tile; the second half has, for counts, a
lane for each cell with a positive count of the gene at hand. The row ``LIVE`` is 0 for lanes that
are only there to fill a vector, or whose cell has its lane in the other half.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numba.extending import overload

from ._densities import QUIET, STAGES, density
from ._simd import ONE, REORDER, ZERO, compiled, load_coefficients, single

# Cells per tile. The rows in use then stay in the first-level cache.
TILE = 256
# Lanes of the widest vector; counts of lanes are rounded up to it.
VECTOR = 16
# One vector more than two tiles: rows at distances of a power of two would fall on the same few
# places of the cache.
LANES = 2 * TILE + VECTOR


def _row(index: int) -> np.uintp:
    # Unsigned, so that numba does not look for negative indices.
    return np.uintp(index * LANES)


# A mean above QUIET with a product μ θ below this still has −log NB(0) < 0.1.
_QUIET_PRODUCT = single(4.0) * QUIET * QUIET
# Rows of the tile, the same for all genes.
POSITION, UPSTREAM, SIZE = map(_row, range(3))
# Rows of the gene: what does not depend on the basis, and sums over the gene's pairs.
LIVE, LIVE_UPSTREAM, X, FACTOR, DISPERSION, LOGIT = map(_row, range(3, 9))
CONSTANT, CONSTANT_BY_DISPERSION, CONSTANT_BY_LOGIT = map(_row, range(9, 12))
DROPOUT_BASE, DROPOUT_UNIT = map(_row, range(12, 14))
SUM_CELL, SUM_POSITION, SUM_FACTOR, SUM_DISPERSION, SUM_LOGIT = map(_row, range(14, 19))
# Rows of the pair.
BASIS, BASIS_SLOPE, BASIS_GRADIENT, FRACTION = map(_row, range(19, 23))
POINT_0, POINT_1, POINT_2, POINT_3 = map(_row, range(23, 27))
# Numbers of the functions of :mod:`._simd`.
NUMBERS = _row(27)
# Results of the stages of a density.
EARLY_0, EARLY_1, EARLY_2, EARLY_3 = map(_row, range(28, 32))
N_ROWS = 32


@compiled(fastmath=REORDER)
def n_loud(rows, n, scale):
    """Number of the first ``n`` lanes that are live and no :class:`QuietZero`.

    −log NB(0) = θ log(1 + μ / θ) is at most μ, and at most √(μ θ), which is 0 for θ → 0.
    """
    total = ZERO
    for i in range(n):
        expected = rows[FACTOR + i] * (scale * rows[BASIS + i]) * rows[LIVE + i]
        is_loud = (expected > QUIET) & (expected * rows[DISPERSION + i] > _QUIET_PRODUCT)
        total += ONE if is_loud else ZERO
    return total


def run_stages(case, k, rows, first, n, scale):
    """Fill the rows ``EARLY`` with what the density needs; compiled code only."""
    raise NotImplementedError("This function exists only in compiled code.")


def _loop_of(stage):
    @njit(inline="always")
    def loop(case, k, rows, first, n, scale):
        for i in range(first, first + n):
            early = stage(
                case,
                k,
                rows[X + i],
                rows[FACTOR + i],
                scale * rows[BASIS + i],
                rows[DISPERSION + i],
                rows[LOGIT + i],
                (rows[EARLY_0 + i], rows[EARLY_1 + i], rows[EARLY_2 + i], rows[EARLY_3 + i]),
            )
            rows[EARLY_0 + i], rows[EARLY_1 + i] = early[0], early[1]
            rows[EARLY_2 + i], rows[EARLY_3 + i] = early[2], early[3]

    return loop


@njit(inline="always")
def _nothing(case, k, rows, first, n, scale):
    pass


_LOOPS = {case: tuple(map(_loop_of, stages)) for case, stages in STAGES.items()}


@overload(run_stages, inline="always")
def _compile_stages(case, k, rows, first, n, scale):
    first_loop, second_loop = (*_LOOPS.get(case.instance_class, ()), _nothing, _nothing)[:2]

    def run(case, k, rows, first, n, scale):
        first_loop(case, k, rows, first, n, scale)
        second_loop(case, k, rows, first, n, scale)

    return run


@compiled(fastmath=REORDER)
def value_row(case, rows, first, n, scale, weight):
    """Add w log p to the sums of the cells; return Σ_n log p."""
    total, k = ZERO, load_coefficients(rows, NUMBERS)
    run_stages(case, k, rows, first, n, scale)
    for i in range(first, first + n):
        log_p, _, _, _, _ = density(
            case,
            k,
            rows[X + i],
            rows[FACTOR + i],
            scale * rows[BASIS + i],
            rows[DISPERSION + i],
            rows[LOGIT + i],
            rows[CONSTANT + i],
            rows[DROPOUT_BASE + i],
            rows[DROPOUT_UNIT + i],
            (rows[EARLY_0 + i], rows[EARLY_1 + i], rows[EARLY_2 + i], rows[EARLY_3 + i]),
        )
        log_p *= rows[LIVE + i]
        total += log_p
        rows[SUM_CELL + i] += weight * log_p
    return total


@compiled(fastmath=REORDER)
def gradient_row(case, rows, first, n, scale, weight, upstream):
    """As :func:`value_row`, with all gradients.

    Parameters
    ----------
    case
        Kind of observation.
    rows
        Scratch array; read and written.
    first, n
        Range of lanes.
    scale, weight
        Of the pair.
    upstream
        Gradient of the objective with respect to the pair's sum over cells; that with respect to
        the sums of the cells is in the row ``LIVE_UPSTREAM``.

    Returns
    -------
    Σ_n log p, and the gradients with respect to the weight and the scale.
    """
    total, by_weight, by_scale = ZERO, ZERO, ZERO
    k = load_coefficients(rows, NUMBERS)
    run_stages(case, k, rows, first, n, scale)
    for i in range(first, first + n):
        log_p, by_signal, by_factor, by_dispersion, by_logit = density(
            case,
            k,
            rows[X + i],
            rows[FACTOR + i],
            scale * rows[BASIS + i],
            rows[DISPERSION + i],
            rows[LOGIT + i],
            rows[CONSTANT + i],
            rows[DROPOUT_BASE + i],
            rows[DROPOUT_UNIT + i],
            (rows[EARLY_0 + i], rows[EARLY_1 + i], rows[EARLY_2 + i], rows[EARLY_3 + i]),
        )
        up = rows[LIVE_UPSTREAM + i] * weight + rows[LIVE + i] * upstream
        by_weight += rows[LIVE_UPSTREAM + i] * log_p
        log_p *= rows[LIVE + i]
        total += log_p
        by_signal *= up
        by_scale += by_signal * rows[BASIS + i]
        rows[SUM_CELL + i] += weight * log_p
        rows[SUM_FACTOR + i] += up * by_factor
        rows[SUM_DISPERSION + i] += up * by_dispersion
        rows[SUM_LOGIT + i] += up * by_logit
        rows[BASIS_GRADIENT + i] = by_signal * scale
    return total, by_weight, by_scale
