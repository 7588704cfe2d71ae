"""Of several orders of the cells, the one is taken in which single genes tell most."""

import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import multivariate_normal, rankdata, spearmanr
from structure_helpers import settled

from basisvae_scvi.datasets import simulate_counts, toy_groups
from basisvae_scvi.inference import further_orders, start_latent
from basisvae_scvi.inference.structure import (
    CurveGrid,
    find_structure,
    place_on_grid,
    working_evidence,
)
from basisvae_scvi.inference.structure._evidence import _PROCESS_LENGTH, OWN_COURSE
from basisvae_scvi.inference.structure._search import order_totals
from basisvae_scvi.likelihood import get_likelihood
from basisvae_scvi.model._constants import feature_constants


def _folded(z):
    return (np.abs(z) - np.abs(z).mean()) / np.abs(z).std()


def _wound(z, n_turns=4):
    """An order that runs through the process again and again."""
    return (z * n_turns) % 1.0


@pytest.mark.parametrize("name", ["gaussian", "nb"])
def test_the_right_order_tells_more_than_a_folded_or_a_random_one(name):
    if name == "gaussian":
        adata = toy_groups(seed=106, n_obs=200, n_per_group=4)
    else:
        adata = simulate_counts(n_obs=300, n_vars=60, mean_count=2.0, seed=5)
    genes, _ = settled(adata, name, shift=False)
    z = adata.obs["true_z"].to_numpy()
    rng = np.random.default_rng(0)
    orders = [_folded(z), z, rng.permutation(z), _wound(z)]
    totals = order_totals(genes, orders)
    assert int(np.argmax(totals)) == 1
    assert totals[1] > max(totals[0], totals[2], totals[3]) + 50
    # An order and its reverse are one.
    assert order_totals(genes, [z, -z])[1] == pytest.approx(totals[1], abs=0.01)


def test_evidence_of_an_order_is_the_marginal_likelihood_of_gaussian_courses():
    rng, grid, family = np.random.default_rng(1), CurveGrid(False), get_likelihood("gaussian")
    z = grid.z[rng.integers(10, len(grid.z) - 10, 80)]
    x = np.sin(z)[:, None] + 0.5 * rng.standard_normal((80, 4))
    variance, constants = np.full(4, 0.25), feature_constants(x, family, None)
    evidence = working_evidence(family, x, np.ones(80), variance, grid, constants, True)
    found = evidence.order_evidence(place_on_grid(grid, z))
    unit, distance = float(constants.scale[0]), z[:, None] - z
    courses = OWN_COURSE["sd"] ** 2 * np.exp(-0.5 * (distance / _PROCESS_LENGTH) ** 2)
    covariance = unit**2 * (courses + OWN_COURSE["level"] ** 2) + 0.25 * np.eye(80)
    nothing = multivariate_normal(np.zeros(80), 0.25 * np.eye(80))
    exact = multivariate_normal(np.zeros(80), covariance).logpdf(x.T) - nothing.logpdf(x.T)
    assert found == pytest.approx(exact.sum(), abs=0.05)


def test_the_search_starts_from_the_order_that_tells_most():
    adata = toy_groups(seed=106, n_obs=200, n_per_group=4)
    genes, z = settled(adata, "gaussian", shift=False)
    found = find_structure(genes, [[_folded(z)], [z]], 0, 1)
    assert found.order == 1
    assert found.order_gains[1] > found.order_gains[0] + 50
    alone = find_structure(genes, [[z]], 0, 1)
    assert alone.totals == found.totals  # looking at the other leaves no trace


def batched_counts(sd, seed):
    """Counts of a process in three batches that hold all of it, batch, and size factors."""
    adata = simulate_counts(n_obs=300, n_vars=80, mean_count=3.0, seed=seed)
    rng = np.random.default_rng(seed)
    batch = rng.integers(3, size=300)
    mean = adata.X.toarray().astype(float)
    x = rng.poisson(mean * np.exp(sd * rng.standard_normal((3, 80)))[batch]).astype(float)
    total = x.sum(1)
    return x, batch, total / np.median(total), adata.obs["true_z"].to_numpy()


def test_with_its_batches_known_the_process_tells_more_than_the_batches():
    x, batch, size, z = batched_counts(0.9, seed=3)
    family, grid = get_likelihood("nb"), CurveGrid(False)
    constants = feature_constants(x, family, size)
    variance = np.maximum(x.mean(0), 0.1)
    of_batch = batch + 0.9 * np.random.default_rng(0).random(300)
    best = []
    for known in (batch, None):
        evidence = working_evidence(family, x, size, variance, grid, constants, True, batch=known)
        shares = [place_on_grid(grid, _scores(order)) for order in (z, of_batch)]
        best.append(np.argmax([evidence.order_evidence(share) for share in shares]))
    assert best == [0, 1]


def _scores(order):
    return ndtri((rankdata(order) - 0.5) / len(order))


def test_an_order_across_batches_is_offered():
    x, batch, size, z = batched_counts(0.9, seed=3)
    family = get_likelihood("nb")
    first = start_latent(x, size, family, n_latent=1, init="manifold", seed=0)[:, 0]
    assert abs(spearmanr(first, z).statistic) < 0.8  # the batches lead
    plain = further_orders(x, size, family, first, seed=0)
    across = further_orders(x, size, family, first, batch=batch, seed=0)
    assert len(across) > len(plain)
    assert max(abs(spearmanr(order, z).statistic) for order in across) > 0.95
