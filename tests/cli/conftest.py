import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from basisvae_scvi import datasets
from basisvae_scvi.cli import main

Result = namedtuple("Result", "status out err")

# Enough to go through every step, not to find anything.
FAST = ("--max-epochs", "2", "--n-basis", "4", "--accelerator", "cpu", "--threads", "1")


HEAVY = ("torch", "scvi", "anndata", "scanpy", "lightning", "numpy")


@pytest.fixture
def run_lightly(tmp_path):
    """Call the command line in a process of its own, which fails if it imports anything heavy."""
    code = (
        "import sys; from basisvae_scvi.cli import main; status = main(sys.argv[1:]); "
        f"loaded = [m for m in {HEAVY} if m in sys.modules]; assert not loaded, loaded; "
        "sys.exit(status)"
    )

    def call(*arguments):
        command = [sys.executable, "-c", code, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)

    return call


@pytest.fixture
def run(capsys):
    """Call the command line in this process; what it prints comes back as lists of lines."""

    def call(*arguments):
        capsys.readouterr()
        status = main([str(a) for a in arguments])
        captured = capsys.readouterr()
        return Result(status, captured.out.splitlines(), captured.err.splitlines())

    return call


@pytest.fixture
def fit(run):
    """Call ``basisvae-scvi fit`` for a fit of seconds; later options win."""
    return lambda *arguments: run("fit", *FAST, *arguments)


@pytest.fixture(scope="session")
def counts(tmp_path_factory) -> Path:
    """80 cells in two batches and 24 genes, with columns to name in options."""
    adata = datasets.simulate_counts(n_obs=80, n_vars=24, mean_count=2.0, n_batches=2, seed=1)
    adata.layers["counts"] = adata.X.copy()
    adata.obs["is_start"] = adata.obs["true_z"] < -1.5
    adata.obsm["true"] = adata.obs[["true_z"]].to_numpy()
    path = tmp_path_factory.mktemp("data") / "counts.h5ad"
    adata.write_h5ad(path)
    return path


@pytest.fixture(scope="session")
def fitted(counts, tmp_path_factory) -> Path:
    """Folder with everything that one fit of 12 of the genes writes."""
    folder = tmp_path_factory.mktemp("fitted")
    status = main(
        [
            *("fit", str(counts), "-o", str(folder / "out.h5ad"), "--batch-key", "batch"),
            *("--n-top-genes", "12", "--translation-invariant", "--seed", "3", "--quiet"),
            *("--tables", str(folder / "tables"), "--model-dir", str(folder / "model")),
            *("--root", "is_start", *FAST),
        ]
    )
    assert status == 0
    return folder
