"""The grid of z, shifts and curves, and cells on it."""

import numpy as np
import pytest

from basisvae_scvi.inference.structure import CurveGrid, place_on_grid, posterior
from basisvae_scvi.inference.structure._cells import divergence


def test_windows_and_moves_are_shifts():
    rng, grid = np.random.default_rng(0), CurveGrid(True)
    curve = rng.standard_normal(len(grid.x))
    expected = np.interp(grid.z + grid.shifts[30], grid.x, curve)
    np.testing.assert_allclose(grid.windows(curve[None])[0, 30], expected, atol=1e-9)
    moved = grid.moved(curve, 0.5)
    np.testing.assert_allclose(moved[:-10], curve[10:])
    assert (moved[-10:] == curve[-1]).all()
    beyond = grid.extended(curve[None, : len(grid.z)])[0]
    np.testing.assert_array_equal(
        grid.windows(beyond[None])[0, grid.no_shift], curve[: len(grid.z)]
    )
    assert (beyond[0], beyond[-1]) == (curve[0], curve[len(grid.z) - 1])


@pytest.mark.parametrize("shift", [True, False])
def test_smooth_curves_are_functions_of_the_basis(shift):
    grid = CurveGrid(shift)
    n = grid.basis.shape[1]
    np.testing.assert_allclose(grid.basis.T @ grid.basis, np.eye(n), atol=1e-12)
    curves = np.stack(
        [np.sin(2 * grid.x), np.ones(len(grid.x)), np.exp(-0.5 * (grid.x / 0.5) ** 2)]
    )
    seen = grid.coordinates(curves) @ grid.basis.T
    np.testing.assert_allclose(seen, grid.windows(curves), atol=0.005)


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
