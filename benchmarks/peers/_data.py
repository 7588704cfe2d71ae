"""The data that rivals are compared on: simulations with known truth, and real lineages.

Every data set is written to a file with the pseudotime that all rivals share: scanpy's DPT from
the true first cell of a simulation, and from the stem cells of a real lineage.
"""

from __future__ import annotations

import time
from pathlib import Path

import anndata as ad
import numpy as np
import scanpy as sc
from _families import FAMILIES, LINEAGES
from scipy.stats import rankdata, spearmanr

from basisvae_scvi import datasets


def _diffusion_pseudotime(adata: ad.AnnData, likelihood: str, root: int) -> np.ndarray:
    """Scanpy's DPT at default settings."""
    cells = adata.copy()
    if likelihood != "gaussian":
        sc.pp.normalize_total(cells)
        sc.pp.log1p(cells)
    sc.pp.pca(cells, n_comps=min(50, min(cells.shape) - 1), random_state=0)
    sc.pp.neighbors(cells, random_state=0)
    sc.tl.diffmap(cells, random_state=0)
    cells.uns["iroot"] = root
    sc.tl.dpt(cells)
    return cells.obs["dpt_pseudotime"].to_numpy(dtype=np.float64)


def _between_0_and_1(values: np.ndarray, kind: str) -> np.ndarray:
    # DPT is infinite for cells that the graph of neighbours does not connect with the root.
    values = np.where(np.isfinite(values), values, values[np.isfinite(values)].max())
    if kind == "rank":
        values = rankdata(values)
    return (values - values.min()) / (values.max() - values.min())


def simulate(path: str | Path, *, family: str, seed: int, pseudotime: str) -> dict:
    """Draw a simulation, order its cells, write it to ``path``."""
    generator, arguments, likelihood, _, truth = FAMILIES[family]
    adata = getattr(datasets, generator)(seed=seed, **arguments)
    true_z = adata.obs["true_z"].to_numpy()
    began = time.perf_counter()
    if pseudotime == "truth":
        order = true_z
    else:
        order = _diffusion_pseudotime(adata, likelihood, int(true_z.argmin()))
    seconds = time.perf_counter() - began
    adata.obs["pseudotime"] = _between_0_and_1(order, pseudotime)
    adata.write_h5ad(path)
    return {
        "seed": seed,
        "n_groups": int(adata.var[truth].nunique()),
        "pseudotime_spearman": float(spearmanr(adata.obs["pseudotime"], true_z).statistic),
        "pseudotime_seconds": seconds,
    }


def read_lineage(path: str | Path, *, source: str, lineage: str, pseudotime: str) -> dict:
    """Cut a lineage out of ``source`` as ``marrow_lineages.py`` does, and write it to ``path``."""
    from marrow_lineages import diffusion_pseudotime, load_lineage

    if pseudotime == "truth":
        raise ValueError("--pseudotime truth: real lineages have no true order")
    adata = load_lineage(source, LINEAGES[lineage])
    began = time.perf_counter()
    order = diffusion_pseudotime(adata)
    seconds = time.perf_counter() - began
    adata.obs["pseudotime"] = _between_0_and_1(order, pseudotime)
    adata.write_h5ad(path)
    reference = adata.obs[f"slingshot_pt_{LINEAGES[lineage]}"]
    return {
        "n_obs": adata.n_obs,
        "n_vars": adata.n_vars,
        "pseudotime_spearman": float(spearmanr(order, reference).statistic),
        "pseudotime_seconds": seconds,
    }
