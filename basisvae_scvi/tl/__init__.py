"""The whole analysis in one call, and the comparison of settings."""

from ._basisvae import basisvae
from ._compare import compare

__all__ = ["basisvae", "compare"]
