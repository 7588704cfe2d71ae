"""Single entries of the numba backend against float64, over all magnitudes of the parameters."""

import numpy as np
import pytest
import torch

from basisvae_scvi.likelihood import (
    Observations,
    Pairs,
    TabulatedBasis,
    expected_log_likelihood,
    get_likelihood,
    use_backend,
)

COUNTS = [0.0, 0.5, 1.0, 2.0, 7.0, 37.25, 63.0, 64.0, 300.0, 4e3, 4e4, 1e5]
MEANS = [0.0, *10.0 ** np.arange(-8, 6.5, 1)]
DISPERSIONS = np.exp([-10.0, -6.0, -3.0, -1.0, 0.0, 1.0, 4.0, 8.0, 11.0, 14.0])
LOGITS = [-300.0, -60.0, -16.0, -3.0, 0.0, 5.0, 30.0, 60.0, 300.0]


def entries(name):
    """Every combination of counts, means, dispersions and logits, and many close to the mode."""
    family = get_likelihood(name)
    lattice = torch.cartesian_prod(
        torch.tensor(COUNTS),
        torch.tensor(MEANS, dtype=torch.float32),
        torch.tensor(DISPERSIONS if family.has_dispersion else [1.0], dtype=torch.float32),
        torch.tensor(LOGITS if family.has_dropout else [0.0]),
    )
    torch.manual_seed(0)
    x = torch.exp(torch.rand(6000) * np.log(1e5)).floor()
    near = x * torch.exp(torch.randn(6000) * 10 ** (4.5 * torch.rand(6000) - 4.0))
    theta = torch.exp(-10 + 24 * torch.rand(6000))
    cloud = torch.stack([x, near.clamp(1e-8, 1e6), theta, 10 * torch.randn(6000)], 1)
    return torch.cat([lattice, cloud]).unbind(1)


def evaluate(name, points, backend, dtype):
    """log p of every entry, and its derivatives in mean, θ and logit."""
    family = get_likelihood(name)
    x, mean, theta, logit = (t.to(dtype) for t in points)
    leaves = [mean, theta[None], logit[None]]
    leaves = [t.clone().requires_grad_() for t in leaves]
    observations = Observations(
        x[None],
        dispersion=leaves[1] if family.has_dispersion else None,
        dropout_logits=leaves[2] if family.has_dropout else None,
    )
    with use_backend(backend):
        sums = expected_log_likelihood(
            family,
            observations,
            torch.zeros(1, 1, dtype=dtype),
            TabulatedBasis(torch.ones(1, 1, dtype=dtype)),
            Pairs.all(len(x), 1),
            torch.ones_like(x),
            leaves[0],
        )
    sums.per_cell.sum().backward()
    gradients = [torch.zeros(len(x)) if t.grad is None else t.grad.ravel() for t in leaves]
    return [sums.per_pair.detach().double(), *(g.double() for g in gradients)]


def worst(points, error):
    at = error.argmax()
    return f"error {error[at]:.1e} at (x, μ, θ, logit) = {[t[at].item() for t in points]}"


@pytest.fixture(scope="module", params=["zinb", "nb", "poisson"])
def extremes(request):
    """Name, points, and what both backends make of them."""
    points = entries(request.param)
    ours = evaluate(request.param, points, "numba", torch.float32)
    return request.param, points, ours, evaluate(request.param, points, "torch", torch.float64)


def test_log_density(extremes):
    _, points, ours, oracle = extremes
    error = (ours[0] - oracle[0]).abs() / oracle[0].abs().clamp_min(1.0)
    assert error.max() < 1e-5, worst(points, error)


def test_slope_in_the_mean(extremes):
    """In units of the slope's two terms, x and μ times θ / (μ (μ + θ)), times their chance."""
    name, points, ours, oracle = extremes
    x, mean, theta, _ = (t.double() for t in points)
    mean = mean + 1e-8
    unit = (x + mean) / mean
    unit = unit if name == "poisson" else unit * theta / (mean + theta)
    unit = torch.where(x > 0, unit, oracle[1].abs() + 1e-30)
    error = (ours[1] - oracle[1]).abs() / unit
    assert error.max() < 1e-5, worst(points, error)


def test_slope_in_the_dispersion(extremes):
    """In units of what the saturated part and the deviance have in it, which may cancel."""
    name, points, ours, oracle = extremes
    if name == "poisson":
        return
    x, mean, theta, _ = (t.double() for t in points)
    theta.requires_grad_()
    family = get_likelihood("nb")
    parts = (family.saturated(x, theta), family.deviance(x, mean + 1e-8, theta))
    slopes = [torch.autograd.grad(part.sum(), theta)[0].abs() for part in parts]
    unit = torch.where(x > 0, slopes[0] + slopes[1], slopes[1]) + 1e-20
    error = (ours[2] - oracle[2]).abs() / unit
    assert error.max() < 1e-5, worst(points, error)


def test_slope_in_the_dropout_logit(extremes):
    """To the last digits of the two chances that it is the difference of."""
    name, points, ours, oracle = extremes
    if name != "zinb":
        return
    x, logit = points[0].double(), points[3].double()
    unit = torch.where(x > 0, torch.sigmoid(logit), torch.sigmoid(-logit)) + 1e-30
    error = (ours[3] - oracle[3]).abs() / unit
    assert error.max() < 5e-6, worst(points, error)


def test_all_gradients_in_the_norm(extremes):
    _, _, ours, oracle = extremes
    for a, b in zip(ours[1:], oracle[1:], strict=True):
        assert (a - b).norm() <= 1e-6 * b.norm()


@pytest.mark.parametrize("x", [1e3, 4e4, 7e4, 1e5])
@pytest.mark.parametrize("name", ["nb", "poisson"])
def test_large_counts_close_to_the_mode(name, x):
    """Where the plain formula in float32 loses 1.6e-5, this one stays below 2e-6."""
    ratio = 1.0 + torch.linspace(-0.05, 0.05, 1001)
    theta = torch.exp(torch.linspace(-10, 14, 1001))
    points = (torch.full((1001,), x), x * ratio, theta, torch.zeros(1001))
    ours = evaluate(name, points, "numba", torch.float32)
    oracle = evaluate(name, points, "torch", torch.float64)
    error = (ours[0] - oracle[0]).abs() / oracle[0].abs().clamp_min(1.0)
    assert error.max() < 2e-6, worst(points, error)


@pytest.mark.parametrize("name", ["gaussian", "bernoulli"])
def test_extreme_real_locations(name):
    far = [0.0, 1e-8, 1e-3, 0.5, 1.0, 7.0, 20.0, 86.0, 88.0, 300.0, 1e4]
    location = torch.tensor([*far, *(-value for value in far)])
    x = torch.tensor([0.0, 1.0] if name == "bernoulli" else [-300.0, -1e-3, 0.0, 2.0, 1e4])
    sd = torch.tensor([1e-3, 1.0, 50.0] if name == "gaussian" else [1.0])
    points = [*torch.cartesian_prod(x, location, sd).unbind(1)]
    points.append(torch.zeros_like(points[0]))
    ours = evaluate(name, points, "numba", torch.float32)
    oracle = evaluate(name, points, "torch", torch.float64)
    error = (ours[0] - oracle[0]).abs() / oracle[0].abs().clamp_min(1.0)
    assert error.max() < 2e-6, worst(points, error)
    # Slopes are differences of two terms: in units of these.
    terms = [1.0, 0.0] if name == "bernoulli" else [0.0, 1.0 / points[2].double()]
    for a, b, term in zip(ours[1:3], oracle[1:3], terms, strict=True):
        assert ((a - b).abs() <= 1e-6 * (b.abs() + term)).all()


@pytest.mark.parametrize("mean", [1e-8, 1e-6, 1e-4, 1e-2, 0.05, 0.07, 0.5, 3.0])
@pytest.mark.parametrize("logit", [-60.0, -16.0, -3.0, -1e-3, 0.0, 1e-3, 3.0, 16.0, 60.0])
def test_zeros_of_quiet_genes(logit, mean):
    """All is good to its last digits, also where log p(0) vanishes, with and without dropout."""
    theta = torch.exp(torch.linspace(-10, 14, 100))
    points = torch.zeros(100), torch.full((100,), mean), theta, torch.full((100,), logit)
    for name in ("zinb", "nb", "poisson"):
        ours = evaluate(name, points, "numba", torch.float32)
        oracle = evaluate(name, points, "torch", torch.float64)
        errors = [(a - b).abs() for a, b in zip(ours, oracle, strict=True)]
        # The oracle knows 1e-16, and single precision logits of 16 a millionth.
        assert (errors[0] <= 1e-5 * oracle[0].abs() + 2e-13).all(), worst(points, errors[0])
        if name == "zinb":
            assert (errors[3] <= 5e-5 * oracle[3].abs() + 2e-16).all(), worst(points, errors[3])
        assert (errors[1] <= 5e-6 * oracle[1].abs()).all(), worst(points, errors[1])
        # Below 1e-16 the oracle itself has lost its digits.
        assert (errors[2] <= 5e-6 * oracle[2].abs() + 1e-16).all(), worst(points, errors[2])


@pytest.mark.parametrize("mean", [1e-6, 1e-4, 1e-2, 1.0])
@pytest.mark.parametrize("logit", [-12.0, -1.0, 1.0, 16.0])
def test_a_minibatch_of_nothing_but_zeros(mean, logit):
    """Sums and all gradients of the whole step, in relative norm."""
    generator = torch.Generator().manual_seed(5)

    def draw(*shape, sd=0.3):
        return sd * torch.randn(*shape, generator=generator)

    n, p, k = 64, 12, 3
    leaves = {
        "z": draw(n, 1, sd=1.0),
        "scale": draw(p * k).exp(),
        "weight": torch.rand(p * k, generator=generator),
        "log_theta": draw(1, p, sd=2.0),
        "logit": logit + draw(1, p),
    }
    pairs = Pairs.all(p, k)
    results = []
    for backend, dtype in (("numba", torch.float32), ("torch", torch.float64)):
        own = {k: v.to(dtype, copy=True).requires_grad_() for k, v in leaves.items()}
        values = mean * (1.0 + 0.5 * torch.sin(own["z"] + torch.arange(k)))
        observations = Observations(
            x=torch.zeros(n, p, dtype=dtype),
            size_factor=torch.ones(n, 1, dtype=dtype),
            dispersion=own["log_theta"].exp(),
            dropout_logits=own["logit"],
        )
        with use_backend(backend):
            sums = expected_log_likelihood(
                get_likelihood("zinb"),
                observations,
                own["z"],
                TabulatedBasis(values),
                pairs,
                own["weight"],
                own["scale"],
            )
        total = sums.per_cell.sum()
        total.backward()
        results.append([total.detach(), *(leaf.grad for leaf in own.values())])
    for name, ours, oracle in zip(["value", *leaves], *results, strict=True):
        bound = 1e-5 if name == "value" else 1e-4
        # The oracle itself knows sums of a thousand differences of numbers of order 1 to 1e-14.
        assert (ours.double() - oracle).norm() <= bound * oracle.norm() + 1e-14, name
