"""Tasks of a job scheduler are no wish for several processes of one training."""

import os

import numpy as np
import pytest
from lightning.fabric.plugins.environments import LightningEnvironment, SLURMEnvironment
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from model_helpers import all_tables, assert_same_tables, build, small_counts, train

from basisvae_scvi import BasisVAE
from basisvae_scvi.inference import CheckpointFile, processes_asked_for

SCHEDULERS = {
    "sbatch --ntasks": {"SLURM_NTASKS": "4", "SLURM_JOB_NAME": "fit", "SLURM_JOB_ID": "1"},
    "sbatch --ntasks-per-node": {
        **{"SLURM_NTASKS": "8", "SLURM_NTASKS_PER_NODE": "4", "SLURM_NNODES": "2"},
        **{"SLURM_JOB_NODELIST": "n[1-2]", "SLURM_NODEID": "0", "SLURM_LOCALID": "0"},
    },
    "srun, the third task": {
        **{"SLURM_NTASKS": "4", "SLURM_PROCID": "2", "SLURM_LOCALID": "2", "SLURM_JOB_ID": "x"},
    },
    "torchrun": {
        **{"TORCHELASTIC_RUN_ID": "a", "RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"},
        **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500", "GROUP_RANK": "0"},
    },
    "jsrun": {
        **{"LSB_JOBID": "1", "LSB_DJOB_RANKFILE": "/nowhere", "JSM_NAMESPACE_SIZE": "4"},
        **{"JSM_NAMESPACE_LOCAL_RANK": "1", "JSM_NAMESPACE_RANK": "1"},
    },
    "Open MPI": {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "1", "PMI_RANK": "1"},
    "Kubeflow": {
        **{"KUBERNETES_PORT": "tcp://1:443", "MASTER_ADDR": "m", "MASTER_PORT": "1"},
        **{"WORLD_SIZE": "2", "RANK": "1"},
    },
}


@pytest.fixture(params=SCHEDULERS.values(), ids=SCHEDULERS)
def scheduler(request, monkeypatch):
    """Variables of a job, and the rank that Lightning reads from them when it is imported."""
    for name, value in request.param.items():
        monkeypatch.setenv(name, value)
    ranks = ("RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
    rank = next((int(request.param[name]) for name in ranks if name in request.param), 0)
    monkeypatch.setattr(rank_zero_only, "rank", rank)
    return request.param


@pytest.fixture(scope="module")
def alone():
    model = build(small_counts())
    train(model, 3)
    return all_tables(model), model.history["elbo_train"].to_numpy(dtype=float)


def test_a_job_trains_as_one_process_and_keeps_its_record(scheduler, alone, tmp_path):
    model, rank = build(small_counts()), rank_zero_only.rank
    train(model, 3, checkpoint_dir=tmp_path)
    assert_same_tables(all_tables(model), alone[0])
    np.testing.assert_array_equal(model.history["elbo_train"].to_numpy(dtype=float), alone[1])
    assert CheckpointFile(tmp_path).read()["training"]["epoch"] == 2
    assert model.trainer.world_size == 1
    # What the job says is as before.
    assert {name: os.environ[name] for name in scheduler} == scheduler
    assert rank_zero_only.rank == rank


def test_a_saved_model_loads_in_a_job(scheduler, fitted_batches, tmp_path):
    fitted_batches.save(tmp_path / "model")
    new = small_counts(60, 20, n_batches=2)
    new.obs["batch"] = "new"
    query = BasisVAE.load_query_data(new, str(tmp_path / "model"))
    train(query)
    assert BasisVAE.load(str(tmp_path / "model"), fitted_batches.adata).is_trained_
    assert query.module.n_batch == 3


@pytest.mark.parametrize(
    ("devices", "arguments"),
    [
        (2, {}),
        ("2", {}),
        (-1, {}),
        ([0, 1], {}),
        ("auto", {"strategy": "ddp"}),
        ("auto", {"num_nodes": 2}),
        ("auto", {"plugins": [LightningEnvironment()]}),
        (1, {"plugins": LightningEnvironment()}),
    ],
)
def test_processes_that_are_asked_for_are_left_to_lightning(monkeypatch, devices, arguments):
    monkeypatch.setenv("SLURM_NTASKS", "2")
    with processes_asked_for(devices, arguments) as used:
        assert used is arguments
        assert SLURMEnvironment.detect()


@pytest.mark.parametrize("devices", ["auto", 1, "1", [0]])
def test_one_device_is_one_process(monkeypatch, devices):
    monkeypatch.setenv("SLURM_NTASKS", "2")
    with processes_asked_for(devices, {"strategy": "auto", "plugins": None}) as used:
        assert [type(plugin) for plugin in used["plugins"]] == [LightningEnvironment]
        assert not SLURMEnvironment.detect()
    assert SLURMEnvironment.detect()
