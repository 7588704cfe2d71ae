"""Smooth curves: fits under one prior against dense algebra and an integral."""

import numpy as np
from scipy.integrate import quad
from scipy.optimize import minimize_scalar
from scipy.stats import multivariate_normal

from basisvae_scvi.inference.structure import SmoothPrior


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
