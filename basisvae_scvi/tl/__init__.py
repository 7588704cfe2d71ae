"""The whole analysis in one call."""

from ._basisvae import basisvae

__all__ = ["basisvae"]
