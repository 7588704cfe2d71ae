"""The arrays that a pass over genes, pairs and cells reads and adds to."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

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
        exp(c_bj) for counts, c_bj otherwise, shape ``(B, P)`` or ``(1, P)``, or with own
        deviations for every entry, ``(N, P)``.
    offset_is_per_cell
        Whether it is the last.
    dispersion
        θ or σ, shape ``(B, P)`` or ``(1, P)``.
    logit
        Dropout logits, shape ``(N, P)`` or ``(1, P)``.
    has_dropout
        Whether the logits count.
    first
        First pair of each gene, and the number of pairs, shape ``(P + 1,)``.
    """

    offset: np.ndarray
    offset_is_per_cell: bool
    dispersion: np.ndarray
    logit: np.ndarray
    has_dropout: bool
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
