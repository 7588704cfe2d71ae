"""Log densities against scipy, in the plain and in the extreme."""

import numpy as np
import pytest
import reference
import torch
from scipy import stats
from scipy.special import expit

from basisvae_scvi.likelihood import LIKELIHOODS, get_likelihood

rng = np.random.default_rng(0)
SIZE = 400
COUNT = rng.negative_binomial(1.0, 0.05, SIZE) * rng.integers(0, 2, SIZE)
MEAN, THETA = rng.gamma(1.0, 10.0, SIZE) + 1e-3, np.exp(rng.normal(0.0, 1.5, SIZE))
LOGIT, REAL, SD = rng.normal(0, 3, SIZE), rng.normal(0, 3, SIZE), np.exp(rng.normal(0, 1, SIZE))


def by_scipy(name):
    """(x, location, dispersion, dropout logits) and the log density by scipy.stats."""
    binomial = stats.nbinom.logpmf(COUNT, THETA, THETA / (THETA + MEAN))
    if name == "zinb":
        mass = expit(LOGIT) * (COUNT == 0) + expit(-LOGIT) * np.exp(binomial)
        return (COUNT, MEAN, THETA, LOGIT), np.log(mass)
    if name == "nb":
        return (COUNT, MEAN, THETA, None), binomial
    if name == "poisson":
        return (COUNT, MEAN, None, None), stats.poisson.logpmf(COUNT, MEAN)
    if name == "gaussian":
        return (REAL, LOGIT, SD, None), stats.norm.logpdf(REAL, LOGIT, SD)
    return (COUNT > 0, LOGIT, None, None), stats.bernoulli.logpmf(COUNT > 0, expit(LOGIT))


def tensors(arguments, dtype=torch.float64):
    return [None if a is None else torch.as_tensor(np.asarray(a), dtype=dtype) for a in arguments]


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_log_prob_is_the_textbook_density(name):
    arguments, expected = by_scipy(name)
    log_p = get_likelihood(name).log_prob(*tensors(arguments)).numpy()
    np.testing.assert_allclose(log_p, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_the_shared_reference_is_the_textbook_density(name):
    arguments, expected = by_scipy(name)
    np.testing.assert_allclose(
        reference.log_prob(name, *arguments), expected, rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("name", ["zinb", "nb", "poisson"])
def test_count_densities_sum_to_one_and_have_their_mean(name):
    x = torch.arange(3000, dtype=torch.float64)
    theta, logit = torch.tensor(1.7).double(), torch.tensor(-0.4).double()
    p = get_likelihood(name).log_prob(x, torch.full_like(x, 12.5), theta, logit).exp().numpy()
    kept = expit(0.4) if name == "zinb" else 1.0
    assert p.sum() == pytest.approx(1.0, abs=1e-10)
    assert p @ x.numpy() == pytest.approx(12.5 * kept, rel=1e-7)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_deviance_vanishes_at_the_perfect_fit_and_nowhere_else(name):
    family = get_likelihood(name)
    (x, _, dispersion, _), _ = by_scipy(name)
    x, dispersion = tensors((np.maximum(x, 1) if family.is_count else x, dispersion))
    perfect = torch.where(x > 0, 60.0, -60.0).double() if name == "bernoulli" else x
    assert family.deviance(x, perfect, dispersion).abs().max() < 1e-9
    off = perfect * 0.5 if name != "gaussian" else perfect + 0.5
    assert (family.deviance(x, off, dispersion) > 0).all()


def extremes():
    """Dispersions, means and counts over all the magnitudes that data and optimisers visit."""
    theta, mean = 10.0 ** np.arange(-8, 8.5, 1), 10.0 ** np.arange(-8, 6.5, 1)
    count = [0, 1, 2, 7, 30, 300, 4_000, 100_000]
    lattice = np.stack(np.meshgrid(count, mean, theta, indexing="ij"), -1).reshape(-1, 3)
    # Close to the mode large terms cancel.
    x = np.floor(10 ** rng.uniform(0, 5, 4000))
    near = x * np.exp(rng.normal(0, 1, 4000) * 10 ** rng.uniform(-4, 0.5, 4000))
    cloud = np.stack([x, np.minimum(near, 1e6), 10 ** rng.uniform(-8, 8, 4000)], -1)
    return np.concatenate([lattice, cloud]).astype(np.float32).astype(np.float64)


@pytest.fixture(scope="module")
def extreme_reference():
    """The points, log NB and log Poisson there, without differences of large numbers."""
    points = extremes()
    binomial = np.array([reference.log_nb_by_products(*point) for point in points])
    x, mean, _ = points.T
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, 100_001)))])
    return points, binomial, x * np.log(mean) - mean - log_factorial[x.astype(int)]


def assert_close(points, log_p, expected, tolerance):
    error = np.abs(log_p - expected) / np.maximum(1.0, np.abs(expected))
    worst = error.argmax()
    assert error[worst] < tolerance, (
        f"(x, μ, θ) = {points[worst]}: {log_p[worst]} and not {expected[worst]}; "
        f"{(error >= tolerance).mean():.1%} of the points miss"
    )


# float64: the reference itself sums 1e5 logarithms, good to 1e-9.
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-8), (torch.float32, 1e-5)])
@pytest.mark.parametrize("name", ["nb", "poisson"])
def test_extreme_counts_and_parameters(extreme_reference, name, dtype, tolerance):
    points, binomial, poisson = extreme_reference
    log_p = get_likelihood(name).log_prob(*tensors(points.T, dtype)).double().numpy()
    assert_close(points, log_p, binomial if name == "nb" else poisson, tolerance)


@pytest.mark.parametrize("logit", [-20.0, -3.0, 0.0, 5.0, 20.0])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-8), (torch.float32, 1e-5)])
def test_extreme_counts_with_dropout(extreme_reference, logit, dtype, tolerance):
    points, binomial, _ = extreme_reference
    drop, keep = -np.logaddexp(0, -logit), -np.logaddexp(0, logit)
    expected = np.where(points[:, 0] > 0, keep + binomial, np.logaddexp(drop, keep + binomial))
    x, mean, theta = tensors(points.T, dtype)
    logits = torch.full_like(x, logit)
    log_p = get_likelihood("zinb").log_prob(x, mean, theta, logits).double().numpy()
    assert_close(points, log_p, expected, tolerance)


@pytest.mark.parametrize("theta", [1e-4, 1.0, 1e4, 1.2e6])
def test_zeros_of_a_quiet_gene_cost_its_mean_in_float32(theta):
    """log p(0) = −θ log(1 + μ/θ): what orders the cells where most entries are zero."""
    mean = np.float32(10.0) ** np.arange(-6, 2, dtype=np.float32)
    x, location = torch.zeros(len(mean)), torch.from_numpy(mean)
    deviance = get_likelihood("nb").deviance(x, location, torch.full_like(x, theta)).numpy()
    t = float(np.float32(theta))
    np.testing.assert_allclose(deviance, t * np.log1p(mean.astype(float) / t), rtol=1e-5)


@pytest.mark.parametrize("name", ["zinb", "nb", "poisson"])
def test_nb_gradients_are_finite_and_right_everywhere(name):
    points = extremes()
    x, mean, theta = tensors(points.T, torch.float32)
    for logit in (-20.0, 0.0, 20.0):
        leaves = [t.clone().requires_grad_() for t in (mean, theta, torch.full_like(x, logit))]
        log_p = get_likelihood(name).log_prob(x, *leaves)
        assert torch.isfinite(log_p).all()
        gradients = torch.autograd.grad(log_p.sum(), leaves, allow_unused=True)
        used = {"zinb": 3, "nb": 2, "poisson": 1}[name]
        assert [g is not None for g in gradients] == [True] * used + [False] * (3 - used)
        assert all(torch.isfinite(g).all() for g in gradients[:used])
    if name == "nb":
        x, mean, theta = points.T
        # d log p / d log μ = θ (x − μ) / (μ + θ)
        slope = theta * (x - mean) / (mean + theta)
        error = np.abs(gradients[0].numpy() * mean - slope) / (np.abs(x) + np.abs(slope) + 1e-6)
        assert error.max() < 1e-5


def differentiable(name):
    arguments, _ = by_scipy(name)
    leaves = tensors([None if a is None else a[:12] for a in arguments])
    if name in reference.COUNTS:
        leaves[0][:4] = 0.0
    for leaf in leaves[1:]:
        if leaf is not None:
            leaf.requires_grad_()
    return leaves


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_gradients_by_finite_differences(name):
    assert torch.autograd.gradcheck(get_likelihood(name).log_prob, differentiable(name))


@pytest.mark.parametrize("name", ["zinb", "nb", "poisson"])
def test_count_location_scales_with_cell_and_batch(name):
    signal, size = torch.tensor([[2.0, 0.0]]), torch.tensor([[3.0]])
    location = get_likelihood(name).location(signal, size, torch.tensor([[np.log(0.5), 0.0]]))
    np.testing.assert_allclose(location.numpy(), [[3.0, 1e-8]], rtol=1e-6)


@pytest.mark.parametrize("name", ["gaussian", "bernoulli"])
def test_real_location_adds_the_batch(name):
    location = get_likelihood(name).location(torch.tensor([2.0]), None, torch.tensor([-0.5]))
    assert location.item() == 1.5


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_expected_observation_of_a_location(name):
    value = get_likelihood(name).expected(torch.tensor([0.7], dtype=torch.float64)).item()
    assert value == pytest.approx(expit(0.7) if name == "bernoulli" else 0.7, rel=1e-12)


def test_unknown_likelihood_lists_the_known():
    with pytest.raises(ValueError, match=r"'zinb', 'nb', 'poisson', 'gaussian', 'bernoulli'"):
        get_likelihood("normal")
