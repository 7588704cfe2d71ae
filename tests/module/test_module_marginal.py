"""The importance-sampled marginal likelihood against brute-force quadrature over z."""

import numpy as np
import pytest
import reference
import torch
from scipy.special import logsumexp
from scvi import REGISTRY_KEYS

from basisvae_scvi.module import OUTPUT_KEYS, BasisVAEModule, FeatureConstants

N, P, K = 4, 3, 3


@pytest.fixture
def case():
    torch.manual_seed(1)
    rng = np.random.default_rng(1)
    mean = np.array([1.0, 2.0, 0.5])
    constants = FeatureConstants(mean, mean, np.ones(P), 4.0)
    module = BasisVAEModule(
        P,
        n_basis=K,
        n_hidden=4,
        n_hidden_basis=3,
        n_grid=0,
        translation_invariant=True,
        gene_likelihood="nb",
        constants=constants,
    ).double()
    with torch.no_grad():
        module.assignment.logits.normal_()
        module.genes.shift.normal_()
    tensors = {
        REGISTRY_KEYS.X_KEY: torch.tensor(rng.poisson(2.0, (N, P)).astype(float)),
        REGISTRY_KEYS.BATCH_KEY: torch.zeros(N, 1, dtype=torch.int64),
    }
    return module.eval(), tensors


def test_marginal_likelihood_is_the_integral_over_z(case):
    module, tensors = case
    model = reference.Model(module, "nb")
    x = tensors[REGISTRY_KEYS.X_KEY].numpy()
    grid = np.linspace(-8, 8, 161)
    # log of f(z) = exp(Σ φ log p(x | z)) p(z) on the grid, cell by cell
    log_f = np.stack(
        [
            (model.phi * model.log_prob_table(x, np.full((N, 1), z), np.zeros(N, int))).sum((1, 2))
            + reference.norm.logpdf(z)
            for z in grid
        ]
    )
    step = grid[1] - grid[0]
    exact = logsumexp(log_f, axis=0) + np.log(step)
    with torch.no_grad():
        qz = module.inference(**module._get_inference_input(tensors))[OUTPUT_KEYS.QZ]
    log_q = reference.norm.logpdf(grid[:, None], qz.loc.numpy()[:, 0], qz.scale.numpy()[:, 0])
    # E_q[(f/q)²] / E_q[f/q]² − 1 over the number of samples: the squared relative error.
    n_samples = 500
    second = logsumexp(2 * log_f - log_q, axis=0) + np.log(step)
    error = np.sqrt(np.expm1(second - 2 * exact) / n_samples)
    assert error.max() < 0.1
    torch.manual_seed(2)
    estimate = module.marginal_ll(tensors, n_samples).numpy()
    assert (np.abs(estimate - exact) < 5 * error).all()
    torch.manual_seed(2)
    assert module.marginal_ll(tensors, n_samples, return_mean=True) == pytest.approx(
        estimate.mean(), rel=1e-9
    )
