"""How the time of a training epoch grows with bases, genes and cells, shifts included.

Bases: K = 10 against K = 100, after assignments have settled. Genes: at the same number of cells.
Cells: 10,000 in memory against 100,000 that stay on disk (backed), per cell.

    python benchmarks/scaling.py --output benchmarks/results/scaling_bases.json
"""

from __future__ import annotations

import argparse
import tempfile

from _epochs import alone, run_basisvae, settled, simulated
from _machine import write


def bases(directory: str, turns: int, common: dict) -> dict:
    """Seconds an epoch for each K, in turns; the least of the turns, as others run beside."""
    path = simulated(directory, 8509, 7000)
    runs = {10: [], 50: [], 100: []}
    for _ in range(turns):
        for n_basis, turn in runs.items():
            turn.append(alone(run_basisvae, path, epochs=21, n_basis=n_basis, **common))
    seconds = {k: min(settled(run["epochs"]) for run in turn) for k, turn in runs.items()}
    active = {k: turn[0]["active_pairs_per_gene"] for k, turn in runs.items()}
    for k, s in seconds.items():
        print(f"K = {k:4}: {s:6.2f} s an epoch, {active[k]:.2f} active pairs a gene", flush=True)
    print(f"K = 100 / K = 10: {seconds[100] / seconds[10]:.2f}", flush=True)
    ratio = seconds[100] / seconds[10]
    return {"epoch_seconds": seconds, "active_pairs_per_gene": active, "ratio_100_to_10": ratio}


def genes(directory: str, common: dict) -> dict:
    """Seconds an epoch for each P."""
    seconds = {}
    for n_vars in (1000, 2000, 4000, 8000):
        run = alone(run_basisvae, simulated(directory, 4000, n_vars), epochs=21, **common)
        seconds[n_vars] = settled(run["epochs"])
        print(f"P = {n_vars:5}: {seconds[n_vars]:6.2f} s an epoch of 4,000 cells", flush=True)
    return {"epoch_seconds": seconds}


def cells(directory: str, turns: int, common: dict) -> dict:
    """Microseconds a cell for 10,000 cells in memory and 100,000 on disk, in turns."""
    few, many = simulated(directory, 10_000, 2000), simulated(directory, 100_000, 2000)
    runs = {"10000": [], "100000_backed": []}
    for _ in range(turns):
        runs["10000"].append(alone(run_basisvae, few, epochs=21, **common))
        runs["100000_backed"].append(alone(run_basisvae, many, epochs=3, backed=True, **common))
    per_cell = {
        "10000": min(settled(r["epochs"]) for r in runs["10000"]) / 1e4,
        "100000_backed": min(settled(r["epochs"]) for r in runs["100000_backed"]) / 1e5,
    }
    ratio = per_cell["100000_backed"] / per_cell["10000"]
    for name, s in per_cell.items():
        peak = max(run["peak_mib"] for run in runs[name])
        print(f"{name:14}: {1e6 * s:6.1f} µs a cell, peak {peak:.0f} MiB", flush=True)
    print(f"per cell, 100,000 backed / 10,000: {ratio:.2f}", flush=True)
    return {"seconds_per_cell": per_cell, "ratio": ratio, "runs": runs}


def main() -> None:
    """Run the parts asked for, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", default=["bases", "genes", "cells"])
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--accelerator", default="cpu")
    parser.add_argument("--directory", help="where simulated counts are kept")
    parser.add_argument("--output")
    arguments = parser.parse_args()
    common = {"batch_size": arguments.batch_size, "accelerator": arguments.accelerator}
    results = {"arguments": {**vars(arguments), "directory": None, "output": None}}
    with tempfile.TemporaryDirectory() as temporary:
        directory = arguments.directory or temporary
        if "bases" in arguments.parts:
            results["bases"] = bases(directory, arguments.turns, common)
        if "genes" in arguments.parts:
            results["genes"] = genes(directory, common)
        if "cells" in arguments.parts:
            results["cells"] = cells(directory, arguments.turns, common)
    write(results, arguments.output)


if __name__ == "__main__":
    main()
