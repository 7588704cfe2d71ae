"""How far shifts spread: the standard deviation of their prior, learned from all genes at once.

Under δ ~ N(0, 1) a shift of a whole standard deviation of z costs hardly more than none, so that
shapes which differ may pass for one another's shifts: a peak whose genes lie early for a switch.
Where the other genes say that shifts are small here, large ones are a poor explanation. So σ of
δ ~ N(0, σ²), one for all genes, is the one that makes the shifts most probable (empirical Bayes).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ._state import SettledGenes, Structure

# The widest is the prior of the paper. Were there no narrowest, groups that differ by a shift only
# would come apart, for within each all shifts are alike; on the toy of figure 1 that begins below
# 0.3. Chosen out of 0.35, 0.5 and 0.7, on ten families of counts and the marrow's erythroid
# lineage: the narrower, the more a worse order of its cells gains; the wider, the more shapes
# join.
_RANGE = 0.5, 1.0
_MAX_STEPS = 10
# Relative change of σ that is not worth a step.
_TOLERANCE = 0.01


def spread_of_shifts(genes: SettledGenes, structure: Structure) -> float:
    """The σ within the range under which E log p(δ), over all genes that change, is largest."""
    mass = structure.joint.sum((0, 1))
    if len(mass) < 2 or mass.sum() <= 0:
        return genes.shift_prior_sd
    return float(np.clip(np.sqrt(mass @ genes.grid.shifts**2 / mass.sum()), *_RANGE))


def learn_spread(genes: SettledGenes, structure: Structure) -> Structure:
    """Alternate σ and the shifts, cells and curves held, as long as the total rises.

    Parameters
    ----------
    genes
        Genes and cells; left with the prior that is found.
    structure
        Where to start, the cells pooled at its places.
    """
    paid = structure.bound - structure.total
    for _ in range(_MAX_STEPS):
        kept, sd = genes.shift_prior_sd, spread_of_shifts(genes, structure)
        if abs(sd - kept) < _TOLERANCE * kept:
            break
        genes.set_shift_prior(sd)
        new = genes.structure(structure.curves, structure.complexity)
        if new.bound < structure.bound:
            genes.set_shift_prior(kept)
            break
        structure = replace(new, share=structure.share, total=new.bound - paid)
    return structure
