"""Of several orders of the cells, the one is taken that tells more, on two counts."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import logsumexp
from structure_helpers import settled

from basisvae_scvi.datasets import toy_groups
from basisvae_scvi.inference.structure import _search as search
from basisvae_scvi.inference.structure._seeding import _kernel_curves


def _folded(z):
    return (np.abs(z) - np.abs(z).mean()) / np.abs(z).std()


@pytest.mark.parametrize(
    ("totals", "own_totals", "order"),
    [
        ((-480.0, -450.0, -400.0), (10.0, 30.0, 20.0), 1),  # all tie: genes by themselves
        ((-500.0, -450.0, -390.0), (40.0, 10.0, 20.0), 2),  # the first lags by 110 nats
        ((-2025.0, -2000.0, -1990.0), (40.0, 10.0, 20.0), 2),  # by more than a tenth of the gain
        ((-2040.0, -2040.0, -2040.0), (10.0, 30.0, 20.0), 1),  # nothing is found: all tie
    ],
)
def test_of_orders_that_tie_genes_by_themselves_decide(totals, own_totals, order, monkeypatch):
    monkeypatch.setattr(search, "_own_total", lambda _, trial: own_totals[trial.index])
    trials = [
        SimpleNamespace(index=i, structure=SimpleNamespace(total=total))
        for i, total in enumerate(totals)
    ]
    assert search._best_order(None, trials, -2040.0) == order


def test_genes_by_themselves_tell_a_folded_order():
    adata = toy_groups(seed=106, n_obs=200, n_per_group=4)
    genes, z = settled(adata, "gaussian", shift=True)
    seed = np.random.SeedSequence(0)
    wrong, right = (search._search(genes, places, seed, 0) for places in (_folded(z), z))
    own_totals = [search._own_total(genes, outcome) for outcome in (wrong, right)]
    assert own_totals[1] > own_totals[0] + 50
    for outcome, own_total in zip((wrong, right), own_totals, strict=True):
        structure = search._at(genes, outcome)
        by_itself = 0.0
        for gene, curve in enumerate(_kernel_curves(genes.evidence, genes.grid)):
            table, _ = genes.evidence.table(curve[None], np.array([gene]))
            by_itself += logsumexp(table[0, 0] + genes.log_shift_prior)
        paid = structure.bound - structure.total
        assert own_total == pytest.approx(by_itself - paid, abs=1e-3)


def test_an_order_that_ties_is_taken_where_genes_tell_more(monkeypatch):
    """With any lag a tie, the folded order loses by what genes tell, whatever the totals are."""
    monkeypatch.setattr(search, "_TIED", np.inf)
    monkeypatch.setattr(search, "_TIED_SHARE", np.inf)
    adata = toy_groups(seed=106, n_obs=200, n_per_group=4)
    genes, z = settled(adata, "gaussian", shift=False)
    found = search.find_structure(genes, [[_folded(z)], [z]], 0, 1)
    assert found.order == 1
    alone = search.find_structure(genes, [[z]], 0, 1)
    assert alone.totals == found.totals  # looking at the others leaves no trace
