"""Does z follow the minutes of the embryo? Four lines of amphid neurons of the worm.

Fits each line (Packer et al. 2019; 500 variable genes) with default arguments, with and without
`batch_key`, and compares z with the minutes by rank correlation: of all cells, and within batches,
which cover different stretches of time (the mean over batches, weighted by their cells). Beside it
stand the first principal and the first diffusion component of the depth-normalised log counts.

    python benchmarks/worm_orders.py --worm worm_embryo_amphid.h5ad --output worm_orders.json
"""

from __future__ import annotations

import argparse
import time

import anndata as ad
import numpy as np
import scanpy as sc
from _lines import add_line_arguments, fit, given_lines, load_line
from _machine import write
from scipy.stats import spearmanr

BATCH = "batch"
_MIN_BATCH = 10
_N_COMPONENTS = 20


def components(adata: ad.AnnData) -> dict[str, np.ndarray]:
    """First principal and diffusion component of the cells, scanpy's defaults."""
    cells = ad.AnnData(adata.X.copy(), obs=adata.obs[[]])
    sc.pp.normalize_total(cells)
    sc.pp.log1p(cells)
    sc.pp.pca(cells, n_comps=_N_COMPONENTS, random_state=0)
    sc.pp.neighbors(cells, random_state=0)
    sc.tl.diffmap(cells, random_state=0)
    # The first column of a diffusion map is constant.
    return {"PC1": cells.obsm["X_pca"][:, 0], "DC1": cells.obsm["X_diffmap"][:, 1]}


def follow(z: np.ndarray, adata: ad.AnnData) -> dict:
    """Rank correlation with the minutes: of all cells, and within batches, of one sign."""
    minutes = adata.obs["reference"].to_numpy()
    overall = float(spearmanr(z, minutes).statistic)
    sign = np.sign(overall)
    within, sizes = {}, []
    for name, cells in adata.obs.groupby(BATCH, observed=True).indices.items():
        if len(cells) >= _MIN_BATCH and np.ptp(minutes[cells]) > 0:
            within[str(name)] = float(sign * spearmanr(z[cells], minutes[cells]).statistic)
            sizes.append(len(cells))
    return {
        "spearman": abs(overall),
        "spearman_within_batches": float(np.average([*within.values()], weights=sizes)),
        "of_batches": within,
    }


def run(path: str, line: str, arguments: argparse.Namespace) -> dict:
    """One line, all orders."""
    adata = load_line(path, line, arguments.genes)
    orders = {name: follow(z, adata) for name, z in components(adata).items()}
    for batch in arguments.batch:
        began = time.perf_counter()
        model = fit(
            adata,
            batch_key=BATCH if batch == "yes" else None,
            max_epochs=arguments.max_epochs,
            translation_invariant=arguments.shift,
            gene_likelihood=arguments.likelihood,
        )
        seconds = time.perf_counter() - began
        name = "BasisVAE, batch_key" if batch == "yes" else "BasisVAE"
        orders[name] = {
            **follow(model.get_latent_representation()[:, 0], adata),
            "n_groups": int(model.get_clusters()["cluster"].nunique()),
            "seconds": seconds,
        }
    for name, found in orders.items():
        print(
            f"{line:5} {name:20} {found['spearman']:.3f} within batches "
            f"{found['spearman_within_batches']:.3f} {found.get('seconds', 0.0):.0f} s",
            flush=True,
        )
    return {"line": line, "n_obs": adata.n_obs, "n_vars": adata.n_vars, "orders": orders}


def main() -> None:
    """Run what was asked for, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_line_arguments(parser, default=["ADL", "ASG", "AWC", "AWB"])
    parser.add_argument("--genes", type=int, default=500)
    parser.add_argument("--batch", nargs="*", choices=["no", "yes"], default=["no", "yes"])
    parser.add_argument("--shift", action="store_true")
    parser.add_argument("--likelihood", default="zinb")
    parser.add_argument("--max-epochs", type=int)
    parser.add_argument("--output")
    arguments = parser.parse_args()
    kept = {**vars(arguments), "worm": None, "output": None}
    runs = []
    for line, path in given_lines(arguments):
        runs.append(run(path, line, arguments))
        write({"arguments": kept, "runs": runs}, arguments.output)


if __name__ == "__main__":
    main()
