"""Of several orders of the cells, the one is taken that tells more, on two counts."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import logsumexp
from structure_helpers import settled

from basisvae_scvi.datasets import toy_groups
from basisvae_scvi.inference.structure._search import _at, _best_order, _Outcome, _search
from basisvae_scvi.inference.structure._seeding import _kernel_curves


def outcome(total, own_total):
    return _Outcome(SimpleNamespace(total=total), np.empty(0), [], None, own_total)


@pytest.mark.parametrize(
    ("totals", "own_totals", "order"),
    [
        ((-2025.0, -2000.0, -1990.0), (40.0, 10.0, 20.0), 2),  # all lag by a tenth of the gain
        ((-480.0, -450.0, -400.0), (10.0, 30.0, 20.0), 1),  # all tie: genes by themselves
        ((-500.0, -450.0, -390.0), (40.0, 10.0, 20.0), 2),  # the first lags by 110 nats
        ((-600.0, -450.0, -300.0), (10.0, 30.0, 20.0), 2),  # none ties
    ],
)
def test_of_orders_that_tie_genes_by_themselves_decide(totals, own_totals, order):
    trials = [outcome(*pair) for pair in zip(totals, own_totals, strict=True)]
    assert _best_order(trials, -2040.0) == order


def test_genes_by_themselves_tell_a_folded_order():
    adata = toy_groups(seed=106, n_obs=200, n_per_group=4)
    genes, z = settled(adata, "gaussian", shift=True)
    folded = (np.abs(z) - np.abs(z).mean()) / np.abs(z).std()
    seed = np.random.SeedSequence(0)
    wrong, right = (_search(genes, places, seed, 0) for places in (folded, z))
    assert right.own_total > wrong.own_total + 50
    for found in (wrong, right):
        structure = _at(genes, found)
        curves = _kernel_curves(genes.evidence, genes.grid)
        by_itself = 0.0
        for gene, curve in enumerate(curves):
            table, _ = genes.evidence.table(curve[None], np.array([gene]))
            by_itself += logsumexp(table[0, 0] + genes.log_shift_prior)
        paid = structure.bound - structure.total
        assert found.own_total == pytest.approx(by_itself - paid, abs=1e-3)
