"""BasisVAE for single-cell data: which genes follow the same course, how strongly, how early.

Names are imported on first use, so that ``import basisvae_scvi`` and the command line's
``--help`` do not wait for torch.
"""

from importlib import import_module
from typing import Any

from ._version import __version__

_SUBMODULES = (
    "data",
    "datasets",
    "get",
    "inference",
    "likelihood",
    "model",
    "module",
    "pl",
    "report",
    "tl",
)

__all__ = ["BasisVAE", "BasisVAEModule", "__version__", "datasets", "get", "pl", "report", "tl"]


def __getattr__(name: str) -> Any:
    if name == "BasisVAE":
        return import_module("basisvae_scvi.model").BasisVAE
    if name == "BasisVAEModule":
        return import_module("basisvae_scvi.module").BasisVAEModule
    if name in _SUBMODULES:
        return import_module(f"basisvae_scvi.{name}")
    raise AttributeError(f"module 'basisvae_scvi' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_SUBMODULES})
