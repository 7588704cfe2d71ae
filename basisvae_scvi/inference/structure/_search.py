"""Restarts of the search, side by side; the best takes over what the others group better."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri
from scipy.stats import rankdata

from basisvae_scvi._parallel import run_jobs

from ._cells import place_on_grid
from ._grid import CurveGrid
from ._restart import HistoryEntry, Restart
from ._state import Hyperparameters, SettledGenes, Structure

# How often other curves are tried in every search before one is taken, and in that one. With own
# deviations searches of the marrow's lineages end within 10 nats of one another after one try.
_FIRST_TRIES, _FURTHER_TRIES = 1, 6


@dataclass
class FoundStructure:
    """The best structure of all restarts, and what the others found.

    Attributes
    ----------
    grid
        The grid of z, shifts and curves.
    structure
        The best one; its curves are in order of discovery.
    flat_total
        Total of the model in which nothing changes along z.
    hyperparameters
        Composition of the libraries, and prior of the shifts.
    totals
        Total of every restart; that of the best one, which alone is searched on, in the end.
    order_gains
        What every order of the cells explains if each gene has a smooth course of its own, in nats
        over flat genes; 0 for a single one. All restarts begin at the best one.
    assignments
        φ of every restart, each ``(P, K_r + 1)``.
    history
        Accepted moves of all restarts.
    order, start
        Which order, and which places of that order, the best one started from.
    places
        Where it held the cells in the end, shape ``(N,)``: there, or turned.
    """

    grid: CurveGrid
    structure: Structure
    flat_total: float
    hyperparameters: Hyperparameters
    totals: list[float]
    order_gains: list[float]
    assignments: list[np.ndarray]
    history: list[HistoryEntry]
    order: int
    start: int
    places: np.ndarray


def flat_total(genes: SettledGenes, n_cells: int) -> float:
    """Total of the model in which all genes are flat and the cells are anywhere."""
    share = np.exp(np.broadcast_to(genes.log_z_prior, (n_cells, len(genes.grid.z))))
    genes.evidence.set_composition(np.zeros(len(genes.grid.z)), 0.0)
    genes.evidence.pool(share)
    nothing = genes.structure(np.empty((0, len(genes.grid.x))), np.zeros(0))
    return nothing.bound


class _Outcome(NamedTuple):
    """What one restart has found, where it held the cells, and under what all genes share."""

    structure: Structure
    places: np.ndarray
    history: list[HistoryEntry]
    hyperparameters: Hyperparameters


def _with_own_evidence(genes: SettledGenes) -> SettledGenes:
    """The same genes on evidence of their own, so that searches can run side by side."""
    genes = copy(genes)
    genes.evidence = copy(genes.evidence)
    return genes


def _search(
    genes: SettledGenes, start: np.ndarray, seed: np.random.SeedSequence, index: int
) -> _Outcome:
    """One restart from cells at these places, with a few tries of other curves."""
    restart = Restart(_with_own_evidence(genes), start, np.random.default_rng(seed), index)
    return _outcome(restart, restart.recombine(restart.run(), [], _FIRST_TRIES))


def _search_on(
    genes: SettledGenes,
    outcome: _Outcome,
    seed: np.random.SeedSequence,
    index: int,
    others: list[np.ndarray],
    silent: bool,
) -> _Outcome:
    """What other curves lead to from where a restart has left the cells; genes stay there."""
    restart = Restart(genes, outcome.places, np.random.default_rng(seed), index)
    restart.history = list(outcome.history)
    structure = _at(genes, outcome)
    new = restart.recombine(structure, others, _FURTHER_TRIES, silent=silent)
    return _outcome(restart, new)


def _at(genes: SettledGenes, outcome: _Outcome) -> Structure:
    """What a restart has found, with the cells pooled where it has left them."""
    genes.set_hyperparameters(outcome.hyperparameters)
    return genes.at(outcome.structure.share, outcome.structure)


def _outcome(restart: Restart, structure: Structure) -> _Outcome:
    return _Outcome(structure, restart.places, restart.history, restart.genes.hyperparameters)


def order_totals(genes: SettledGenes, orders: list[np.ndarray]) -> list[float]:
    """Log evidence of orders ``(N,)`` of the cells, each spread as N(0, 1), for single genes."""
    if len(orders) == 1:
        return [0.0]
    scores = [ndtri((rankdata(order) - 0.5) / len(order)) for order in orders]
    return [genes.evidence.order_evidence(place_on_grid(genes.grid, z)) for z in scores]


def find_structure(
    genes: SettledGenes,
    orders: list[list[np.ndarray]],
    seed: int,
    n_restarts: int,
    *,
    n_jobs: int | None = None,
    silent: bool = True,
) -> FoundStructure:
    """Search from several starts, keep the best total, and search on from there.

    Parameters
    ----------
    genes
        Genes and cells; left with the cells where the best structure has them.
    orders
        Orders of the cells to choose from, each as one or several lists of their places, ``(N,)``.
        Genes with courses of their own tell which to take; restarts take turns with its places.
    seed
        Seed.
    n_restarts
        Number of searches from the order that is taken.
    n_jobs
        Searches at a time; ``None`` for those of :func:`joblib.parallel_config`.
    silent
        Whether to show no progress.
    """
    *seeds, last = np.random.SeedSequence(seed).spawn(n_restarts + 1)

    def search(tasks: list[tuple[np.ndarray, int]], description: str, unit: str) -> list[_Outcome]:
        return run_jobs(
            _search,
            [(genes, places, seeds[i], i) for places, i in tasks],
            n_tasks=len(tasks),
            n_jobs=n_jobs,
            description=description,
            unit=unit,
            silent=silent,
        )

    level = flat_total(genes, len(orders[0][0]))
    flat_evidence = float(genes.evidence.flat_evidence.sum())
    totals = order_totals(genes, [places[0] for places in orders])
    order = int(np.argmax(totals))
    starts = orders[order]
    tasks = [(starts[i % len(starts)], i) for i in range(n_restarts)]
    outcomes = search(tasks, "Searching structure", "search")
    winner = int(np.argmax([outcome.structure.total for outcome in outcomes]))
    others = [outcome.structure.curves for i, outcome in enumerate(outcomes) if i != winner]
    task = (genes, outcomes[winner], last, winner, others, silent)
    outcomes[winner : winner + 1] = run_jobs(_search_on, [task], n_tasks=1, n_jobs=1, silent=True)
    best = outcomes[winner]
    return FoundStructure(
        grid=genes.grid,
        structure=best.structure,
        flat_total=level,
        hyperparameters=best.hyperparameters,
        totals=[outcome.structure.total for outcome in outcomes],
        order_gains=[total - flat_evidence if len(totals) > 1 else 0.0 for total in totals],
        assignments=[outcome.structure.phi for outcome in outcomes],
        history=[entry for outcome in outcomes for entry in outcome.history],
        order=order,
        start=winner % len(starts),
        places=best.places,
    )
