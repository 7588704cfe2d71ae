"""How long the command line takes to answer --help and --version, or to miss an input.

Calls take turns, after one that reads the files from the disk.

    python benchmarks/help_time.py --output benchmarks/results/help_time.json
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _machine import write

CALLS = {
    "--help": ["--help"],
    "--version": ["--version"],
    "fit --help": ["fit", "--help"],
    "fit missing.h5ad": ["fit", "missing.h5ad", "-o", "out.h5ad"],
}


def seconds(command: list[str], folder: str) -> float:
    """Time of one call on the clock."""
    began = time.perf_counter()
    subprocess.run(command, cwd=folder, capture_output=True, check=False)
    return time.perf_counter() - began


def main() -> None:
    """Time every call in turns, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--output")
    arguments = parser.parse_args()
    program = str(Path(sys.executable).with_name("basisvae-scvi"))
    runs = {name: [] for name in CALLS}
    with tempfile.TemporaryDirectory() as folder:
        seconds([program, "--help"], folder)
        for _ in range(arguments.turns):
            for name, words in CALLS.items():
                runs[name].append(round(seconds([program, *words], folder), 3))
    medians = {name: statistics.median(turns) for name, turns in runs.items()}
    for name, median in medians.items():
        print(f"{name:20} median {median:.2f} s, slowest {max(runs[name]):.2f} s")
    write({"seconds": runs, "median_seconds": medians}, arguments.output)


if __name__ == "__main__":
    main()
