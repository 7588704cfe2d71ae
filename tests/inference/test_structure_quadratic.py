"""Quadratic log likelihoods, own deviations and curves against dense linear algebra."""

from typing import NamedTuple

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from basisvae_scvi.inference.structure import CurveGrid, CurveSums, curve_space
from basisvae_scvi.inference.structure._quadratic import (
    Deviating,
    Quadratics,
    packed,
    squares,
    unpacked,
)

N_GENES, N_POINTS, N_FUNCTIONS, N_DIRECTIONS = 4, 30, 6, 3


class Dense(NamedTuple):
    """Gaussian data y = B (c + V u) + noise of some genes."""

    functions: np.ndarray
    directions: np.ndarray
    y: np.ndarray
    noise: np.ndarray

    def quadratics(self):
        """Log likelihood as a function of the course, all constants counted."""
        precision = 1.0 / self.noise
        constant = -0.5 * (precision * self.y**2 + np.log(2 * np.pi * self.noise)).sum(1)
        curvature = np.einsum("ns,pn,nt->pst", self.functions, precision, self.functions)
        return Quadratics(constant, (precision * self.y) @ self.functions, curvature)


@pytest.fixture
def dense():
    rng = np.random.default_rng(0)
    functions = rng.standard_normal((N_POINTS, N_FUNCTIONS))
    directions = 0.5 * rng.standard_normal((N_FUNCTIONS, N_DIRECTIONS))
    noise = rng.uniform(0.3, 3.0, (N_GENES, N_POINTS))
    return Dense(functions, directions, rng.standard_normal((N_GENES, N_POINTS)), noise)


def value(quadratics, course):
    """Const + b·c − ½ c·A c, shape ``(P,)``."""
    linear = quadratics.linear @ course
    return quadratics.constant + linear - 0.5 * course @ (quadratics.quadratic @ course).T


def test_triangles_hold_symmetric_matrices():
    rng = np.random.default_rng(1)
    matrices = rng.standard_normal((2, 5, 4, 4))
    matrices = matrices + matrices.swapaxes(2, 3)
    vectors = rng.standard_normal((2, 5, 4))
    assert packed(matrices).shape == (2, 5, 10)
    np.testing.assert_array_equal(unpacked(packed(matrices)), matrices)
    expected = np.einsum("abi,abij,abj->ab", vectors, matrices, vectors)
    np.testing.assert_allclose((packed(matrices) * squares(vectors)).sum(2), expected)


def test_a_course_with_an_offset_says_the_same(dense):
    rng, given = np.random.default_rng(2), dense.quadratics()
    course, offset = rng.standard_normal((2, N_FUNCTIONS))
    np.testing.assert_allclose(value(given.moved(offset), course), value(given, course + offset))


def test_integrated_deviations_are_a_normal_of_their_covariance(dense):
    genes = Deviating(dense.quadratics(), dense.directions)
    spread = dense.functions @ dense.directions
    for course in np.random.default_rng(3).standard_normal((3, N_FUNCTIONS)):
        expected = [
            multivariate_normal(
                dense.functions @ course, spread @ spread.T + np.diag(noise)
            ).logpdf(y)
            for y, noise in zip(dense.y, dense.noise, strict=True)
        ]
        np.testing.assert_allclose(value(genes.marginal, course), expected, rtol=1e-10)
    np.testing.assert_array_equal(genes.marginal_packed, packed(genes.marginal.quadratic))


def test_own_courses_and_directions_are_those_of_the_posterior(dense):
    """Of a gene that follows two courses with weights, and none with the rest."""
    genes = Deviating(dense.quadratics(), dense.directions)
    rng = np.random.default_rng(4)
    courses, weight = rng.standard_normal((2, N_FUNCTIONS)), rng.uniform(0.1, 0.5, (N_GENES, 2))
    found = genes.courses(weight @ courses, weight.sum(1))
    spread = dense.functions @ dense.directions
    level, slope, variance = genes.direction(1)
    for j in range(N_GENES):
        covariance = spread @ spread.T + np.diag(dense.noise[j])
        gain = np.linalg.solve(covariance, spread).T
        mean = [gain @ (dense.y[j] - dense.functions @ course) for course in courses]
        expected = sum(
            w * (course + dense.directions @ u)
            for w, course, u in zip(weight[j], courses, mean, strict=True)
        )
        np.testing.assert_allclose(found[j], expected, rtol=1e-9)
        for course, u in zip(courses, mean, strict=True):
            np.testing.assert_allclose(level[j] - slope[j] @ course, u[1], rtol=1e-9)
        left = np.eye(N_DIRECTIONS) - gain @ spread
        np.testing.assert_allclose(variance[j], left[1, 1], rtol=1e-9)
        np.testing.assert_allclose(genes.freedom()[j], np.trace(left) / N_DIRECTIONS, rtol=1e-9)


def test_without_directions_nothing_changes(dense):
    given = dense.quadratics()
    genes = Deviating(given, np.empty((N_FUNCTIONS, 0)))
    for found, expected in zip(genes.marginal, given, strict=True):
        np.testing.assert_allclose(found, expected)
    courses = np.random.default_rng(5).standard_normal((N_GENES, N_FUNCTIONS))
    np.testing.assert_array_equal(genes.courses(courses, np.ones(N_GENES)), courses)
    assert (genes.freedom() == 1).all()


# -- curves -----------------------------------------------------------------------------------


def told_by_genes(grid, seed, noise_sd):
    """A curve as genes under some shifts see it: the sums, and y = H f + noise."""
    rng = np.random.default_rng(seed)
    curve = np.sin(1.2 * grid.x) + 0.3 * grid.x
    n = len(grid.shifts)
    linear = np.zeros((1, n, grid.basis.shape[1]))
    quadratic = np.zeros((1, n, grid.basis.shape[1] * (grid.basis.shape[1] + 1) // 2))
    seen, data, noise = [], [], []
    for d in {0, n // 3, n // 2}:
        variance = noise_sd**2 * rng.uniform(0.5, 2.0, len(grid.z))
        # Cells see what of a curve the basis of the grid holds.
        window = np.zeros((len(grid.z), len(grid.x)))
        window[np.arange(len(grid.z)), np.arange(len(grid.z)) + 2 * d] = 1.0
        window = grid.basis @ (grid.basis.T @ window)
        y = window @ curve + np.sqrt(variance) * rng.standard_normal(len(grid.z))
        linear[0, d] = grid.basis.T @ (y / variance)
        quadratic[0, d] = packed(grid.basis.T @ (grid.basis / variance[:, None]))
        seen.append(window)
        data.append(y)
        noise.append(variance)
    return CurveSums(linear, quadratic), *(np.concatenate(a) for a in (seen, data, noise))


@pytest.mark.parametrize("shift", [True, False])
@pytest.mark.parametrize("noise_sd", [1.0, 0.05])
def test_curves_are_fitted_as_by_gaussian_process_regression(shift, noise_sd):
    grid, space = CurveGrid(shift), curve_space(shift)
    sums, seen, data, noise = told_by_genes(grid, 0, noise_sd)
    fits = []
    for prior in space.priors:
        fit = prior.fit(space.told(sums)).at(0)
        covariance = prior.basis @ prior.basis.T
        total = seen @ covariance @ seen.T + np.diag(noise)
        mean = covariance @ seen.T @ np.linalg.solve(total, data)
        evidence = multivariate_normal(np.zeros(len(data)), total).logpdf(data)
        nothing = multivariate_normal(np.zeros(len(data)), np.diag(noise)).logpdf(data)
        # The space that all priors share leaves out a thousandth of the largest direction.
        np.testing.assert_allclose(fit.evidence, evidence - nothing, atol=0.02, rtol=3e-6)
        np.testing.assert_allclose(fit.curve, mean, atol=0.03)
        fits.append(fit)
    best = space.fit(sums, space.priors)
    winner = int(np.argmax([fit.evidence for fit in fits]))
    np.testing.assert_allclose(best.evidence[0], fits[winner].evidence, rtol=1e-10)
    np.testing.assert_allclose(best.curve[0], fits[winner].curve, atol=1e-9)
