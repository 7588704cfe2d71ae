"""Full disks, locked folders and killed processes: whole results, or those that were there."""

import errno
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import anndata as ad
import numpy as np
import pytest

from basisvae_scvi.cli import _fit, _output
from basisvae_scvi.cli._errors import CommandError
from basisvae_scvi.cli._staging import Staging

ALL_OUTPUTS = ("--tables", "t", "--model-dir", "model", "--metrics", "metrics.json")

# A limit on the size of files acts like a full disk, and needs no disk of its own.
LIMITED = """
import resource, sys
from basisvae_scvi.cli import main
import torch, scvi, scanpy, numba  # read before the limit; caches may be written
limit = int(sys.argv[1])
from basisvae_scvi.cli import _fit
write = _fit.Outputs.write
def limited(*arguments):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    write(*arguments)
_fit.Outputs.write = limited
sys.argv[1:2] = []
sys.exit(main())
"""


@pytest.fixture
def folder(tmp_path, counts, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(counts, "in.h5ad")
    return tmp_path


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.mark.parametrize("writer", ["write_anndata", "write_table", "write_metrics"])
def test_a_full_disk_is_one_line_and_leaves_nothing(fit, folder, monkeypatch, writer):
    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(_output, writer, full)
    result = fit("in.h5ad", "-o", "new/out.h5ad", *ALL_OUTPUTS, "--quiet")
    assert result.status == 1
    [line] = result.err
    assert f"Cannot write {folder}/new/out.h5ad or what goes with it (No space left" in line
    assert "Make room, or name another place" in line
    assert names(folder) == ["in.h5ad"]


@pytest.mark.slow
@pytest.mark.parametrize("limit", [100, 30_000])
def test_files_that_cannot_grow_leave_the_old_results(folder, limit):
    old = {"out.h5ad": b"old", "out.h5ad.run.json": b"{}"}
    for name, content in old.items():
        (folder / name).write_bytes(content)
    before = (folder / "in.h5ad").read_bytes()
    options = ("--n-basis", "4", "--max-epochs", "1", "--accelerator", "cpu", "--threads", "1")
    call = ("fit", "in.h5ad", "-o", "out.h5ad", "--overwrite", "--model-dir", "model", "--quiet")
    done = subprocess.run(
        # Python itself would leave cut-off bytecode of what it imports for all that come after.
        [sys.executable, "-B", "-c", LIMITED, str(limit), *call, *options],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "out.h5ad or what goes with it (" in line
    assert names(folder) == ["in.h5ad", *old]
    assert {name: (folder / name).read_bytes() for name in old} == old
    assert (folder / "in.h5ad").read_bytes() == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become someone else")
def test_a_folder_that_is_locked_after_all_is_one_line():
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o555)
    staging = Staging(overwrite=False)
    os.seteuid(65534)
    try:
        with pytest.raises(CommandError, match=r"out\.txt .* \(Permission denied\)"), staging:
            staging.claim(folder / "out.txt").write_text("x")
    finally:
        os.seteuid(0)
    assert list(folder.iterdir()) == []
    folder.rmdir()


def test_errors_of_other_kinds_stay_what_they_are(tmp_path):
    def breaks():
        with Staging(overwrite=False) as staging:
            staging.claim(tmp_path / "out.txt")
            raise ConnectionError("broken")

    with pytest.raises(ConnectionError, match="broken"):
        breaks()


def dead_process():
    """Number of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_what_a_killed_process_left_is_removed_by_the_next(fit, folder):
    host, dead = socket.gethostname(), dead_process()
    (folder / f".out.{host}-{dead}.partial.h5ad").write_bytes(b"half")
    (folder / f".model.{host}-{dead}.partial").mkdir()
    kept = [
        f".out.{host}-{os.getppid()}.partial.h5ad",  # at work
        f".out.elsewhere-{dead}.partial.h5ad",  # on another machine
        f".other.{host}-{dead}.partial.h5ad",  # of another result
    ]
    for name in kept:
        (folder / name).write_bytes(b"half")
    assert fit("in.h5ad", "-o", "out.h5ad", "--model-dir", "model").status == 0
    found = {path.name for path in folder.iterdir()}
    assert found == {"in.h5ad", "out.h5ad", "out.h5ad.run.json", "model", *kept}


def test_a_folder_that_was_moved_away_when_the_process_was_killed_comes_back(tmp_path):
    former = tmp_path / f".model.{socket.gethostname()}-{dead_process()}.partial.former"
    former.mkdir()
    (former / "model.pt").write_text("old")
    with pytest.raises(CommandError, match="exists; pass --overwrite"):
        Staging(overwrite=False).claim(tmp_path / "model")
    assert names(tmp_path) == ["model", "model/model.pt"]


def test_a_kill_before_the_results_are_written_leaves_the_checkpoint_alone(
    fit, folder, monkeypatch
):
    def killed(*arguments):
        raise SystemExit(137)

    with monkeypatch.context() as patch:
        patch.setattr(_fit.Outputs, "write", killed)
        with pytest.raises(SystemExit):
            fit("in.h5ad", "-o", "out.h5ad", "--checkpoint", "state", "--seed", "1")
    assert names(folder) == ["in.h5ad", "state", "state/training.ckpt"]
    assert fit("in.h5ad", "-o", "out.h5ad", "--checkpoint", "state", "--seed", "1").status == 0
    assert np.isfinite(ad.read_h5ad("out.h5ad").obsm["X_basisvae"]).all()
    assert names(folder) == ["in.h5ad", "out.h5ad", "out.h5ad.run.json"]
