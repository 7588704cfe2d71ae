"""A signal that ends a command is a failure, in whatever phase it comes."""

import shutil
import signal
import subprocess
import sys
import time

import anndata as ad
import numpy as np
import pytest

from basisvae_scvi.cli import _fit
from basisvae_scvi.cli._staging import Staging
from basisvae_scvi.inference import CheckpointFile, TrainingProgress

NOTHING = "basisvae-scvi: error: terminated (SIGTERM); nothing was written."
WRITERS = {
    "fit": ("fit", "basisvae_scvi.cli._output.write_anndata"),
    "fit, reading": ("fit", "basisvae_scvi.cli._fit.read_anndata"),
    "fit, annotating": ("fit", "basisvae_scvi.model._annotate.describe_certainty"),
    "project": ("project", "basisvae_scvi.cli._project.write_anndata"),
    "assign": ("assign", "basisvae_scvi.cli._assign.write_anndata"),
    "report": ("report", "basisvae_scvi.cli._report.write_report"),
    "simulate": ("simulate", "basisvae_scvi.cli._simulate.write_anndata"),
}


def terminate(*args, **kwargs):
    signal.raise_signal(signal.SIGTERM)


@pytest.fixture
def call(run, fit, counts, fitted, tmp_path):
    """Any command, quietly, with its result in ``tmp_path``."""
    model = ("--model-dir", fitted / "model")
    rest = {
        "fit": (counts,),
        "project": (counts, *model),
        "assign": (counts, *model),
        "report": (fitted / "out.h5ad",),
        "simulate": ("--n-obs", "20", "--n-vars", "5"),
        "demo": ("--n-genes", "20", "--n-basis", "4", "--max-epochs", "2"),
    }

    def one(command, *options):
        name = {"report": "x.html", "demo": "d"}.get(command, "x.h5ad")
        arguments = (*rest[command], "-o", tmp_path / name, "-q", *options)
        return fit(*arguments) if command == "fit" else run(command, *arguments)

    return one


@pytest.mark.parametrize(("command", "place"), WRITERS.values(), ids=WRITERS)
def test_every_command_ends_with_143_and_leaves_nothing(
    call, tmp_path, monkeypatch, command, place
):
    monkeypatch.setattr(place, terminate)
    result = call(command)
    assert (result.status, result.out, result.err) == (143, [], [NOTHING])
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize("command", ["fit", "demo"])
def test_in_training_the_checkpoint_is_what_is_kept(call, tmp_path, monkeypatch, command):
    after_epoch = TrainingProgress.on_train_epoch_end

    def terminate_at_second(self, trainer, pl_module):
        after_epoch(self, trainer, pl_module)
        if trainer.current_epoch == 1:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(TrainingProgress, "on_train_epoch_end", terminate_at_second)
    if command == "demo":
        result = call("demo")
        assert (result.status, result.out, result.err) == (143, [], [NOTHING])
        return
    folder = tmp_path / "state"
    result = call("fit", "--max-epochs", "4", "--checkpoint", folder, "--seed", "1")
    assert (result.status, result.out) == (143, [])
    [line] = result.err
    assert f"nothing was written but {folder / 'training.ckpt'}, from which the same" in line
    assert [path.name for path in tmp_path.iterdir()] == ["state"]
    assert CheckpointFile(folder).read()["training"]["epoch"] == 1


def test_after_training_the_checkpoint_is_still_named(call, tmp_path, monkeypatch):
    monkeypatch.setattr(_fit.Outputs, "write", terminate)
    [line] = call("fit", "--checkpoint", tmp_path / "state").err
    assert f"but {tmp_path / 'state' / 'training.ckpt'}" in line


def test_results_that_are_taking_their_names_are_finished(call, tmp_path, monkeypatch):
    commit = Staging.commit

    def disturbed(self):
        commit(self)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Staging, "commit", disturbed)
    assert call("fit").status == 0
    assert np.isfinite(ad.read_h5ad(tmp_path / "x.h5ad").obsm["X_basisvae"]).all()


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.0, 0.02])
def test_a_file_that_is_half_written_is_taken_away(tmp_path, seconds):
    code = (
        "import os, signal, threading, time; from basisvae_scvi.cli import main, _files; "
        "import basisvae_scvi.cli._simulate, numpy; write = _files.write_from_disk; "
        f"kill = lambda: (time.sleep({seconds}), os.kill(os.getpid(), signal.SIGTERM)); "
        "_files.write_from_disk = lambda *a, **k: "
        "(threading.Thread(target=kill).start(), [write(*a, **k) for _ in range(200)]); "
        "import sys; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "simulate", "-o", "x.h5ad", "-q"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.splitlines()) == (143, [NOTHING])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_process_ends_at_once_while_it_searches(counts, tmp_path):
    shutil.copy(counts, tmp_path / "in.h5ad")
    command = [sys.executable, "-m", "basisvae_scvi", "fit", "in.h5ad", "-o", "x.h5ad"]
    command += ["--n-basis", "4"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    try:
        for line in process.stderr:
            if "Searching" in line:
                break
        time.sleep(0.3)
        sent = time.monotonic()
        process.terminate()
        rest = process.communicate(timeout=100)[1].splitlines()
    finally:
        process.kill()
    assert process.returncode == 143
    assert rest[-1] == NOTHING
    assert time.monotonic() - sent < 30
    assert [path.name for path in tmp_path.iterdir()] == ["in.h5ad"]
