"""What groups cost in the search is what they cost in the module, for every scheme and weight."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from model_helpers import small_counts
from structure_helpers import settled

from basisvae_scvi.inference.structure import GroupPrior, place_on_grid
from basisvae_scvi.inference.structure._cells import posterior
from basisvae_scvi.module import SCHEMES, Assignment

N_GENES, N_BASIS = 40, 6


def responsibilities(seed, spread=2.0):
    rng = np.random.default_rng(seed)
    logits = spread * rng.standard_normal((N_GENES, N_BASIS))
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


def kl(scheme, concentration, phi):
    """KL_w of the module, q(π) at its optimum."""
    assignment = Assignment(N_GENES, N_BASIS, scheme, concentration).double()
    assignment.set(torch.tensor(phi))
    return float(assignment.proportions.kl(torch.tensor(phi)))


@pytest.mark.parametrize("weight", [1.0, 7.5])
@pytest.mark.parametrize("concentration", [0.1, 2.0])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_costs_differ_as_those_of_the_module_do(scheme, concentration, weight):
    prior = GroupPrior(N_BASIS, concentration, scheme, weight)
    evidence = np.random.default_rng(2).standard_normal((N_GENES, N_BASIS))
    found, expected = [], []
    for seed in range(4):
        phi = responsibilities(seed)
        found.append(prior.gene_terms(evidence, phi) + prior.log_partition(phi.sum(0)))
        expected.append((phi * evidence).sum() - weight * kl(scheme, concentration, phi))
    np.testing.assert_allclose(np.diff(found), np.diff(expected), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_fixed_point_is_that_of_the_module(scheme):
    evidence = 30.0 * np.random.default_rng(3).standard_normal((N_GENES, N_BASIS))
    genes, _ = settled(small_counts(60, N_GENES), "nb", shift=False, n_basis=N_BASIS)
    genes.prior = GroupPrior(N_BASIS, 0.1, scheme, 4.0)
    phi = genes.assign(evidence, np.zeros(N_BASIS))
    assignment = Assignment(N_GENES, N_BASIS, scheme, 0.1).double()
    assignment.update(torch.tensor(evidence), 4.0)
    np.testing.assert_allclose(phi, assignment().detach().numpy(), atol=2e-3)


def test_cells_are_placed_as_the_weight_of_their_prior_asks():
    """β_z divides what the counts say against the prior: q ∝ p(x | z)^(1/β_z) p(z)."""
    genes, z = settled(small_counts(60, 24, mean_count=4.0), "nb", shift=False)
    share = place_on_grid(genes.grid, z)
    genes.evidence.pool(share)
    curves = genes.evidence.own_curves(np.arange(3))
    structure = replace(genes.structure(curves, np.zeros(3)), share=share)
    likelihood = genes.cell_log_likelihood(structure)
    spread = []
    for weight in (1.0, 20.0):
        genes.latent_weight = weight
        share = genes.place(structure)
        np.testing.assert_allclose(share, posterior(likelihood / weight, genes.log_z_prior))
        mean = share @ genes.grid.z
        spread.append((share @ genes.grid.z**2 - mean**2).mean())
    assert spread[1] > 2.0 * spread[0]
    bare = genes.at(share, structure)
    genes.latent_weight = 1.0
    paid = genes.at(share, structure)
    assert bare.bound - bare.total == pytest.approx(20.0 * (paid.bound - paid.total))
