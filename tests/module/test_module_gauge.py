"""Another unit of z changes nothing that can be seen."""

import numpy as np
import pytest
import torch
from scvi import REGISTRY_KEYS

from basisvae_scvi.module import BasisVAEModule, rescale_latent


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("shift", [True, False])
@pytest.mark.parametrize("name", ["zinb", "gaussian"])
def test_log_likelihoods_stay_what_they_are(name, shift, scale):
    torch.manual_seed(0)
    module = BasisVAEModule(
        6,
        n_basis=3,
        gene_likelihood=name,
        zero_inflation="latent",
        scale_invariant=scale,
        translation_invariant=shift,
        n_grid=0,
    ).double()
    with torch.no_grad():
        for parameter in module.genes.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        module.assignment.logits.add_(torch.randn(6, 3))
    if name == "zinb":
        module.set_composition(np.array([-1.0, 1.0]), np.array([-0.2, 0.3]))
    module.eval()
    x = torch.poisson(torch.full((8, 6), 2.0)).double()
    tensors = {REGISTRY_KEYS.X_KEY: x, REGISTRY_KEYS.BATCH_KEY: torch.zeros(8, 1)}

    def look():
        q = module.inference(**module._get_inference_input(tensors))["qz"]
        pairs, weight, _ = module.assignment.active()
        sums = module.log_likelihood(tensors, q.loc, pairs, weight)
        return q.loc, q.scale, sums.per_cell, sums.per_pair

    with torch.no_grad():
        mean, sd, *before = look()
        rescale_latent(module, 1.3)
        new_mean, new_sd, *after = look()
    torch.testing.assert_close(new_mean, mean / 1.3)
    torch.testing.assert_close(new_sd, sd / 1.3, rtol=1e-3, atol=0)  # a floor of 1e-2
    # The composition is interpolated between points that have moved.
    rtol = 1e-4 if name == "zinb" else 1e-9
    for a, b in zip(after, before, strict=True):
        torch.testing.assert_close(a, b, rtol=rtol, atol=1e-9)
