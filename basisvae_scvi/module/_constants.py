"""Names of the tensors that pass between the rooms of the module."""

from __future__ import annotations

from typing import NamedTuple


class _TensorKeys(NamedTuple):
    """Registry keys beside those of scvi-tools."""

    OBSERVED_LATENT: str = "observed_latent"
    LATENT_PRIOR: str = "latent_prior"


class _OutputKeys(NamedTuple):
    """Keys of the dictionaries returned by ``inference`` and ``generative``."""

    Z: str = "z"
    QZ: str = "qz"
    LIBRARY: str = "library"
    QL: str = "ql"
    SIZE_FACTOR: str = "size_factor"
    BATCH: str = "batch_index"
    PX: str = "px"
    PZ: str = "pz"
    PRIOR: str = "prior"


TENSOR_KEYS = _TensorKeys()
OUTPUT_KEYS = _OutputKeys()
