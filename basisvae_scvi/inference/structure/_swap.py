"""Curves replaced by others, tried on the genes it concerns, all other genes held."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import softmax

from ._state import GroupedGenes, Structure

_SWEEPS = 6
_TOLERANCE = 1.0
_CONCERNED = 0.05


class Trial(NamedTuple):
    """A move, tried on the genes it concerns.

    Attributes
    ----------
    gain
        By how much the bound would rise, all other genes held.
    old
        Indices of the curves that go.
    curves, complexity
        New curves and what they cost.
    name
        What was done.
    """

    gain: float
    old: np.ndarray
    curves: np.ndarray
    complexity: np.ndarray
    name: str


def concerned(share: np.ndarray) -> np.ndarray:
    """Indices of the genes whose share ``(P,)`` in some curves is not negligible."""
    return np.flatnonzero(share > _CONCERNED)


class Swap:
    """Some curves of a structure replaced by others.

    Parameters
    ----------
    genes
        The genes and cells.
    structure
        Where to start.
    old
        Indices of the curves to take away.
    n_new
        Number of curves that come.
    which
        Indices of the genes concerned, shape ``(P',)``.
    """

    def __init__(
        self,
        genes: GroupedGenes,
        structure: Structure,
        old: Sequence[int] | np.ndarray,
        n_new: int,
        which: np.ndarray,
    ):
        self.genes, self.which = genes, which
        self.old = np.asarray(old, dtype=int)
        kept = np.setdiff1d(np.arange(structure.n_curves), self.old)
        stays = np.r_[0, kept + 1]
        phi = structure.phi[which]
        members = structure.phi.sum(0)
        rest = members - phi.sum(0)
        # What other genes have in the curves that go falls to those that come.
        spilled = rest[self.old + 1].sum() / n_new if n_new else 0.0
        self.others = np.r_[rest[stays], np.full(n_new, spilled)]
        self.evidence = structure.evidence[which][:, stays]
        self.now = genes.prior.gene_terms(structure.evidence[which], phi)
        self.now += genes.prior.log_partition(members) + structure.complexity[self.old].sum()

    def gain(self, evidence: np.ndarray, complexity: np.ndarray) -> tuple[float, np.ndarray]:
        """By how much the bound would rise, and φ of the genes concerned for the new curves.

        Parameters
        ----------
        evidence
            Of the genes concerned for the new curves, ``(P', K')``.
        complexity
            What these cost, shape ``(K',)``.
        """
        joined = np.concatenate([self.evidence, evidence], axis=1)
        phi = self.genes.assign(joined, self.others)
        then = self.genes.prior.gene_terms(joined, phi) + complexity.sum()
        then += self.genes.prior.log_partition(self.others + phi.sum(0))
        return float(then - self.now), phi[:, self.evidence.shape[1] :]

    def refitted(self, name: str, curves: np.ndarray) -> Trial:
        """New curves ``(K', C)``, refitted to the genes that they attract."""
        complexity = np.zeros(len(curves))
        if not len(curves):
            gain, _ = self.gain(np.empty((len(self.which), 0)), complexity)
            return Trial(gain, self.old, curves, complexity, name)
        evidence, at_shift, scale = self.genes.look(curves, self.which)
        phi = softmax(evidence, axis=1)  # at first all genes go to the new curves
        gain = -np.inf
        for _ in range(_SWEEPS):
            curves, complexity = self.genes.fit_curves(phi, at_shift, scale, self.which)
            evidence, at_shift, scale = self.genes.look(curves, self.which)
            before = gain
            gain, phi = self.gain(evidence, complexity)
            if gain < before + _TOLERANCE:
                break
        return Trial(gain, self.old, curves, complexity, name)
