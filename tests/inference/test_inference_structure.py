"""Shape search on noiseless toys; fits of the networks; refreshes of q(w), λ and δ."""

from itertools import pairwise

import numpy as np
import pytest
import reference
import torch
from scvi import REGISTRY_KEYS

from basisvae_scvi.datasets import expected_counts, simulate_counts
from basisvae_scvi.inference import (
    AssignmentRefresher,
    CurveSpace,
    ShapeSearch,
    fit_basis_functions,
    pool_cells,
    shift_grid,
    working_model,
)
from basisvae_scvi.likelihood import get_likelihood
from basisvae_scvi.module import (
    SCHEMES,
    TENSOR_KEYS,
    BasisFunctions,
    BasisVAEModule,
    FeatureConstants,
)


def search(shapes, max_shift, seed, mean_count=4.0, shifted=False):
    """Group and basis of every gene, where expected counts stand in for the counts."""
    adata = simulate_counts(
        n_obs=600, n_vars=60, shapes=shapes, max_shift=max_shift, mean_count=mean_count, seed=seed
    )
    mean, z = expected_counts(adata), adata.obs["true_z"].to_numpy()[:, None]
    size = adata.obs["true_size_factor"].to_numpy()
    level, pools = mean.sum(0) / size.sum(), pool_cells(mean, z, size)
    constants = FeatureConstants(level, level, np.ones(60), 1.0)
    model = working_model(get_likelihood("poisson"), pools, constants, True)
    space = CurveSpace.over(pools.z, shift_grid(shifted))
    rng = np.random.default_rng(seed)
    found = ShapeSearch(model, space, positive=True, n_obs=600, rng=rng)
    curves = found.run(10)
    label = model.table(
        np.concatenate([np.ones((len(space.smooth), 1, len(pools.z))), space.values(curves)], 1),
        space.shifts,
    ).evidence.argmax(1)
    pairs = set(zip(label.tolist(), adata.var["true_group"], strict=True))
    # No basis holds genes of two groups, and the flat genes have the flat basis.
    assert len(pairs) == len({k for k, _ in pairs})
    assert all((k == 0) == (group == "flat") for k, group in pairs)
    return len(curves)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("shifted", [False, True])
def test_shape_search_finds_the_planted_groups(shifted, seed):
    assert search(("peak", "up", "down", "flat"), 0.0, seed, shifted=shifted) == 3
    assert search(("flat",), 0.0, seed, shifted=shifted) == 0


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_shape_search_on_shifted_genes_mixes_no_groups(seed):
    """A curve known on its own window only may have a twin; it must not take in strangers."""
    assert 3 <= search(("peak", "up", "down"), 0.4, seed, mean_count=0.6, shifted=True) <= 4


def test_curve_space_evaluates_shifted_curves():
    z, shifts = np.linspace(-2, 2, 30)[:, None], shift_grid(True)
    space = CurveSpace.over(z, shifts)
    values = space.values(np.sin(space.points[:, 0])[None])
    np.testing.assert_allclose(values[:, 0], np.sin(z[:, 0] + shifts[:, None]), atol=1e-3)


@pytest.mark.parametrize("positive", [True, False])
@pytest.mark.parametrize("normalize", [True, False])
def test_networks_learn_the_curves_they_are_given(positive, normalize):
    torch.manual_seed(0)
    functions = BasisFunctions(4, positive=positive, normalize=normalize)
    z = np.linspace(-2.5, 2.5, 81)
    curves = np.stack([5 * np.exp(-0.5 * (z / 0.7) ** 2) + 0.2, 3 / (1 + np.exp(-2 * z))])
    curves = curves if positive else curves - 1.0
    untouched = reference.array(functions.direction)[2]
    fit_basis_functions(functions, z[:, None], curves, level_unused=True)
    with torch.no_grad():
        values = functions(torch.tensor(z[:, None], dtype=torch.float32)).numpy().T
    for k in (0, 1):
        correlation = np.corrcoef(values[k + 1], curves[k])[0, 1]
        assert correlation > 0.999
        if not normalize:
            assert np.abs(values[k + 1] - curves[k]).max() < 0.05 * np.ptp(curves[k])
    assert (reference.array(functions.direction)[2] == untouched).all()


N, P, K = 70, 12, 4


def counts_module(name, shift, scheme, gene_prior="assigned", seed=0, weight=1.0, n_basis=K):
    """Observed z, random bases and random gene parameters, on simulated counts."""
    torch.manual_seed(seed)
    adata = simulate_counts(n_obs=N, n_vars=P, max_shift=1.0 * shift, mean_count=3.0, seed=seed)
    x = adata.X.toarray()
    tensors = {
        REGISTRY_KEYS.X_KEY: torch.tensor(x),
        REGISTRY_KEYS.BATCH_KEY: torch.zeros(N, 1, dtype=torch.int64),
        TENSOR_KEYS.OBSERVED_LATENT: torch.tensor(
            adata.obs["true_z"].to_numpy()[:, None], dtype=torch.float32
        ),
    }
    size = x.sum(1) / np.median(x.sum(1))
    level = (x / size[:, None]).mean(0) + 0.01
    constants = FeatureConstants(level, level, np.full(P, 2.0), np.median(x.sum(1)))
    module = BasisVAEModule(
        P,
        n_basis=n_basis,
        n_hidden_basis=4,
        translation_invariant=shift,
        gene_likelihood=name,
        inference=scheme,
        gene_prior=gene_prior,
        assignment_weight=weight,
        observed_latent=True,
        constants=constants,
    )
    with torch.no_grad():
        module.assignment.logits.normal_()
        module.genes.log_scale.normal_(0, 0.5)
        if shift:
            module.genes.shift.normal_()
    return module, tensors, constants


def exact_bound(module, name, tensors, factor, weight):
    """Σ φ (factor Σ_n log p) − β_w KL_w + log priors, from the raw parameters."""
    model = reference.Model(module, name)
    x = reference.array(tensors[REGISTRY_KEYS.X_KEY])
    z = reference.array(tensors[TENSOR_KEYS.OBSERVED_LATENT])
    table = model.log_prob_table(x, z, np.zeros(N, int)).sum(0)
    kl_w = reference.kl_assignment(module.assignment)
    prior = model.log_prior(module.gene_prior == "all")
    return factor * (model.phi * table).sum() - weight * kl_w + prior


REFRESHES = [
    *[("nb", shift, scheme, 1.0, K) for shift in (False, True) for scheme in SCHEMES],
    ("zinb", True, "collapsed", 10.0, K),
    ("poisson", True, "non-collapsed", 0.2, K),
    ("nb", True, "collapsed", 50.0, 14),  # more bases than are looked at exactly
]


@pytest.mark.parametrize(("name", "shift", "scheme", "weight", "n_basis"), REFRESHES)
def test_refreshes_never_lower_the_bound(name, shift, scheme, weight, n_basis):
    module, tensors, constants = counts_module(name, shift, scheme, weight=weight, n_basis=n_basis)
    refresher = AssignmentRefresher([tensors], 3 * N, constants)
    bounds = [exact_bound(module, name, tensors, 3.0, weight)]
    for step in range(4):
        refresher(module)
        bounds.append(exact_bound(module, name, tensors, 3.0, weight))
        # A pair of less than 0.1 % may lose its λ and δ to the proposal; and float32 sums.
        assert bounds[-1] >= bounds[-2] - 1e-3 * P * n_basis, f"step {step}: {bounds}"
    assert bounds[-1] > bounds[0] + 1.0


@pytest.mark.parametrize("gene_prior", ["assigned", "all"])
@pytest.mark.parametrize(
    ("shift", "scheme", "weight"), [(True, "non-collapsed", 20.0), (False, "collapsed", 100.0)]
)
@pytest.mark.parametrize("seed", [1, 2])
def test_refreshes_between_gradient_steps_never_lower_the_bound(
    seed, shift, scheme, weight, gene_prior
):
    """As in training: between two refreshes everything else moves a little."""
    module, tensors, constants = counts_module("nb", shift, scheme, gene_prior, seed, weight)
    refresher = AssignmentRefresher([tensors], N, constants)
    refresher(module)
    torch.manual_seed(1)
    moving = [*module.basis.parameters(), *module.genes.parameters(), module.assignment.logits]
    for step in range(5):
        with torch.no_grad():
            for parameter in moving:
                parameter.add_(0.05 * torch.randn_like(parameter))
        before = exact_bound(module, "nb", tensors, 1.0, weight)
        refresher(module)
        after = exact_bound(module, "nb", tensors, 1.0, weight)
        assert after >= before - 1e-3 * P * K, f"step {step}: {before} to {after}"


@pytest.mark.parametrize(("scheme", "weight"), [("collapsed", 1.0), ("fixed_pi", 30.0)])
def test_refresh_ends_at_the_fixed_point(scheme, weight):
    module, tensors, constants = counts_module("nb", True, scheme, weight=weight)
    AssignmentRefresher([tensors], N, constants)(module)
    model = reference.Model(module, "nb")
    x = reference.array(tensors[REGISTRY_KEYS.X_KEY])
    z = reference.array(tensors[TENSOR_KEYS.OBSERVED_LATENT])
    evidence = model.log_prob_table(x, z, np.zeros(N, int)).sum(0)
    evidence += -model.scale + reference.norm.logpdf(model.shift)
    log_weight = reference.digamma(0.1 + model.phi.sum(0)) if scheme == "collapsed" else 0.0
    again = reference.softmax(evidence / weight + log_weight)
    assert (again.max(1) < 0.99).any()
    np.testing.assert_allclose(again, model.phi, atol=2e-3)


def test_a_basis_that_was_dropped_by_mistake_comes_back():
    """Gradient steps no longer visit it; the next refresh looks at all pairs."""
    module, tensors, constants = counts_module("nb", True, "collapsed")
    refresher = AssignmentRefresher([tensors], N, constants)
    for _ in range(3):
        refresher(module)
    before = module.assignment().detach()
    best = before.argmax(1)
    dynamic = int(best.bincount(minlength=K)[1:].argmax()) + 1
    assert (best == dynamic).any()
    wrong = torch.eye(K)[torch.where(best == dynamic, (dynamic % (K - 1)) + 1, best)]
    module.assignment.set(wrong)
    module.train()
    module.assignment.hold(1e-4)
    pairs = module.assignment.visited().pairs
    assert len(pairs) == P
    assert not (pairs.basis == dynamic).any()
    refresher(module)
    torch.testing.assert_close(module.assignment().detach(), before, atol=2e-2, rtol=0)
    module.assignment.hold(1e-4)
    assert (module.assignment.visited().pairs.basis == dynamic).any()


@pytest.mark.parametrize("integrates", [True, False])
def test_a_refresh_in_blocks_is_that_of_all_cells_at_once(integrates):
    results = []
    for ends in ([0, N], [0, 30, 31, N]):
        module, tensors, constants = counts_module("nb", True, "collapsed")
        cuts = [slice(a, b) for a, b in pairwise(ends)]
        blocks = [{key: value[cut] for key, value in tensors.items()} for cut in cuts]
        AssignmentRefresher(blocks, 3 * N, constants, integrates=integrates)(module)
        genes = module.genes
        results.append((module.assignment().detach(), genes.shift.detach(), genes.log_scale))
    for whole, in_blocks in zip(*results, strict=True):
        torch.testing.assert_close(whole, in_blocks, rtol=1e-4, atol=1e-4)


def test_first_refresh_takes_over_every_proposal():
    module, tensors, constants = counts_module("poisson", False, "collapsed")
    AssignmentRefresher([tensors], N, constants)(module, keep_active=False)
    size = reference.array(tensors[REGISTRY_KEYS.X_KEY]).sum(1, keepdims=True)
    x, size = reference.array(tensors[REGISTRY_KEYS.X_KEY]), size / constants.library
    pools = pool_cells(x, reference.array(tensors[TENSOR_KEYS.OBSERVED_LATENT]), size.ravel())
    networks = reference.Networks.of(module.basis)
    mean = pools.total.sum(0) / pools.exposure.sum()
    psi = np.maximum(1.0, pools.variance / mean)
    for k in range(K):
        expected = constants.scale * (pools.exposure @ networks(k, pools.z))
        scale = (pools.total.sum(0) + 1e-3) / (expected + psi)
        fitted = reference.array(module.genes.log_scale.exp())[:, k]
        np.testing.assert_allclose(fitted, scale, rtol=1e-4)
    assert module.training  # the mode is as before
