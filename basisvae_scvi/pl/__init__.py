"""Figures of an annotated AnnData; no model is needed."""

from ._alignment import alignment
from ._assignments import assignments
from ._basis_functions import basis_functions
from ._coclustering import coclustering
from ._comparison import comparison
from ._gene_trends import gene_trends
from ._heatmap import heatmap
from ._history import history
from ._intervals import scales, shifts
from ._latent import latent
from ._stability import stability

__all__ = [
    "basis_functions",
    "gene_trends",
    "heatmap",
    "latent",
    "assignments",
    "coclustering",
    "shifts",
    "scales",
    "alignment",
    "history",
    "stability",
    "comparison",
]
