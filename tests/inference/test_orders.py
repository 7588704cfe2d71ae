"""Orders of the cells to choose from: significant components, views that differ."""

import numpy as np
import pytest
from scipy import sparse
from scipy.stats import spearmanr

from basisvae_scvi.datasets import simulate_counts, toy_groups
from basisvae_scvi.inference import further_orders, start_latent
from basisvae_scvi.inference._orders import (
    _bring_to_one_variance,
    _scattered,
    n_significant_components,
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
    found = _bring_to_one_variance(form(values))
    found = found.toarray() if sparse.issparse(found) else found
    expected = np.where(np.arange(60) == 7, 0.0, 1.0)
    np.testing.assert_allclose(found.std(axis=0), expected, rtol=1e-9)


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
    assert len(orders_of(toy_groups(seed=3), GAUSSIAN)) == 1
    assert len(orders_of(simulate_counts(seed=3, n_obs=500), NB)) == 1


def test_without_a_graph_there_is_one_order():
    values = planted(2, n_obs=20)
    assert further_orders(values, None, GAUSSIAN, np.arange(20.0), seed=0) == []
