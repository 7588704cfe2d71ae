"""A signal that ends the process ends it as a failure, and with the last state on the disk."""

import logging
import signal
import sys
import threading
import time

import pytest
from lightning.pytorch import Callback
from model_helpers import all_tables, assert_same_tables, build, small_counts, train

from basisvae_scvi._termination import orderly_termination
from basisvae_scvi.inference import CheckpointFile

SIGNALS = [signal.SIGTERM, signal.SIGHUP, signal.SIGXCPU]
PLACES = {
    "the start of z": "basisvae_scvi.model._start_latent.start_latent",
    "the search": "basisvae_scvi.inference.structure._search.flat_total",
    "what is found": "basisvae_scvi.model._start.apply_start",
    "the encoder": "basisvae_scvi.model._start.fit_encoder",
    "the last refresh": "basisvae_scvi.inference._refresh.place_cells",
}


class Send(Callback):
    """A signal in the middle of an epoch."""

    def __init__(self, epoch, number=signal.SIGTERM):
        self.epoch, self.number = epoch, number

    def on_train_batch_end(self, trainer, pl_module, *args):
        if trainer.current_epoch == self.epoch:
            signal.raise_signal(self.number)


@pytest.fixture(autouse=True)
def default_signals():
    """Nobody else handles them, before and after."""
    assert {signal.getsignal(number) for number in SIGNALS} == {signal.SIG_DFL}
    yield
    assert {signal.getsignal(number) for number in SIGNALS} == {signal.SIG_DFL}


@pytest.fixture
def ends(caplog, capfd):
    """Train until a signal comes; gives status and the one line that is said, and nothing else."""

    def call(model, **arguments):
        with caplog.at_level(logging.WARNING), pytest.raises(SystemExit) as end:
            train(model, 8, batch_size=32, n_restarts=1, **arguments)
        [record] = caplog.records
        assert capfd.readouterr().out == ""
        return end.value.code, record.getMessage()

    return call


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_in_whatever_phase_it_comes_it_is_a_failure(adata, ends, monkeypatch, place):
    monkeypatch.setattr(place, lambda *args, **kwargs: signal.raise_signal(signal.SIGTERM))
    model = build(adata)
    status, line = ends(model)
    assert status == 143
    assert line.startswith("Training was terminated (SIGTERM); nothing is kept")
    assert "checkpoint_dir=" in line
    assert not model.is_trained_


class Freed:
    """Python drops what is raised while it frees an object."""

    def __del__(self):
        signal.raise_signal(signal.SIGTERM)


def test_a_signal_that_comes_while_an_object_is_freed_is_not_lost():
    told, hook = [], sys.unraisablehook

    @orderly_termination(told.append)
    def free():
        Freed()
        time.sleep(5.0)

    with pytest.raises(SystemExit) as end:
        free()
    assert (end.value.code, told) == (143, [end.value])
    assert sys.unraisablehook is hook


@pytest.mark.parametrize("number", SIGNALS)
def test_every_signal_has_its_status(adata, ends, number):
    status, line = ends(build(adata), callbacks=[Send(2, number)])
    assert status == 128 + number
    assert f"terminated ({number.name})" in line


@pytest.mark.parametrize("share", [0.0, 1e9], ids=["seldom written", "always written"])
def test_the_checkpoint_has_the_last_epoch_and_the_same_call_goes_on(
    ends, tmp_path, monkeypatch, share
):
    monkeypatch.setattr("basisvae_scvi.inference._checkpoint._MAX_SHARE", max(share, 1e-9))
    folder = tmp_path / "state"
    status, line = ends(build(small_counts()), checkpoint_dir=folder, callbacks=[Send(5)])
    assert status == 143
    assert f"kept is {folder / 'training.ckpt'}, from which the same call goes on" in line
    assert CheckpointFile(folder).read()["training"]["epoch"] == 5
    resumed, unbroken = build(small_counts()), build(small_counts())
    train(resumed, 8, batch_size=32, n_restarts=1, checkpoint_dir=folder)
    train(unbroken, 8, batch_size=32, n_restarts=1)
    assert_same_tables(all_tables(resumed), all_tables(unbroken))


def test_in_the_first_epoch_the_starting_values_are_kept(ends, tmp_path):
    _, line = ends(build(small_counts()), checkpoint_dir=tmp_path, callbacks=[Send(0)])
    assert str(tmp_path / "training.ckpt") in line
    assert "training" not in CheckpointFile(tmp_path).read()


def test_a_second_signal_does_not_disturb_what_is_written(ends, tmp_path, monkeypatch):
    write = CheckpointFile.write

    def disturbed(self, state):
        signal.raise_signal(signal.SIGTERM)
        write(self, state)

    monkeypatch.setattr("basisvae_scvi.inference._checkpoint._MAX_SHARE", 1e-9)
    model = build(small_counts())

    class SendAndDisturb(Send):
        def on_train_batch_end(self, trainer, *args):
            if trainer.current_epoch == self.epoch:
                monkeypatch.setattr(CheckpointFile, "write", disturbed)
            super().on_train_batch_end(trainer, *args)

    status, _ = ends(model, checkpoint_dir=tmp_path, callbacks=[SendAndDisturb(3)])
    assert status == 143
    assert CheckpointFile(tmp_path).read()["training"]["epoch"] == 3


def test_a_handler_of_the_users_own_is_called_and_the_end_is_no_success(adata):
    heard = []
    signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        with pytest.raises(SystemExit) as end:
            train(build(adata), 8, batch_size=32, callbacks=[Send(2)])
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    assert end.value.code == 143
    assert heard


def test_outside_the_main_thread_training_leaves_signals_alone(adata):
    model = build(adata)
    thread = threading.Thread(target=train, args=(model,))
    thread.start()
    thread.join()
    assert model.is_trained_


def test_a_training_that_is_done_keeps_its_last_epoch(adata, tmp_path):
    train(build(adata), 6, n_restarts=1, checkpoint_dir=tmp_path)
    assert CheckpointFile(tmp_path).read()["training"]["epoch"] == 5
