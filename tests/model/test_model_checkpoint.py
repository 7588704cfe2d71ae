"""A training that was stopped goes on from its checkpoint as if it had not been."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from model_helpers import all_tables, assert_same_tables, build, small_counts, train

from basisvae_scvi.inference import CheckpointFile

NB = {"translation_invariant": True, "n_basis": 5}
CASES = {
    "nb": (NB, {}),
    "gaussian": ({"gene_likelihood": "gaussian"}, {}),
    "gradient": (NB, {"plan_kwargs": {"assignment_update": "gradient"}}),
    "warm-up": (
        {"inference": "non-collapsed", "objective": "paper", "n_latent": 2},
        {"plan_kwargs": {"n_epochs_kl_warmup": 9, "n_epochs_assignment_warmup": 8}},
    ),
    "early stopping": (
        NB,
        {
            "early_stopping": True,
            "early_stopping_patience": 10,
            "early_stopping_min_delta": 1e3,
            "plan_kwargs": {"reduce_lr_on_plateau": True, "lr_patience": 1},
        },
    ),
}
N_EPOCHS = 14
ARGUMENTS = {"n_restarts": 1, "batch_size": 32}


class Stop(Callback):
    """An error in the middle of an epoch."""

    def __init__(self, epoch):
        self.epoch, self.first = epoch, None

    def on_train_epoch_start(self, trainer, pl_module):
        self.first = trainer.current_epoch if self.first is None else self.first

    def on_train_batch_end(self, trainer, pl_module, *args):
        if trainer.current_epoch == self.epoch:
            raise RuntimeError("stopped")


@pytest.fixture(autouse=True)
def every_epoch(monkeypatch):
    """Write at every epoch, however short it is."""
    monkeypatch.setattr("basisvae_scvi.inference._checkpoint._MAX_SHARE", np.inf)


def new_model(arguments):
    adata = small_counts(100, 20)
    if arguments.get("gene_likelihood") == "gaussian":
        adata.X = np.log1p(adata.X.toarray())
    return build(adata, **arguments)


def run(model_arguments, train_arguments, **extra):
    model = new_model(model_arguments)
    train(model, N_EPOCHS, **{**ARGUMENTS, **train_arguments, **extra})
    return model


def stop_at(epoch, folder, model_arguments=NB, **extra):
    with pytest.raises(RuntimeError, match="stopped"):
        run(model_arguments, extra, checkpoint_dir=folder, callbacks=[Stop(epoch)])


def assert_same(found, expected):
    """Same parameters, results, search and history, bit for bit."""
    state = expected.module.state_dict()
    for name, value in found.module.state_dict().items():
        assert torch.equal(value, state[name]), name
    assert_same_tables(all_tables(found), all_tables(expected))
    assert found.history.keys() == expected.history.keys()
    for name, table in expected.history.items():
        np.testing.assert_array_equal(found.history[name].index, table.index, err_msg=name)
        np.testing.assert_array_equal(
            found.history[name].to_numpy(dtype=float), table.to_numpy(dtype=float), err_msg=name
        )
    if expected.search_ is not None:
        assert found.get_search_history().equals(expected.get_search_history())


@pytest.fixture(scope="module")
def unbroken():
    """A training that was never stopped."""
    return run(NB, {})


@pytest.mark.parametrize(
    "case",
    [
        "nb",
        "gaussian",
        *(pytest.param(c, marks=pytest.mark.slow) for c in ("gradient", "warm-up")),
        pytest.param("early stopping", marks=pytest.mark.slow),
    ],
)
def test_a_stopped_training_ends_with_the_arrays_of_an_unbroken_one(case, tmp_path):
    arguments, training = CASES[case]
    unbroken = run(arguments, training)
    stop_at(8, tmp_path, arguments, **training)
    start = Stop(-1)
    resumed = run(arguments, training, checkpoint_dir=tmp_path, callbacks=[start])
    assert start.first == 8
    assert len(resumed.history["elbo_train"]) == (11 if "early_stopping" in training else 14)
    assert_same(resumed, unbroken)


def test_a_finished_training_has_not_changed_and_is_not_done_again(tmp_path, unbroken):
    assert_same(run(NB, {}, checkpoint_dir=tmp_path), unbroken)
    start = Stop(-1)
    again = run(NB, {}, checkpoint_dir=tmp_path, callbacks=[start])
    assert start.first == N_EPOCHS - 1
    assert_same(again, unbroken)


@pytest.mark.slow
def test_a_training_may_be_stopped_again_and_again(tmp_path, unbroken):
    for epoch in (0, 3, 4, 10):
        stop_at(epoch, tmp_path)
    resumed = run(NB, {}, checkpoint_dir=tmp_path)
    assert_same(resumed, unbroken)


def test_what_the_search_found_is_found_once(tmp_path, monkeypatch, unbroken):
    stop_at(0, tmp_path)

    def no_search(*args, **kwargs):
        raise AssertionError("searched again")

    with monkeypatch.context() as patch:
        patch.setattr("basisvae_scvi.model._start.StartSearch", no_search)
        patch.setattr("basisvae_scvi.model._start.fit_encoder", no_search)
        resumed = run(NB, {}, checkpoint_dir=tmp_path)
    assert_same(resumed, unbroken)


@pytest.mark.slow
def test_a_call_without_a_seed_goes_on_with_that_of_the_first(tmp_path):
    stop_at(5, tmp_path, seed=None)
    seed = CheckpointFile(tmp_path).read()["seed"]
    resumed = run(NB, {}, checkpoint_dir=tmp_path, seed=None)
    assert resumed.seed_ == seed
    assert_same(resumed, run(NB, {}, seed=seed))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Content of a checkpoint of a training that was stopped."""
    folder = tmp_path_factory.mktemp("checkpoint")
    stop_at(1, folder)
    return (folder / "training.ckpt").read_bytes()


@pytest.fixture
def stopped(tmp_path, checkpoint):
    """Folder with a checkpoint."""
    (tmp_path / "training.ckpt").write_bytes(checkpoint)
    return tmp_path


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"batch_size": 16}, r"batch_size was 32 and is 16"),
        ({"max_epochs": 20}, r"max_epochs was 14 and is 20"),
        ({"seed": 1}, r"seed was 0 and is 1"),
        ({"n_restarts": 2}, r"n_restarts was 1 and is 2"),
        ({"plan_kwargs": {"lr": 0.01}}, r"plan_kwargs was None and is \{'lr': '0.01'\}"),
    ],
)
def test_other_arguments_of_training_are_an_error_that_names_them(stopped, changed, expected):
    arguments = {"max_epochs": N_EPOCHS, "checkpoint_dir": stopped, **changed}
    with pytest.raises(ValueError, match=f"is of another run: {expected}. Call as before"):
        train(new_model(NB), **{**ARGUMENTS, **arguments})


def test_other_models_data_and_versions_are_an_error(stopped, monkeypatch):
    with pytest.raises(ValueError, match=r"another run: n_basis was 5 and is 4\."):
        run({**NB, "n_basis": 4}, {}, checkpoint_dir=stopped)
    others = small_counts(100, 20)
    others.X.data[0] += 1
    model = build(others, **NB)
    with pytest.raises(ValueError, match=r"another run: its data are others\."):
        train(model, N_EPOCHS, checkpoint_dir=stopped, **ARGUMENTS)
    monkeypatch.setattr("basisvae_scvi.model._checkpoint.__version__", "99.0")
    with pytest.raises(ValueError, match=r"version of basisvae-scvi was \S+ and is 99\.0\."):
        run(NB, {}, checkpoint_dir=stopped)


def test_a_damaged_checkpoint_is_an_error_and_stays(stopped):
    path = stopped / "training.ckpt"
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    with pytest.raises(ValueError, match="is damaged or cut short; delete it"):
        run(NB, {}, checkpoint_dir=stopped)
    assert path.read_bytes() == content[:-100]


@pytest.mark.slow
def test_a_trained_model_goes_on_from_its_own_checkpoint_only(tmp_path):
    model = new_model(NB)
    train(model, 2)
    with pytest.raises(RuntimeError, match="stopped"):
        train(model, 6, checkpoint_dir=tmp_path, callbacks=[Stop(3)])
    model, expected = new_model(NB), new_model(NB)
    train(model, 2)
    train(expected, 2)
    train(expected, 6)
    train(model, 6, checkpoint_dir=tmp_path)
    assert_same(model, expected)
    with pytest.raises(ValueError, match="parameters are others"):
        train(model, 6, checkpoint_dir=tmp_path)


def test_a_disk_that_fills_up_ends_the_checkpoints_and_not_the_training(tmp_path, monkeypatch):
    write = CheckpointFile.write
    calls = []

    def fill_up(self, state):
        calls.append(state)
        if len(calls) > 3:
            raise OSError(28, "No space left on device")
        write(self, state)

    monkeypatch.setattr(CheckpointFile, "write", fill_up)
    with pytest.warns(UserWarning, match="cannot be written .No space left on device."):
        model = run(NB, {}, checkpoint_dir=tmp_path)
    assert len(calls) == 4
    assert len(model.history["elbo_train"]) == N_EPOCHS


CHILD = """
import sys
import torch
from model_helpers import build, small_counts, train
torch.set_num_threads(1)
model = build(small_counts(100, 20), translation_invariant=True, n_basis=5)
train(model, 100, batch_size=32, checkpoint_dir=sys.argv[1])
"""


def is_training(folder):
    """Whether there is a checkpoint of an epoch, and not of the starting values alone."""
    state = CheckpointFile(folder).read()
    return state is not None and state.get("training", {}).get("epoch", 0) > 0


@pytest.mark.slow
def test_a_killed_process_leaves_a_checkpoint_to_go_on_from(tmp_path):
    tests = Path(__file__).parent
    # With the threads of this process: bounds of the search differ in their last digits else.
    path = os.pathsep.join([str(tests), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": path.rstrip(os.pathsep)},
    )
    deadline = time.monotonic() + 120
    while not is_training(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    killed_at = CheckpointFile(tmp_path).read()["training"]["epoch"]
    assert 0 < killed_at < 100
    start = Stop(-1)
    resumed, unbroken = new_model(NB), new_model(NB)
    train(resumed, 100, batch_size=32, checkpoint_dir=tmp_path, callbacks=[start])
    assert start.first == killed_at
    train(unbroken, 100, batch_size=32)
    assert_same(resumed, unbroken)
