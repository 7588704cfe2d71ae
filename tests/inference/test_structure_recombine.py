"""What one grouping does better than another is taken over, and nothing else."""

from itertools import combinations

import numpy as np
import pytest
from sklearn.metrics import v_measure_score
from structure_helpers import settled

from basisvae_scvi.datasets import toy_groups
from basisvae_scvi.inference.structure import place_on_grid
from basisvae_scvi.inference.structure._moves import Moves, _pairs
from basisvae_scvi.inference.structure._recombine import recombined
from basisvae_scvi.inference.structure._restart import Restart
from basisvae_scvi.inference.structure._swap import Trial


@pytest.fixture(scope="module")
def toy():
    """Five groups with the cells in place: a function of groupings, moves, the true groups."""
    adata = toy_groups(seed=301, n_obs=200)
    genes, z = settled(adata, "gaussian", shift=False)
    restart = Restart(genes, z, np.random.default_rng(0), 0)
    share = place_on_grid(genes.grid, z)
    genes.evidence.pool(share)
    truth = adata.var["true_group"].cat.codes.to_numpy()

    def grouped(label):
        """Curves of groups as they are, none refitted once genes are assigned."""
        phi = np.eye(label.max() + 1)[label]
        first = [np.flatnonzero(label == k)[0] for k in range(phi.shape[1])]
        curves = restart.seeding.own_curves(np.array(first))
        looked, at_shift, scale = genes.look(curves, genes.all_genes)
        assert looked.shape == phi.shape
        curves, complexity = genes.fit_curves(phi, at_shift, scale, genes.all_genes)
        return genes.at(share, genes.structure(curves, complexity))

    moves = Moves(
        genes, restart.seeding.own_curves, restart.seeding.own_evidence(), lambda *_: None
    )
    return grouped, moves, truth


def joined(label, a, b):
    """The labels with one group in another, numbered anew."""
    return np.unique(np.where(label == a, b, label), return_inverse=True)[1]


def test_each_of_two_groupings_mends_what_the_other_has_joined(toy):
    grouped, moves, truth = toy
    first, second = grouped(joined(truth, 0, 1)), grouped(joined(truth, 3, 4))
    children = recombined(moves, first, second), recombined(moves, second, first)
    for parent, child in zip((first, second), children, strict=True):
        assert v_measure_score(truth, parent.label) < 0.95
        assert child.bound > max(first.bound, second.bound) + 100
        np.testing.assert_array_equal(child.share, parent.share)
    found = recombined(moves, *children)
    assert v_measure_score(truth, found.label) == 1.0
    best = moves.genes.sweep(grouped(truth), 5)
    assert found.bound == pytest.approx(best.bound, abs=1.0)


def test_what_is_split_in_the_other_structure_stays_whole(toy):
    """It has nothing to offer, and what it offers costs a curve."""
    grouped, moves, truth = toy
    whole = moves.genes.sweep(grouped(truth), 5)
    members = np.flatnonzero(truth == 2)
    label = truth.copy()
    label[members[::2]] = 5
    assert recombined(moves, whole, grouped(label)) is whole
    assert recombined(moves, whole, whole) is whole


def test_no_more_bases_are_used_than_there_are(toy, monkeypatch):
    grouped, moves, truth = toy
    poor = grouped(joined(joined(truth, 0, 1), 2, 3))
    assert poor.n_curves == 3
    monkeypatch.setattr(moves.genes, "n_basis", 5)
    found = recombined(moves, poor, grouped(truth))
    assert found.n_curves == 4
    assert found.bound > poor.bound + 100


def test_where_all_bases_are_in_use_one_is_taken_from_where_it_matters_least(toy, monkeypatch):
    """Four curves for five groups: a pair must share one, and the nearest pair loses least."""
    grouped, moves, truth = toy
    shared = {
        pair: moves.genes.sweep(grouped(joined(truth, *pair)), 10)
        for pair in combinations(range(5), 2)
    }
    bounds = {pair: structure.bound for pair, structure in shared.items()}
    worst = min(bounds, key=bounds.get)
    monkeypatch.setattr(moves.genes, "n_basis", 5)
    found = moves.improve(shared[worst])
    assert found.n_curves == 4
    assert bounds[worst] < max(bounds.values()) - 20.0
    assert found.bound > max(bounds.values()) - 1.0


def trial(gain, *old):
    return Trial(gain, np.array(old, dtype=int), np.empty((1, 0)), np.zeros(1), "any")


def test_pairs_gain_together_and_concern_different_curves():
    fewer = [trial(-5.0, 0, 1), trial(-1.0, 2), trial(-20.0, 3)]
    more = [trial(8.0, 2), trial(3.0, 4), trial(1.2)]
    gains = [(a.gain, b.gain) for a, b in _pairs(fewer, more)]
    assert gains == [(-5.0, 8.0), (-1.0, 3.0)]
