"""Orders to choose from: significant components, shortest paths, views that differ."""

from itertools import pairwise, permutations

import numpy as np
import pytest
from scipy import sparse
from scipy.stats import spearmanr

from basisvae_scvi.datasets import simulate_counts, toy_groups
from basisvae_scvi.inference import _orders, further_orders, start_latent
from basisvae_scvi.inference._orders import (
    _along,
    _scaled,
    _scattered,
    _spread,
    n_significant_components,
    principal_curve,
    shortest_path,
)
from basisvae_scvi.likelihood import get_likelihood

NB, GAUSSIAN = get_likelihood("nb"), get_likelihood("gaussian")


def planted(rank, *, n_obs=400, n_vars=60, strength=1.0, seed=0):
    """Gaussian noise of unequal variance, and ``rank`` factors."""
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=(n_obs, rank)) @ rng.normal(size=(rank, n_vars))
    return strength * signal + rng.normal(size=(n_obs, n_vars)) * rng.uniform(0.5, 1.5, n_vars)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("rank", [2, 3, 5])
def test_components_that_stand_out_from_noise_are_counted(rank, form):
    assert n_significant_components(form(planted(rank)), seed=0) == rank


def test_noise_alone_has_no_more_than_the_least_number_of_components():
    assert n_significant_components(planted(1, strength=0.0), seed=0) == 2


def test_components_are_counted_on_some_of_many_cells():
    assert n_significant_components(planted(4, n_obs=5000), seed=0) == 4


def test_shuffled_genes_keep_their_values_and_lose_one_another():
    values = np.repeat(planted(1, n_vars=1), 40, axis=1)
    values[values < 0.5] = 0.0
    dense = _scattered(values, np.random.default_rng(1))
    np.testing.assert_array_equal(np.sort(dense, axis=0), np.sort(values, axis=0))
    found = _scattered(sparse.csr_matrix(values), np.random.default_rng(1))
    np.testing.assert_array_equal(found.toarray(), dense)
    correlation = np.corrcoef(dense.T)[np.triu_indices(40, 1)]
    assert np.abs(correlation).mean() < 0.1  # it was 1


@pytest.mark.parametrize("form", [np.array, sparse.csr_matrix])
def test_genes_are_brought_to_one_variance(form):
    values = planted(2) * np.geomspace(0.01, 100.0, 60)
    values[:, 7] = 0.0
    found = form(values)
    found = _scaled(found, _spread(found))
    found = found.toarray() if sparse.issparse(found) else found
    expected = np.where(np.arange(60) == 7, 0.0, 1.0)
    np.testing.assert_allclose(found.std(axis=0), expected, rtol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_the_path_is_the_shortest_of_all(seed):
    points = np.random.default_rng(seed).normal(size=(7, 3))
    distance = np.linalg.norm(points[:, None] - points, axis=2)

    def length(path):
        return sum(distance[a, b] for a, b in pairwise(path))

    path = shortest_path(distance)
    assert sorted(path) == list(range(7))
    shortest = min(map(length, permutations(range(7))))
    np.testing.assert_allclose(length(path), shortest, rtol=1e-12)


@pytest.mark.parametrize("n", [1, 2])
def test_a_path_of_one_or_two_points(n):
    assert sorted(shortest_path(np.ones((n, n)) - np.eye(n))) == list(range(n))


def test_places_along_a_line_are_those_of_its_nearest_point():
    rng = np.random.default_rng(0)
    line, places = rng.normal(size=(5, 3)), rng.normal(size=(200, 3))
    length = np.r_[0.0, np.linalg.norm(np.diff(line, axis=0), axis=1).cumsum()]
    fine = np.linspace(0.0, length[-1], 20_001)
    points = np.column_stack([np.interp(fine, length, axis) for axis in line.T])
    nearest = np.linalg.norm(points - places[:, None], axis=2).argmin(1)
    np.testing.assert_allclose(_along(line, places), fine[nearest], atol=2 * fine[1])


def bow(*, n_obs=600, noise=0.15, seed=0):
    """Cells near a half circle of radius 1 in two of five dimensions, and their angle."""
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0.0, np.pi, n_obs)
    places = rng.normal(scale=noise, size=(n_obs, 5))
    places[:, 0] += np.cos(angle)
    places[:, 1] += np.sin(angle)
    return places, angle


@pytest.mark.parametrize("seed", range(3))
def test_a_crooked_path_becomes_the_curve_that_the_cells_are_near(seed):
    places, angle = bow(seed=seed)
    rng = np.random.default_rng(seed)
    bend = np.linspace(0.0, np.pi, 10)
    crooked = np.column_stack([np.cos(bend), np.sin(bend), np.zeros((10, 3))])
    crooked += rng.normal(scale=0.2, size=crooked.shape)
    curve = principal_curve(crooked, places)
    # Local means of cells along an arc lie a little within it, at its ends a little without.
    radius = np.linalg.norm(curve[:, :2], axis=1)
    np.testing.assert_allclose(radius, 1.0, atol=0.15)
    assert np.abs(curve[:, 2:]).max() < 0.1
    before, after = (
        abs(spearmanr(_along(line, places), angle).statistic) for line in (crooked, curve)
    )
    assert after > max(before, 0.98)


def test_cells_on_a_straight_line_leave_it_as_it_is():
    places = np.linspace(-1.0, 1.0, 201)[:, None] * np.array([1.0, 2.0, -1.0])
    curve = principal_curve(places[[0, -1]], places)
    np.testing.assert_allclose(curve, np.linspace(-1.0, 1.0, 50)[:, None] * places[-1], atol=0.02)


def folded():
    """Counts whose first order lays the two halves of the process over one another."""
    shapes = ("peak", "down", "double")
    sizes = {"n_obs": 300, "n_vars": 200, "mean_count": 1.0, "max_shift": 0.0}
    return simulate_counts(shapes=shapes, seed=3, **sizes)


def orders_of(adata, family):
    x, size = adata.X, None
    if family.is_count:
        library = np.asarray(x.sum(1)).ravel()
        size = library / np.median(library)
    first = start_latent(x, size, family, n_latent=1, init="manifold", seed=0)[:, 0]
    return [first, *further_orders(x, size, family, first, seed=0)]


def test_another_view_unfolds_the_cells():
    adata = folded()
    orders = orders_of(adata, NB)
    agreement = [abs(spearmanr(z, adata.obs["true_z"]).statistic) for z in orders]
    assert agreement[0] < 0.6
    assert max(agreement) > 0.95
    for z in orders:
        np.testing.assert_allclose([z.mean(), z.std()], [0.0, 1.0], atol=1e-9)


def test_orders_that_agree_are_one():
    toy = toy_groups(seed=3)
    first, component = orders_of(toy, GAUSSIAN)  # its paths agree, its first component does not
    truth = toy.obs["true_z"]
    assert abs(spearmanr(first, truth).statistic) > 0.99
    assert abs(spearmanr(component, truth).statistic) < 0.95
    assert len(orders_of(simulate_counts(seed=3, n_obs=500), NB)) == 1


def test_cells_beyond_those_of_the_path_are_put_along_it(monkeypatch):
    adata = folded()
    full = orders_of(adata, NB)
    monkeypatch.setattr(_orders, "_MAX_CELLS", 200)
    part = orders_of(adata, NB)
    truth = adata.obs["true_z"]
    assert max(abs(spearmanr(z, truth).statistic) for z in part) > 0.95
    assert abs(spearmanr(part[-1], full[-1]).statistic) > 0.95


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize(
    ("batch", "n_across"),
    [
        (np.arange(60), 0),  # each cell a batch of its own
        (np.r_[0, np.arange(59)], 1),  # two cells differ
        (np.r_[np.zeros(40), np.arange(1, 21)].astype(int), 1),
    ],
)
def test_batches_of_one_cell_leave_less_to_compare(form, batch, n_across):
    counts = np.random.default_rng(0).poisson(2.0, (60, 20)).astype(float)
    size = counts.sum(1) / np.median(counts.sum(1))
    first = np.random.default_rng(1).standard_normal(60)
    plain = further_orders(form(counts), size, NB, first, seed=0)
    found = further_orders(form(counts), size, NB, first, batch=batch, seed=0)
    assert np.isfinite(found).all()
    assert len(found) - len(plain) >= n_across
    assert n_across or len(found) == len(plain)


def test_cells_that_are_the_same_have_a_start():
    one = np.random.default_rng(0).poisson(2.0, (31, 20)).astype(float)
    counts = np.r_[np.repeat(one[:1], 30, axis=0), one[1:]]
    size = counts.sum(1) / np.median(counts.sum(1))
    with pytest.warns(UserWarning, match="many cells are the same"):
        z = start_latent(counts, size, NB, n_latent=1, init="manifold", seed=0)
    assert np.isfinite(z).all()
    assert z.std() == pytest.approx(1.0)


def test_of_a_few_cells_there_is_one_order():
    values = planted(2, n_obs=20)
    assert further_orders(values, None, GAUSSIAN, np.arange(20.0), seed=0) == []
