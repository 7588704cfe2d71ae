"""Closed forms of the structure search against numerical integration and dense algebra."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import minimize_scalar
from scipy.stats import multivariate_normal, nbinom

from basisvae_scvi.inference.structure import (
    CurveGrid,
    SmoothPrior,
    place_on_grid,
    posterior,
    working_evidence,
)
from basisvae_scvi.inference.structure._cells import divergence
from basisvae_scvi.inference.structure._evidence import ScaleMoments
from basisvae_scvi.likelihood import get_likelihood
from basisvae_scvi.module import FeatureConstants

N_CELLS, N_GENES = 300, 5


def evidence_of(name, *, shift=True, scale_invariant=True, seed=0):
    """Working evidence of a few genes on cells at known places, and those places."""
    rng = np.random.default_rng(seed)
    grid = CurveGrid(shift)
    z = grid.z[rng.integers(20, len(grid.z) - 20, N_CELLS)]
    size = np.exp(0.3 * rng.standard_normal(N_CELLS))
    signal = np.exp(-0.5 * (z[:, None] - rng.uniform(-1, 1, N_GENES)) ** 2)
    family = get_likelihood(name)
    if family.is_count:
        x = rng.poisson(2.0 * size[:, None] * signal).astype(float)
        level = x.sum(0) / size.sum()
        constants = FeatureConstants(level, level, np.ones(N_GENES), 1.0)
    elif name == "bernoulli":
        x = (rng.random((N_CELLS, N_GENES)) < signal).astype(float)
        size = np.ones(N_CELLS)
        p = x.mean(0)
        ones = np.ones(N_GENES)
        constants = FeatureConstants(ones, np.log(p / (1 - p)), ones, 1.0)
    else:
        x = signal + 0.3 * rng.standard_normal((N_CELLS, N_GENES))
        size = np.ones(N_CELLS)
        constants = FeatureConstants(np.full(N_GENES, 0.7), x.mean(0), np.ones(N_GENES), 1.0)
    variance = np.full(N_GENES, 1.5) if family.is_count else np.full(N_GENES, 0.09)
    evidence = working_evidence(family, x, size, variance, grid, constants, scale_invariant)
    evidence.pool(place_on_grid(grid, z))
    return evidence, x, size, z, variance, constants


def log_likelihood(evidence, name, x, size, z, variance, constants, j, signal, scale):
    """The working log likelihood of a gene, written out cell by cell."""
    index = np.rint((z - evidence.grid.z[0]) / 0.05).astype(int)
    if name == "nb":
        psi = max(1.0, variance[j] / constants.scale[j])
        mean = scale * constants.scale[j] * size * np.exp(signal[index])
        # Up to the constant Σ x log(s m).
        constant = x[:, j] @ np.log(size * constants.scale[j])
        return (x[:, j] @ np.log(mean) - constant - mean.sum()) / psi
    mean = scale * constants.scale[j] * signal[index]
    constant = 0.5 * (x[:, j] ** 2).sum() / variance[j]
    return constant - 0.5 * ((x[:, j] - mean) ** 2).sum() / variance[j]


@pytest.mark.parametrize("name", ["nb", "gaussian"])
def test_evidence_integrates_the_scale_and_optimum_maximises_it(name):
    everything = evidence_of(name)
    evidence = everything[0]
    grid = evidence.grid
    curves = np.stack([np.cos(grid.x), 0.3 * grid.x])
    genes = np.array([1, 3])
    table, scale = evidence.table(curves, genes)
    optimum, mode = evidence.maximise(evidence.statistics(curves, genes), genes)
    for row, j in enumerate(genes):
        for k in range(2):
            for d in (0, 12, len(grid.shifts) - 1):
                signal = grid.windows(curves)[k, d]

                def value(lam, j=j, signal=signal):
                    fit = log_likelihood(evidence, name, *everything[1:], j, signal, lam)
                    return fit - lam

                best = minimize_scalar(
                    lambda lam: -value(lam), bounds=(1e-9, 20), options={"xatol": 1e-10}
                )
                top = -best.fun

                def density(lam, top=top, value=value):
                    return np.exp(value(lam) - top)

                reach = 1e-3
                while density(best.x + reach) > 1e-18:
                    reach *= 1.2
                ends = max(0.0, best.x - reach), best.x + reach
                mass = quad(density, *ends, limit=400)[0]
                mean = quad(lambda lam: lam * density(lam), *ends, limit=400)[0] / mass
                np.testing.assert_allclose(table[row, k, d], top + np.log(mass), atol=1e-5)
                np.testing.assert_allclose(scale.first[row, k, d], mean, rtol=1e-5)
                # For counts a thousandth of a count is added, which moves it by as little.
                np.testing.assert_allclose(optimum[row, k, d], top, atol=2e-2)
                np.testing.assert_allclose(mode[row, k, d], best.x, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["nb", "gaussian"])
def test_without_scales_nothing_is_integrated(name):
    everything = evidence_of(name, scale_invariant=False)
    evidence = everything[0]
    curves = np.cos(evidence.grid.x)[None]
    table, _ = evidence.table(curves, np.array([2]))
    optimum, _ = evidence.maximise(evidence.statistics(curves, np.array([2])), np.array([2]))
    np.testing.assert_array_equal(table, optimum)
    signal = evidence.grid.windows(curves)[0, 7]
    expected = log_likelihood(evidence, name, *everything[1:], 2, signal, 1.0)
    np.testing.assert_allclose(table[0, 0, 7], expected, rtol=1e-10)


@pytest.mark.parametrize("name", ["nb", "gaussian", "bernoulli"])
def test_flat_evidence_is_that_of_a_level_curve(name):
    evidence = evidence_of(name, shift=False)[0]
    genes = np.arange(N_GENES)
    if name == "nb":
        table, _ = evidence.table(evidence.level_curve[None], genes)
        np.testing.assert_allclose(evidence.flat_evidence, table[:, 0, 0], rtol=1e-10)
        return
    # The flat basis of a feature stands at its own level, in another unit than the others.
    for j in genes:
        curve = np.full(len(evidence.grid.x), evidence.level[j] / evidence.unit[j])
        table, _ = evidence.table(curve[None], np.array([j]))
        np.testing.assert_allclose(evidence.flat_evidence[j], table[0, 0, 0], rtol=1e-10)


def test_windows_and_collect_are_adjoint():
    rng, grid = np.random.default_rng(0), CurveGrid(True)
    curve, values = rng.standard_normal(len(grid.x)), rng.random((len(grid.shifts), len(grid.z)))
    left = (grid.windows(curve[None])[0] * values).sum()
    np.testing.assert_allclose(left, curve @ grid.collect(values), rtol=1e-12)
    d = 30
    expected = np.interp(grid.z + grid.shifts[d], grid.x, curve)
    np.testing.assert_allclose(grid.windows(curve[None])[0, d], expected, atol=1e-9)
    moved = grid.moved(curve, 0.5)
    np.testing.assert_allclose(moved[:-10], curve[10:])
    assert (moved[-10:] == curve[-1]).all()


def test_evidence_of_a_linear_fit_is_the_marginal_likelihood():
    rng = np.random.default_rng(1)
    x = np.linspace(-2, 2, 40)
    prior = SmoothPrior.of(x, length=0.8, slope=1.0, level=0.5)
    noise = 0.2 + rng.random(40)
    y = np.sin(x) + noise * rng.standard_normal(40)
    fit = prior.fit_linear((y / noise**2)[None], (1 / noise**2)[None]).at(0)
    covariance = prior.basis @ prior.basis.T + np.diag(noise**2)
    exact = multivariate_normal(np.zeros(40), covariance).logpdf(y)
    constant = multivariate_normal(np.zeros(40), np.diag(noise**2)).logpdf(y)
    np.testing.assert_allclose(fit.evidence, exact - constant, atol=1e-6)
    mean = covariance - np.diag(noise**2)
    np.testing.assert_allclose(fit.curve, mean @ np.linalg.solve(covariance, y), atol=1e-8)


def test_log_linear_fit_is_the_mode_and_its_evidence_is_near_the_integral():
    rng = np.random.default_rng(2)
    basis = rng.standard_normal((30, 1))
    prior, exposure = SmoothPrior(basis), np.full(30, 3.0)
    count = rng.poisson(exposure * np.exp(0.5 * basis[:, 0])).astype(float)

    def log_joint(w):
        f = basis[:, 0] * w
        return count @ f - exposure @ np.exp(f) - 0.5 * w**2

    best = minimize_scalar(lambda w: -log_joint(w), bounds=(-5, 5), method="bounded")
    for near in (None, np.linspace(-1, 1, 30)[None]):
        fit = prior.fit_log(count[None], exposure[None], near).at(0)
        np.testing.assert_allclose(fit.curve, basis[:, 0] * best.x, atol=1e-3)
        mass = quad(lambda w: np.exp(log_joint(w) + best.fun), -6, 6)[0] / np.sqrt(2 * np.pi)
        np.testing.assert_allclose(fit.evidence, np.log(mass) - best.fun, atol=5e-3)


@pytest.mark.parametrize("name", ["nb", "gaussian"])
def test_curves_fitted_together_are_those_fitted_alone_under_the_best_of_all_priors(name):
    evidence = evidence_of(name, shift=False)[0]
    rng, grid = np.random.default_rng(4), evidence.grid
    z = rng.uniform(0.5, 2.5, (12, 1)) * grid.x + rng.normal(size=(12, 1))
    target = np.r_[np.sin(z), 1.5 * np.tanh(z), 0.0 * z[:4], 3.0 * np.cos(4 * z[:2])]
    exposure = rng.uniform(1.0, 400.0, (len(target), 1)) * evidence.grid.weights
    if name == "nb":
        sums = rng.poisson(exposure * np.exp(target)).astype(float), exposure
    else:
        sums = exposure * (target + rng.normal(size=target.shape) / np.sqrt(exposure)), exposure
    together = evidence.fit(sums)
    for row in range(len(target)):
        own = sums[0][[row]], sums[1][[row]]
        alone = evidence.fit(own).at(0)
        np.testing.assert_allclose(together.curve[row], alone.curve, atol=1e-6)
        np.testing.assert_allclose(together.evidence[row], alone.evidence, atol=1e-6)
        best = max(evidence.fit_under(prior, own, None).evidence[0] for prior in evidence.priors)
        assert alone.evidence == pytest.approx(best, abs=0.05)


def test_a_wiggly_prior_costs_more_than_a_smooth_one_where_nothing_wiggles():
    x = np.linspace(-2, 2, 60)
    y, precision = 0.5 * x, np.full(60, 25.0)
    sums = (y * precision)[None], precision[None]
    smooth, wiggly = (
        SmoothPrior.of(x, length=length, slope=1.0, level=0.5).fit_linear(*sums).at(0)
        for length in (1.6, 0.2)
    )
    assert smooth.evidence > wiggly.evidence + 5
    assert smooth.complexity > wiggly.complexity


@pytest.mark.parametrize("name", ["nb", "gaussian", "bernoulli"])
def test_cells_are_placed_by_the_likelihood_of_the_model(name):
    evidence, x, _, _, variance, constants = evidence_of(name, shift=False, seed=3)
    grid = evidence.grid
    curve = -0.4 * (grid.x - 0.5) ** 2
    weight = np.zeros((N_GENES, 1, 1))
    weight[:3] = 1.0  # the others are flat
    scale = np.linspace(0.5, 1.5, N_GENES)
    moments = ScaleMoments(scale[:, None, None], scale[:, None, None] ** 2)
    weights = evidence.cell_weights(curve[None], weight, moments)
    # Sizes in between are rounded to those that the weights are made for.
    size = weights.size[[0, 4, 8]] if name == "nb" else np.ones(3)
    found = evidence.cell_log_likelihood(x[:3], size, weights)
    shaped = np.zeros((N_GENES, len(grid.z)))
    shaped[:3] = np.exp(curve) if name == "nb" else curve
    shaped *= (scale * constants.scale)[:, None]
    if name == "nb":
        total = x.sum(0) / evidence.dispersion
        flat = (total + 1) / (1 + evidence.unit * evidence.exposure.sum()) * constants.scale
        shaped[3:] = flat[3:, None]
        theta = evidence.theta[:, None]
        expected = [
            nbinom.logpmf(row[:, None], theta, theta / (theta + s * shaped)).sum(0)
            for row, s in zip(x[:3], size, strict=True)
        ]
    elif name == "gaussian":
        expected = [
            (-0.5 * (row[:, None] - shaped) ** 2 / variance[:, None])[:3].sum(0) for row in x[:3]
        ]
    else:
        shaped[3:] = constants.level[3:, None]
        expected = [(row[:, None] * shaped - np.logaddexp(0, shaped)).sum(0) for row in x[:3]]
    expected = np.array(expected)
    np.testing.assert_allclose(
        found - found[:, [0]], expected - expected[:, [0]], rtol=1e-6, atol=1e-8
    )


def test_places_and_what_they_cost():
    grid = CurveGrid(False)
    z = np.array([-1.02, 0.0, 2.337, 9.0])
    share = place_on_grid(grid, z)
    np.testing.assert_allclose(share.sum(1), 1)
    np.testing.assert_allclose(share @ grid.z, [*z[:3], grid.z[-1]], atol=1e-12)
    precise = -0.5 * ((grid.z - 0.7) / 0.4) ** 2
    q = posterior(precise[None], grid.log_z_prior)
    variance = 1 / (1 + 1 / 0.16)
    mean = variance * 0.7 / 0.16
    np.testing.assert_allclose(q @ grid.z, mean, atol=1e-5)
    exact = 0.5 * (variance + mean**2 - 1 - np.log(variance))
    np.testing.assert_allclose(divergence(q, grid.log_z_prior), exact, atol=2e-3)


@pytest.mark.parametrize("sd", [0.005, 0.02, 0.06, 0.3])
@pytest.mark.parametrize("place", [0.0, 0.031, 0.05, -0.647])
def test_sums_over_shifts_are_integrals_however_narrow(sd, place):
    grid = CurveGrid(True)
    step = grid.shifts[1] - grid.shifts[0]
    joint = (-0.5 * ((grid.shifts - place) / sd) ** 2)[None, None]
    top = joint.max(2)
    mass = np.exp(joint - top[..., None]).sum(2)
    total = top + np.log(mass) + grid.between_shifts(joint, mass)
    exact = np.log(sd * np.sqrt(2 * np.pi) / step)
    np.testing.assert_allclose(total, exact, atol=2e-3)
