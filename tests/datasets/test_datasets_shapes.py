"""The basis functions: normalisation, registry and errors."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from basisvae_scvi.datasets import BASES, SHAPES, basis_values

GRID = np.linspace(-4, 4, 801)


@pytest.mark.parametrize("name", BASES)
def test_normalised_basis_has_mean_one_under_the_prior(name):
    def integrand(u):
        return basis_values(name, u) * norm.pdf(u)

    mean = quad(integrand, -12, 12, points=[-2, -1, 0, 1, 2], limit=500, epsabs=1e-10)[0]
    assert mean == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("name", BASES)
def test_normalisation_only_rescales(name):
    raw = basis_values(name, GRID, normalized=False)
    assert (raw > 0).all()
    ratio = basis_values(name, GRID) / raw
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-12)


def test_closed_form_means():
    # E exp(-u²/2) = 1/√2 and E expit(3u) = 1/2 under N(0, 1).
    assert basis_values("transient", 0.0) == pytest.approx(np.sqrt(2), rel=1e-12)
    assert basis_values("switch_on", 0.0) == pytest.approx(1.0, rel=1e-12)


def test_toy_functions_are_those_of_the_paper():
    up = basis_values("up", GRID, normalized=False)
    np.testing.assert_allclose(up, 0.4 * np.log1p(np.exp(GRID)), rtol=1e-12)
    np.testing.assert_allclose(basis_values("down", GRID, normalized=False), up[::-1], rtol=1e-12)
    bump = basis_values("transient", GRID, normalized=False)
    np.testing.assert_allclose(bump, norm.pdf(GRID) / norm.pdf(0), rtol=1e-12)


@pytest.mark.parametrize(("name", "center"), [("early", -1.5), ("peak", 0.0), ("late", 1.5)])
def test_offset_moves_the_peak_to_its_opposite(name, center):
    basis, offset = SHAPES[name]
    assert GRID[np.argmax(basis_values(basis, GRID + offset))] == pytest.approx(center, abs=1e-9)


def test_double_has_two_peaks():
    y = basis_values("double", GRID)
    peaks = (y[1:-1] > y[:-2]) & (y[1:-1] > y[2:])
    np.testing.assert_allclose(GRID[1:-1][peaks], [-1.25, 1.25], atol=0.011)


def test_unknown_basis_is_named():
    with pytest.raises(ValueError, match="name='peek'"):
        basis_values("peek", 0.0)
