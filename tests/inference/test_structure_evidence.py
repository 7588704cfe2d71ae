"""Evidence of genes for curves against normal distributions, integrals and importance sampling."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import minimize
from scipy.special import gammaln, logsumexp
from scipy.stats import multivariate_normal, nbinom

from basisvae_scvi.inference.structure import CurveGrid, place_on_grid, working_evidence
from basisvae_scvi.inference.structure._evidence import ScaleMoments
from basisvae_scvi.likelihood import get_likelihood
from basisvae_scvi.module import FeatureConstants

N_CELLS, N_GENES = 300, 5
FAMILIES = ["nb", "gaussian", "bernoulli"]


def normal_places(grid, n_cells, rng):
    """Cells as N(0, 1) has them, on points of the grid."""
    z = np.clip(rng.standard_normal(n_cells), grid.z[0], grid.z[-1])
    return grid.z[np.rint((z - grid.z[0]) / 0.05).astype(int)]


def kernel(z, deviation):
    """Covariance of own deviations at places: rational quadratic, of mean 0 under N(0, 1)."""
    grid = CurveGrid(False)
    weight = np.exp(grid.log_z_prior)
    points = np.r_[z, grid.z]
    covariance = 1.0 / (1.0 + 0.5 * (points[:, None] - points) ** 2)
    n = len(z)
    mean = covariance[:, n:] @ weight
    covariance = covariance - mean[:, None] - mean + weight @ mean[n:]
    return deviation**2 * covariance[:n, :n]


def evidence_of(
    name, *, shift=True, scale_invariant=True, seed=0, deviation=0.0, mean=2.0, n_batch=1
):
    """Working evidence of a few genes on cells at known places, its cells and their constants."""
    rng = np.random.default_rng(seed)
    grid = CurveGrid(shift)
    z = normal_places(grid, N_CELLS, rng)
    size = np.exp(0.3 * rng.standard_normal(N_CELLS))
    batch = rng.integers(0, n_batch, N_CELLS)
    offset = 0.5 * rng.standard_normal((n_batch, N_GENES))[batch] if n_batch > 1 else 0.0
    own = kernel(z, deviation) + 1e-9 * np.eye(N_CELLS)
    own = np.linalg.cholesky(own) @ rng.standard_normal((N_CELLS, N_GENES))
    signal = np.sin(z[:, None] - rng.uniform(-1, 1, N_GENES)) + own
    family = get_likelihood(name)
    ones = np.ones(N_GENES)
    if family.is_count:
        x = rng.poisson(mean * size[:, None] * np.exp(signal + offset)).astype(float)
        level = x.sum(0) / size.sum()
        constants = FeatureConstants(level, level, ones, 1.0)
    else:
        size = np.ones(N_CELLS)
        if name == "bernoulli":
            x = (rng.random(signal.shape) < 1 / (1 + np.exp(-signal - offset))).astype(float)
            p = x.mean(0)
            constants = FeatureConstants(ones, np.log(p / (1 - p)), ones, 1.0)
        else:
            x = 0.7 * signal + offset + 0.3 * rng.standard_normal(signal.shape)
            constants = FeatureConstants(0.7 * ones, x.mean(0), ones, 1.0)
    variance = 1.5 * constants.scale if family.is_count else 0.09 * ones
    evidence = working_evidence(
        *(family, x, size, variance, grid, constants, scale_invariant),
        batch=batch,
        deviation=deviation,
    )
    evidence.pool(place_on_grid(grid, z))
    return evidence, x, size, z, batch


# -- Gaussian data ------------------------------------------------------------------------------


@pytest.mark.parametrize("deviation", [0.0, 0.3])
def test_gaussian_evidence_is_that_of_a_normal_with_the_scale_integrated(deviation):
    """N(x; m λ f, m² τ² κ + σ²) with e^-λ before it, less all that does not depend on f."""
    evidence, x, _, z, _ = evidence_of("gaussian", deviation=deviation)
    grid, unit, noise = evidence.grid, 0.7, np.full(N_CELLS, 0.09)
    curves, genes = np.stack([np.cos(grid.x), 0.3 * grid.x]), np.array([1, 3])
    table, scale = evidence.table(curves, genes)
    optimum = evidence.best_scale(evidence.statistics(curves, genes), genes)
    covariance = np.diag(noise) + kernel(z, unit * deviation)
    inverse, volume = np.linalg.inv(covariance), np.linalg.slogdet(covariance)[1]
    for row, j in enumerate(genes):
        nothing = multivariate_normal(np.zeros(N_CELLS), np.diag(noise)).logpdf(x[:, j])
        constant = -0.5 * (N_CELLS * np.log(2 * np.pi) + volume) - nothing
        for k, d in [(0, 0), (0, 12), (1, len(grid.shifts) - 1)]:
            f = unit * np.interp(z + grid.shifts[d], grid.x, curves[k])
            quadratic, linear = f @ inverse @ f, f @ inverse @ x[:, j]
            best = max((linear - 1.0) / quadratic, 0.0)

            def log_joint(lam, a=quadratic, b=linear):
                return lam * b - 0.5 * lam**2 * a - lam

            def density(lam, best=best, f=log_joint):
                return np.exp(f(lam) - f(best))

            reach = 12 / np.sqrt(quadratic)
            ends = max(best - reach, 0.0), best + reach
            mass, first, second = (
                quad(lambda lam, p=p: lam**p * density(lam), *ends, points=[best], limit=200)[0]
                for p in range(3)
            )
            own = constant - 0.5 * x[:, j] @ inverse @ x[:, j]
            expected = own + log_joint(best) + np.log(mass)
            # What the bases of the grid and of deviations leave out.
            np.testing.assert_allclose(table[row, k, d], expected, atol=0.05)
            np.testing.assert_allclose(scale.first[row, k, d], first / mass, rtol=5e-3, atol=1e-3)
            np.testing.assert_allclose(
                scale.second[row, k, d], second / mass, rtol=1e-2, atol=1e-3
            )
            np.testing.assert_allclose(optimum[row, k, d], best, rtol=5e-3, atol=1e-3)


def test_own_courses_of_gaussian_data_are_regressed():
    """A Gaussian process of standard deviation 1.2, length 0.5 and a level of its own."""
    evidence, x, _, z, _ = evidence_of("gaussian", shift=False)

    def prior(a, b):
        return 1.2**2 * np.exp(-0.5 * ((a[:, None] - b) / 0.5) ** 2) + 1.0

    covariance = 0.49 * prior(z, z) + 0.09 * np.eye(N_CELLS)
    expected = 0.7 * prior(evidence.grid.z, z) @ np.linalg.solve(covariance, x)
    found = evidence.own_course @ evidence.grid.basis.T
    seen = np.abs(evidence.grid.z) < 2.0
    np.testing.assert_allclose(found[:, seen], expected.T[:, seen], atol=0.03)
    totals = [evidence.order_evidence(place_on_grid(evidence.grid, at)) for at in (z, -z, z**2)]
    assert totals[0] == pytest.approx(totals[1], abs=1e-6)
    assert totals[0] > totals[2] + 100


# -- counts -------------------------------------------------------------------------------------


def directions(z, deviation):
    """Log λ ~ N(0, 1) and own deviations as V u with u ~ N(0, I), at the cells."""
    if not deviation:
        return np.ones((len(z), 1))
    variance, vectors = np.linalg.eigh(kernel(z, deviation))
    kept = variance > 1e-4 * variance[-1]
    return np.column_stack([np.ones(len(z)), vectors[:, kept] * np.sqrt(variance[kept])])


def sampled(x, mean, spread, rng, n=20_000, freedom=6):
    """Log ∫ exp(Σ x η − m e^η) N(u; 0, I) du with η = V u, by importance sampling.

    Proposals are a multivariate t about the maximum.
    """
    r = spread.shape[1]

    def negative(u):
        eta = spread @ u
        mu = mean * np.exp(eta)
        return mu.sum() + 0.5 * u @ u - x @ eta, spread.T @ (mu - x) + u

    best = minimize(negative, np.zeros(r), jac=True, options={"gtol": 1e-6}).x
    mu = mean * np.exp(spread @ best)
    precision = np.eye(r) + spread.T @ (spread * mu[:, None])
    root = np.linalg.cholesky(np.linalg.inv(precision))
    t = rng.standard_normal((n, r)) / np.sqrt(rng.chisquare(freedom, n) / freedom)[:, None]
    u = best + t @ root.T
    eta = u @ spread.T
    log_joint = eta @ x - np.exp(eta) @ mean - 0.5 * (u**2).sum(1) - 0.5 * r * np.log(2 * np.pi)
    log_t = gammaln(0.5 * (freedom + r)) - gammaln(0.5 * freedom)
    log_t = log_t - 0.5 * r * np.log(freedom * np.pi) + 0.5 * np.linalg.slogdet(precision)[1]
    log_t = log_t - 0.5 * (freedom + r) * np.log1p((t**2).sum(1) / freedom)
    weight = log_joint - log_t
    assert np.exp(2 * logsumexp(weight) - logsumexp(2 * weight)) > 0.4 * n  # the sample is good
    return logsumexp(weight) - np.log(n)


CURVES = {
    "own": lambda x: np.sin(1.3 * x),
    "near": lambda x: np.sin(1.3 * x) + 0.3 * np.cos(2 * x),
    "flat": lambda x: 0.0 * x,
    "opposite": lambda x: -np.sin(1.3 * x),
}


def count_gene(total, deviation, seed):
    """Found and sampled evidence of a gene of some counts for the curves, and its counts."""
    rng, grid = np.random.default_rng(seed), CurveGrid(False)
    z = normal_places(grid, 400, rng)
    spread = directions(z, deviation)
    own = spread[:, 1:] @ rng.standard_normal(spread.shape[1] - 1)
    rate = np.exp(CURVES["own"](z) + own)
    x = rng.poisson(rate * total / rate.sum()).astype(float)
    m = np.array([x.mean()])
    evidence = working_evidence(
        *(get_likelihood("nb"), x[:, None], np.ones(400), m, grid),
        *(FeatureConstants(m, m, np.ones(1), 1.0), True),
        deviation=deviation,
    )
    evidence.pool(place_on_grid(grid, z))
    curves = np.stack([evidence.normalised(curve(grid.x)) for curve in CURVES.values()])
    found = evidence.table(curves, np.array([0]))[0][0, :, 0]
    expected = []
    for curve in curves:
        at = np.interp(z, grid.x, curve)
        expected.append(sampled(x, m * np.exp(at), spread, rng) + x @ at)
    return found, np.array(expected), x.sum()


@pytest.mark.parametrize(
    ("total", "deviation", "off"),
    [
        # Nats by which the evidence is off for (own, near, flat, opposite) curves.
        (15, 0.0, (0.2, 0.2, 1.5, 5.0)),
        (15, 0.3, (0.2, 0.3, 0.6, 2.0)),
        (30, 0.0, (0.3, 0.3, 2.5, 9.0)),
        (30, 0.3, (0.5, 0.3, 0.6, 2.0)),
        (5000, 0.3, (0.2, 0.3, 1.0, 3.5)),
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_evidence_of_counts_is_near_the_integral(total, deviation, off, seed):
    """The quadratic about the gene's own course: near by for what the gene may follow."""
    found, expected, count = count_gene(total, deviation, seed)
    assert 0.5 * total < count < 2 * total
    assert (np.abs(found - expected) < off).all()


@pytest.mark.parametrize("seed", [0, 1])
def test_many_counts_without_deviations_keep_the_order_of_curves(seed):
    """Far curves are off by up to a quarter of what they lose, of which the most is left."""
    found, expected, _ = count_gene(5000, 0.0, seed)
    np.testing.assert_allclose(found[0], expected[0], atol=0.3)
    lost, truly_lost = found[0] - found[1:], expected[0] - expected[1:]
    assert np.abs(lost[0] / truly_lost[0] - 1) < 0.05
    assert np.abs(lost / truly_lost - 1).max() < 0.25
    assert truly_lost.min() > 50


@pytest.mark.parametrize(("total", "off"), [(20, 0.08), (400, 0.02), (20_000, 0.001)])
def test_scales_of_counts_are_those_of_their_integral(total, off):
    """For a curve that the gene may follow."""
    rng, grid = np.random.default_rng(0), CurveGrid(False)
    z = normal_places(grid, 400, rng)
    rate = np.exp(CURVES["own"](z))
    x = rng.poisson(rate * total / rate.sum()).astype(float)
    one, m = np.ones(1), np.array([x.mean()])
    constants = FeatureConstants(m, m, one, 1.0)
    evidence = working_evidence(
        get_likelihood("nb"), x[:, None], np.ones(400), m, grid, constants, True
    )
    evidence.pool(place_on_grid(grid, z))
    curve = evidence.normalised(CURVES["own"](grid.x))[None]
    gene = np.zeros(1, dtype=int)
    scale = evidence.table(curve, gene)[1]
    best = evidence.best_scale(evidence.statistics(curve, gene), gene)[0, 0, 0]
    expected = m[0] * np.exp(np.interp(z, grid.x, curve[0])).sum()
    top = np.log(x.sum() / expected)
    reach = 8 / np.sqrt(x.sum())

    def density(t):
        return np.exp(x.sum() * (t - top) - expected * (np.exp(t) - np.exp(top)) - 0.5 * t**2)

    mass, first, second = (
        quad(lambda t, p=p: np.exp(p * t) * density(t), top - reach, top + reach, limit=200)[0]
        for p in range(3)
    )
    first, second = first / mass, second / mass
    found_sd, sd = np.sqrt(scale.second - scale.first**2).item(), np.sqrt(second - first**2)
    np.testing.assert_allclose(scale.first.item(), first, rtol=off)
    np.testing.assert_allclose(found_sd, sd, rtol=0.1)
    np.testing.assert_allclose(best, scale.first.item(), rtol=0.03)


# -- all data -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("n_batch", [1, 3])
def test_flat_evidence_is_that_of_a_level_curve(name, n_batch):
    evidence = evidence_of(name, shift=False, n_batch=n_batch, seed=2)[0]
    found, expected = evidence.flat_evidence, []
    for j in range(N_GENES):
        # The flat basis of a feature stands at its own level, in another unit than the others.
        level = 1.0 if name == "nb" else evidence.level[j] / evidence.unit[j]
        table, _ = evidence.table(level * evidence.level_curve[None], np.array([j]))
        expected.append(table[0, 0, 0])
    if name != "nb":
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        return
    # Here genes change, so that the quadratic about their own course is off where it is level.
    share = np.exp(np.broadcast_to(evidence.grid.log_z_prior, (N_CELLS, len(evidence.grid.z))))
    evidence.pool(share)
    table, _ = evidence.table(evidence.level_curve[None], np.arange(N_GENES))
    np.testing.assert_allclose(evidence.flat_evidence, table[:, 0, 0], atol=0.3)


@pytest.mark.parametrize("name", FAMILIES)
def test_without_scales_they_are_one(name):
    evidence = evidence_of(name, scale_invariant=False)[0]
    curves = np.cos(evidence.grid.x)[None]
    statistics = evidence.statistics(curves, np.array([2]))
    table, scale = evidence.integrate(statistics, np.array([2]))
    constant, linear, quadratic = (part[2] for part in evidence.genes.given)
    c = evidence.grid.coordinates(curves)[0, 7]
    expected = constant + linear @ c - 0.5 * c @ quadratic @ c
    np.testing.assert_allclose(table[0, 0, 7], expected, rtol=1e-10)
    assert (scale.first == 1).all()
    assert (scale.second == 1).all()
    assert (evidence.best_scale(statistics, np.array([2])) == 1).all()


@pytest.mark.parametrize("name", ["nb", "gaussian"])
def test_deviations_can_be_replaced(name):
    given, _, _, z, _ = evidence_of(name, deviation=0.3)
    scale = given.unit * (given.dispersion if name == "nb" else 1.0)
    variance = 1.5 * scale if name == "nb" else np.full(N_GENES, 0.09)
    curves, genes = np.cos(given.grid.x)[None], np.arange(N_GENES)
    assert (given.genes.freedom() < 1).all()
    new = working_evidence(
        *(get_likelihood(name), given.values, given.size, variance, given.grid),
        *(FeatureConstants(scale, given.level, np.ones(N_GENES), 1.0), True),
        deviation=0.15,
    )
    new.pool(place_on_grid(given.grid, z))
    before = given.table(curves, genes)[0]
    given.set_deviation(0.15)
    assert given.deviation == 0.15
    np.testing.assert_allclose(
        given.table(curves, genes)[0], new.table(curves, genes)[0], atol=1e-8
    )
    assert np.abs(given.table(curves, genes)[0] - before).max() > 1.0


@pytest.mark.parametrize("name", ["nb", "gaussian"])
def test_offsets_of_batches_leave_the_courses_alone(name):
    """A gene of three batches has the course that it would have in one."""
    evidence, x, size, z, batch = evidence_of(name, shift=False, n_batch=3, mean=20.0)
    course = evidence.own_course @ evidence.grid.basis.T
    seen = np.abs(evidence.grid.z) < 1.5
    offset = evidence.offset - evidence.offset.mean(0)
    if name == "nb":
        rest = np.log(np.stack([x[batch == b].sum(0) for b in range(3)]))
        at = np.exp(evidence.own_course @ evidence.grid.basis.T)
        share = place_on_grid(evidence.grid, z) * size[:, None]
        rest = rest - np.log(np.stack([share[batch == b].sum(0) @ at.T for b in range(3)]))
    else:
        at = 0.7 * np.stack([np.interp(z, evidence.grid.z, c) for c in course], 1)
        rest = np.stack([(x - at)[batch == b].mean(0) for b in range(3)])
    np.testing.assert_allclose(offset, rest - rest.mean(0), atol=0.05)
    assert np.abs(offset).max() > 0.3
    assert np.ptp(course[:, seen], axis=1).min() > 0.5


def counts_at(evidence, x, size, shaped, rows):
    theta = evidence.theta[:, None]
    return np.array(
        [
            nbinom.logpmf(row[:, None], theta, theta / (theta + s * shaped)).sum(0)
            for row, s in zip(x[rows], size, strict=True)
        ]
    )


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("n_batch", [1, 2])
def test_cells_are_placed_by_the_likelihood_of_the_model(name, n_batch):
    """Without own deviations: genes 0 to 2 follow a curve, the others are flat."""
    evidence, x, _, _, batch = evidence_of(name, shift=False, seed=3, n_batch=n_batch)
    grid, rows = evidence.grid, np.array([0, 1, 2])
    curve = evidence.normalised(np.sin(1.2 * grid.x))
    weight = np.zeros((N_GENES, 1, 1))
    weight[:3] = 1.0
    genes = np.arange(N_GENES)
    _, moments = evidence.table(curve[None], genes)
    if name != "nb":  # λ of counts is part of the course
        scale = np.linspace(0.5, 1.5, N_GENES)[:, None, None]
        moments = ScaleMoments(scale, scale**2)
    weights = evidence.cell_weights(curve[None], weight, moments)
    size = weights.size[[0, 4, 8]] if name == "nb" else np.ones(3)
    found = evidence.cell_log_likelihood(x[rows], size, batch[rows], weights)
    offset = evidence.offset[batch[rows]]  # (3, P)
    if name == "nb":
        scale = np.exp(evidence._log_scale(grid.coordinates(curve[None])[0], genes)[:, 0])
        flat = np.exp(evidence._flat.log_scale)
        shaped = np.where(weight[:, 0] > 0, scale[:, None] * np.exp(curve), flat[:, None])
        shaped = shaped * (evidence.unit * evidence.dispersion)[:, None]
        expected = np.concatenate(
            [
                counts_at(evidence, x, size[[i]], shaped * np.exp(offset[i])[:, None], rows[[i]])
                for i in range(3)
            ]
        )
    else:
        shaped = weight[:, 0] * (moments.first[:, 0] * evidence.unit[:, None]) * curve
        if name == "gaussian":
            seen = (x[rows] - offset)[:, :3, None] - shaped[:3]
            expected = -0.5 * (seen**2 / 0.09).sum(1)
        else:
            shaped = shaped + ((1 - weight[:, 0]) * evidence.level[:, None])
            logit = shaped + offset[..., None]
            expected = (x[rows, :, None] * logit - np.logaddexp(0, logit)).sum(1)
    middle = len(grid.z) // 2
    np.testing.assert_allclose(
        found - found[:, [middle]], expected - expected[:, [middle]], rtol=2e-3, atol=0.02
    )


@pytest.mark.parametrize("name", ["nb", "gaussian"])
def test_cells_are_placed_by_the_genes_own_courses(name):
    """With deviations, a gene predicts its own course rather than that of its group."""
    evidence, x, size, z, batch = evidence_of(name, shift=False, seed=4, deviation=0.5, mean=20.0)
    grid, genes = evidence.grid, np.arange(N_GENES)
    curve = evidence.normalised(np.sin(grid.x))
    weight = np.ones((N_GENES, 1, 1))
    held = []
    for deviation in (0.5, 0.0):
        evidence.set_deviation(deviation)
        _, moments = evidence.table(curve[None], genes)
        weights = evidence.cell_weights(curve[None], weight, moments)
        log_p = evidence.cell_log_likelihood(x, size, batch, weights)
        log_p = log_p - logsumexp(log_p + grid.log_z_prior, axis=1, keepdims=True)
        held.append(log_p[np.arange(N_CELLS), np.rint((z - grid.z[0]) / 0.05).astype(int)].mean())
    assert held[0] > held[1] + 0.3
