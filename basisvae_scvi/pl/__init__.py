"""Figures of an annotated AnnData; no model is needed."""

from ._basis_functions import basis_functions
from ._comparison import comparison
from ._gene_trends import gene_trends
from ._heatmap import heatmap
from ._latent import latent

__all__ = ["basis_functions", "comparison", "gene_trends", "heatmap", "latent"]
