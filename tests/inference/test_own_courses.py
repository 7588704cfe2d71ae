"""λ and own deviations in closed form, against normal equations and Newton's method."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from structure_helpers import settled

from basisvae_scvi.datasets import simulate_counts
from basisvae_scvi.inference._own_courses import set_own_courses
from basisvae_scvi.inference.structure import (
    CurveGrid,
    best_scales,
    own_course,
    place_on_grid,
    working_evidence,
)
from basisvae_scvi.likelihood import get_likelihood
from basisvae_scvi.module import BasisVAEModule, FeatureConstants, deviation_functions

TAU, N_CELLS = 0.3, 300


def placed(name, mean=4.0):
    """Working evidence of three genes at known places on the grid, and two curves."""
    rng, grid = np.random.default_rng(5), CurveGrid(False)
    z = grid.z[rng.integers(20, len(grid.z) - 20, N_CELLS)]
    curves = np.stack([np.tanh(grid.x), np.exp(-0.5 * grid.x**2)])
    at = np.searchsorted(grid.z, z - 1e-9)
    own = (
        TAU * deviation_functions()[at] @ rng.standard_normal((deviation_functions().shape[1], 3))
    )
    eta = curves[[0, 1, 0]].T[at] + own
    if name == "nb":
        x = rng.poisson(mean * np.exp(eta)).astype(float)
        constants = FeatureConstants(x.mean(0), x.mean(0), np.ones(3), 1.0)
        variance = x.mean(0)  # Poisson: dispersion 1
    else:
        x = eta + 0.4 * rng.standard_normal(eta.shape)
        constants = FeatureConstants(np.full(3, 1.3), x.mean(0), np.ones(3), 1.0)
        variance = np.full(3, 0.16)
    evidence = working_evidence(
        get_likelihood(name), x, np.ones(N_CELLS), variance, grid, constants, True, deviation=TAU
    )
    evidence.pool(place_on_grid(grid, z))
    phi = np.eye(3)[[1, 2, 1]]
    return evidence, curves, phi, x, at, constants


def found(evidence, curves, phi):
    scale = np.ones((3, 3))
    scale[:, 1:] = best_scales(evidence, curves, np.zeros((3, 2)))
    return scale, own_course(evidence, curves, phi, scale, np.zeros((3, 3)))


def test_gaussian_data_by_normal_equations():
    evidence, curves, phi, x, at, _ = placed("gaussian")
    scale, own = found(evidence, curves, phi)
    functions = TAU * deviation_functions()[at]
    for gene in range(3):
        k = int(phi[gene].argmax())
        design = 1.3 * np.column_stack([curves[k - 1][at], functions])
        precision = design.T @ design / 0.16 + np.diag([0.0, *np.ones(functions.shape[1])])
        pull = design.T @ x[:, gene] / 0.16
        pull[0] -= 1.0  # λ ~ Γ(1, 1)
        expected = np.linalg.solve(precision, pull)
        assert scale[gene, k] == pytest.approx(expected[0], rel=0.01)
        course = functions @ own.weight[gene]
        np.testing.assert_allclose(course, functions @ expected[1:], atol=0.01)


def test_counts_by_newtons_method():
    evidence, curves, phi, x, at, constants = placed("nb", mean=40.0)
    scale, own = found(evidence, curves, phi)
    functions = TAU * deviation_functions()[at]
    for gene in range(3):
        k = int(phi[gene].argmax())
        design = np.column_stack([np.ones(N_CELLS), functions])
        base = np.log(constants.scale[gene]) + curves[k - 1][at]

        def loss(w, design=design, base=base, gene=gene):
            eta = base + design @ w
            return np.exp(eta).sum() - x[:, gene] @ eta + 0.5 * w @ w

        w = minimize(loss, np.zeros(design.shape[1]), method="BFGS").x
        eta = np.log(scale[gene, k]) + functions @ own.weight[gene]
        np.testing.assert_allclose(eta, design @ w, atol=0.03)
        # How well the course is known: Laplace's method about this optimum.
        mean = np.exp(base + design @ w)
        covariance = np.linalg.inv(np.eye(len(w)) + (design.T * mean) @ design)
        sd = np.sqrt(((design @ covariance) * design).sum(1))
        np.testing.assert_allclose(own.course_sd[gene][at], sd, rtol=0.05)


def test_flat_genes_do_not_deviate_and_keep_their_scale():
    adata = simulate_counts(n_obs=100, n_vars=12, seed=2, mean_count=4.0)
    genes, z = settled(adata, "nb", shift=False, deviation=TAU)
    evidence = genes.evidence
    evidence.pool(place_on_grid(genes.grid, z))
    curves = evidence.own_curves(np.arange(2))
    phi = np.zeros((12, 3))
    phi[:6, 0] = phi[6:, 1] = 1.0
    module = BasisVAEModule(12, n_basis=3, gene_likelihood="zinb", shape_deviation=TAU)
    module.genes.shape_deviation.fill_(TAU)
    before = module.genes.log_scale.detach().clone()
    own = set_own_courses(module.genes, phi, evidence, curves, z)
    assert not own.weight[:6].any()
    assert np.isnan(own.course_sd[:6]).all()
    assert np.isfinite(own.course_sd[6:]).all()
    assert (np.abs(own.weight[6:]).sum(1) > 0).all()
    # λ changes at pairs in use alone, and is clear of the dropout.
    changed = (module.genes.log_scale != before).numpy()
    assert np.array_equal(changed, np.eye(3, dtype=bool)[1] & (phi > 0))
    expected = best_scales(evidence, curves, np.zeros((12, 2)))[6:, 0]
    kept = 1.0 - torch.sigmoid(module.genes.dropout[0, 6:]).detach().numpy()
    np.testing.assert_allclose(
        module.genes.log_scale[6:, 1].exp().detach(), expected / kept, rtol=1e-4
    )
