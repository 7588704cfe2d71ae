"""Profile tables against general-purpose optimisers, pools against direct sums."""

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import minimize_scalar
from scipy.stats import norm

from basisvae_scvi.inference import PooledCells, pool_cells, shift_grid, working_model
from basisvae_scvi.likelihood import get_likelihood
from basisvae_scvi.module import FeatureConstants

N, P, B = 300, 6, 12


def bump(z):
    return 0.2 + 1.5 * np.exp(-0.5 * (z / 0.6) ** 2)


def rise(z):
    return 2.0 / (1.0 + np.exp(-2.0 * z))


CURVES = (np.ones_like, bump, rise)


def pooled(family, seed=0, slope=1.0):
    """Cells along z whose genes follow the bump at different scales, and their pools."""
    rng = np.random.default_rng(seed)
    z, size = rng.normal(size=(N, 1)), np.exp(0.3 * rng.normal(size=N))
    level = rng.gamma(4.0, 0.5, P)
    signal = slope * level * bump(z)
    if family == "nb":
        x = rng.negative_binomial(2.0, 2.0 / (2.0 + size[:, None] * signal)).astype(float)
    else:
        size = None
        x = signal + rng.normal(size=(N, P))
        x = (x > 2.0).astype(float) if family == "bernoulli" else x
    constants = FeatureConstants(level, level * 1.2, np.ones(P), 1.0)
    return pool_cells(x, z, size, n_pools=B), constants


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("n_latent", [1, 2])
def test_pools_are_sums_over_their_cells(n_latent, sparse):
    rng = np.random.default_rng(0)
    x, z = rng.poisson(1.0, (103, 4)).astype(float), rng.normal(size=(103, n_latent))
    z[:7] = z[0]  # ties
    size = rng.gamma(3.0, 0.3, 103)
    pools = pool_cells(sp.csr_matrix(x) if sparse else x, z, size, n_pools=8, seed=1)
    np.testing.assert_allclose(pools.total.sum(0), x.sum(0), rtol=1e-12)
    assert pools.exposure.sum() == pytest.approx(size.sum(), rel=1e-12)
    assert pools.z.shape == (8, n_latent)
    if n_latent > 1:
        return
    # One dimension: consecutive runs of the sorted cells, of equal numbers.
    label = np.arange(103) * 8 // 103
    runs = [np.argsort(z[:, 0], kind="stable")[label == b] for b in range(8)]
    assert {len(run) for run in runs} == {12, 13}
    within = np.zeros(4)
    for b, run in enumerate(runs):
        np.testing.assert_allclose(pools.total[b], x[run].sum(0), rtol=1e-12)
        np.testing.assert_allclose(pools.z[b], z[run].mean(0), rtol=1e-12)
        assert pools.exposure[b] == pytest.approx(size[run].sum(), rel=1e-12)
        within += len(run) * (x[run] / size[run, None]).var(axis=0)
    np.testing.assert_allclose(pools.variance, within / (103 - 8), rtol=1e-9)


def test_pools_have_five_cells_at_least():
    pools = pool_cells(np.ones((23, 2)), np.arange(23.0)[:, None], None, n_pools=60)
    assert pools.exposure.tolist() == [6.0, 6.0, 6.0, 5.0]
    assert pool_cells(np.ones((3, 2)), np.arange(3.0)[:, None], None).total.tolist() == [[3, 3]]


def log_likelihood(family, pools, j, signal):
    """Working log likelihood of gene j, up to a constant of the gene, for values per pool."""
    x, exposure = pools.total[:, j], pools.exposure
    if family == "nb":
        mean = x.sum() / exposure.sum()
        psi = max(1.0, pools.variance[j] / mean)
        return (x @ np.log(signal) - signal @ exposure) / psi
    if family == "gaussian":
        y, precision = x / exposure, exposure / pools.variance[j]
    else:
        p = (x + 0.5) / (exposure + 1.0)
        y, precision = np.log(p / (1 - p)), exposure * p * (1 - p)
    return -0.5 * (precision * (y - signal) ** 2).sum()


@pytest.mark.parametrize("scale_invariant", [True, False])
@pytest.mark.parametrize("family", ["nb", "gaussian", "bernoulli"])
def test_scale_and_evidence_are_those_of_an_optimiser(family, scale_invariant):
    pools, constants = pooled(family)
    values = np.stack([curve(pools.z[:, 0]) for curve in CURVES])
    model = working_model(get_likelihood(family), pools, constants, scale_invariant)
    table = model.table(values[None], None)
    for j in range(P):
        # Evidence counts up to a constant of the gene: compare differences to the flat basis.
        expected = np.empty(len(CURVES))
        for k in range(len(CURVES)):
            unit = constants.level[j] if k == 0 else constants.scale[j]

            def negative(scale, unit=unit, k=k, j=j):
                prior = -scale if scale_invariant else 0.0
                return -log_likelihood(family, pools, j, scale * unit * values[k]) - prior

            if not scale_invariant:
                assert table.scale[j, k] == 1.0
                expected[k] = -negative(1.0)
                continue
            best = minimize_scalar(
                negative, bounds=(1e-9, 20), method="bounded", options={"xatol": 1e-9}
            )
            expected[k] = -best.fun
            assert table.scale[j, k] == pytest.approx(best.x, rel=1e-4, abs=1e-6)
        np.testing.assert_allclose(
            table.evidence[j] - table.evidence[j, 0], expected - expected[0], rtol=1e-5, atol=1e-4
        )


def test_anticorrelated_data_get_scale_zero():
    """λ ≥ 0: a gene that is the mirror image of a curve does not follow it."""
    pools, constants = pooled("gaussian", slope=-1.0)
    values = np.stack([curve(pools.z[:, 0]) for curve in CURVES])
    model = working_model(get_likelihood("gaussian"), pools, constants, True)
    assert (model.table(values[None], None).scale == 0.0).all()


def test_shift_grid_is_even_and_holds_zero():
    shifts = shift_grid(True)
    assert shift_grid(False) is None
    np.testing.assert_allclose(np.diff(shifts), np.diff(shifts)[0], rtol=1e-9)
    assert np.abs(shifts).min() == 0.0
    np.testing.assert_allclose(shifts, -shifts[::-1], atol=1e-12)


@pytest.mark.parametrize("family", ["poisson", "gaussian"])
def test_planted_shifts_are_found_globally(family):
    """Every gene is the bump, moved by a shift of the grid; λ is anything."""
    shifts = shift_grid(True)
    planted = np.array([2, 5, 10, 13, 18])
    z, exposure = np.linspace(-2.5, 2.5, 40), np.full(40, 50.0)
    scale = np.array([0.5, 2.0, 1.0, 0.7, 1.3])
    mean = 3.0 * scale * bump(z[:, None] + shifts[planted])
    pools = PooledCells(z[:, None], exposure, exposure[:, None] * mean, np.full(5, 3.0))
    constants = FeatureConstants(np.full(5, 3.0), mean.mean(0), np.ones(5), 1.0)
    values = np.stack([[curve(z + delta) for curve in CURVES] for delta in shifts])
    model = working_model(get_likelihood(family), pools, constants, True)
    table = model.table(values, shifts)
    assert table.shift_index[:, 1].tolist() == planted.tolist()
    assert (table.evidence.argmax(1) == 1).all()
    # The prior of λ pulls by less than 1 % here.
    np.testing.assert_allclose(table.scale[:, 1], scale, rtol=0.01)
    assert (shifts[table.shift_index[:, 0]] == 0.0).all()  # the flat basis has none
    # The evidence includes log N(δ | 0, 1).
    without = model.table(values[planted[0]][None], None)
    difference = table.evidence[0, 1] - without.evidence[0, 1]
    assert difference == pytest.approx(norm.logpdf(shifts[planted[0]]), abs=1e-6)
    flat = table.evidence[0, 0] - without.evidence[0, 0]
    assert flat == pytest.approx(norm.logpdf(0.0), abs=1e-6)
