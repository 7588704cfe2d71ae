"""The public model class."""

from ._model import BasisVAE

__all__ = ["BasisVAE"]
