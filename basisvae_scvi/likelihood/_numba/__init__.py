"""CPU backend: value and gradients in one compiled pass, in single precision."""

from ._backend import expected_log_likelihood

__all__ = ["expected_log_likelihood"]
