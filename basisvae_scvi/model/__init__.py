"""The public model class."""

from ._assign_genes import GeneAssignments
from ._model import BasisVAE
from ._start_latent import INIT_METHODS

__all__ = ["INIT_METHODS", "BasisVAE", "GeneAssignments"]
