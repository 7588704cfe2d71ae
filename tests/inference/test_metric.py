"""Guesses of the metric of z from how fast the genes change, and the prior that goes along."""

import numpy as np
import pytest
from scipy.stats import norm

from basisvae_scvi import BasisVAE
from basisvae_scvi.datasets import simulate_counts, toy_groups
from basisvae_scvi.inference._metric import even_change, normal_scores
from basisvae_scvi.inference._pooling import pool_cells
from basisvae_scvi.inference.structure import CurveGrid, place_on_grid
from basisvae_scvi.inference.structure._cells import divergence, learned_prior


def on_a_spiral(seed=0, n_obs=600, noise=0.1):
    """Cells of uneven density on a course of constant speed, and their places on it."""
    rng = np.random.default_rng(seed)
    z = np.sort(4.0 * rng.beta(1.0, 3.0, n_obs))
    genes = rng.normal(size=(2, 40)) / np.sqrt(40)
    course = np.column_stack([np.cos(z), np.sin(z)])  # at speed 1
    return z, course @ genes + noise * rng.normal(size=(n_obs, 40)) / np.sqrt(40)


@pytest.mark.parametrize("seed", range(3))
def test_places_are_lengths_of_the_course(seed):
    z, values = on_a_spiral(seed)
    order = np.arange(float(len(z)))
    found = even_change(order, pool_cells(values, order[:, None], None), len(z))
    away = [1.0 - np.corrcoef(places, z)[0, 1] for places in (order, found)]
    assert away[1] < 0.01
    assert away[1] < 0.2 * away[0]
    np.testing.assert_allclose([found.mean(), found.std()], [0.0, 1.0], atol=1e-9)
    assert (np.diff(found) > 0).all()


def test_places_follow_the_order_they_are_given():
    z, values = on_a_spiral()
    shuffled = np.random.default_rng(1).permutation(len(z))
    order = np.arange(float(len(z)))
    straight = even_change(order, pool_cells(values, order[:, None], None), len(z))
    order, values = order[shuffled], values[shuffled]
    found = even_change(order, pool_cells(values, order[:, None], None), len(z))
    np.testing.assert_allclose(found, straight[shuffled], atol=1e-9)


def test_a_part_of_the_cells_tells_the_places_of_all():
    z, values = on_a_spiral(n_obs=2000)
    order, part = np.arange(2000.0), np.arange(0, 2000, 4)
    pooled = pool_cells(values[part], order[part, None], None)
    assert np.corrcoef(even_change(order, pooled, len(part)), z)[0, 1] > 0.99


def test_of_a_few_pools_places_are_normal_scores():
    order = np.random.default_rng(0).normal(size=12)
    pooled = pool_cells(np.ones((12, 4)), order[:, None], None)
    found = even_change(order, pooled, 12)
    np.testing.assert_array_equal(found, normal_scores(order))
    np.testing.assert_allclose(np.sort(found), norm.ppf((np.arange(12) + 0.5) / 12))


def test_where_nothing_changes_places_are_normal_scores():
    order = np.random.default_rng(0).normal(size=100)
    pooled = pool_cells(np.ones((100, 4)), order[:, None], None)
    np.testing.assert_array_equal(even_change(order, pooled, 100), normal_scores(order))


def test_the_prior_goes_half_way_to_the_cells():
    grid, rng = CurveGrid(True), np.random.default_rng(0)
    z = rng.normal(-1.0, 0.5, 4000)
    share = place_on_grid(grid, z)
    log_prior = learned_prior(grid, share)
    np.testing.assert_allclose(np.exp(log_prior).sum(), 1.0)
    # The geometric mean of N(0, 1) and of N(-1, 0.5² + 0.15²) with ten cells of N(0, 1).
    smoothed = norm(-1.0, np.hypot(0.5, 0.15)).pdf(grid.z)
    expected = np.sqrt((4000.0 * smoothed + 10.0 * norm.pdf(grid.z)) * norm.pdf(grid.z))
    off = np.abs(np.exp(log_prior) - expected / expected.sum()).sum()
    assert off < 0.03
    assert np.abs(np.exp(grid.log_z_prior) - expected / expected.sum()).sum() > 0.3


def test_cells_pay_less_where_they_are():
    grid = CurveGrid(True)
    share = place_on_grid(grid, np.random.default_rng(0).beta(1.0, 4.0, 1000) * 4.0 - 1.0)
    assert divergence(share, learned_prior(grid, share)) < divergence(share, grid.log_z_prior)


@pytest.mark.slow
@pytest.mark.parametrize("draw", [toy_groups, simulate_counts])
def test_shapes_are_found_among_cells_of_uneven_density(draw):
    adata = draw(seed=3002, z_distribution="uneven")
    is_counts = draw is simulate_counts
    BasisVAE.setup_anndata(adata)
    model = BasisVAE(
        adata,
        gene_likelihood="nb" if is_counts else "gaussian",
        n_basis=20,
        translation_invariant=True,
    )
    model.train(seed=0, max_epochs=40, accelerator="cpu", enable_progress_bar=False)
    cluster = model.get_clusters()["cluster"].astype(str)
    shape = adata.var["true_shape"].astype(str)
    # No cluster mixes shapes. Of the counts, two shapes may fall into an early and a late half
    # each: the narrower prior of shifts is worth 11 nats more than the two further curves.
    main = shape.groupby(cluster).agg(lambda of: of.mode()[0])
    assert (shape == cluster.map(main)).mean() > 0.97
    assert main.nunique() == shape.nunique()
    assert len(main) <= shape.nunique() + (2 if is_counts else 0)
