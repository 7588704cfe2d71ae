"""The unit of z, which the likelihood leaves open."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from ._basis import Z_LIMIT
from ._genes import LatentDropout

if TYPE_CHECKING:
    from ._module import BasisVAEModule


@torch.no_grad()
def rescale_latent(module: BasisVAEModule, unit: float) -> None:
    """Measure z in another unit: z and δ are divided by ``unit``, and nothing else is seen of it.

    Encoder, basis functions, shifts, scales, deviations, composition and dropout change together,
    so that all log likelihoods stay what they are; the priors are those of the new unit.

    Parameters
    ----------
    module
        Module with an encoder; changed in place.
    unit
        New unit in old ones, positive.
    """
    encoder, basis, genes = module.z_encoder, module.basis, module.genes
    encoder.mean_encoder.weight.div_(unit)
    encoder.mean_encoder.bias.div_(unit)
    encoder.var_encoder.bias.sub_(2.0 * math.log(unit))
    before = basis.norms()
    basis.rescale(unit)
    if genes.scale_invariant:
        genes.log_scale.add_((basis.norms() / before).log())
    if genes.translation_invariant:
        genes.shift.div_(unit)
    if genes.deviation is not None:
        genes.deviation.rescale(unit)
    if genes.likelihood.has_dropout and isinstance(genes.dropout, LatentDropout):
        genes.dropout.hidden.weight.mul_(unit)
    if module.composition.any():
        points = np.linspace(-Z_LIMIT, Z_LIMIT, len(module.composition))
        module.set_composition(points / unit, module.composition.double().cpu().numpy())
