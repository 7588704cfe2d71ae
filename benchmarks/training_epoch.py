"""Training epoch and peak memory of BasisVAE beside scVI, on the same counts and minibatches.

Both encode the counts with scvi-tools' encoder (one layer of 128 units) to one latent dimension.
Runs take turns, each in a process of its own. Epochs of BasisVAE include the refreshes of q(w);
the search for starting values is given apart.

    python benchmarks/training_epoch.py --output benchmarks/results/training_epoch.json
"""

from __future__ import annotations

import argparse
import statistics
import tempfile

from _epochs import alone, run_basisvae, run_scvi, settled, simulated
from _machine import write

EPOCHS = 21  # two refreshes


def main() -> None:
    """Train both in turns, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=8509)
    parser.add_argument("--genes", type=int, default=7000)
    parser.add_argument("--bases", type=int, default=50)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--accelerator", default="cpu")
    parser.add_argument("--directory", help="where simulated counts are kept")
    parser.add_argument("--output")
    arguments = parser.parse_args()
    common = {"batch_size": arguments.batch_size, "accelerator": arguments.accelerator}
    ours = {**common, "epochs": EPOCHS, "n_basis": arguments.bases}
    runs = {"scvi": [], "shift": [], "no_shift": []}
    with tempfile.TemporaryDirectory() as temporary:
        directory = arguments.directory or temporary
        path = simulated(directory, arguments.cells, arguments.genes)
        for _ in range(arguments.turns):
            runs["scvi"].append(alone(run_scvi, path, epochs=6, **common))
            runs["shift"].append(alone(run_basisvae, path, shift=True, **ours))
            runs["no_shift"].append(alone(run_basisvae, path, shift=False, **ours))
    epoch = {
        name: statistics.median(settled(run["epochs"]) for run in turn)
        for name, turn in runs.items()
    }
    peak = {name: max(run["peak_mib"] for run in turn) for name, turn in runs.items()}
    print(f"{'':10} {'s/epoch':>8} {'/ scVI':>7} {'peak MiB':>9} {'/ scVI':>7} {'start s':>8}")
    for name, turn in runs.items():
        start = statistics.median(run["before_and_after_seconds"] for run in turn)
        print(
            f"{name:10} {epoch[name]:8.2f} {epoch[name] / epoch['scvi']:7.2f} "
            f"{peak[name]:9.0f} {peak[name] / peak['scvi']:7.2f} {start:8.1f}"
        )
    write(
        {
            "arguments": {**vars(arguments), "directory": None, "output": None},
            "epoch_seconds": epoch,
            "epoch_ratio_to_scvi": {n: s / epoch["scvi"] for n, s in epoch.items()},
            "peak_mib": peak,
            "peak_ratio_to_scvi": {n: m / peak["scvi"] for n, m in peak.items()},
            "runs": runs,
        },
        arguments.output,
    )


if __name__ == "__main__":
    main()
