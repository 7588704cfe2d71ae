"""Of several restarts the best one is kept, wherever they run."""

import numpy as np
import pytest
from structure_helpers import settled

from basisvae_scvi.datasets import simulate_counts
from basisvae_scvi.inference.structure import _search, find_structure


def test_the_best_restart_is_kept_however_many_run_at_a_time(monkeypatch):
    """Without further curves to try, five restarts of forty curves end at five totals."""
    monkeypatch.setattr(_search, "_FIRST_TRIES", 0)
    monkeypatch.setattr(_search, "_FURTHER_TRIES", 0)
    adata = simulate_counts(n_obs=300, n_vars=60, mean_count=2.0, seed=8)
    found = []
    for n_jobs in (1, 2):
        genes, z = settled(adata, "nb", shift=True)
        found.append(find_structure(genes, [[z]], 0, 5, n_jobs=n_jobs))
    alone, beside = found
    assert len(set(np.round(alone.totals, 3))) > 1
    np.testing.assert_allclose(alone.totals, beside.totals, rtol=1e-9)
    for each in found:
        best = int(np.argmax(each.totals))
        assert each.structure.total == pytest.approx(max(each.totals), abs=1e-6)
        np.testing.assert_array_equal(each.assignments[best], each.structure.phi)
        assert {entry.restart for entry in each.history} == set(range(5))
