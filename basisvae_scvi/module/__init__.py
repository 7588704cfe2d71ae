"""The model as a torch module: encoder, basis functions, gene parameters, q(w), the bound."""

from ._assignment import SCHEMES, Assignment, InferenceScheme
from ._basis import Z_LIMIT, BasisFunctions, NetworkBasis
from ._constants import OUTPUT_KEYS, TENSOR_KEYS
from ._deviations import LATENT_REACH, LATENT_STEP, deviation_functions, latent_grid
from ._gauge import rescale_latent
from ._genes import FeatureConstants, GeneParameters
from ._module import BasisVAEModule
from ._smooth_basis import SHIFT_REACH, SmoothBasis, curve_support

__all__ = [
    "LATENT_REACH",
    "LATENT_STEP",
    "OUTPUT_KEYS",
    "SCHEMES",
    "SHIFT_REACH",
    "TENSOR_KEYS",
    "Z_LIMIT",
    "Assignment",
    "BasisFunctions",
    "BasisVAEModule",
    "FeatureConstants",
    "GeneParameters",
    "InferenceScheme",
    "NetworkBasis",
    "SmoothBasis",
    "curve_support",
    "deviation_functions",
    "latent_grid",
    "rescale_latent",
]
