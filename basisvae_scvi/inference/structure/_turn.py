"""Where to cut a process open whose end looks much like its beginning.

On such a process an order of the cells can begin anywhere: neighbours stay neighbours, but for
those on both sides of the cut. No step of single cells leads from one cut to another, for the
cells would have to pass through all others on the way. So other cuts are tried outright.
"""

from __future__ import annotations

import numpy as np

from ._cells import anchor, place_on_grid
from ._state import SettledGenes, Structure

# Shares of the cells that come before a cut: all round, and finer where it may be a little off.
_CUTS = (0.02, 0.04, 0.07, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.93, 0.96, 0.98)
_MAX_TURNS = 3
# Share of the cells that is looked at on each end.
_END = 0.05
# Ends meet if cells of one lose less at the other than this share of what they lose at worst.
# Chosen: 0.02 to 0.1 of loops cut in the wrong place; 0.2 of one bump with shifts within ±2, where
# nothing is wrong and no cut is better; 0.5 to 1 of open processes.
_NEAR = 0.25
# Of three choices, on three small toys; longer settling finds more than more freedom.
_FREE_ROUNDS, _SETTLE_ROUNDS = 1, 5
_MIN_GAIN = 1.0


def distance_of_ends(genes: SettledGenes, structure: Structure) -> float:
    """What cells of either end lose at the other, as a share of what they lose at worst.

    In nats of log p(x_n | z); near 0 where the ends are neighbours, 1 where they are the farthest.
    """
    z = structure.share @ genes.grid.z
    log_likelihood = genes.cell_log_likelihood(structure)
    low, high = np.quantile(z, [_END, 1.0 - _END])
    ends = [z <= low, z >= high]
    own, other = (np.abs(genes.grid.z - z[end].mean()).argmin() for end in ends)
    within = slice(own, other + 1)
    lost, at_worst = 0.0, 0.0
    for end, here, there in ((ends[0], own, other), (ends[1], other, own)):
        mean = log_likelihood[end].mean(axis=0)
        lost += mean[here] - mean[there]
        at_worst += mean[here] - mean[within].min()
    return float(lost / at_worst) if at_worst > 0 else 1.0


def turned(z: np.ndarray, at: float) -> np.ndarray:
    """Places of cells on a loop that is cut open elsewhere: those before the cut come last.

    Parameters
    ----------
    z
        Places, shape ``(N,)``.
    at
        Where to cut.

    Returns
    -------
    Shape ``(N,)``, of the same mean and standard deviation.
    """
    around = np.where(z < at, z + z.max() - z.min(), z)
    spread = around.std()
    return z.mean() + (around - around.mean()) * (z.std() / spread if spread > 0 else 1.0)


def cut_elsewhere(
    genes: SettledGenes, structure: Structure
) -> tuple[Structure, np.ndarray | None]:
    """Try other cuts of a process whose ends meet, and take the best one if the total rises.

    Parameters
    ----------
    genes
        Genes and cells; their anchor goes along.
    structure
        Where the cells have settled.

    Returns
    -------
    The structure, and the places ``(N,)`` that its cells are held at, ``None`` for those so far.
    """
    places = None
    if not structure.n_curves or genes.fixed_cells:
        return structure, places
    for _ in range(_MAX_TURNS):
        if distance_of_ends(genes, structure) > _NEAR:
            break
        better, start = _best_cut(genes, structure)
        if start is None:
            break
        structure, places = better, start
    return structure, places


def _best_cut(genes: SettledGenes, structure: Structure) -> tuple[Structure, np.ndarray | None]:
    """The best of all cuts with its places, or the structure and ``None`` if none is better."""
    held, best, places = genes.log_anchor, structure, None
    for at in np.quantile(structure.share @ genes.grid.z, _CUTS):
        new, start = _cut(genes, structure, at)
        if new.total > best.total + _MIN_GAIN:
            best, places = new, start
    genes.log_anchor = held if places is None else anchor(genes.grid, places)
    return genes.at(best.share, best), places


def _cut(genes: SettledGenes, structure: Structure, at: float) -> tuple[Structure, np.ndarray]:
    """The structure cut somewhere else, and the places where its cells are then held.

    The composition of libraries stays where it was; it is fitted again once a cut is taken.
    """
    start = turned(structure.share @ genes.grid.z, at)
    new = genes.at(place_on_grid(genes.grid, start), structure)
    new = genes.at(new.share, genes.sweep(new, 2))
    # Cells of both ends may lie mixed on one side of the cut. Nothing holds them for a while.
    genes.log_anchor = np.zeros(1)
    new = genes.settle(new, _FREE_ROUNDS)
    places = new.share @ genes.grid.z
    genes.log_anchor = anchor(genes.grid, places)
    return genes.settle(new, _SETTLE_ROUNDS), places
