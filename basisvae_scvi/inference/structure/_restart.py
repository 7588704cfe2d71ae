"""One search from one seed: curves, moves, cells, composition."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from sklearn.metrics import v_measure_score

from basisvae_scvi._progress import track

from ._cells import anchor, place_on_grid
from ._deviation import learn_deviation
from ._moves import Moves
from ._recombine import recombined
from ._seeding import Seeding
from ._spread import learn_spread
from ._state import Hyperparameters, SettledGenes, Structure
from ._turn import cut_elsewhere

_ROUNDS = 3
_MIN_GAIN = 1.0
_SETTLE_ROUNDS = 5
_FIRST_SWEEPS = 10
# Other seeds of curves from where the cells are: so many in a row in vain are enough.
_MAX_VAIN_TRIES = 2
# Structures found on the way, the latest ones, that each new one is recombined with as well.
_MAX_OTHERS = 4
_RECOMBINED_ROUNDS = 20
# Groupings that agree to so much lead to the same places of the cells.
_ALIKE = 0.995
# Odds, in nats, that libraries have a composition where size factors are their totals: flat genes
# must then drift as others change. Without them, it is a coin's toss whether a group that a
# composition would make flat is one. Chosen, on few simulations.
_COMPOSITION_ODDS = 10.0


class HistoryEntry(NamedTuple):
    """One accepted move of the search."""

    restart: int
    move: str
    bound: float
    n_used_bases: int


class Restart:
    """One search from one seed.

    Parameters
    ----------
    genes
        Genes and cells.
    places
        Where the cells are held, shape ``(N,)``; elsewhere once they have been turned.
    rng
        Random generator.
    index
        Number of the restart, for the history.
    """

    def __init__(
        self, genes: SettledGenes, places: np.ndarray, rng: np.random.Generator, index: int
    ):
        self.genes, self.places, self.index = genes, places, index
        self.seeding = Seeding(genes, rng)
        genes.log_anchor = anchor(genes.grid, places)
        self.history: list[HistoryEntry] = []

    def _record(self, move: str, structure: Structure) -> None:
        n_used = len(np.unique(structure.label))
        self.history.append(HistoryEntry(self.index, move, structure.total, n_used))

    # -- the search -------------------------------------------------------------------------------

    def run(self) -> Structure:
        """Search from cells at the places where they are held."""
        genes = self.genes
        share = place_on_grid(genes.grid, self.places)
        nothing = np.zeros(len(genes.grid.z))
        genes.set_hyperparameters(Hyperparameters(nothing, 0.0, 1.0, genes.deviation))
        genes.evidence.pool(share)
        structure, moves = self._seeded(share)
        self._record("start", structure)
        structure = self._coarse(structure)
        structure = self._rounds(moves.improve(structure), moves)
        structure, places = cut_elsewhere(genes, structure)
        if places is not None:
            self.places = places
            self._record("turn", structure)
            structure = self._rounds(structure, moves)
        return structure

    def _seeded(self, share: np.ndarray) -> tuple[Structure, Moves]:
        """New curves for cells that are pooled at these places, and the moves from there."""
        genes, seeding = self.genes, self.seeding
        own = seeding.own_evidence()
        structure = genes.sweep(seeding.seeded(genes.n_basis - 1, own), _FIRST_SWEEPS)
        return genes.at(share, structure), Moves(genes, seeding.own_curves, own, self._record)

    def recombine(
        self,
        structure: Structure,
        others: list[np.ndarray],
        n_tries: int,
        *,
        silent: bool = True,
    ) -> Structure:
        """Recombine with other groupings of the genes, as long as that raises the total.

        Curves that were found while the cells were elsewhere are seldom the best ones for where
        the cells have come to, and no move of one or two of them leads from these to those. So
        new ones are found from where the cells are, again and again, and what they do better is
        taken over. Once the same is found again there is nothing to look for.

        Parameters
        ----------
        structure
            Where to start.
        others
            Curves of other searches, each ``(K', C)``.
        n_tries
            How often new curves are found at most, once the others have been tried.
        silent
            Whether to show no progress.
        """
        left, others, n_vain = list(others), list(others), 0
        n_most = len(left) + n_tries
        for _ in track(
            range(n_most), "Looking for better curves", total=n_most, unit="try", silent=silent
        ):
            kept = self.genes.hyperparameters
            given = left.pop(0) if left else None
            new, found_again = self._retried(structure, others, given)
            if new is not structure:
                structure, n_vain = new, 0
                self._record("recombine", structure)
                continue
            structure = self._back(structure, kept)
            if given is None:
                n_vain += 1
                if found_again or n_vain == _MAX_VAIN_TRIES:
                    break
        return structure

    def _retried(
        self, structure: Structure, others: list[np.ndarray], given: np.ndarray | None
    ) -> tuple[Structure, bool]:
        """A better structure by way of given or new curves, or this one; whether it is its own."""
        history, self.history = self.history, []
        other, moves = self._other(structure, given)
        found_again = other.bound < structure.bound + _MIN_GAIN and _alike(other, structure)
        new = structure
        if not found_again:
            child = self._child(structure, other, others, moves)
            if given is None:
                others.append(other.curves)
            if child.total > structure.total + _MIN_GAIN:
                new = self._rounds(child, moves)
        self.history = history
        return new, found_again

    def _other(self, structure: Structure, given: np.ndarray | None) -> tuple[Structure, Moves]:
        """Given or new curves for where the cells are, and the moves there."""
        genes, seeding, share = self.genes, self.seeding, structure.share
        if given is None:
            other, moves = self._seeded(share)
            return moves.improve(other), moves
        other = genes.sweep(genes.structure(given, np.zeros(len(given))), 2)
        moves = Moves(genes, seeding.own_curves, seeding.own_evidence(), self._record)
        return genes.at(share, other), moves

    def _child(
        self, structure: Structure, other: Structure, others: list[np.ndarray], moves: Moves
    ) -> Structure:
        """What two structures make of one another, better than the first one if that can be."""
        genes = self.genes
        first, second = recombined(moves, structure, other), recombined(moves, other, structure)
        if second.bound > first.bound:
            first, second = second, first
        first = recombined(moves, first, second)
        for curves in others[-_MAX_OTHERS:]:
            another = genes.sweep(genes.structure(curves, np.zeros(len(curves))), 2)
            first = recombined(moves, first, another)
        child = moves.settled(first, structure, _RECOMBINED_ROUNDS)
        if child.total <= structure.total + _MIN_GAIN and not _alike(first, second):
            child = moves.settled(second, structure, _RECOMBINED_ROUNDS)
        return child

    def _back(self, structure: Structure, hyperparameters: Hyperparameters) -> Structure:
        """Everything back where it was."""
        self.genes.set_hyperparameters(hyperparameters)
        return self.genes.at(structure.share, structure)

    def _rounds(self, structure: Structure, moves: Moves) -> Structure:
        """Alternate cells and moves until the total stands still."""
        genes = self.genes
        for _ in range(_ROUNDS):
            before = structure
            structure = self._spread(self.compose(self._settled(structure)))
            if len(genes.grid.shifts) > 1:
                structure = moves.merge_settled(structure)
            structure = self._spread(self._settled(moves.improve(structure)))
            self._record("settle", structure)
            if structure.total < before.total + _MIN_GAIN:
                break
        return structure

    def _spread(self, structure: Structure) -> Structure:
        """With the spread of shifts and deviations learned; moves of their own where that pays."""
        for move, learn in (("spread", learn_spread), ("deviate", learn_deviation)):
            new = learn(self.genes, structure)
            if new is not structure:
                self._record(move, new)
            structure = new
        return structure

    def _settled(self, structure: Structure) -> Structure:
        """Settled, or as it was where that lowers the total."""
        settled = self.genes.settle(structure, _SETTLE_ROUNDS)
        if settled.total >= structure.total:
            return settled
        return self.genes.at(structure.share, structure)

    def _coarse(self, structure: Structure) -> Structure:
        """Settle under the smoothest priors, which do not follow cells that are out of place."""
        evidence = self.genes.evidence
        priors = evidence.priors
        evidence.priors = priors[-2:]
        try:
            structure = self.genes.sweep(structure, 2)
            structure = self.genes.at(structure.share, structure)
            return self.genes.settle(structure, _SETTLE_ROUNDS, 2)
        finally:
            evidence.priors = priors

    # -- composition ------------------------------------------------------------------------------

    def compose(self, structure: Structure) -> Structure:
        """Fit the composition to the flat genes, or to a group that it would make flat."""
        genes = self.genes
        if not genes.composes:
            return structure
        evidence = genes.evidence
        best, kept = structure, genes.hyperparameters
        level = [structure.phi[:, 0]]
        level += [level[0] + structure.phi[:, k + 1] for k in range(structure.n_curves)]
        for weight in level:
            if weight.sum() < 1.0:
                continue
            fit = evidence.fit_composition(weight)
            paid = min(fit.complexity + _COMPOSITION_ODDS, 0.0)
            evidence.set_composition(fit.curve, paid)
            new = genes.sweep(genes.structure(structure.curves, structure.complexity), 2)
            new = self._without_idle(new)
            new = replace(new, share=structure.share, total=new.bound - _paid(structure))
            if new.total > best.total + _MIN_GAIN:
                best, kept = new, genes.hyperparameters
        genes.set_hyperparameters(kept)
        if best is not structure:
            self._record("compose", best)
        return best

    def _without_idle(self, new: Structure) -> Structure:
        """Without the curves that the composition has made needless."""
        moves = Moves(self.genes, self.seeding.own_curves, np.zeros(0), lambda *_: None)
        for _ in range(new.n_curves):
            trials = list(moves.deletions(new))
            best = max(trials, key=lambda trial: trial.gain, default=None)
            if best is None or best.gain <= 0:
                break
            new = moves.carried_out(new, [best])
        return new


def _alike(first: Structure, second: Structure) -> bool:
    """Whether two structures group the genes in all but the same way."""
    return v_measure_score(first.label, second.label) >= _ALIKE


def _paid(structure: Structure) -> float:
    return structure.bound - structure.total
