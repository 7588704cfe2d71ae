"""A process that comes back to its beginning is cut open where it begins."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from structure_helpers import settled

from basisvae_scvi.datasets import toy_groups, toy_shifts
from basisvae_scvi.inference._start import _as_nearest
from basisvae_scvi.inference.structure import find_structure, place_on_grid
from basisvae_scvi.inference.structure._restart import Restart
from basisvae_scvi.inference.structure._turn import distance_of_ends, turned


def cut_at(adata, share):
    """The true z, cut so that a share of the cells changes sides, with variance 1."""
    z = adata.obs["true_z"].to_numpy()
    return turned((z - z.mean()) / z.std(), np.quantile((z - z.mean()) / z.std(), share))


def test_turning_goes_on_where_the_loop_ends():
    z = np.array([0.0, 1.0, 2.0, 3.0, 4.0])
    found = turned(z, at=1.5)
    # 2, 3, 4, then 0 + 4 and 1 + 4; four and the former zero meet.
    around = np.array([4.0, 5.0, 2.0, 3.0, 4.0])
    expected = 2.0 + (around - around.mean()) * z.std() / around.std()
    np.testing.assert_allclose(found, expected)
    assert found.mean() == pytest.approx(z.mean())
    assert found.std() == pytest.approx(z.std())


def structure_from(adata, start):
    """What a search finds that does not turn."""
    genes, _ = settled(adata, "gaussian", shift=True)
    restart = Restart(genes, start, np.random.default_rng(0), 0)
    share = place_on_grid(genes.grid, start)
    genes.evidence.pool(share)
    own = restart.seeding.own_evidence()
    structure = genes.sweep(restart.seeding.seeded(genes.n_basis - 1, own), 10)
    return genes, genes.settle(genes.at(share, structure), 3)


def test_ends_are_near_where_a_loop_was_cut_through_its_middle_and_far_on_an_open_course():
    loop, open_ = toy_shifts(max_shift=1.5, seed=12), toy_groups(seed=12)
    wrongly_cut = structure_from(loop, cut_at(loop, 0.3))
    assert distance_of_ends(*wrongly_cut) < 0.15
    assert distance_of_ends(*structure_from(open_, cut_at(open_, 0.0))) > 0.4


@pytest.mark.parametrize("share", [0.15, 0.6, 0.9])
def test_a_loop_is_cut_where_it_begins(share):
    """One bump at δ within ±1.5 on z within ±3: few genes are seen at either end."""
    adata = toy_shifts(max_shift=1.5, seed=13)
    genes, _ = settled(adata, "gaussian", shift=True)
    start = cut_at(adata, share)
    assert abs(spearmanr(start, adata.obs["true_z"]).statistic) < 0.7
    found = find_structure(genes, [[start]], 0, 1)
    z = found.structure.share @ found.grid.z
    assert abs(spearmanr(z, adata.obs["true_z"]).statistic) > 0.96
    assert "turn" in {entry.move for entry in found.history}
    # The cells are held at the places after the turn.
    assert abs(spearmanr(found.places, z).statistic) > 0.95
    assert found.structure.n_curves == 1


def test_an_open_course_is_not_turned():
    adata = toy_groups(seed=14)
    genes, start = settled(adata, "gaussian", shift=True)
    found = find_structure(genes, [[start]], 0, 1)
    assert "turn" not in {entry.move for entry in found.history}
    np.testing.assert_array_equal(found.places, start)


def test_cells_beside_the_sample_follow_their_neighbours():
    known, values = np.array([3.0, 0.0, 1.0]), np.array([30.0, 0.0, -10.0])
    found = _as_nearest(np.array([0.4, 0.6, 1.9, 2.1, 9.0, -5.0]), known, values)
    np.testing.assert_array_equal(found, [0.0, -10.0, -10.0, 30.0, 30.0, 0.0])
