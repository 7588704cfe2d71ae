"""Basis functions: normalisation, flat basis, borders, and the grid that replaces the networks."""

import numpy as np
import pytest
import reference
import torch
from scipy.integrate import quad
from scipy.stats import norm

from basisvae_scvi.likelihood import GridBasis
from basisvae_scvi.module import Z_LIMIT, BasisFunctions


def make(n_latent=1, steepness=None, seed=0, **kwargs):
    """Randomly initialised functions in float64, with all |w| equal to ``steepness`` if given."""
    torch.manual_seed(seed)
    functions = BasisFunctions(kwargs.pop("n_basis", 7), n_latent, **kwargs).double()
    if steepness is not None:
        with torch.no_grad():
            factor = steepness / functions.direction.norm(dim=1, keepdim=True)
            functions.direction.mul_(factor)
            functions.threshold.mul_(factor[:, 0])
    return functions


def tabulate(functions, z):
    with torch.no_grad():
        return functions(torch.as_tensor(z, dtype=torch.float64)).numpy()


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("positive", [True, False])
@pytest.mark.parametrize("n_latent", [1, 2])
def test_values_follow_the_formula(n_latent, positive, normalize):
    functions = make(n_latent, positive=positive, normalize=normalize, n_hidden=5)
    expected = reference.Networks.of(functions)
    z = np.random.default_rng(1).normal(0, 3, (40, n_latent))
    values = tabulate(functions, z)
    assert np.abs(z).max() > Z_LIMIT
    for k in range(functions.n_basis):
        np.testing.assert_allclose(values[:, k], expected(k, z), rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(  # to the last digits, up to the quadrature of the norm
            values[:, k] * expected(k, z[:1])[0], expected(k, z) * values[0, k], rtol=1e-9
        )


# |w| up to 2 is what functions start from, 4 is a rise within a quarter of the cells' spread.
@pytest.mark.parametrize(("steepness", "tolerance"), [(None, 1e-5), (2.0, 1e-4), (4.0, 1e-4)])
@pytest.mark.parametrize("positive", [True, False])
def test_prior_mean_or_mean_square_is_one_in_one_dimension(positive, steepness, tolerance):
    functions = make(positive=positive, steepness=steepness, n_basis=4)
    networks, norms = reference.Networks.of(functions), functions.norms().tolist()
    for k in range(3):

        def moment(z, k=k):
            value = networks.link(k, np.array([z]))
            return (value if positive else value**2) * norm.pdf(z)

        total = sum(quad(moment, a, a + 2, epsabs=1e-9)[0] for a in range(-8, 8, 2))
        assert norms[k + 1] == pytest.approx(total if positive else total**0.5, rel=tolerance)
        assert networks.norms[k] == pytest.approx(total if positive else total**0.5, rel=1e-8)


@pytest.mark.parametrize(("steepness", "tolerance"), [(None, 1e-3), (4.0, 2e-2)])
@pytest.mark.parametrize("positive", [True, False])
def test_prior_mean_or_mean_square_is_one_in_two_dimensions(positive, steepness, tolerance):
    functions = make(2, positive=positive, steepness=steepness)
    nodes, weights = reference.prior_rule(2)
    values = tabulate(functions, nodes)[:, 1:]
    moment = weights @ (values if positive else values**2)
    np.testing.assert_allclose(moment, 1.0, atol=tolerance)


@pytest.mark.parametrize("n_latent", [3, 5])
@pytest.mark.parametrize("positive", [True, False])
def test_prior_mean_or_mean_square_is_one_in_more_dimensions(positive, n_latent):
    functions = make(n_latent, positive=positive)
    values = tabulate(functions, np.random.default_rng(2).normal(size=(40_000, n_latent)))[:, 1:]
    moment = values if positive else values**2
    # 4 standard errors of the Monte Carlo average, and 2 % for the rule of the package.
    error = 4 * moment.std(0) / np.sqrt(len(moment))
    assert (np.abs(moment.mean(0) - 1.0) < 0.02 + error).all()


@pytest.mark.parametrize("n_latent", [1, 2, 3])
@pytest.mark.parametrize("positive", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_flat_basis_is_exactly_one(n_latent, positive, dtype):
    functions = make(n_latent, positive=positive).to(dtype)
    z = 3 * torch.randn(50, n_latent, dtype=dtype)
    assert (functions(z)[:, functions.flat] == 1.0).all()
    shift, basis = torch.randn(4, dtype=dtype), torch.zeros(4, dtype=torch.int64)
    values = functions.evaluator(z, shift).at_pairs(z, shift, basis)
    # Interpolation sums four weights, which rounds.
    assert (values - 1.0).abs().max() <= (1e-6 if dtype == torch.float32 else 1e-13)
    assert functions.norms()[0] == 1.0


@pytest.mark.parametrize("n_latent", [1, 2])
def test_functions_continue_as_constants_beyond_the_border(n_latent):
    functions = make(n_latent)
    border = np.full((1, n_latent), Z_LIMIT)
    for sign in (-1.0, 1.0):
        far = tabulate(functions, sign * np.array([[6.0], [6.5], [50.0]]) * np.ones((1, n_latent)))
        np.testing.assert_allclose(far, tabulate(functions, sign * border)[[0, 0, 0]], rtol=1e-12)
    z = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None].expand(-1, n_latent)
    shift = torch.tensor([9.0, -9.0], dtype=torch.float64)
    with torch.no_grad():
        values = functions.evaluator(z, shift).at_pairs(z, shift, torch.tensor([3, 3])).numpy()
    np.testing.assert_allclose(values[:, 0], tabulate(functions, border)[0, 3], rtol=1e-12)
    np.testing.assert_allclose(values[:, 1], tabulate(functions, -border)[0, 3], rtol=1e-12)


def on_grid(functions, z, shift, basis):
    points = GridBasis.points(-Z_LIMIT, Z_LIMIT, functions.n_grid, like=z)
    values = functions(points[:, None])
    return GridBasis(values, -Z_LIMIT, Z_LIMIT).at_pairs(z, shift, basis)


@pytest.mark.parametrize("steepness", [None, 2.0, 4.0])
@pytest.mark.parametrize("positive", [True, False])
def test_grid_agrees_with_the_networks(positive, steepness):
    functions = make(positive=positive, steepness=steepness, n_basis=13)
    z = torch.linspace(-7, 7, 9973, dtype=torch.float64)[:, None]
    expected = tabulate(functions, z)
    for shift in (0.0, 0.317):
        shifts, basis = torch.full((13,), shift, dtype=torch.float64), torch.arange(13)
        with torch.no_grad():
            values = on_grid(functions, z - shift, shifts, basis).numpy()
        error = np.abs(values - expected).max(0)[1:] / np.ptp(expected, axis=0)[1:]
        assert error.max() < 1e-5


@pytest.mark.parametrize("steepness", [None, 4.0])
@pytest.mark.parametrize("positive", [True, False])
def test_gradients_through_the_grid_are_those_of_the_networks(positive, steepness):
    """With random weights on every value, for z, the shifts and all network parameters."""
    results = []
    for n_grid in (513, 0):
        functions = make(positive=positive, steepness=steepness, n_grid=n_grid)
        generator = torch.Generator().manual_seed(3)
        z, shift, basis, weight = (
            torch.randn(80, 1, generator=generator).double().requires_grad_(),
            torch.randn(40, generator=generator).double().requires_grad_(),
            torch.randint(0, 7, (40,), generator=generator),
            torch.randn(80, 40, generator=generator).double(),
        )
        values = functions.evaluator(z, shift).at_pairs(z, shift, basis)
        leaves = [z, shift, *functions.parameters()]
        results.append(torch.autograd.grad((values * weight).sum(), leaves))
    for by_grid, by_network in zip(*results, strict=True):
        tolerance = 1e-3 * by_network.abs().max().item()
        torch.testing.assert_close(by_grid, by_network, rtol=1e-3, atol=tolerance)


def test_without_shift_values_are_looked_up():
    functions = make(2)
    z = torch.randn(9, 2).double()
    with torch.no_grad():
        basis = torch.tensor([0, 3, 3, 6])
        values = functions.evaluator(z, None).at_pairs(z, None, basis).numpy()
    assert (values == tabulate(functions, z)[:, basis.numpy()]).all()


@pytest.mark.parametrize("n_latent", [1, 2, 3])
def test_evaluators_of_shifted_pairs_equal_the_functions_there(n_latent):
    functions = make(n_latent)
    z, shift = torch.randn(9, n_latent).double(), torch.randn(5).double()
    basis = torch.tensor([0, 1, 6, 6, 2])
    with torch.no_grad():
        values = functions.evaluator(z, shift).at_pairs(z, shift, basis).numpy()
    for m, k in enumerate(basis.tolist()):
        expected = tabulate(functions, z + shift[m])[:, k]
        np.testing.assert_allclose(values[:, m], expected, rtol=1e-5)


@pytest.mark.parametrize("n_latent", [1, 2])
@pytest.mark.parametrize("positive", [True, False])
def test_float32_agrees_with_float64(n_latent, positive):
    functions = make(n_latent, positive=positive)
    z, shift = torch.randn(200, n_latent).double(), torch.randn(7).double()
    with torch.no_grad():
        exact = functions.evaluator(z, shift).at_pairs(z, shift, torch.arange(7))
        functions = functions.float()
        single = functions.evaluator(z.float(), shift.float()).at_pairs(
            z.float(), shift.float(), torch.arange(7)
        )
    torch.testing.assert_close(single.double(), exact, rtol=1e-4, atol=1e-5)


def test_start_is_on_the_level_of_a_flat_gene():
    functions = make(n_basis=400)
    with torch.no_grad():
        functions.amplitude.zero_()
    assert tabulate(functions, [[0.3]])[0] == pytest.approx(1.0, rel=1e-6)
    raw = make(n_basis=3, normalize=False)
    with torch.no_grad():
        raw.amplitude.zero_()
    assert tabulate(raw, [[0.3]])[0] == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize("positive", [True, False])
def test_bases_that_are_not_wanted_cost_nothing_and_change_nothing(positive):
    functions = BasisFunctions(6, positive=positive).double()
    z, wanted = torch.linspace(-2, 2, 9).double()[:, None], torch.tensor([4, 0, 2, 4])
    everything, some = functions(z), functions(z, wanted)
    for k in (0, 2, 4):
        torch.testing.assert_close(some[:, k], everything[:, k], rtol=1e-12, atol=0)
    assert (some[:, [1, 3, 5]] == 1).all()
    slope = torch.randn(9, 6).double()
    slope[:, [1, 3, 5]] = 0.0
    parameters = list(functions.parameters())
    expected = torch.autograd.grad((everything * slope).sum(), parameters)
    found = torch.autograd.grad((some * slope).sum(), parameters)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
