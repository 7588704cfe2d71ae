"""Log priors of the gene-specific parameters (paper, section 3.3)."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def log_prior_normal(value: Tensor) -> Tensor:
    """Log N(value | 0, 1), elementwise: the prior of shifts δ and of batch offsets c."""
    return -0.5 * value.square() - 0.5 * math.log(2.0 * math.pi)


def log_prior_scale(scale: Tensor) -> Tensor:
    """Log Γ(λ | 1, 1) = −λ, elementwise, for λ ≥ 0."""
    return -scale


def kl_standard_normal(mean: Tensor, sd: Tensor) -> Tensor:
    """KL(N(mean, sd²) ‖ N(0, 1)) summed over the last dimension."""
    return 0.5 * (mean.square() + sd.square() - 1.0 - 2.0 * torch.log(sd)).sum(-1)
