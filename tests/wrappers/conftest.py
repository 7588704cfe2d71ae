"""The tools that run wrappers, and the command line as they find it on PATH."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from wrapper_options import ROOT, WRAPPERS

VARIABLE = "BASISVAE_WRAPPER_TOOLS"


@pytest.fixture(scope="session")
def tools() -> Path:
    """Folder with planemo, snakemake and cwltool, in an environment of their own."""
    named = os.environ.get(VARIABLE)
    folder = (Path(named) if named else ROOT / ".venv-wrappers") / "bin"
    if not (folder / "planemo").exists():
        message = f"no wrapper tools in {folder}: run bash scripts/wrapper_tools.sh"
        pytest.fail(message) if named else pytest.skip(message)
    return folder


@pytest.fixture(scope="session")
def data() -> Path:
    """Small files that all wrappers are tried on."""
    return WRAPPERS / "galaxy" / "test-data"


@pytest.fixture(scope="session")
def command_folder(tmp_path_factory) -> Path:
    """Folder with ``basisvae-scvi`` of this environment and nothing else."""
    folder = tmp_path_factory.mktemp("command")
    script = folder / "basisvae-scvi"
    # Engines clear the environment; the wrappers send compiled code to a fresh folder, which would
    # cost a minute for each call, so here it stays where the tests keep it.
    script.write_text(
        "#!/bin/sh\n"
        "unset NUMBA_CACHE_DIR\n"
        f"export OMP_NUM_THREADS=1 PYTHONPATH='{ROOT}'\n"
        f"exec '{sys.executable}' -m basisvae_scvi \"$@\"\n"
    )
    script.chmod(0o755)
    return folder


@pytest.fixture
def call(tools, command_folder, tmp_path):
    """Run one of the tools in a scratch folder; it must end with the given status."""

    def run(*arguments, status: int = 0) -> subprocess.CompletedProcess:
        path = os.pathsep.join([str(command_folder), str(tools), "/usr/bin", "/bin"])
        home = tmp_path / "home"
        home.mkdir(exist_ok=True)
        done = subprocess.run(
            [str(a) for a in arguments],
            cwd=tmp_path,
            env={"PATH": path, "HOME": str(home), "LC_ALL": "C.UTF-8", "TMPDIR": str(home)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, f"{done.stdout}\n{done.stderr}"
        return done

    return run


@pytest.fixture
def copy_of(tmp_path):
    """Copy a file into the scratch folder under another name."""

    def copy(source: Path, name: str) -> Path:
        return Path(shutil.copy(source, tmp_path / name))

    return copy
