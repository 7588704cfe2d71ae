"""Own courses and levels of counts against optimisers and integrals."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import minimize

from basisvae_scvi.inference.structure import CurveGrid
from basisvae_scvi.inference.structure._evidence import own_course_prior
from basisvae_scvi.inference.structure._own_courses import (
    CountSums,
    Level,
    OwnCourses,
    batch_offsets,
)

TRUE_OFFSET = np.array([[0.0, 0.8, -0.5], [0.0, -0.4, 0.9]])


@pytest.fixture(scope="module")
def grid():
    return CurveGrid(False)


def counts(grid, n_batch, level=(0.2, 5.0, 100.0), seed=0):
    """Three genes of one course, few counts to many, on the grid; offsets of two batches."""
    rng = np.random.default_rng(seed)
    exposure = np.exp(grid.log_z_prior) * rng.dirichlet(np.full(n_batch, 20.0), len(grid.z)).T * 50
    unit = np.asarray(level)
    mean = exposure[:, None] * unit[:, None] * np.exp(np.sin(1.3 * grid.z))
    if n_batch > 1:
        mean = mean * np.exp(TRUE_OFFSET)[..., None]
    return CountSums(rng.poisson(mean).astype(float), exposure, unit)


def log_joint(sums, functions, gene, offset):
    """Minus the log joint of weights at given offsets, and its derivative."""

    def of(weight):
        course = functions @ weight
        mean = sums.unit[gene] * np.exp(offset) @ sums.exposure * np.exp(course)
        count = sums.count[:, gene].sum(0)
        value = count @ course - mean.sum() + sums.count[:, gene].sum(1) @ offset
        slope = functions.T @ (count - mean) - weight
        return -(value - 0.5 * weight @ weight - 0.5 * offset @ offset), -slope

    return of


def test_own_courses_are_the_most_probable_ones_and_their_evidence_is_laplaces(grid):
    sums, prior = counts(grid, 1), own_course_prior()
    found = OwnCourses.fitted(sums, grid.basis, prior, None)
    functions = grid.basis @ prior
    for j in range(3):
        target = log_joint(sums, functions, j, np.zeros(1))
        best = minimize(target, np.zeros(prior.shape[1]), jac=True, options={"gtol": 1e-7})
        np.testing.assert_allclose(grid.basis @ found.course[j], functions @ best.x, atol=1e-3)
        mean = sums.unit[j] * sums.exposure[0] * np.exp(functions @ best.x)
        precision = np.eye(len(best.x)) + functions.T @ (functions * mean[:, None])
        laplace = -best.fun - 0.5 * np.linalg.slogdet(precision)[1]
        np.testing.assert_allclose(found.evidence[j], laplace, atol=1e-4)
    # From elsewhere, the same.
    again = OwnCourses.fitted(counts(grid, 1, seed=1), grid.basis, prior, None)
    again = OwnCourses.fitted(sums, grid.basis, prior, again)
    np.testing.assert_allclose(again.course, found.course, atol=1e-3)
    np.testing.assert_allclose(again.evidence, found.evidence, atol=1e-4)


@pytest.mark.parametrize("n_batch", [1, 2])
def test_quadratics_have_value_slope_and_curvature_of_the_likelihood(grid, n_batch):
    sums = counts(grid, n_batch)
    found = OwnCourses.fitted(sums, grid.basis, own_course_prior(), None)
    rng = np.random.default_rng(3)
    for j in range(3):

        def exact(course, j=j):
            value, _ = log_joint(sums, grid.basis, j, found.offset[:, j])(course)
            return -value + 0.5 * course @ course

        def by_quadratic(course, j=j):
            constant, linear, quadratic = (part[j] for part in found.quadratics)
            return constant + linear @ course - 0.5 * course @ quadratic @ course

        at, step = found.course[j], 1e-2 * rng.standard_normal(grid.basis.shape[1])
        curves = [at + i * step for i in (-1, 0, 1)]
        a, b = (np.array([f(c) for c in curves]) for f in (exact, by_quadratic))
        np.testing.assert_allclose(b[2] - b[0], a[2] - a[0], rtol=1e-2, atol=1e-6)
        np.testing.assert_allclose(np.diff(b, 2), np.diff(a, 2), rtol=1e-2)
        if n_batch == 1:
            np.testing.assert_allclose(b[1], a[1], rtol=1e-10)


def test_offsets_of_batches_are_found_and_paid_for(grid):
    sums, prior = counts(grid, 2), own_course_prior()
    found = OwnCourses.fitted(sums, grid.basis, prior, None)
    difference = found.offset[0] - found.offset[1]
    expected = TRUE_OFFSET[0] - TRUE_OFFSET[1]
    error = 1.0 / np.sqrt(sums.count.sum(2)).min(0)
    assert (np.abs(difference - expected) < 3 * error + 0.02).all()
    # The most probable ones of courses and offsets together.
    functions, n = grid.basis @ prior, prior.shape[1]
    for j in range(3):

        def target(both, j=j):
            value, slope = log_joint(sums, functions, j, both[n:])(both[:n])
            mean = sums.unit[j] * np.exp(both[n:]) * (sums.exposure @ np.exp(functions @ both[:n]))
            return value, np.r_[slope, both[n:] + mean - sums.count[:, j].sum(1)]

        best = minimize(target, np.zeros(n + 2), jac=True, options={"gtol": 1e-7})
        ours = np.r_[found.weight[j], found.offset[:, j]]
        # What all offsets have in common can be the course's, so only their sum is sharp.
        assert 0 <= target(ours)[0] - best.fun + 1e-4 < 0.1
        means = [
            functions @ both[:n] + both[n:, None] for both in (ours, best.x)
        ]  # of both batches
        np.testing.assert_allclose(*means, atol=0.03)
    bare = CountSums(sums.count.sum(0)[None], sums.exposure.sum(0)[None], sums.unit)
    without = OwnCourses.fitted(bare, grid.basis, prior, None)
    assert (found.evidence - without.evidence)[1:].min() > 20


def test_offsets_solve_their_equation():
    rng = np.random.default_rng(0)
    count, expected = rng.poisson(20.0, (2, 6)) * 1.0, rng.uniform(0.1, 60.0, (2, 6))
    offset = batch_offsets(count, expected, np.zeros((2, 6)))
    np.testing.assert_allclose(count - expected * np.exp(offset), offset, atol=1e-3)


@pytest.mark.parametrize("total", [0, 3, 20, 2000])
def test_evidence_of_a_level_is_near_the_integral(total):
    """λ of one batch; Laplace's method is off by less than a hundredth of a nat."""
    count, expected = np.array([[float(total)]]), np.array([[0.8 * total + 2.0]])
    level = Level.fitted(count, expected, scales=True)

    def density(t):
        value = total * t - expected[0, 0] * np.exp(t) - 0.5 * t**2
        return np.exp(value - level.evidence[0]) / np.sqrt(2 * np.pi)

    at = level.log_scale[0]
    moments = [
        quad(lambda t, p=p: (t - at) ** p * density(t), at - 8, at + 8, points=[at], limit=200)[0]
        for p in range(3)
    ]
    np.testing.assert_allclose(np.log(moments[0]), 0.0, atol=0.01)
    np.testing.assert_allclose(level.variance[0], moments[2] / moments[0], rtol=0.1)
    fixed = Level.fitted(count, expected, scales=False)
    assert fixed.evidence[0] == -expected[0, 0]
    assert (fixed.log_scale[0], fixed.variance[0]) == (0.0, 0.0)


@pytest.mark.parametrize("total", [10.0, 500.0])
def test_evidence_of_a_level_counts_the_offsets(total):
    """Two batches without λ: each has an integral of its own."""
    count = np.array([[total], [2 * total]])
    expected = np.full((2, 1), 1.4 * total)
    level = Level.fitted(count, expected, scales=False)
    exact = 0.0
    for x, m in zip(count[:, 0], expected[:, 0], strict=True):
        top = x * np.log(x / m) - x

        def density(t, x=x, m=m, top=top):
            return np.exp(x * t - m * np.exp(t) - 0.5 * t**2 - top) / np.sqrt(2 * np.pi)

        exact += top + np.log(quad(density, -4, 4, points=[np.log(x / m)], limit=200)[0])
    np.testing.assert_allclose(level.evidence[0], exact, atol=0.02)


def test_offsets_of_a_level_are_found_beside_its_scale():
    """The maximum of offsets and λ together; λ's variance is that of held offsets."""
    count, expected = (
        np.array([[40.0, 3.0], [90.0, 900.0]]),
        np.array([[60.0, 2.0], [50.0, 700.0]]),
    )
    level = Level.fitted(count, expected, scales=True)
    for j in range(2):
        x, m = count[:, j], expected[:, j]

        def target(both, x=x, m=m):
            t = both[0] + both[1:]
            return m @ np.exp(t) - x @ t + 0.5 * both @ both

        best = minimize(target, np.zeros(3), options={"gtol": 1e-7})
        mean = m * np.exp(best.x[0] + best.x[1:])
        volume = np.log1p(mean).sum() + np.log1p(mean.sum())
        np.testing.assert_allclose(level.evidence[j], -best.fun - 0.5 * volume, atol=0.05)
        np.testing.assert_allclose(level.variance[j], 1 / (1 + mean.sum()), rtol=0.02)
