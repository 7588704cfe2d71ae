"""Curves on a grid: taken over from given ones, their size, shifts, units, prior and states."""

import copy
import pickle

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicSpline

from basisvae_scvi.likelihood import GridBasis, TabulatedBasis
from basisvae_scvi.module import BasisFunctions, BasisVAEModule, SmoothBasis, curve_support


def curves(shift=False):
    x = curve_support(shift)
    return np.stack([np.tanh(x), np.exp(-0.5 * (x / 0.6) ** 2) - 0.4])


def made(positive=True, shift=False, n_basis=5):
    basis = SmoothBasis(n_basis, translation_invariant=shift, positive=positive)
    basis.set_curves(curves(shift))
    return basis


@pytest.mark.parametrize("shift", [False, True])
@pytest.mark.parametrize("positive", [True, False])
def test_curves_come_back_at_their_size(positive, shift):
    basis, x = made(positive, shift), curve_support(shift)
    weight = np.exp(-0.5 * x**2) / np.exp(-0.5 * x**2).sum()
    expected = np.exp(curves(shift)) if positive else curves(shift)
    size = expected @ weight if positive else np.sqrt(expected**2 @ weight)
    expected = expected / size[:, None]
    z = np.linspace(-3.1, 3.1, 41)
    with torch.no_grad():
        found = basis(torch.tensor(z[:, None], dtype=torch.float32)).numpy()
    np.testing.assert_allclose(found[:, 0], 1.0)
    np.testing.assert_allclose(found[:, 1:3].T, CubicSpline(x, expected.T)(z).T, atol=0.02)
    np.testing.assert_allclose(found[:, 3:], 1.0, atol=0.01)  # those without a curve are level


def test_level_beyond_the_grid_and_shifts_move_along_it():
    basis = made(shift=True)
    ends = torch.tensor([[-9.0], [-5.4], [5.4], [9.0]])
    with torch.no_grad():
        values = basis(ends)
        torch.testing.assert_close(values[[0, 3]], values[[1, 2]])
        z, shift = torch.tensor([[0.2], [-1.0]]), torch.tensor([0.7, -0.3])
        evaluator = basis.evaluator(z, shift)
        assert isinstance(evaluator, GridBasis)
        moved = evaluator.at_pairs(z, shift, torch.tensor([1, 2]))
        for pair, k in enumerate((1, 2)):
            torch.testing.assert_close(moved[:, pair], basis(z + shift[pair])[:, k])
        assert isinstance(basis.evaluator(z, None), TabulatedBasis)


def test_another_unit_of_z_moves_nothing_but_the_size():
    basis = made()
    with torch.no_grad():
        z = torch.linspace(-2, 2, 9)[:, None]
        before, norms = basis(z), basis.norms()
        basis.rescale(1.3)
        after = basis(z / 1.3)
        torch.testing.assert_close(after * basis.norms(), before * norms, rtol=1e-4, atol=1e-5)


def test_the_prior_is_that_of_standard_normal_weights():
    basis = made()
    torch.testing.assert_close(basis.log_prior(), -0.5 * basis.weight.square().sum())
    basis.reset_parameters()
    assert basis.log_prior() == 0
    # A rough curve costs more than a smooth one of the same size.
    x = curve_support(False)
    costs = []
    for bends in (1.0, 4.0):
        basis.set_curves(np.sin(bends * x)[None])
        costs.append(-basis.log_prior().item())
    assert costs[1] > 2 * costs[0]


def test_gradients_reach_the_weights():
    basis = made().double()
    z = torch.linspace(-2.03, 2.01, 7, dtype=torch.float64)[:, None]

    def values(weight):
        return torch.func.functional_call(basis, {"weight": weight}, (z,))

    weight = basis.weight.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(values, (weight,), atol=1e-4)


def test_copies_and_states_are_whole():
    basis = made()
    basis.rescale(1.2)
    z = torch.linspace(-3, 3, 13)[:, None]
    state = SmoothBasis(5, translation_invariant=False)
    state.load_state_dict(basis.state_dict())
    with torch.no_grad():
        for other in (copy.deepcopy(basis), pickle.loads(pickle.dumps(basis)), state):
            torch.testing.assert_close(other(z), basis(z), rtol=0, atol=0)


def test_states_with_networks_bring_networks():
    old = BasisVAEModule(6, n_basis=4, n_hidden_basis=7)
    new = BasisVAEModule(6, n_basis=4, basis_functions="smooth")
    new.load_state_dict(old.state_dict())
    assert isinstance(new.basis, BasisFunctions)
    z = torch.linspace(-2, 2, 5)[:, None]
    with torch.no_grad():
        torch.testing.assert_close(new.basis(z), old.basis(z))
