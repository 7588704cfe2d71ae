"""Log priors of the gene-specific parameters (paper, section 3.3)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Normal


def log_prior_normal(value: Tensor, sd: Tensor | float = 1.0) -> Tensor:
    """Log N(value | 0, sd²), elementwise: the prior of shifts δ and of batch offsets c."""
    log_sd = torch.as_tensor(sd, dtype=value.dtype, device=value.device).log()
    return -0.5 * (value / sd).square() - log_sd - 0.5 * math.log(2.0 * math.pi)


def log_prior_scale(scale: Tensor) -> Tensor:
    """Log Γ(λ | 1, 1) = −λ, elementwise, for λ ≥ 0."""
    return -scale


def standard_normal(like: Tensor) -> Normal:
    """N(0, 1) of the shape of a tensor: the prior of z, if there is no other."""
    return Normal(torch.zeros_like(like), torch.ones_like(like))


def kl_normal(mean: Tensor, sd: Tensor, prior_mean: Tensor, prior_sd: Tensor) -> Tensor:
    """KL(N(mean, sd²) ‖ N(prior_mean, prior_sd²)) summed over the last dimension."""
    distance, ratio = (mean - prior_mean) / prior_sd, sd / prior_sd
    return 0.5 * (distance.square() + ratio.square() - 1.0 - 2.0 * torch.log(ratio)).sum(-1)
