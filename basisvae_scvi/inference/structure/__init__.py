"""Search for the structure of the genes on a working model in which every step is closed form.

Cells sit softly on a grid of z, genes softly in groups, each group has one smooth curve with a
Gaussian-process prior, and every gene's λ and δ are integrated out. All parts pay for what they
use: a curve its evidence, a gene its group, a cell its place. So curves can be deleted, merged and
split, and the bound tells whether that was right.
"""

from basisvae_scvi.module._smooth import SmoothPrior, smooth_priors

from ._cells import anchor, place_on_grid, posterior
from ._counts import CountEvidence
from ._curves import CurvePrior, CurveSpace, CurveSums, curve_space
from ._deviation import DEVIATIONS
from ._evidence import Predictor, WorkingEvidence
from ._families import working_evidence
from ._gene_courses import OwnCourse, best_scales, own_course
from ._grid import STEP, CurveGrid
from ._moves import Moves
from ._proportions import GroupPrior
from ._search import FoundStructure, find_structure
from ._state import GroupedGenes, SettledGenes, Structure

__all__ = [
    "DEVIATIONS",
    "STEP",
    "CountEvidence",
    "CurveGrid",
    "CurvePrior",
    "CurveSpace",
    "CurveSums",
    "FoundStructure",
    "GroupPrior",
    "GroupedGenes",
    "Moves",
    "OwnCourse",
    "Predictor",
    "SettledGenes",
    "SmoothPrior",
    "Structure",
    "WorkingEvidence",
    "anchor",
    "best_scales",
    "curve_space",
    "find_structure",
    "own_course",
    "place_on_grid",
    "posterior",
    "smooth_priors",
    "working_evidence",
]
