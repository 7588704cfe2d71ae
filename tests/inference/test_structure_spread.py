"""The spread of shifts is learned, and tells shapes that differ from shifts of one shape."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import norm
from sklearn.metrics import adjusted_rand_score
from structure_helpers import settled

from basisvae_scvi.datasets import simulate_counts, toy_groups
from basisvae_scvi.inference.structure import find_structure, place_on_grid
from basisvae_scvi.inference.structure._spread import learn_spread, spread_of_shifts


def planted(seed=0, max_shift=1.0):
    """Genes of a small simulation, grouped, with cells at their true places."""
    adata = simulate_counts(
        n_obs=400,
        n_vars=180,
        shapes=("peak", "switch_on", "flat"),
        proportions=(1, 1, 4),
        mean_count=2.0,
        max_shift=max_shift,
        seed=seed,
    )
    genes, _ = settled(adata, "nb", shift=True)
    share = place_on_grid(genes.grid, adata.obs["true_z"].to_numpy())
    genes.evidence.pool(share)
    x = genes.grid.x
    curves = np.stack([-0.5 * x**2, -np.logaddexp(0.0, -3.0 * x)])
    curves = np.stack([genes.evidence.normalised(curve) for curve in curves])
    structure = genes.sweep(genes.structure(curves, np.zeros(2)), 3)
    return genes, genes.at(share, structure)


def test_prior_on_the_grid_is_normal_and_sums_to_one():
    genes, _ = planted()
    shifts = genes.grid.shifts
    for sd in (0.5, 1.0):
        genes.set_shift_prior(sd)
        expected = norm.pdf(shifts, scale=sd)
        np.testing.assert_allclose(np.exp(genes.log_shift_prior), expected / expected.sum())


def test_spread_is_where_the_shifts_are_most_probable():
    genes, structure = planted()
    mass, shifts = structure.joint.sum((0, 1)), genes.grid.shifts

    def cost(sd):
        return -mass @ norm.logpdf(shifts, scale=sd)

    best = minimize_scalar(cost, bounds=(0.1, 3.0), method="bounded").x
    assert 0.5 < best < 1.0
    assert spread_of_shifts(genes, structure) == pytest.approx(best, abs=1e-4)


@pytest.mark.parametrize(("max_shift", "sd"), [(0.0, 0.5), (1.2, 0.69)])
def test_learning_raises_the_total_and_finds_the_spread(max_shift, sd):
    genes, structure = planted(seed=1, max_shift=max_shift)
    learned = learn_spread(genes, structure)
    assert learned.total > structure.total + 1
    # Shifts are uniform, of standard deviation max_shift / √3; none is the narrowest prior.
    assert genes.shift_prior_sd == pytest.approx(sd, abs=0.1)
    again = learn_spread(genes, learned)
    assert again.total >= learned.total


def test_genes_without_shifts_keep_their_prior():
    adata = simulate_counts(n_obs=200, n_vars=30, shapes=("peak", "up"), max_shift=0.0, seed=3)
    genes, z = settled(adata, "nb", shift=False)
    found = find_structure(genes, [[z]], 0, 1)
    assert found.hyperparameters.shift_prior_sd == 1.0
    assert "spread" not in {entry.move for entry in found.history}


def test_a_peak_and_a_switch_are_two_shapes():
    """Under N(0, 1) one curve with a rise and a fall stands for both, by different shifts."""
    adata = simulate_counts(
        n_obs=500,
        n_vars=120,
        shapes=("peak", "switch_on", "flat"),
        max_shift=0.2,
        mean_count=1.0,
        seed=1,
    )
    genes, z = settled(adata, "nb", shift=True, deviation=0.3, learns_deviation=True)
    found = find_structure(genes, [[z]], 0, 1)
    assert adjusted_rand_score(adata.var["true_group"], found.structure.label) > 0.95
    assert found.hyperparameters.shift_prior_sd < 0.55  # the least is 0.5


@pytest.mark.parametrize("seed", [3000, 7])
def test_groups_that_differ_by_a_shift_alone_are_one(seed):
    """The three bumps of figure 1, though within each of them all shifts are the same.

    From seed 3000 the spread is learned first while they are apart; merging has to undo that.
    """
    adata = toy_groups(seed=seed)
    genes, z = settled(adata, "gaussian", shift=True)
    found = find_structure(genes, [[z]], 0, 1)
    assert adjusted_rand_score(adata.var["true_shape"], found.structure.label) == 1.0
    # Shifts of 0 and ±1.5, three in five genes, on a z of standard deviation √3.
    assert found.hyperparameters.shift_prior_sd == pytest.approx(0.55, abs=0.07)
