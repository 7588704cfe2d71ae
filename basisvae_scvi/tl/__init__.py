"""The analysis in one call, the comparison of settings, and what follows from the results."""

from ._basisvae import basisvae
from ._compare import compare
from ._enrich import enrich
from ._rank_genes import rank_genes_in_cluster
from ._timing import timing

__all__ = ["basisvae", "compare", "rank_genes_in_cluster", "timing", "enrich"]
