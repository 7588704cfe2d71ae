"""Kill ``basisvae-scvi fit`` at random moments, again and again: is anything ever lost or half?

    python benchmarks/faults/kill_fit.py --kills 100 --output kill_fit.json

A fit of a small problem with ``--checkpoint`` and ``--overwrite`` is started over an old result
and ended by SIGKILL after a time drawn from 0 to its full length; then it is started again, with
the same arguments, until it ends by itself. After every kill the input must be as it was, the
output must be the old one or the whole new one, and the checkpoint absent or whole. A fit that
ends after its kills must have the arrays of the one that was never stopped.

Every fit is a process of its own, forked from one that has imported everything, since a start from
nothing takes longer than the fit.
"""

# ruff: noqa: E402 - the number of threads is set before the imports
from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):  # before torch: threads do not survive fork
    os.environ[name] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import anndata as ad
import numpy as np
import scanpy  # noqa: F401 - so that no child has to
import torch
from _machine import write

from basisvae_scvi import datasets
from basisvae_scvi.cli import _fit, main  # noqa: F401
from basisvae_scvi.inference import CheckpointFile

FIT = (
    *("--likelihood", "nb", "--translation-invariant", "--n-basis", "5", "--max-epochs", "40"),
    *("--accelerator", "cpu", "--threads", "1", "--seed", "1", "--n-restarts", "1", "--quiet"),
    *("--batch-size", "64", "--overwrite"),
)
OLD = b"the result of last week"
MAX_KILLS_IN_A_ROW = 6


def start(folder: Path, output: str) -> int:
    """Fork a process that fits; returns its number."""
    process = os.fork()
    if process:
        return process
    status = 70
    try:
        os.chdir(folder)
        log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 2)
        status = main(["fit", "in.h5ad", "-o", output, "--checkpoint", "state", *FIT])
    finally:
        os._exit(status)


def wait(process: int, seconds: float) -> int | None:
    """Exit status of a process; ``None`` if it was killed after so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if (ended := os.waitpid(process, os.WNOHANG))[0]:
            return os.waitstatus_to_exitcode(ended[1])
        time.sleep(0.002)
    os.kill(process, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    return None if status == -signal.SIGKILL else status


def arrays(path: Path) -> dict[str, np.ndarray]:
    """Results of a file."""
    adata = ad.read_h5ad(path)
    tables = {key: adata.varm[key].to_numpy() for key in adata.varm if key.startswith("basisvae")}
    return {**tables, "z": adata.obsm["X_basisvae"], "basis": adata.uns["basisvae"]["basis"]}


def is_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> bool:
    """Whether all arrays are equal, bit for bit."""
    return found.keys() == expected.keys() and all(
        np.array_equal(found[name], expected[name], equal_nan=True) for name in expected
    )


def look(folder: Path, digest: str, expected: dict) -> tuple[str, list[str]]:
    """How far a killed fit had come, and what is wrong with what it left."""
    wrong = []
    if hashlib.sha256((folder / "in.h5ad").read_bytes()).hexdigest() != digest:
        wrong.append("input changed")
    output = folder / "out.h5ad"
    is_old = output.is_file() and output.read_bytes() == OLD
    if not is_old:
        try:
            if not is_same(arrays(output), expected):
                wrong.append("output with other arrays")
        except Exception as error:  # whatever it is, the file is not whole
            wrong.append(f"half output: {error}")
    try:
        state = CheckpointFile(folder / "state").read()
    except ValueError as error:
        return "?", [*wrong, str(error)]
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    if extra := names - {"in.h5ad", "out.h5ad", "out.h5ad.run.json", "state", "log.txt"}:
        wrong.append(f"files left: {sorted(extra)}")
    if not is_old:
        return "results written", wrong
    if state is None:
        return "before the first checkpoint", wrong
    return "in training" if "training" in state else "starting values found", wrong


def run(n_kills: int, seed: int) -> dict:
    """Kill so many times; returns the figures."""
    rng = np.random.default_rng(seed)
    folder = Path(tempfile.mkdtemp())
    adata = datasets.simulate_counts(n_obs=150, n_vars=24, mean_count=2.0, max_shift=1.0, seed=1)
    adata.write_h5ad(folder / "in.h5ad")
    digest = hashlib.sha256((folder / "in.h5ad").read_bytes()).hexdigest()
    for name in ("warm.h5ad", "unbroken.h5ad"):  # the first fills the caches of compiled code
        began = time.monotonic()
        if (status := wait(start(folder, name), 600)) != 0:
            raise RuntimeError(f"the unbroken fit ended with {status}: {folder / 'log.txt'}")
        length = time.monotonic() - began
    expected = arrays(folder / "unbroken.h5ad")
    for path in [*folder.glob("warm*"), *folder.glob("unbroken*")]:
        path.unlink()
    phases, wrong, n_ended, n_equal, in_a_row = Counter(), [], 0, 0, []
    killed = kills_of_this = 0
    while killed < n_kills or kills_of_this:
        if kills_of_this == 0:
            (folder / "out.h5ad").write_bytes(OLD)
            (folder / "log.txt").unlink(missing_ok=True)
        is_last = kills_of_this >= MAX_KILLS_IN_A_ROW or killed >= n_kills
        status = wait(start(folder, "out.h5ad"), 600 if is_last else rng.uniform(0, length))
        if status is None:
            phase, found = look(folder, digest, expected)
            phases[phase] += 1
            wrong += found
            killed, kills_of_this = killed + 1, kills_of_this + 1
            continue
        n_ended += 1
        if status != 0:
            wrong.append(f"status {status}: {(folder / 'log.txt').read_text()[-300:]}")
            shutil.rmtree(folder / "state", ignore_errors=True)
        else:
            n_equal += is_same(arrays(folder / "out.h5ad"), expected)
            wrong += look(folder, digest, expected)[1]
        if hidden := [p.name for p in folder.iterdir() if p.name.startswith(".")]:
            wrong.append(f"hidden files left: {hidden}")
        in_a_row.append(kills_of_this)
        kills_of_this = 0
    shutil.rmtree(folder)
    return {
        "n_kills": killed,
        "seconds_of_an_unbroken_fit": round(length, 2),
        "killed": dict(phases),
        "n_fits_that_ended": n_ended,
        "n_with_the_arrays_of_the_unbroken_fit": n_equal,
        "kills_before_each_end": in_a_row,
        "wrong": wrong,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", help="JSON file for the figures")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = run(arguments.kills, arguments.seed)
    for name, value in results.items():
        print(f"{name}: {value}")
    write(results, arguments.output)
    sys.exit(bool(results["wrong"]))
