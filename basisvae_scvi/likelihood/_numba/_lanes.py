"""What a tile of cells and a gene give to the lanes, whatever the basis.

Zeros keep the lane of their cell in the first half; counts get lanes of their own in the second.
"""

from __future__ import annotations

import math

import numpy as np

from ._rows import (
    BASIS,
    CONSTANT,
    CONSTANT_BY_DISPERSION,
    CONSTANT_BY_LOGIT,
    DISPERSION,
    DROPOUT_BASE,
    DROPOUT_UNIT,
    FACTOR,
    LIVE,
    LIVE_UPSTREAM,
    LOGIT,
    POSITION,
    SIZE,
    SUM_CELL,
    SUM_DISPERSION,
    SUM_FACTOR,
    SUM_LOGIT,
    SUM_POSITION,
    TILE,
    UPSTREAM,
    VECTOR,
    X,
)
from ._saturated import remembered
from ._simd import ONE, ZERO, compiled

# First lane of each half, and what rounds up to whole vectors.
FIRST, HALF, _ROUND = np.uintp(0), np.uintp(TILE), np.uintp(VECTOR - 1)


@compiled()
def whole_vectors(n):
    return (n + _ROUND) & ~_ROUND


@compiled()
def load_cells(rows, cells, start, n):
    for i in range(n):
        rows[POSITION + i] = cells.position[start + i]
        rows[UPSTREAM + i] = cells.upstream[start + i]
        rows[SIZE + i] = cells.size_factor[start + i]
    # Lanes that only fill the last vector must not bring in grid points that no cell touches.
    for i in range(n, whole_vectors(n)):
        rows[POSITION + i] = cells.position[start]


@compiled()
def _clear_sums(rows, first, n):
    for i in range(first, first + n):
        rows[SUM_CELL + i] = ZERO
        rows[SUM_POSITION + i] = ZERO
        rows[SUM_FACTOR + i] = ZERO
        rows[SUM_DISPERSION + i] = ZERO
        rows[SUM_LOGIT + i] = ZERO


@compiled()
def _fill_vectors(rows, first, n):
    """Make the lanes that only fill the last vector harmless."""
    for lane in range(first + n, first + whole_vectors(n)):
        rows[LIVE + lane] = rows[LIVE_UPSTREAM + lane] = rows[LOGIT + lane] = ZERO
        rows[X + lane] = rows[FACTOR + lane] = rows[DISPERSION + lane] = ONE
        rows[BASIS + lane] = ONE
        rows[CONSTANT + lane] = ZERO
        rows[CONSTANT_BY_DISPERSION + lane] = rows[CONSTANT_BY_LOGIT + lane] = ZERO
        rows[DROPOUT_BASE + lane] = rows[DROPOUT_UNIT + lane] = ONE


@compiled()
def _dropout_constants(logit):
    """exp(−|logit|) = b, 1 / (1 + b), log(1 + b), and σ(logit)."""
    base = math.exp(-abs(logit))
    unit = 1.0 / (1.0 + base)
    dropped = unit if logit > 0.0 else base * unit
    return (
        np.float32(base),
        np.float32(unit),
        np.float32(math.log1p(base)),
        np.float32(dropped),
    )


@compiled()
def _load_parameters(rows, cells, genes, j, start, n):
    """Fill the rows of observations, factors, dispersions and logits of gene j."""
    for i in range(n):
        rows[X + i] = cells.x[start + i, j]
    factor = genes.offset[FIRST, j]
    theta, logit = genes.dispersion[FIRST, j], genes.logit[FIRST, j]
    for i in range(n):
        rows[FACTOR + i] = factor * rows[SIZE + i]
        rows[DISPERSION + i] = theta
        rows[LOGIT + i] = logit
    if genes.offset_is_per_cell:
        for i in range(n):
            rows[FACTOR + i] = genes.offset[start + i, j] * rows[SIZE + i]
    elif genes.offset.shape[0] > 1:
        for i in range(n):
            rows[FACTOR + i] = genes.offset[cells.batch[start + i], j] * rows[SIZE + i]
    if genes.dispersion.shape[0] > 1:
        for i in range(n):
            rows[DISPERSION + i] = genes.dispersion[cells.batch[start + i], j]
    if genes.logit.shape[0] > 1:
        for i in range(n):
            rows[LOGIT + i] = genes.logit[start + i, j]


@compiled()
def _load_zeros(rows, genes, n):
    """Fill the remaining rows of lanes in the first half, of which only zeros are live."""
    base, unit, softplus = ZERO, ONE, ZERO
    if genes.has_dropout:
        base, unit, softplus, _ = _dropout_constants(rows[LOGIT])
    for i in range(n):
        live = ONE if rows[X + i] == ZERO else ZERO
        rows[LIVE + i] = live
        rows[LIVE_UPSTREAM + i] = live * rows[UPSTREAM + i]
        rows[CONSTANT + i] = -softplus
        rows[CONSTANT_BY_LOGIT + i] = rows[CONSTANT_BY_DISPERSION + i] = ZERO
        rows[DROPOUT_BASE + i] = base
        rows[DROPOUT_UNIT + i] = unit
    if genes.has_dropout and genes.logit.shape[0] > 1:
        for i in range(n):
            base, unit, softplus, _ = _dropout_constants(rows[LOGIT + i])
            rows[CONSTANT + i] = -softplus
            rows[DROPOUT_BASE + i] = base
            rows[DROPOUT_UNIT + i] = unit


@compiled()
def _find_counts(rows, cell_of, n):
    """Note the cells that are not zero in ``cell_of``; return their number."""
    n_counts = FIRST
    for i in range(n):
        cell_of[n_counts] = i
        n_counts += np.uintp(rows[X + i] != ZERO)
    return n_counts


@compiled()
def _load_counts(case, rows, cell_of, first, n_counts, cells, genes, start, memory, n_known):
    """Fill the rows of the lanes from ``first`` on with the cells listed in ``cell_of``."""
    n_known[:] = 0
    wide_dispersion, wide_logit = genes.dispersion.shape[0] > 1, genes.logit.shape[0] > 1
    _, _, softplus, dropped = _dropout_constants(rows[LOGIT])
    for c in range(n_counts):
        i, lane = cell_of[c], first + c
        x, theta, logit = rows[X + i], rows[DISPERSION + i], rows[LOGIT + i]
        rows[LIVE + lane] = ONE
        rows[LIVE_UPSTREAM + lane] = rows[UPSTREAM + i]
        rows[X + lane] = x
        rows[FACTOR + lane] = rows[FACTOR + i]
        rows[DISPERSION + lane] = theta
        rows[LOGIT + lane] = logit
        row = cells.batch[start + i] if wide_dispersion else FIRST
        value, slope = remembered(case, x, theta, memory[row], n_known[row : row + 1])
        rows[CONSTANT_BY_LOGIT + lane] = ZERO
        rows[DROPOUT_UNIT + lane] = ONE
        if genes.has_dropout:
            if wide_logit:
                _, _, softplus, dropped = _dropout_constants(logit)
            value -= max(logit, ZERO) + softplus
            rows[CONSTANT_BY_LOGIT + lane] = -dropped
        rows[CONSTANT + lane] = value
        rows[CONSTANT_BY_DISPERSION + lane] = slope


@compiled()
def load_gene(zero_case, case, rows, cell_of, cells, genes, j, start, n, memory, n_known):
    """Fill the rows of gene j that do not depend on the basis; return its number of counts.

    Zeros keep the lane of their cell, counts get one in the second half, whose cell is noted in
    ``cell_of``. Without a special form for zeros, all observations keep their lane.
    """
    _load_parameters(rows, cells, genes, j, start, n)
    n_counts = FIRST
    if zero_case is None:
        for i in range(n):
            cell_of[i] = i
        _load_counts(case, rows, cell_of, FIRST, n, cells, genes, start, memory, n_known)
    else:
        _load_zeros(rows, genes, n)
        n_counts = _find_counts(rows, cell_of, n)
        _load_counts(case, rows, cell_of, HALF, n_counts, cells, genes, start, memory, n_known)
    _fill_vectors(rows, FIRST, n)
    _fill_vectors(rows, HALF, n_counts)
    _clear_sums(rows, FIRST, whole_vectors(n))
    _clear_sums(rows, HALF, whole_vectors(n_counts))
    return n_counts
