"""Vector loops over the cells of one tile.

Everything the loops read and write lies in one scratch array, in rows of fixed length at fixed
places: LLVM then knows that the rows do not overlap, and turns each loop into vector instructions.
"""

from __future__ import annotations

import numpy as np

from ._densities import density
from ._simd import HALF, REORDER, ZERO, compiled, single

# Cells per tile: 22 rows of 256 floats are 22 kB, which stay in the first-level cache.
TILE = 256


def _row(index: int) -> np.uintp:
    # Unsigned, so that numba does not look for negative indices.
    return np.uintp(index * TILE)


# Rows of the tile, the same for all genes.
POSITION, UPSTREAM = _row(0), _row(1)
# Rows of the gene: what does not depend on the basis, and sums over the gene's pairs.
X, FACTOR, DISPERSION, LOGIT = map(_row, range(2, 6))
SOFTPLUS, SIGMOID, SATURATED, SATURATED_SLOPE = map(_row, range(6, 10))
SUM_CELL, SUM_POSITION, SUM_FACTOR, SUM_DISPERSION, SUM_LOGIT = map(_row, range(10, 15))
# Rows of the pair. The four weights of the interpolation are interleaved.
BASIS, BASIS_SLOPE, BASIS_GRADIENT, INTERPOLATION = map(_row, range(15, 19))
N_ROWS = 22


@compiled(fastmath=REORDER)
def value_row(family, rows, n, scale, weight):
    """Add w log p to the sums of the cells; return Σ_n log p."""
    total = ZERO
    for i in range(n):
        log_p, _, _, _, _ = density(
            family,
            rows[X + i],
            rows[FACTOR + i],
            scale * rows[BASIS + i],
            rows[DISPERSION + i],
            rows[LOGIT + i],
            rows[SOFTPLUS + i],
            rows[SIGMOID + i],
            rows[SATURATED + i],
        )
        total += log_p
        rows[SUM_CELL + i] += weight * log_p
    return total


@compiled(fastmath=REORDER)
def gradient_row(family, rows, n, scale, weight, upstream):
    """As :func:`value_row`, with all gradients.

    Parameters
    ----------
    family
        Family of the likelihood.
    rows
        Scratch array; read and written.
    n
        Number of cells.
    scale, weight
        Of the pair.
    upstream
        Gradient of the objective with respect to the pair's sum over cells; that with respect to
        the sums of the cells is in the row ``UPSTREAM``.

    Returns
    -------
    Σ_n log p, and the gradients with respect to the weight and the scale.
    """
    total, by_weight, by_scale = ZERO, ZERO, ZERO
    for i in range(n):
        log_p, by_signal, by_factor, by_dispersion, by_logit = density(
            family,
            rows[X + i],
            rows[FACTOR + i],
            scale * rows[BASIS + i],
            rows[DISPERSION + i],
            rows[LOGIT + i],
            rows[SOFTPLUS + i],
            rows[SIGMOID + i],
            rows[SATURATED + i],
        )
        up = rows[UPSTREAM + i] * weight + upstream
        total += log_p
        by_weight += rows[UPSTREAM + i] * log_p
        by_scale += up * by_signal * rows[BASIS + i]
        rows[SUM_CELL + i] += weight * log_p
        rows[SUM_FACTOR + i] += up * by_factor
        rows[SUM_DISPERSION + i] += up * by_dispersion
        rows[SUM_LOGIT + i] += up * by_logit
        rows[BASIS_GRADIENT + i] = up * by_signal * scale
    return total, by_weight, by_scale
