"""The loss of the module against the objective, recomputed from its raw parameters."""

import itertools

import numpy as np
import pytest
import reference
import torch
from scvi import REGISTRY_KEYS
from torch.distributions import Normal

from basisvae_scvi.likelihood import expected_log_likelihood
from basisvae_scvi.module import (
    OUTPUT_KEYS,
    SCHEMES,
    TENSOR_KEYS,
    BasisVAEModule,
    FeatureConstants,
)

N, P, K = 6, 3, 3
LIKELIHOODS = ("zinb", "nb", "poisson", "gaussian", "bernoulli")
VARIANTS = [(False, False), (True, False), (True, True), (False, True)]


def make(name, n_latent=1, scale=True, shift=True, scheme="collapsed", seed=0, **kwargs):
    """Module in float64 with all its parameters at random, and a minibatch."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    constants = FeatureConstants(
        scale=rng.gamma(2.0, 1.0, P) if name in reference.COUNTS else np.full(P, 1.7),
        level=rng.gamma(2.0, 1.0, P) if name in reference.COUNTS else rng.normal(0, 1, P),
        dispersion=rng.gamma(2.0, 1.0, P),
        library=4.0,
    )
    if name in reference.COUNTS:
        constants = FeatureConstants(constants.scale, constants.scale, constants.dispersion, 4.0)
    module = BasisVAEModule(
        P,
        n_basis=K,
        n_latent=n_latent,
        n_hidden=4,
        n_hidden_basis=3,
        n_grid=kwargs.pop("n_grid", 0),
        scale_invariant=scale,
        translation_invariant=shift,
        gene_likelihood=name,
        inference=scheme,
        concentration=0.25,
        constants=constants,
        **kwargs,
    ).double()
    with torch.no_grad():
        for group in (module.genes, module.assignment):
            for parameter in group.parameters():
                parameter.add_(0.7 * torch.randn_like(parameter))
        module.genes.shift_prior_sd.fill_(0.6)
        # Gentle bends: here the norms are exact, test_module_basis measures them where not.
        module.basis.direction.mul_(0.5 / n_latent)
        module.basis.threshold.mul_(0.5 / n_latent)
    if name in reference.COUNTS:
        x = rng.poisson(1.5, (N, P)).astype(float)
        x[0], x[:, 0] = [0, 2, 0], [0, 0, 1, 0, 0, 3]
    else:
        x = rng.normal(size=(N, P))
        x = (x > 0).astype(float) if name == "bernoulli" else x
    tensors = {
        REGISTRY_KEYS.X_KEY: torch.tensor(x),
        REGISTRY_KEYS.BATCH_KEY: torch.arange(N)[:, None] % module.n_batch,
    }
    return module.eval(), tensors, rng.normal(size=(N, n_latent))


def arrays(tensors):
    batch = tensors[REGISTRY_KEYS.BATCH_KEY].numpy()[:, 0]
    return tensors[REGISTRY_KEYS.X_KEY].numpy(), batch


def objective(module, name, tensors, z, qz=None, *, n_obs=N, beta_z=1.0, beta_w=1.0, every=False):
    """The bound of the data set, of which the minibatch is a sample."""
    model = reference.Model(module, name)
    x, batch = arrays(tensors)
    given = tensors.get(REGISTRY_KEYS.SIZE_FACTOR_KEY)
    table = model.log_prob_table(x, z, batch, None if given is None else given.numpy()[:, 0])
    local = (model.phi * table).sum()
    if qz is not None:
        local -= beta_z * reference.kl_normal(qz.loc.numpy(), qz.scale.numpy())
    kl_w = reference.kl_assignment(module.assignment)
    return n_obs / N * local - beta_w * kl_w + model.log_prior(every)


def loss(module, tensors, z, qz=None, n_obs=N, **kwargs):
    outputs = {OUTPUT_KEYS.Z: torch.tensor(z), OUTPUT_KEYS.QZ: qz}
    return module.loss(tensors, outputs, {}, n_obs=n_obs, **kwargs)


CASES = [
    (name, *variant, scheme, n_latent)
    for (i, name), (j, variant), (k, scheme), n_latent in itertools.product(
        enumerate(LIKELIHOODS), enumerate(VARIANTS), enumerate(SCHEMES), (1, 2)
    )
]


@pytest.mark.parametrize(("name", "scale", "shift", "scheme", "n_latent"), CASES)
def test_loss_is_the_objective(name, scale, shift, scheme, n_latent):
    module, tensors, z = make(name, n_latent, scale, shift, scheme)
    with torch.no_grad():
        value = N * loss(module, tensors, z).loss.item()
    assert value == pytest.approx(-objective(module, name, tensors, z), rel=2e-6)


@pytest.mark.parametrize("gene_prior", ["assigned", "all"])
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_weights_warm_up_and_batches(name, gene_prior):
    """β_z, β_w and their warm-ups; two batches; per-batch dispersion; dropout from z."""
    module, tensors, z = make(
        name,
        latent_weight=0.5,
        assignment_weight=3.0,
        gene_prior=gene_prior,
        n_batch=2,
        dispersion="gene-batch",
        zero_inflation="latent",
    )
    qz = Normal(torch.randn(N, 1).double(), torch.rand(N, 1).double() + 0.1)
    kwargs = {"kl_weight": 0.25, "assignment_kl_weight": 0.125}
    with torch.no_grad():
        output = loss(module, tensors, z, qz, n_obs=50, **kwargs)
    expected = -objective(
        module,
        name,
        tensors,
        z,
        qz,
        n_obs=50,
        beta_z=0.5 * 0.25,
        beta_w=3.0 * 0.125,
        every=gene_prior == "all",
    )
    assert 50 * output.loss.item() == pytest.approx(expected, rel=2e-6)
    # The parts that scvi-tools logs are unweighted.
    kl_z = output.kl_local["kl_divergence_z"].sum().item()
    assert kl_z == pytest.approx(reference.kl_normal(qz.loc.numpy(), qz.scale.numpy()), rel=1e-9)
    kl_w = output.kl_global["kl_divergence_w"].item()
    assert kl_w == pytest.approx(reference.kl_assignment(module.assignment), rel=1e-6)
    prior = -output.kl_global["negative_log_prior"].item()
    model = reference.Model(module, name)
    assert prior == pytest.approx(model.log_prior(gene_prior == "all"), rel=1e-9)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_shifts_from_the_grid_give_the_same_objective(name):
    module, tensors, z = make(name, n_grid=513)
    with torch.no_grad():
        value = N * loss(module, tensors, z).loss.item()
    assert value == pytest.approx(-objective(module, name, tensors, z), rel=1e-5)


@pytest.mark.parametrize("name", ["zinb", "gaussian"])
def test_float32_loss_is_the_objective(name):
    module, tensors, z = make(name, n_batch=2)
    expected = -objective(module, name, tensors, z)
    module = module.float()
    x = REGISTRY_KEYS.X_KEY
    single = {k: v.float() if k == x else v for k, v in tensors.items()}
    with torch.no_grad():
        value = N * loss(module, single, z.astype(np.float32)).loss.item()
    assert value == pytest.approx(expected, rel=1e-5)


def test_given_size_factors_replace_the_library():
    module, tensors, z = make("nb")
    by_library = loss(module, tensors, z).loss.item()
    tensors[REGISTRY_KEYS.SIZE_FACTOR_KEY] = torch.rand(N, 1).double() + 0.5
    value = loss(module, tensors, z).loss.item()
    assert N * value == pytest.approx(-objective(module, "nb", tensors, z), rel=2e-6)
    assert abs(value - by_library) > 1e-3


def test_observed_latent_is_standardised_and_costs_no_kl():
    module, tensors, _ = make(
        "zinb",
        2,
        observed_latent=True,
        latent_centre=np.array([3.0, -1.0]),
        latent_spread=np.array([2.0, 0.5]),
    )
    given = np.random.default_rng(1).normal(size=(N, 2))
    tensors[TENSOR_KEYS.OBSERVED_LATENT] = torch.tensor(given)
    _, _, output = module(tensors, loss_kwargs={"n_obs": N, "kl_weight": 7.0})
    z = (given - [3.0, -1.0]) / [2.0, 0.5]
    expected = -objective(module, "zinb", tensors, z)
    assert N * output.loss.item() == pytest.approx(expected, rel=2e-6)
    assert not hasattr(module, "z_encoder")


def test_batch_offsets_are_centred_over_the_reference_batches():
    module, tensors, z = make("nb", n_batch=3)
    with torch.no_grad():
        module.genes.batch_is_reference.copy_(torch.tensor([1.0, 1.0, 0.0]))
    raw, offset = reference.array(module.genes.batch_offset), module.genes.offsets()
    offset = offset.detach().numpy()
    np.testing.assert_allclose(offset[:2].sum(0), 0.0, atol=1e-12)
    np.testing.assert_allclose(offset - offset[0], raw - raw[0], rtol=1e-9)
    assert np.abs(offset[2]).min() > 1e-3
    value = N * loss(module, tensors, z).loss.item()
    assert value == pytest.approx(-objective(module, "nb", tensors, z), rel=2e-6)


@pytest.mark.parametrize("gene_prior", ["assigned", "all"])
@pytest.mark.parametrize("held", [True, False])
def test_training_sums_over_active_pairs_and_is_the_bound_of_the_q_they_leave(held, gene_prior):
    module, tensors, z = make("zinb", gene_prior=gene_prior)
    assignment, threshold = module.assignment, 0.3
    phi = assignment().detach()
    exact = N * loss(module, tensors, z).loss.item()
    assert exact == pytest.approx(
        -objective(module, "zinb", tensors, z, every=gene_prior == "all"), rel=2e-6
    )
    if held:
        assignment.hold(threshold)
    assignment.active_threshold = 0.0 if held else threshold
    assert N * loss(module, tensors, z).loss.item() == exact  # only training cuts it down
    module.train()
    few = N * loss(module, tensors, z).loss.item()
    assert 0 < len(assignment.visited().pairs) < phi.numel()
    # The same bound for the q(w) that is left, whose other probabilities are zero.
    kept = phi * ((phi > threshold) | (phi == phi.amax(1, keepdim=True)))
    with torch.no_grad():
        assignment.logits.copy_((kept / kept.sum(1, keepdim=True)).log())
    assignment.release()
    assignment.active_threshold = 0.0
    module.eval()
    cut = -objective(module, "zinb", tensors, z, every=gene_prior == "all")
    assert few == pytest.approx(cut, rel=2e-6)
    assert abs(few - exact) > 1e-3 * abs(exact)


@pytest.mark.parametrize("name", ["zinb", "gaussian", "bernoulli"])
def test_unit_scale_means_the_level_of_the_data(name):
    """λ = 1 on the flat basis predicts m_j s_n, the feature's mean, or its share of ones."""
    module, tensors, z = make(name, scale=False, shift=False)
    with torch.no_grad():
        module.assignment.logits.copy_(torch.tensor([[60.0, 0.0, 0.0]]))
    outputs = module.generative(
        torch.tensor(z),
        torch.full((N, 1), 2.0).double(),
        tensors[REGISTRY_KEYS.BATCH_KEY],
    )
    level = reference.array(module.genes.feature_level)
    px = outputs[OUTPUT_KEYS.PX]
    if name == "zinb":
        np.testing.assert_allclose(px.mu.detach()[0], 2.0 * level, rtol=1e-6)
    elif name == "gaussian":
        np.testing.assert_allclose(px.mean.detach()[0], level, rtol=1e-6)
    else:
        np.testing.assert_allclose(px.mean.detach()[0], 1 / (1 + np.exp(-level)), rtol=1e-6)


def test_cells_get_one_gradient_for_all(monkeypatch):
    """A tensor of stride 0, by which the fused backends know that it is constant."""
    module, tensors, z = make("nb")
    strides = []

    def hooked(*args, **kwargs):
        sums = expected_log_likelihood(*args, **kwargs)
        sums.per_cell.register_hook(lambda gradient: strides.append(gradient.stride()))
        return sums

    monkeypatch.setattr("basisvae_scvi.module._module.expected_log_likelihood", hooked)
    loss(module, tensors, z).loss.backward()
    assert strides == [(0,)]
