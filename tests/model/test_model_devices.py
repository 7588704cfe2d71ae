"""Several processes, each with a share of the cells, give what one process gives."""

import os
import subprocess
import sys
from pathlib import Path

import ddp_script
import numpy as np
import pytest
import scvi
from model_helpers import small_counts
from sklearn.metrics import adjusted_rand_score

from basisvae_scvi import BasisVAE

# Seeds 1 to 3 of one process differ by 0.0004 of the bound; other minibatches may do as much.
NOISE = 0.002


@pytest.mark.slow
def test_two_processes_give_the_bound_and_the_clusters_of_one(tmp_path):
    command = [sys.executable, ddp_script.__file__, "2", "1", str(tmp_path / "two")]
    done = subprocess.run(
        command,
        env={**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    first, second = (np.load(tmp_path / f"two.{rank}.npz") for rank in (0, 1))
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])
    one = ddp_script.train(1, 1)
    assert first["bound"] == pytest.approx(one["bound"], rel=NOISE)
    assert adjusted_rand_score(one["cluster"], first["cluster"]) >= 0.9
    truth = ddp_script.cells().var["true_group"].astype(str)
    assert adjusted_rand_score(truth, first["cluster"]) >= 0.6
    assert np.corrcoef(one["z"][:, 0], first["z"][:, 0])[0, 1] > 0.99


@pytest.mark.parametrize("strategy", ["ddp", "ddp_find_unused_parameters_true"])
def test_several_processes_need_a_common_seed(strategy, monkeypatch):
    monkeypatch.setattr(scvi.settings, "_seed", None)
    adata = small_counts(20, 8)
    BasisVAE.setup_anndata(adata)
    model = BasisVAE(adata, n_basis=4)
    with pytest.raises(ValueError, match=f"strategy='{strategy}' needs a seed.*seed=0"):
        model.train(accelerator="cpu", devices=2, strategy=strategy)
