"""Erythroid and monocyte lineages of human marrow: does z order the cells, do genes part rightly?

Fits ZINB models with K = 30 to the 2,000 most variable genes of each lineage, with and without
shifts, and compares z with Slingshot's pseudotime (a reference, not truth: it was fitted to the
same cells) beside scanpy's DPT. Writes one JSON per run of the script.

    python benchmarks/marrow_lineages.py marrow_cd34_palantir.h5ad -o benchmarks/results/out.json

The input is the marrow sample of Setty et al. 2019 with ``.obs["slingshot_pt_ery"]`` and
``["slingshot_pt_mono"]`` (NaN for cells that are not on the lineage).
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from importlib.metadata import version
from pathlib import Path

import anndata as ad
import numpy as np
import scanpy as sc
from scipy.stats import spearmanr

from basisvae_scvi import BasisVAE

# Markers of the erythroid lineage; on the monocyte one they are recorded and mean nothing.
RISING = ("GATA1", "KLF1", "HBB")
FALLING = ("CD34", "AVP")
BARS = {"ery": 0.85, "mono": 0.92}
N_GENES, N_BASIS, SEED = 2000, 30, 0


def load_lineage(path: str, lineage: str) -> ad.AnnData:
    """Cells of one lineage, variable genes and the marker genes, size factors over all genes."""
    adata = ad.read_h5ad(path)
    adata = adata[adata.obs[f"slingshot_pt_{lineage}"].notna()].copy()
    total = np.asarray(adata.X.sum(axis=1)).ravel()
    adata.obs["size_factor"] = total / np.median(total)
    sc.pp.highly_variable_genes(adata, n_top_genes=N_GENES, flavor="seurat_v3")
    markers = adata.var_names.isin(RISING + FALLING)
    return adata[:, adata.var["highly_variable"] | markers].copy()


def diffusion_pseudotime(adata: ad.AnnData) -> np.ndarray:
    """Scanpy's DPT from the cell with most CD34 and AVP at default settings."""
    cells = adata.copy()
    sc.pp.normalize_total(cells, target_sum=1e4)
    sc.pp.log1p(cells)
    sc.pp.pca(cells, random_state=SEED)
    sc.pp.neighbors(cells, random_state=SEED)
    sc.tl.diffmap(cells, random_state=SEED)
    cells.uns["iroot"] = int(np.asarray(cells[:, FALLING].X.sum(axis=1)).argmax())
    sc.tl.dpt(cells)
    return cells.obs["dpt_pseudotime"].to_numpy()


def evaluate(model: BasisVAE, reference: np.ndarray, seconds: float) -> dict:
    """Figures of one fit."""
    time_order = model.get_pseudotime(root="AVP")
    clusters = model.get_clusters()
    model.orient("AVP")
    trends = model.get_gene_trends([*RISING, *FALLING])
    change = trends.iloc[-20:].mean() - trends.iloc[:20].mean()
    by_direction = [set(clusters.loc[list(genes), "cluster"]) for genes in (RISING, FALLING)]
    return {
        "spearman": abs(float(spearmanr(time_order, reference).statistic)),
        "elbo_train": float(model.history["elbo_train"].iloc[-1, 0]),
        "clusters_used": int(clusters["cluster"].nunique()),
        "median_confidence": float(clusters["confidence"].median()),
        "rising_rise": bool((change[list(RISING)] > 0).all()),
        "falling_fall": bool((change[list(FALLING)] < 0).all()),
        "rising_and_falling_apart": by_direction[0].isdisjoint(by_direction[1]),
        "markers": clusters.loc[[*RISING, *FALLING]].astype({"cluster": str}).T.to_dict(),
        "seconds": seconds,
    }


def run(path: str, lineage: str, shift: bool, max_epochs: int | None) -> dict:
    """Fit one lineage once."""
    adata = load_lineage(path, lineage)
    reference = adata.obs[f"slingshot_pt_{lineage}"].to_numpy()
    BasisVAE.setup_anndata(adata, size_factor_key="size_factor")
    model = BasisVAE(adata, n_basis=N_BASIS, translation_invariant=shift)
    began = time.perf_counter()
    model.train(max_epochs=max_epochs, seed=SEED, accelerator="cpu", enable_progress_bar=False)
    result = evaluate(model, reference, time.perf_counter() - began)
    dpt = abs(float(spearmanr(diffusion_pseudotime(adata), reference).statistic))
    return {
        "lineage": lineage,
        "translation_invariant": shift,
        "n_obs": adata.n_obs,
        "n_vars": adata.n_vars,
        "bar": BARS[lineage],
        "spearman_dpt": dpt,
        **result,
    }


def main() -> None:
    """Run what was asked for, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("h5ad")
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument("--lineages", nargs="+", default=["ery", "mono"], choices=["ery", "mono"])
    parser.add_argument("--shift", choices=["no", "yes", "both"], default="both")
    parser.add_argument("--max-epochs", type=int)
    arguments = parser.parse_args()
    shifts = {"no": [False], "yes": [True], "both": [False, True]}[arguments.shift]
    packages = ("basisvae-scvi", "scvi-tools", "torch", "scanpy", "anndata")
    report = {
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "versions": {name: version(name) for name in packages},
        "runs": [],
    }
    for lineage in arguments.lineages:
        for shift in shifts:
            result = run(arguments.h5ad, lineage, shift, arguments.max_epochs)
            report["runs"].append(result)
            print(
                f"{lineage:5} shift={shift!s:5} |rho|={result['spearman']:.3f} "
                f"(DPT {result['spearman_dpt']:.3f}) clusters={result['clusters_used']} "
                f"rise={result['rising_rise']} fall={result['falling_fall']} "
                f"apart={result['rising_and_falling_apart']} {result['seconds']:.0f} s",
                flush=True,
            )
            Path(arguments.output).write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
