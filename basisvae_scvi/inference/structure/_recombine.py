"""Take over from another structure what is better there.

Of two searches each groups the genes of some region better than the other one, and no move of one
or two curves leads from one grouping of a region to another. So the curves of a region are
exchanged for those that the other structure has for the same genes, and kept if the bound rises,
as in evolutionary clustering (Gribel & Vidal 2019, Pattern Recognit. 88, 569), where all curves of
two parents are mixed at once.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ._moves import Moves, losses
from ._state import Structure
from ._swap import Swap, Trial, concerned

# A region is a curve of the other structure and so many in all of those nearest to it.
_REGION_SIZES = (1, 2, 3, 4, 5)
# A curve goes if this share of its genes or more is in the region: whichever is best.
_SHARES = (0.3, 0.5, 0.7)
# Exchanges that look best before any curve is refitted; these are tried.
_MAX_TRIED = 8
_MAX_PASSES = 20


def recombined(moves: Moves, structure: Structure, other: Structure) -> Structure:
    """The structure with whatever the other one has that raises its bound, cells held.

    Parameters
    ----------
    moves
        Moves on the genes of both.
    structure
        Where to start.
    other
        Another structure of the same genes, for cells at the same places.
    """
    for _ in range(_MAX_PASSES):
        better = moves.first_better(structure, list(_exchanges(moves, structure, other)))
        if better is None:
            break
        structure = better[1]
    return structure


def _exchanges(moves: Moves, structure: Structure, other: Structure) -> Iterator[Trial]:
    """The exchanges that look best, tried."""
    room = moves.genes.n_basis - 1 - structure.n_curves
    looks = []
    for old, new in _regions(structure, other):
        if len(new) - len(old) > room:
            continue
        which = concerned(structure.phi[:, old + 1].sum(1) + other.phi[:, new + 1].sum(1))
        swap = Swap(moves.genes, structure, old, len(new), which)
        gain, _ = swap.gain(other.evidence[which][:, new + 1], other.complexity[new])
        looks.append((gain, new, swap))
    for _, new, swap in sorted(looks, key=lambda look: -look[0])[:_MAX_TRIED]:
        yield swap.refitted("exchange", other.curves[new])


def _regions(structure: Structure, other: Structure) -> list[tuple[np.ndarray, np.ndarray]]:
    """Curves that go, and those of the other structure that come."""
    loss = losses(other)
    np.fill_diagonal(loss, -np.inf)
    order = np.argsort(loss, axis=1, kind="stable")
    n_genes = np.maximum(structure.phi[:, 1:].sum(0), 1e-9)
    found = {}
    for nearest in order:
        for size in _REGION_SIZES:
            new = np.sort(nearest[:size])
            share = structure.phi[:, 1:].T @ other.phi[:, new + 1].sum(1) / n_genes
            for least in _SHARES:
                old = np.flatnonzero(share >= least)
                found[tuple(old), tuple(new)] = old, new
    return list(found.values())
