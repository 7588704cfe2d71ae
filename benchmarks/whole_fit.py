"""Seconds of a whole fit, from registered counts to a trained model, and what it found.

    python benchmarks/whole_fit.py --accelerator gpu --output benchmarks/results/whole_fit_gpu.json

Runs with the minibatches named by ``--batch-size`` follow one another, each in a process of its
own; code compiled by the first is there for the next, so the order is part of the record.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from _epochs import _clock, _peak_mib, _quiet, alone, simulated
from _machine import write


def fit(
    path: Path,
    *,
    epochs: int,
    n_basis: int,
    batch_size: int,
    accelerator: str,
    load_sparse_tensor: bool,
) -> dict:
    """Train with defaults and compare with the simulated truth."""
    import anndata as ad
    import torch
    from scipy.stats import spearmanr
    from sklearn.metrics import adjusted_rand_score

    from basisvae_scvi import BasisVAE

    _quiet()
    clock = _clock()
    adata = ad.read_h5ad(path)
    BasisVAE.setup_anndata(adata)
    began = time.perf_counter()
    model = BasisVAE(adata, n_basis=n_basis, translation_invariant=True)
    model.train(
        max_epochs=epochs,
        batch_size=batch_size,
        accelerator=accelerator,
        load_sparse_tensor=load_sparse_tensor,
        seed=0,
        callbacks=[clock],
        enable_progress_bar=False,
    )
    seconds = time.perf_counter() - began
    history = model.history
    order = spearmanr(model.get_latent_representation()[:, 0], adata.obs["true_z"]).statistic
    on_device = torch.cuda.is_available() and accelerator != "cpu"
    return {
        "batch_size": batch_size,
        "seconds": seconds,
        "start_seconds": clock.first - began,
        "start_and_finish_seconds": seconds - sum(clock.seconds),
        "epoch_seconds": clock.seconds,
        "peak_mib": _peak_mib(),
        "peak_device_mib": torch.cuda.max_memory_allocated() / 2**20 if on_device else None,
        "elbo": float(history["elbo_train"].iloc[-1, 0]),
        "order_spearman": abs(float(order)),
        "groups_ari": adjusted_rand_score(
            adata.var["true_group"].astype(str), model.get_clusters()["cluster"].astype(str)
        ),
    }


def main() -> None:
    """Fit with every batch size, print a line for each, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=8509)
    parser.add_argument("--genes", type=int, default=7000)
    parser.add_argument("--bases", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--batch-size", type=int, nargs="+", default=[128])
    parser.add_argument("--accelerator", default="auto")
    parser.add_argument(
        "--load-sparse-tensor",
        action="store_true",
        help="send minibatches to the device sparse, and make them dense there",
    )
    parser.add_argument("--directory", help="where simulated counts are kept")
    parser.add_argument("--output")
    arguments = parser.parse_args()
    runs = []
    with tempfile.TemporaryDirectory() as temporary:
        path = simulated(arguments.directory or temporary, arguments.cells, arguments.genes)
        for batch_size in arguments.batch_size:
            run = alone(
                fit,
                path,
                epochs=arguments.epochs,
                n_basis=arguments.bases,
                batch_size=batch_size,
                accelerator=arguments.accelerator,
                load_sparse_tensor=arguments.load_sparse_tensor,
            )
            runs.append(run)
            print(
                f"batch size {batch_size}: {run['seconds']:.1f} s, of which "
                f"{run['start_seconds']:.1f} s before the first epoch; "
                f"ARI {run['groups_ari']:.3f}, |rho| {run['order_spearman']:.4f}, "
                f"ELBO {run['elbo']:.2f}",
                flush=True,
            )
            described = {**vars(arguments), "directory": None, "output": None}
            write({"arguments": described, "runs": runs}, arguments.output)


if __name__ == "__main__":
    main()
