"""Train on 200,000 cells × 2,000 genes that stay on disk: memory, and the time of a cell.

    python benchmarks/large.py --output benchmarks/results/large.json
    python benchmarks/large.py --cells 20000 --genes 1000 --epochs 3 --loader backed annbatch

Counts are simulated block by block into one h5ad file for each number of cells, which is deleted
afterwards. Every training runs in a process of its own, on AnnData opened with ``backed="r"``:
starting values and one epoch. Its peak is the resident memory of that process, libraries included.

``--loader annbatch`` writes the cells, shuffled, into a collection of annbatch and takes the
minibatches from there, through ``scvi.dataloaders.AnnbatchDataModule`` of scvi-tools 1.5, which
needs Python 3.12. Starting values and z at the end still come from the backed AnnData.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from _epochs import _clock, _peak_mib, _quiet, alone
from _machine import write
from anndata.io import write_elem
from scipy import sparse

BLOCK = 5_000
MEAN_COUNT, DISPERSION = 0.3, 4.0
SHAPES = {
    "flat": lambda t: np.ones_like(t),
    "up": lambda t: 0.1 + 1.8 / (1.0 + np.exp(-3.0 * t)),
    "down": lambda t: 0.1 + 1.8 / (1.0 + np.exp(3.0 * t)),
    "peak": lambda t: 0.2 + 2.0 * np.exp(-2.0 * t**2),
    "dip": lambda t: 1.6 - 1.4 * np.exp(-2.0 * t**2),
}


def simulate(path: Path, n_obs: int, n_vars: int, seed: int = 5) -> float:
    """Write counts of cells along z, a block at a time; returns gigabytes."""
    rng = np.random.default_rng(seed)
    shape = rng.integers(len(SHAPES), size=n_vars)
    shift = rng.uniform(-0.7, 0.7, n_vars)
    mean = MEAN_COUNT * rng.lognormal(-0.5, 1.0, n_vars)
    z = rng.normal(size=n_obs)
    with h5py.File(path, "w") as file:
        group = file.create_group("X")
        group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0"})
        group.attrs["shape"] = np.array([n_obs, n_vars])
        for name, kind in (("data", np.float32), ("indices", np.int32)):
            group.create_dataset(name, shape=(0,), maxshape=(None,), dtype=kind, chunks=(2**18,))
        ends = [np.zeros(1, dtype=np.int64)]
        for start in range(0, n_obs, BLOCK):
            part = z[start : start + BLOCK]
            block = _draw(rng, part, mean, shape, shift)
            first = ends[-1][-1]
            for name in ("data", "indices"):
                group[name].resize((first + block.nnz,))
                group[name][first:] = getattr(block, name)
            ends.append(first + block.indptr[1:].astype(np.int64))
            if (start // BLOCK) % 10 == 9:
                print(f"  {start + len(part):,} of {n_obs:,} cells drawn", flush=True)
        group["indptr"] = np.concatenate(ends)
        names = [f"cell{i}" for i in range(n_obs)]
        write_elem(file, "obs", pd.DataFrame({"true_z": z}, index=names))
        genes = pd.DataFrame({"true_group": np.array([*SHAPES])[shape], "true_shift": shift})
        write_elem(file, "var", genes.set_index(pd.Index([f"gene{j}" for j in range(n_vars)])))
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
    return path.stat().st_size / 1e9


def _draw(rng, z, mean, shape, shift) -> sparse.csr_matrix:
    """Negative binomial counts of some cells."""
    size = rng.lognormal(0.0, 0.3, len(z))
    rate = np.empty((len(z), len(mean)), dtype=np.float32)
    for number, curve in enumerate(SHAPES.values()):
        genes = np.flatnonzero(shape == number)
        rate[:, genes] = curve(z[:, None] + shift[genes]) * mean[genes]
    rate *= size[:, None]
    rate *= rng.standard_gamma(DISPERSION, rate.shape, dtype=np.float32) / DISPERSION
    return sparse.csr_matrix(rng.poisson(rate).astype(np.float32))


def collect(path: Path, folder: Path) -> dict:
    """Write an h5ad file as a collection of annbatch, cells shuffled; returns the seconds."""
    import zarr
    from annbatch import DatasetCollection

    began = time.perf_counter()
    collection = DatasetCollection(zarr.open_group(str(folder), mode="w"))
    collection.add_adatas([str(path)], rng=np.random.default_rng(0))
    return {"collection_seconds": time.perf_counter() - began}


def _annbatch(folder: Path):
    """Data module of a collection, with minibatches as large as those of AnnData."""
    from annbatch import DatasetCollection, Loader
    from scvi.dataloaders import AnnbatchDataModule

    window = {"chunk_size": 64, "preload_nchunks": 32}
    loader = Loader(batch_size=128, preload_to_gpu=False, **window)
    loader.use_collection(DatasetCollection(str(folder), mode="r"))
    return AnnbatchDataModule(loader, **window)


def train(path: Path, *, epochs: int, n_basis: int, collection: Path | None = None) -> dict:
    """Starting values and some epochs on data that stay on disk."""
    import anndata as ad
    from scipy.stats import spearmanr
    from sklearn.metrics import adjusted_rand_score

    from basisvae_scvi import BasisVAE

    _quiet()
    clock = _clock()
    adata = ad.read_h5ad(path, backed="r")
    BasisVAE.setup_anndata(adata)
    began = time.perf_counter()
    model = BasisVAE(adata, n_basis=n_basis, gene_likelihood="nb", translation_invariant=True)
    built = time.perf_counter()
    model.train(
        max_epochs=epochs,
        seed=0,
        accelerator="cpu",
        n_restarts=1,
        callbacks=[clock],
        enable_progress_bar=False,
        datamodule=None if collection is None else _annbatch(collection),
    )
    ended = time.perf_counter()
    order = spearmanr(model.get_latent_representation()[:, 0], adata.obs["true_z"]).statistic
    return {
        "n_cells": adata.n_obs,
        "setup_seconds": built - began,
        "start_and_finish_seconds": ended - built - sum(clock.seconds),
        "epoch_seconds": clock.seconds,
        "microseconds_per_cell": 1e6 * min(clock.seconds) / adata.n_obs,
        "peak_gib": _peak_mib() / 2**10,
        "order_spearman": abs(float(order)),
        "groups_ari": adjusted_rand_score(adata.var["true_group"], model.get_clusters().cluster),
    }


def compare(arguments: argparse.Namespace, n_cells: int) -> list[dict]:
    """Simulate some cells and train on them through each loader."""
    runs = []
    with tempfile.TemporaryDirectory(dir=arguments.directory) as folder:
        path, collection = Path(folder) / "counts.h5ad", Path(folder) / "counts.zarr"
        size = simulate(path, n_cells, arguments.genes)
        for loader in arguments.loader:
            print(f"{n_cells:,} cells: {size:.2f} GB on disk; training, {loader}", flush=True)
            settings = {"epochs": arguments.epochs, "n_basis": arguments.bases}
            written = {}
            if loader == "annbatch":
                written = alone(collect, path, folder=collection)
                settings["collection"] = collection
            run = alone(train, path, **settings)
            runs.append({"loader": loader, "file_gb": size, **written, **run})
            print(
                f"{n_cells:,} cells: {run['microseconds_per_cell']:.0f} µs a cell, "
                f"peak {run['peak_gib']:.2f} GiB, start {run['start_and_finish_seconds']:.0f} s",
                flush=True,
            )
    return runs


def main() -> None:
    """Simulate, train, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, nargs="+", default=[50_000, 200_000])
    parser.add_argument("--genes", type=int, default=2_000)
    parser.add_argument("--bases", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--loader", nargs="+", choices=["backed", "annbatch"], default=["backed"])
    parser.add_argument("--directory", help="where the temporary files go")
    parser.add_argument("--output")
    arguments = parser.parse_args()
    runs = []
    for n_cells in arguments.cells:
        runs += compare(arguments, n_cells)
        first, last = runs[0], runs[-1]
        results = {
            "arguments": {**vars(arguments), "directory": None, "output": None},
            "runs": runs,
            "ratio_per_cell": last["microseconds_per_cell"] / first["microseconds_per_cell"],
        }
        write(results, arguments.output)  # after every run: the next may not end


if __name__ == "__main__":
    main()
