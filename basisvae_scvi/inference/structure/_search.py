"""Restarts of the search, side by side; the best takes over what the others group better."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from basisvae_scvi.inference._parallel import run_jobs

from ._grid import CurveGrid
from ._restart import HistoryEntry, Restart, alike
from ._state import SettledGenes, Structure

# How often other curves are tried for every order of the cells before one order is taken. On the
# marrow's lineages the first of these tries gain up to 900 nats, where orders differ by 50 to 300.
_TRIES_PER_ORDER = 2
# How often at most they are tried in every restart, and then once more in the best one.
_TRIES_PER_RESTART, _TRIES_OF_BEST = 8, 8


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
    composition
        Log factor of the size factors over the grid of z, shape ``(G,)``.
    totals
        Total of every restart.
    order_totals
        Total of one restart from every order of the cells, with a few tries of other curves; all
        restarts begin at the best order.
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
    composition: np.ndarray
    totals: list[float]
    order_totals: list[float]
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
    """What one restart has found, where it held the cells, and under which composition."""

    structure: Structure
    places: np.ndarray
    history: list[HistoryEntry]
    composition: np.ndarray
    composition_complexity: float


def _with_own_evidence(genes: SettledGenes) -> SettledGenes:
    """The same genes on evidence of their own, so that searches can run side by side."""
    genes = copy(genes)
    genes.evidence = copy(genes.evidence)
    return genes


def _begin(
    genes: SettledGenes, start: np.ndarray, seed: np.random.SeedSequence, index: int
) -> _Outcome:
    """One restart from cells at these places."""
    restart = Restart(_with_own_evidence(genes), start, np.random.default_rng(seed), index)
    return _outcome(restart, restart.run())


def _go_on(
    genes: SettledGenes,
    outcome: _Outcome,
    seed: np.random.SeedSequence,
    index: int,
    n_tries: int,
    others: list[np.ndarray],
    silent: bool,
) -> _Outcome:
    """What other curves lead to from where a restart has left the cells."""
    genes = _with_own_evidence(genes)
    restart = Restart(genes, outcome.places, np.random.default_rng(seed), index)
    restart.history = list(outcome.history)
    structure = _at(genes, outcome)
    return _outcome(restart, restart.recombine(structure, others, n_tries, silent=silent))


def _at(genes: SettledGenes, outcome: _Outcome) -> Structure:
    """What a restart has found, with the cells pooled where it has left them."""
    genes.evidence.set_composition(outcome.composition, outcome.composition_complexity)
    return genes.at(outcome.structure.share, outcome.structure)


def _outcome(restart: Restart, structure: Structure) -> _Outcome:
    evidence = restart.genes.evidence
    return _Outcome(
        structure,
        restart.places,
        restart.history,
        evidence.composition,
        evidence.composition_complexity,
    )


class _Searches:
    """Searches of the same genes, side by side.

    Parameters
    ----------
    genes
        Genes and cells; left as they are.
    n_restarts
        Number of searches from the order that is taken.
    seed
        Seed.
    n_jobs
        Searches at a time; see :func:`basisvae_scvi.inference.run_jobs`.
    silent
        Whether to show no progress.
    """

    def __init__(
        self, genes: SettledGenes, n_restarts: int, seed: int, n_jobs: int | None, silent: bool
    ):
        self.genes, self.n_restarts = genes, n_restarts
        self.n_jobs, self.silent = n_jobs, silent
        beginning, going_on, self.last = np.random.SeedSequence(seed).spawn(3)
        self.first, self.further = beginning.spawn(n_restarts), going_on.spawn(n_restarts + 1)

    def _side_by_side(
        self, function: Callable, tasks: list[tuple], description: str
    ) -> list[_Outcome]:
        jobs = {"n_tasks": len(tasks), "n_jobs": self.n_jobs, "silent": self.silent}
        return run_jobs(function, tasks, description=description, **jobs)

    def of_orders(self, orders: list[list[np.ndarray]]) -> list[_Outcome]:
        """The first restart from every order, a little further than from where it has settled."""
        tasks = [(self.genes, places[0], self.first[0], 0) for places in orders]
        trials = self._side_by_side(_begin, tasks, "Comparing orders")
        seed = self.further[-1]
        tasks = [(self.genes, trial, seed, 0, _TRIES_PER_ORDER, [], True) for trial in trials]
        return self._side_by_side(_go_on, tasks, "Looking closer at each order")

    def of_restarts(self, starts: list[np.ndarray], begun: list[_Outcome]) -> list[_Outcome]:
        """All restarts from one order, which take turns with its places; some have begun."""
        left = range(len(begun), self.n_restarts)
        tasks = [(self.genes, starts[i % len(starts)], self.first[i], i) for i in left]
        outcomes = begun + self._side_by_side(_begin, tasks, "Searching structure")
        tasks = [
            (self.genes, outcome, self.further[i], i, _TRIES_PER_RESTART, [], True)
            for i, outcome in enumerate(outcomes)
        ]
        return self._side_by_side(_go_on, tasks, "Looking for better curves")

    def of_best(self, outcomes: list[_Outcome], winner: int) -> _Outcome:
        """The best restart with what the others group better, if they differ from it."""
        best = outcomes[winner]
        others = [other.structure for i, other in enumerate(outcomes) if i != winner]
        others = [other.curves for other in others if not alike(other, best.structure)]
        if not others:
            return best
        task = (self.genes, best, self.last, winner, _TRIES_OF_BEST, others, self.silent)
        return run_jobs(_go_on, [task], n_tasks=1, n_jobs=1, silent=True)[0]


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
        One search from each shows which to take; restarts take turns with its places.
    seed
        Seed.
    n_restarts
        Number of searches from the order that is taken.
    n_jobs
        Searches at a time; see :func:`basisvae_scvi.inference.run_jobs`.
    silent
        Whether to show no progress.
    """
    searches = _Searches(genes, n_restarts, seed, n_jobs, silent)
    trials = searches.of_orders(orders) if len(orders) > 1 else []
    order = int(np.argmax([trial.structure.total for trial in trials])) if trials else 0
    starts = orders[order]
    outcomes = searches.of_restarts(starts, trials[order : order + 1])
    winner = int(np.argmax([outcome.structure.total for outcome in outcomes]))
    order_totals = [trial.structure.total for trial in trials or outcomes[:1]]
    level = flat_total(genes, len(starts[0]))
    best = outcomes[winner] = searches.of_best(outcomes, winner)
    _at(genes, best)
    return FoundStructure(
        grid=genes.grid,
        structure=best.structure,
        flat_total=level,
        composition=best.composition,
        totals=[outcome.structure.total for outcome in outcomes],
        order_totals=order_totals,
        assignments=[outcome.structure.phi for outcome in outcomes],
        history=[entry for outcome in outcomes for entry in outcome.history],
        order=order,
        start=winner % len(starts),
        places=best.places,
    )
