"""Own deviations of genes: values, gradients, prior, units of z, and states from before them."""

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicSpline
from scvi import REGISTRY_KEYS

from basisvae_scvi.module import (
    LATENT_REACH,
    BasisVAEModule,
    deviation_functions,
    latent_grid,
    rescale_latent,
)
from basisvae_scvi.module._deviations import OwnDeviations

N_GENES = 4


def deviating(dtype=torch.float64, seed=0):
    own = OwnDeviations(N_GENES).to(dtype)
    rng = np.random.default_rng(seed)
    own.set(rng.standard_normal(own.weight.shape))
    return own


def test_functions_are_the_root_of_the_centred_kernel():
    z, functions = latent_grid(), deviation_functions()
    weight = np.exp(-0.5 * z**2) / np.exp(-0.5 * z**2).sum()
    kernel = 1.0 / (1.0 + 0.5 * (z[:, None] - z) ** 2)
    mean = weight @ kernel
    expected = kernel - mean[:, None] - mean + weight @ kernel @ weight
    assert np.abs(functions @ functions.T - expected).max() < 0.01
    np.testing.assert_allclose(weight @ functions, 0.0, atol=1e-9)


def test_values_are_those_of_a_spline_and_level_beyond_the_grid():
    own = deviating()
    courses = 0.3 * deviation_functions() @ own.weight.numpy().T
    z = np.linspace(-LATENT_REACH, LATENT_REACH, 57)
    found = own(torch.tensor(z[:, None]), torch.tensor(0.3)).numpy()
    np.testing.assert_allclose(found, CubicSpline(latent_grid(), courses)(z), atol=1e-5)
    beyond = own(torch.tensor([[-9.0], [9.0]]).double(), torch.tensor(0.3)).numpy()
    np.testing.assert_allclose(beyond, courses[[0, -1]], rtol=1e-5)


def test_gradient_by_z():
    own = deviating()
    z = torch.linspace(-3.53, 3.51, 11, dtype=torch.float64)[:, None].requires_grad_()
    assert torch.autograd.gradcheck(lambda at: own(at, torch.tensor(0.4)), z)


def test_prior_is_that_of_standard_normal_weights():
    own = deviating()
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(own.weight).sum()
    expected -= torch.distributions.Normal(0.0, 1.0).log_prob(0 * own.weight).sum()
    torch.testing.assert_close(own.log_prior(), expected)


def make(name, shift=True):
    torch.manual_seed(0)
    module = BasisVAEModule(
        N_GENES,
        n_basis=3,
        n_batch=2,
        gene_likelihood=name,
        translation_invariant=shift,
        shape_deviation=0.3,
        n_grid=0,
    ).double()
    with torch.no_grad():
        for parameter in module.genes.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        module.genes.feature_scale.copy_(torch.rand(N_GENES) + 0.5)
        module.genes.shape_deviation.fill_(0.3)
        module.genes.deviation.set(
            np.random.default_rng(1).standard_normal(module.genes.deviation.weight.shape)
        )
        module.assignment.logits.add_(torch.randn(N_GENES, 3))
    return module.eval()


def batch_of(n=8):
    x = torch.poisson(torch.full((n, N_GENES), 2.0)).double()
    return {REGISTRY_KEYS.X_KEY: x, REGISTRY_KEYS.BATCH_KEY: torch.arange(n)[:, None] % 2}


@pytest.mark.parametrize("name", ["nb", "gaussian", "bernoulli"])
def test_deviations_act_like_offsets_of_every_cell(name, monkeypatch):
    """Of counts on the log mean; of other data in units of the feature's scale."""
    module, tensors = make(name), batch_of()
    if name == "bernoulli":
        tensors[REGISTRY_KEYS.X_KEY] = (tensors[REGISTRY_KEYS.X_KEY] > 0).double()
    z = torch.linspace(-2, 2, 8, dtype=torch.float64)[:, None]
    pairs, weight, _ = module.assignment.active()
    expected = 0.3 * module.genes.deviation(z, torch.tensor(1.0).double())
    expected = expected if name == "nb" else expected * module.genes.feature_scale
    with torch.no_grad():
        found = module.log_likelihood(tensors, z, pairs, weight).per_cell
        offsets = module.genes.offsets()
        monkeypatch.setattr(module.genes, "deviations", lambda z: None)
        for n in range(8):
            cell = {key: value[[n]] for key, value in tensors.items()}
            monkeypatch.setattr(module.genes, "offsets", lambda n=n: offsets + expected[n])
            alone = module.log_likelihood(cell, z[[n]], pairs, weight).per_cell
            torch.testing.assert_close(alone[0], found[n])


def test_another_unit_of_z_leaves_the_likelihood():
    module, tensors = make("nb"), batch_of()

    def look():
        q = module.inference(**module._get_inference_input(tensors))["qz"]
        pairs, weight, _ = module.assignment.active()
        return module.log_likelihood(tensors, q.loc, pairs, weight).per_cell

    with torch.no_grad():
        before = look()
        rescale_latent(module, 1.4)
        torch.testing.assert_close(look(), before)


def test_the_bound_pays_for_deviations():
    module = make("nb")
    pairs, weight, _ = module.assignment.active()
    with torch.no_grad():
        paid = module.log_prior(pairs, weight)
        expected = -0.5 * module.genes.deviation.weight.square().sum()
        module.genes.deviation.weight.zero_()
        torch.testing.assert_close(paid - module.log_prior(pairs, weight), expected)


def test_states_from_before_deviations_have_none():
    module = make("nb")
    state = {k: v for k, v in module.state_dict().items() if "deviation" not in k}
    module.load_state_dict(state)
    assert float(module.genes.shape_deviation) == 0.0
    assert not module.genes.deviation.weight.any()


def test_without_deviations_nothing_is_computed():
    assert BasisVAEModule(3, n_basis=2).genes.deviations(torch.zeros(2, 1)) is None
