"""Plain torch backend: any device, float32 or float64; the oracle of all tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ._evaluators import BasisEvaluator
from ._families import Likelihood
from ._mixture import MixtureLogLikelihood, Observations, Pairs

# Entries of the cells × pairs block that is alive at one time. 2^20 float32 entries are 4 MB a
# temporary, which a last-level cache still holds.
CHUNK_ELEMENTS = 2**20


def _chunks(n_pairs: int, n_cells: int, chunk_elements: int) -> Iterator[slice]:
    width = max(1, chunk_elements // max(1, n_cells))
    for start in range(0, n_pairs, width):
        yield slice(start, min(n_pairs, start + width))


def _columns(table: Tensor | None, gene: Tensor) -> Tensor | None:
    return None if table is None else table.index_select(1, gene)


def pair_locations(
    likelihood: Likelihood,
    observations: Observations,
    z: Tensor,
    basis: BasisEvaluator,
    pairs: Pairs,
    scale: Tensor,
    shift: Tensor | None,
) -> Tensor:
    """Location parameter of every cell under every pair, shape ``(N, M)``."""
    signal = basis.at_pairs(z, shift, pairs.basis) * scale
    offset = observations.total_offset
    if observations.deviation is None:
        offset = observations.per_cell(offset)
    offset = _columns(offset, pairs.gene)
    return likelihood.location(signal, observations.size_factor, offset)


def sum_over_chunks(
    visit: Callable[..., tuple[Tensor, Tensor]],
    n_pairs: int,
    z: Tensor,
    weight: Tensor,
    scale: Tensor,
    shift: Tensor | None,
    chunk_elements: int,
) -> MixtureLogLikelihood:
    """Put the sums of chunks of pairs together; more than one chunk is recomputed in backward.

    ``visit(part, z, weight, scale, shift)`` returns the sums per cell and per pair of a slice of
    the pairs, whose weights, scales and shifts it is given.
    """
    parts = list(_chunks(n_pairs, z.shape[0], chunk_elements))
    per_cell, per_pair = z.new_zeros(z.shape[0]), []
    for part in parts:
        shift_part = None if shift is None else shift[part]
        arguments = (part, z, weight[part], scale[part], shift_part)
        recompute = torch.is_grad_enabled() and len(parts) > 1
        cells, sums = (
            checkpoint(visit, *arguments, use_reentrant=False) if recompute else visit(*arguments)
        )
        per_cell = per_cell + cells
        per_pair.append(sums)
    return MixtureLogLikelihood(per_cell, torch.cat(per_pair) if per_pair else weight)


def expected_log_likelihood(
    likelihood: Likelihood,
    observations: Observations,
    z: Tensor,
    basis: BasisEvaluator,
    pairs: Pairs,
    weight: Tensor,
    scale: Tensor,
    shift: Tensor | None = None,
    chunk_elements: int = CHUNK_ELEMENTS,
) -> MixtureLogLikelihood:
    """Σ over pairs and over cells of log p, in chunks of pairs.

    Each chunk is recomputed in the backward pass, so that memory stays
    O(N P + N · chunk) however many bases there are.

    Parameters
    ----------
    likelihood
        Observation model.
    observations
        Minibatch of N cells and P genes with its nuisance parameters.
    z
        Latent coordinates, shape ``(N, Q)``.
    basis
        Basis functions.
    pairs
        The M (gene, basis) pairs to visit.
    weight
        Weight φ of each pair, shape ``(M,)``.
    scale
        Scale of each pair in units of the data, m_j λ_jk, shape ``(M,)``.
    shift
        Shift δ_jk of each pair in units of z, shape ``(M,)``, or ``None``.
    chunk_elements
        Entries of the cells × pairs block to hold at a time.

    Returns
    -------
    Sums per cell (weighted) and per pair (not weighted), both differentiable.
    """
    dispersion = observations.per_cell(observations.dispersion)
    saturated = likelihood.saturated(observations.x, dispersion)

    def visit(part: slice, z: Tensor, weight: Tensor, scale: Tensor, shift: Tensor | None):
        chunk = Pairs(pairs.gene[part], pairs.basis[part])
        location = pair_locations(likelihood, observations, z, basis, chunk, scale, shift)
        x = observations.x.index_select(1, chunk.gene)
        deviance = likelihood.deviance(x, location, _columns(dispersion, chunk.gene))
        dropout = _columns(observations.dropout_logits, chunk.gene)
        log_p = likelihood.combine(x, saturated.index_select(1, chunk.gene), deviance, dropout)
        return log_p @ weight, log_p.sum(0)

    return sum_over_chunks(visit, len(pairs), z, weight, scale, shift, chunk_elements)


def expected_observation(
    likelihood: Likelihood,
    observations: Observations,
    z: Tensor,
    basis: BasisEvaluator,
    pairs: Pairs,
    weight: Tensor,
    scale: Tensor,
    shift: Tensor | None = None,
    chunk_elements: int = CHUNK_ELEMENTS,
) -> Tensor:
    """Expected observation of every cell and gene under q(w), shape ``(N, P)``.

    Σ_k φ_jk E[y_nj | k]; of genes with own deviations, which are the same whatever k, that of the
    mean course Σ_k φ_jk η_njk.

    Parameters are those of :func:`expected_log_likelihood`; ``observations.x`` is only read for
    its shape.
    """
    total, deviates = z.new_zeros(observations.x.shape), observations.deviation is not None
    for part in _chunks(len(pairs), z.shape[0], chunk_elements):
        chunk = Pairs(pairs.gene[part], pairs.basis[part])
        shift_part = None if shift is None else shift[part]
        location = pair_locations(
            likelihood, observations, z, basis, chunk, scale[part], shift_part
        )
        value = likelihood.course if deviates else likelihood.expected
        total.index_add_(1, chunk.gene, value(location) * weight[part])
    return likelihood.expected(likelihood.from_course(total)) if deviates else total
