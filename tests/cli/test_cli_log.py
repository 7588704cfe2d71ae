"""Messages, warnings, errors and interruptions."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
import warnings

import anndata as ad
import numpy as np
import pytest

from basisvae_scvi.cli._errors import CommandError, UsageError, describe
from basisvae_scvi.cli._log import run_logged
from basisvae_scvi.cli._settings import LogSettings
from basisvae_scvi.inference import TrainingProgress


def _from_package(code: str) -> dict:
    """Run code as if it stood in a module of the package."""
    names = {"__name__": "basisvae_scvi.somewhere"}
    exec(code, names)
    return names


@pytest.fixture(autouse=True)
def no_findings(monkeypatch, request):
    """Leave out what is said of the results of fits as small as these, but where it is tested."""
    if "findings" not in request.node.name:
        monkeypatch.setattr("basisvae_scvi.cli._metrics.run_findings", lambda *args, **kwargs: [])


def test_warnings_among_the_findings_reach_stderr_and_the_metrics(fit, counts, tmp_path):
    path = tmp_path / "m.json"
    few = "--n-basis", "3"  # all of which are used
    result = fit(counts, "-o", tmp_path / "x.h5ad", "-q", "--seed", "2", "--metrics", path, *few)
    metrics = json.loads(path.read_text())
    warned = [f for f in metrics["findings"] if f["level"] == "warning"]
    assert warned
    assert [line.split(": ")[1:3] for line in result.err] == [
        ["warning", finding["title"]] for finding in warned
    ]
    assert (
        metrics["n_used_bases"]
        == ad.read_h5ad(tmp_path / "x.h5ad").var["basisvae_cluster"].nunique()
    )
    assert not {"command", "started", "duration_seconds"} & set(metrics)


def test_a_fit_writes_plain_lines_to_stderr_and_nothing_to_stdout(fit, counts, tmp_path):
    result = fit(counts, "-o", tmp_path / "x.h5ad")
    assert (result.status, result.out) == (0, [])
    text = "\n".join(result.err)
    assert "epoch 2/2, elbo_train" in text
    assert f"Wrote {tmp_path / 'x.h5ad'}" in result.err[-1]
    for chatter in ("GPU available", "Trainer", "tip", "litlogger", "warn", "\x1b"):
        assert chatter.lower() not in text.lower(), chatter


def test_quiet_keeps_warnings_of_the_package_alone(fit, counts, tmp_path):
    adata = ad.read_h5ad(counts)
    adata.X = adata.X.multiply((np.arange(adata.n_obs) != 3)[:, None]).tocsr()
    adata.write_h5ad(tmp_path / "in.h5ad")
    result = fit(tmp_path / "in.h5ad", "-o", tmp_path / "x.h5ad", "--quiet")
    assert result.status == 0
    [line] = result.err
    assert line.startswith("basisvae-scvi: warning: 1 cell(s) of adata.X have no counts")


def test_log_file_has_all_messages_even_when_quiet(fit, counts, tmp_path):
    log = tmp_path / "logs" / "run.log"
    assert fit(counts, "-o", tmp_path / "x.h5ad", "-q", "--log-file", log).err == []
    assert "epoch 2/2, elbo_train" in log.read_text()
    assert fit(counts, "-o", tmp_path / "x.h5ad", "-q", "--log-file", log).status == 1
    lines = log.read_text().splitlines()
    assert "--overwrite" in lines[-1]
    assert "epoch 2/2, elbo_train" in "\n".join(lines[:-1])


def test_log_file_that_cannot_be_opened(fit, counts, tmp_path):
    result = fit(counts, "-o", tmp_path / "x.h5ad", "--log-file", tmp_path)
    assert result.status == 1
    [line] = result.err
    assert f"--log-file {tmp_path} cannot be opened" in line


def test_traceback_only_with_debug(run, tmp_path):
    call = ("fit", tmp_path / "no.h5ad", "-o", tmp_path / "x.h5ad")
    assert len(run(*call).err) == 1
    shown = run(*call, "--debug").err
    assert "no.h5ad does not exist" in shown[0]
    assert shown[1].startswith("Traceback")


@pytest.mark.parametrize(
    ("error", "status"),
    [(CommandError("a\nb"), 1), (UsageError("a\nb"), 2), (RuntimeError("a\nb"), 1)],
)
def test_every_error_is_one_line_and_a_status(capsys, error, status):
    def job():
        raise error

    assert run_logged(job, LogSettings()) == status
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("basisvae-scvi: error: ")
    assert "a b" in line


def test_foreign_errors_name_their_type_and_own_ones_do_not():
    with pytest.raises(KeyError) as own:
        _from_package("raise KeyError('layer is not there')")
    with pytest.raises(ValueError, match="invalid literal") as foreign:
        int("x")
    assert describe(own.value) == "layer is not there"
    assert describe(foreign.value).startswith("ValueError: invalid literal")


def test_warnings_of_the_package_are_logged_whatever_their_stacklevel(capsys):
    def job():
        _from_package("import warnings; warnings.warn('from us', stacklevel=9)")
        warnings.warn("from others", stacklevel=1)
        return 0

    assert run_logged(job, LogSettings()) == 0
    [line] = capsys.readouterr().err.splitlines()
    assert line == "basisvae-scvi: warning: from us"


def test_logging_is_as_before_after_a_run():
    package = logging.getLogger("basisvae_scvi")
    before = package.handlers, package.level, package.propagate
    shown = warnings.showwarning
    run_logged(lambda: 0, LogSettings(verbose=True))
    assert (package.handlers, package.level, package.propagate) == before
    assert warnings.showwarning is shown


def test_interrupt_outside_training_leaves_nothing(fit, counts, tmp_path, monkeypatch):
    def interrupted(*args, **kwargs):
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("basisvae_scvi.cli._output.write_anndata", interrupted)
    result = fit(counts, "-o", tmp_path / "x.h5ad", "-q")
    assert result.status == 130
    assert result.err == ["basisvae-scvi: error: interrupted; nothing was written."]
    assert list(tmp_path.iterdir()) == []


def test_interrupt_during_training_still_writes(fit, counts, tmp_path, monkeypatch):
    after_epoch = TrainingProgress.on_train_epoch_end

    def interrupt_at_second(self, trainer, pl_module):
        after_epoch(self, trainer, pl_module)
        if trainer.current_epoch == 1:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(TrainingProgress, "on_train_epoch_end", interrupt_at_second)
    output = tmp_path / "x.h5ad"
    result = fit(counts, "-o", output, "-q", "--max-epochs", "50")
    assert result.status == 130
    [line] = result.err
    assert "interrupted" in line
    assert str(output) in line
    assert np.isfinite(ad.read_h5ad(output).obsm["X_basisvae"]).all()
    info = json.loads((tmp_path / "x.h5ad.run.json").read_text())
    assert info["interrupted"]
    assert info["n_epochs"] < 50


def _start_long_fit(counts, output) -> subprocess.Popen:
    command = [sys.executable, "-m", "basisvae_scvi", "fit", str(counts), "-o", str(output)]
    options = ["--n-basis", "4", "--max-epochs", "100000", "--threads", "1"]
    options += ["--accelerator", "cpu"]
    return subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True)


def _wait_for_training(process: subprocess.Popen) -> None:
    for line in process.stderr:
        if "epoch 1/" in line:
            return
    raise AssertionError(f"ended before training, status {process.wait()}")


@pytest.mark.slow
def test_kill_during_fit_leaves_no_output_and_the_input(counts, tmp_path):
    before = counts.read_bytes()
    process = _start_long_fit(counts, tmp_path / "x.h5ad")
    try:
        _wait_for_training(process)
    finally:
        process.kill()
        process.wait()
    assert list(tmp_path.iterdir()) == []
    assert counts.read_bytes() == before


@pytest.mark.slow
def test_ctrl_c_of_the_process_writes_and_exits_with_130(counts, tmp_path):
    process = _start_long_fit(counts, tmp_path / "x.h5ad")
    try:
        _wait_for_training(process)
        time.sleep(0.5)
        os.kill(process.pid, signal.SIGINT)
        rest = process.communicate(timeout=300)[1].splitlines()
    finally:
        process.kill()
    assert process.returncode == 130
    assert "interrupted" in rest[-1]
    assert "Traceback" not in "\n".join(rest)
    assert np.isfinite(ad.read_h5ad(tmp_path / "x.h5ad").obsm["X_basisvae"]).all()
