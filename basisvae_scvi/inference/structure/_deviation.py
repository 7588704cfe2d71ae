"""Own deviations of genes from the course of their group: their prior, and how large they are.

Genes of a group do not follow one course to the last digit. Gene j has a smooth deviation of its
own, ε_j ~ GP(0, τ² κ), additive in the log of counts and in other data. τ is one for all genes,
that under which the data are most probable (empirical Bayes).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from basisvae_scvi.module import deviation_functions

from ._grid import CurveGrid

if TYPE_CHECKING:
    from ._state import SettledGenes, Structure

# The τ to choose from.
DEVIATIONS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0)
_SWEEPS = 2
_MIN_GAIN = 1.0


def deviation_directions(deviation: float) -> np.ndarray:
    """V of ε = V u, u ~ N(0, I), in terms of the grid's basis; no column for τ = 0.

    Parameters
    ----------
    deviation
        τ.
    """
    root = CurveGrid(False).basis.T @ deviation_functions()
    return deviation * root if deviation > 0 else root[:, :0]


def learn_deviation(genes: SettledGenes, structure: Structure) -> Structure:
    """Alternate τ and the groups, cells held, as long as the total rises.

    Parameters
    ----------
    genes
        Genes and cells; left with the τ that is found.
    structure
        Where to start, the cells pooled at its places.
    """
    if not genes.learns_deviation or not structure.n_curves:
        return structure
    paid = structure.bound - structure.total
    best, at = structure, int(np.abs(np.array(DEVIATIONS) - genes.deviation).argmin())
    for step in (1, -1):
        while 0 <= at + step < len(DEVIATIONS):
            genes.set_deviation(DEVIATIONS[at + step])
            new = genes.structure(best.curves, best.complexity)
            new = genes.sweep(new, _SWEEPS)
            if new.bound < best.bound + _MIN_GAIN:
                break
            best = replace(new, share=structure.share, total=new.bound - paid)
            at += step
        genes.set_deviation(DEVIATIONS[at])
        if best is not structure:
            break
    return best
