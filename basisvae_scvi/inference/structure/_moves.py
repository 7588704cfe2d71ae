"""Moves between structures: delete, merge and split curves; each is kept only if the bound rises.

A move is tried on the genes it concerns, all others held, and carried out in full only when that
looks well. Two curves that differ by a shift alone are each known on their own window of z only,
and on a z whose metric is slightly off they are not shifts of one another. So merges are tried
once more with cells that may move: then one refitted curve straightens z, and the total decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from ._spread import learn_spread
from ._state import SettledGenes, Structure
from ._swap import Swap, Trial, concerned

_FULL_SWEEPS = 6
_MIN_GAIN = 0.5
_MAX_PASSES = 60
# Best candidates of a pass that are carried out in full before the pass counts as failed.
_MAX_FULL_TRIALS = 4
_MAX_SETTLED_TRIALS = 5
_SETTLE_ROUNDS = 8
# Partners of each curve for a merge, nearest first.
_MAX_PARTNERS = 4
_MAX_PAIRS = 16
# Groups that a split is tried on, those whose worst genes miss most.
_MAX_SPLIT_GROUPS = 10
_SPLITS_PER_GROUP = 2


class Moves:
    """Moves on the structure of settled genes.

    Parameters
    ----------
    genes
        The genes and cells.
    own_curves
        Curves for single genes: a function of gene indices, returning ``(n, C)``.
    own_evidence
        What each gene would reach with a curve of its own, shape ``(P,)``.
    record
        Called with the name of every accepted move and the structure after it.
    """

    def __init__(
        self,
        genes: SettledGenes,
        own_curves: Callable[[np.ndarray], np.ndarray],
        own_evidence: np.ndarray,
        record: Callable[[str, Structure], None],
    ):
        self.genes, self.own_curves, self.own_evidence = genes, own_curves, own_evidence
        self.record = record

    # -- tried on a few genes ---------------------------------------------------------------------

    def attempt(
        self, name: str, structure: Structure, old: list[int], new: np.ndarray, which: np.ndarray
    ) -> Trial:
        """Curves ``old`` replaced by ``new`` ``(K', C)``, refitted, for the genes concerned."""
        return Swap(self.genes, structure, old, len(new), which).refitted(name, new)

    @staticmethod
    def _concerned(structure: Structure, curves: list[int]) -> np.ndarray:
        return concerned(structure.phi[:, np.add(curves, 1)].sum(1))

    def deletions(self, structure: Structure) -> Iterator[Trial]:
        """Every curve taken away."""
        nothing = np.empty((0, structure.curves.shape[1]))
        for k in range(structure.n_curves):
            genes = self._concerned(structure, [k])
            yield self.attempt("delete", structure, [k], nothing, genes)

    def merges(self, structure: Structure) -> Iterator[Trial]:
        """Pairs of near curves replaced by one, refitted from that of the larger group."""
        n_genes = structure.phi[:, 1:].sum(0)
        for pair in self._near_pairs(structure):
            larger = max(pair, key=lambda k: n_genes[k])
            genes = self._concerned(structure, list(pair))
            yield self.attempt("merge", structure, list(pair), structure.curves[[larger]], genes)

    def _near_pairs(self, structure: Structure) -> list[tuple[int, int]]:
        """Pairs (a < b) in which the genes of one lose least under the curve of the other.

        Of many groups the nearest pairs only: the others are far from being one.
        """
        n, loss = structure.n_curves, losses(structure)
        np.fill_diagonal(loss, np.inf)
        near = np.argsort(loss, axis=1, kind="stable")[:, : min(_MAX_PARTNERS, n - 1)]
        pairs = {(min(a, b), max(a, b)) for a in range(n) for b in near[a].tolist()}
        return sorted(pairs, key=lambda pair: loss[pair])[:_MAX_PAIRS]

    def splits(self, structure: Structure) -> Iterator[Trial]:
        """A group given a second curve: that of the gene its first one fits worst."""
        rows = np.arange(len(structure.phi))
        gap = self.own_evidence - structure.evidence[rows, structure.label]
        worst_first = np.argsort(-gap, kind="stable")
        columns = list(dict.fromkeys(structure.label[worst_first].tolist()))
        for column in columns[:_MAX_SPLIT_GROUPS]:
            members = np.flatnonzero(structure.phi[:, column] > 0.5)
            worst = worst_first[structure.label[worst_first] == column][:_SPLITS_PER_GROUP]
            for curve in self.own_curves(worst[gap[worst] > 0]):
                old = [] if column == 0 else [column - 1]
                new = np.concatenate([structure.curves[old], curve[None]])
                yield self.attempt("split", structure, old, new, members)

    # -- carried out ------------------------------------------------------------------------------

    def carried_out(self, structure: Structure, trials: list[Trial]) -> Structure:
        """The structure after moves that concern different curves."""
        gone = np.concatenate([trial.old for trial in trials])
        kept = np.setdiff1d(np.arange(structure.n_curves), gone)
        curves = [structure.curves[kept], *(trial.curves for trial in trials)]
        complexity = [structure.complexity[kept], *(trial.complexity for trial in trials)]
        new = self.genes.structure(np.concatenate(curves), np.concatenate(complexity))
        return replace(new, share=structure.share)

    def improve(self, structure: Structure) -> Structure:
        """Delete, merge and split, cells held, until nothing raises the bound.

        Where all bases are in use, a group is split for one that is merged or deleted elsewhere.
        """
        paid = structure.bound - structure.total
        for _ in range(_MAX_PASSES):
            better = self._better(structure)
            if better is None:
                break
            name, structure = better
            structure = replace(structure, total=structure.bound - paid)
            self.record(name, structure)
        return structure

    def _better(self, structure: Structure) -> tuple[str, Structure] | None:
        fewer = [*self.deletions(structure), *self.merges(structure)]
        better = self.first_better(structure, fewer)
        if better is not None:
            return better
        more = list(self.splits(structure))
        if structure.n_curves < self.genes.n_basis - 1:
            return self.first_better(structure, more)
        pairs = _pairs(fewer, more)
        return self._first_of(structure, [[*pair] for pair in pairs[:_MAX_FULL_TRIALS]])

    def first_better(
        self, structure: Structure, trials: list[Trial]
    ) -> tuple[str, Structure] | None:
        """All moves at once that concern different curves, or else the best that holds alone."""
        trials = sorted((t for t in trials if t.gain > _MIN_GAIN), key=lambda t: -t.gain)
        room = self.genes.n_basis - 1 - structure.n_curves
        together = _compatible(trials, room)
        choices = [together] if len(together) > 1 else []
        return self._first_of(structure, choices + [[t] for t in trials[:_MAX_FULL_TRIALS]])

    def _first_of(
        self, structure: Structure, choices: list[list[Trial]]
    ) -> tuple[str, Structure] | None:
        for choice in choices:
            new = self.genes.sweep(self.carried_out(structure, choice), _FULL_SWEEPS)
            if new.bound > structure.bound + _MIN_GAIN:
                return "+".join(trial.name for trial in choice), new
        return None

    def merge_settled(self, structure: Structure) -> Structure:
        """Merge curves where that pays once the cells have settled on the merged ones."""
        merged = True
        while merged and structure.n_curves > 1:
            merged = False
            trials = sorted(self.merges(structure), key=lambda trial: -trial.gain)
            kept = self.genes.hyperparameters
            for trial in trials[:_MAX_SETTLED_TRIALS]:
                new = self._merged(structure, trial)
                if new.total > structure.total + _MIN_GAIN:
                    structure, merged = new, True
                    self.record("merge", structure)
                    break
                self.genes.set_hyperparameters(kept)
            else:
                # The cells go back to where they were.
                structure = self.genes.at(structure.share, structure)
        return structure

    def _merged(self, structure: Structure, trial: Trial) -> Structure:
        """Settled on a merged curve, its genes farther apart than those of two."""
        new = self.genes.at(structure.share, self.carried_out(structure, [trial]))
        return self.settled(learn_spread(self.genes, new), structure, _SETTLE_ROUNDS)

    def settled(self, new: Structure, reference: Structure, n_rounds: int) -> Structure:
        """Settle until better than the reference, or until that is out of reach.

        Rounds mostly gain less and less, so a further one is taken to gain no more than the last.
        """
        new = self.genes.at(reference.share, new)
        for left in reversed(range(n_rounds)):
            before = new.total
            new = self.genes.settle(new, 1)
            missing = reference.total + _MIN_GAIN - new.total
            if missing < 0 or left * (new.total - before) < missing:
                break
        return new


def losses(structure: Structure) -> np.ndarray:
    """Nats that the genes of one group lose under the curve of the other, ``(K, K)``.

    The lesser of both ways, for a curve that fits two groups may be either one's.
    """
    at_home = (structure.phi * structure.evidence).sum(0)[1:]
    loss = at_home[:, None] - structure.phi[:, 1:].T @ structure.evidence[:, 1:]
    return np.minimum(loss, loss.T)


def _pairs(fewer: list[Trial], more: list[Trial]) -> list[tuple[Trial, Trial]]:
    """A move that leaves a basis and one elsewhere that takes it, best first, if both gain."""
    pairs = [(a, b) for a in fewer for b in more if a.gain + b.gain > _MIN_GAIN]
    pairs = [(a, b) for a, b in pairs if not np.intersect1d(a.old, b.old).size]
    return sorted(pairs, key=lambda pair: -pair[0].gain - pair[1].gain)


def _compatible(trials: list[Trial], room: int) -> list[Trial]:
    """From the first on, those that concern no curve of an earlier one, while there is room."""
    chosen, touched = [], set()
    for trial in trials:
        concerned = set(trial.old.tolist()) or {-1}
        growth = len(trial.curves) - len(trial.old)
        if concerned & touched or growth > room:
            continue
        chosen.append(trial)
        touched |= concerned
        room -= growth
    return chosen
