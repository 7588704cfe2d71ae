"""Which number of cells per step: seconds, bound and order of the cells after equal epochs.

Larger minibatches make an epoch faster and take fewer steps in it. The bound is that of all cells
after training, in nats a cell; the order is compared with the truth of the simulation.

    python benchmarks/batch_size.py --output benchmarks/results/batch_size.json
"""

from __future__ import annotations

import argparse
import tempfile

from _epochs import alone, settled, simulated
from _machine import write

SIZES = (64, 128, 256, 512)


def fit(path, *, batch_size: int, epochs: int) -> dict:
    """Train with shifts at one batch size."""
    import anndata as ad
    from _epochs import _train
    from scipy.stats import spearmanr

    from basisvae_scvi import BasisVAE

    adata = ad.read_h5ad(path)
    BasisVAE.setup_anndata(adata)
    model = BasisVAE(adata, n_basis=20, translation_invariant=True)
    run = _train(model, max_epochs=epochs, batch_size=batch_size, accelerator="cpu", seed=0)
    z = model.get_latent_representation()[:, 0]
    return {
        "seconds_per_epoch": settled(run["epochs"]),
        "bound_per_cell": float(model.get_elbo()),
        "spearman": abs(float(spearmanr(z, adata.obs["true_z"]).statistic)),
    }


def main() -> None:
    """Train at every size, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=3000)
    parser.add_argument("--genes", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--directory", help="where simulated counts are kept")
    parser.add_argument("--output")
    arguments = parser.parse_args()
    results = {}
    print(f"{'cells/step':>10} {'s/epoch':>8} {'bound/cell':>11} {'|rho|':>7}")
    with tempfile.TemporaryDirectory() as temporary:
        path = simulated(arguments.directory or temporary, arguments.cells, arguments.genes)
        for size in SIZES:
            result = alone(fit, path, batch_size=size, epochs=arguments.epochs)
            results[size] = result
            print(
                f"{size:10} {result['seconds_per_epoch']:8.2f} {result['bound_per_cell']:11.2f} "
                f"{result['spearman']:7.4f}",
                flush=True,
            )
    kept = {**vars(arguments), "directory": None, "output": None}
    write({"arguments": kept, "sizes": results}, arguments.output)


if __name__ == "__main__":
    main()
