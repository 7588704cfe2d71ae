"""CUDA backend: fused Triton kernels over cells and pairs, in single precision."""

from ._backend import expected_log_likelihood, is_available

__all__ = ["expected_log_likelihood", "is_available"]
