"""How long do all genes of a data set take, once a model is trained on the variable ones?

Trains a ZINB model with shifts on the most variable genes for a few epochs, then assigns all genes
with z and the bases frozen.

    python benchmarks/assign_genes.py [cells.h5ad] --output assign_genes.json

Without a file, counts of the same size as the marrow sample of Setty et al. 2019 are simulated
(14,000 genes × 4,142 cells).
"""

from __future__ import annotations

import argparse
import resource
import time

import anndata as ad
import numpy as np
from _machine import write
from sklearn.metrics import adjusted_rand_score

from basisvae_scvi import BasisVAE
from basisvae_scvi.datasets import simulate_counts

N_OBS, N_VARS, SEED = 4142, 14_000, 0


def load(path: str | None, layer: str | None) -> ad.AnnData:
    """Counts of all genes."""
    if path is not None:
        return ad.read_h5ad(path)
    return simulate_counts(n_obs=N_OBS, n_vars=N_VARS, mean_count=0.6, seed=SEED)


def variable_genes(adata: ad.AnnData, layer: str | None, n_genes: int) -> np.ndarray:
    """Genes whose variance exceeds their mean most, as a mask."""
    counts = adata.X if layer is None else adata.layers[layer]
    mean = np.asarray(counts.mean(axis=0)).ravel()
    square = counts.multiply(counts) if hasattr(counts, "multiply") else counts**2
    variance = np.asarray(square.mean(axis=0)).ravel() - mean**2
    excess = np.where(mean > 0.02, variance / np.maximum(mean, 1e-12), 0.0)
    mask = np.zeros(adata.n_vars, dtype=bool)
    mask[np.argsort(-excess, kind="stable")[:n_genes]] = True
    return mask


def train(adata: ad.AnnData, arguments: argparse.Namespace) -> tuple[BasisVAE, float]:
    """Model of the variable genes, and the seconds it took."""
    mask = variable_genes(adata, arguments.layer, arguments.n_train)
    variable = adata[:, mask].copy()
    BasisVAE.setup_anndata(variable, layer=arguments.layer)
    model = BasisVAE(variable, n_basis=arguments.n_basis, translation_invariant=True)
    began = time.perf_counter()
    model.train(
        max_epochs=arguments.max_epochs, seed=SEED, accelerator="cpu", enable_progress_bar=False
    )
    return model, time.perf_counter() - began


def assign(model: BasisVAE, adata: ad.AnnData, **arguments) -> tuple[dict, object]:
    """Assign all genes; returns wall and processor seconds, and what was found."""
    wall, processor = time.perf_counter(), time.process_time()
    found = model.assign_genes(adata, silent=True, **arguments)
    return {
        "seconds": time.perf_counter() - wall,
        "processor_seconds": time.process_time() - processor,
    }, found


def main() -> None:
    """Train, assign, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("h5ad", nargs="?", help="counts; simulated if left out")
    parser.add_argument("-o", "--output")
    parser.add_argument("--layer")
    parser.add_argument("--n-basis", type=int, default=50)
    parser.add_argument("--n-train", type=int, default=2000, help="genes to train on")
    parser.add_argument("--max-epochs", type=int, default=15)
    parser.add_argument("--n-jobs", type=int)
    parser.add_argument("--repeats", type=int, default=1)
    arguments = parser.parse_args()
    adata = load(arguments.h5ad, arguments.layer)
    model, seconds_training = train(adata, arguments)
    options = {"layer": arguments.layer, "n_jobs": arguments.n_jobs}
    # Compilation is paid once per machine and is not part of the figure.
    model.assign_genes(adata, genes=list(adata.var_names[:8]), silent=True, layer=arguments.layer)
    runs = []
    for _ in range(arguments.repeats):
        run, found = assign(model, adata, **options)
        runs.append(run)
    label = found.clusters["cluster"].astype(str)
    trained = model.get_clusters()
    sure = trained.index[trained["confidence"] > 0.9]
    same = label.loc[sure] == trained.loc[sure, "cluster"].astype(str)
    results = {
        "benchmark": "assign_genes",
        "data": "simulated" if arguments.h5ad is None else "file",
        "n_obs": adata.n_obs,
        "n_vars": adata.n_vars,
        "n_basis": arguments.n_basis,
        "n_train": arguments.n_train,
        "seconds_training": seconds_training,
        "runs": runs,
        "seconds": min(run["seconds"] for run in runs),
        "processor_seconds": min(run["processor_seconds"] for run in runs),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "clusters_used": int(label.nunique()),
        "median_confidence": float(found.clusters["confidence"].median()),
        "trained_genes_same_cluster": float(same.mean()),
    }
    if "true_group" in adata.var:
        held = ~adata.var_names.isin(trained.index)
        truth = adata.var["true_group"].to_numpy()[held]
        results["ari_held_out"] = float(adjusted_rand_score(truth, label.to_numpy()[held]))
    for name in ("n_vars", "n_obs", "n_basis", "seconds", "processor_seconds", "peak_memory_mb"):
        print(f"{name:20} {results[name]:10.0f}")
    write(results, arguments.output)


if __name__ == "__main__":
    main()
