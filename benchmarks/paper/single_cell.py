"""Figures 8 and 9 of the paper on real cells: genes along a lineage, without and with shifts.

The paper has 8,509 cells of mouse spermatogenesis; here are two lineages of human bone marrow
(Setty et al. 2019), from the stem cell to the erythrocyte and to the monocyte, with the same
settings: the 7,000 most variable genes, ZINB, K = 50.

    python benchmarks/paper/single_cell.py marrow_cd34_palantir.h5ad --output paper_figures

Slingshot's pseudotime in ``.obs["slingshot_pt_ery"]`` and ``["slingshot_pt_mono"]`` tells which
cells are on a lineage (others have NaN). z is compared with it, a reference and not truth. For a
quick look: ``--lineages ery --genes 500 --cells 600 --n-basis 20 --max-epochs 20``.
"""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import anndata as ad
import numpy as np
import scanpy as sc
from _figures import FLAT, command_line, fit, letter, save
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import spearmanr
from sklearn.metrics import adjusted_rand_score

import basisvae_scvi as bv

LINEAGES = {"ery": "erythroid lineage", "mono": "monocyte lineage"}
# Known markers, from early to late; they are modelled whether or not they are variable.
MARKERS = {
    "ery": ("AVP", "CD34", "HLF", "GATA2", "GATA1", "KLF1", "CA1", "HBB"),
    "mono": ("AVP", "CD34", "HLF", "MPO", "ELANE", "AZU1", "CEBPD", "LYZ"),
}
ROOT = "AVP"
N_BINS = 100
N_PANELS = 12


def load(arguments, lineage: str) -> ad.AnnData:
    """Cells of a lineage with variable genes and markers, size factors over all genes."""
    adata = ad.read_h5ad(arguments.h5ad)
    adata = adata[adata.obs[f"slingshot_pt_{lineage}"].notna()]
    if arguments.cells is not None and arguments.cells < adata.n_obs:
        rng = np.random.default_rng(arguments.seed)
        adata = adata[np.sort(rng.choice(adata.n_obs, arguments.cells, replace=False))]
    adata = adata.copy()
    total = np.asarray(adata.X.sum(axis=1)).ravel()
    adata.obs["size_factor"] = total / np.median(total)
    n_genes = min(arguments.genes, adata.n_vars)
    sc.pp.highly_variable_genes(adata, n_top_genes=n_genes, flavor="seurat_v3")
    is_marker = adata.var_names.isin(list(chain(*MARKERS.values())))
    return adata[:, adata.var["highly_variable"] | is_marker].copy()


def measure(model: bv.BasisVAE, lineage: str, seconds: float) -> dict:
    """What is recorded of one fit."""
    adata, clusters = model.adata, model.get_clusters()
    z = model.get_latent_representation()[:, 0]
    reference = adata.obs[f"slingshot_pt_{lineage}"].to_numpy()
    cluster = clusters["cluster"].astype(str)
    markers = [gene for gene in MARKERS[lineage] if gene in clusters.index]
    shifts = clusters.loc[cluster != FLAT, "shift"]
    return {
        "n_obs": adata.n_obs,
        "n_vars": adata.n_vars,
        "spearman_with_slingshot": float(spearmanr(z, reference).statistic),
        "n_clusters": int(cluster.nunique()),
        "share_flat": float((cluster == FLAT).mean()),
        "median_confidence": float(clusters["confidence"].median()),
        "sd_of_shifts": float(shifts.std(ddof=0)) if len(shifts) else 0.0,
        "elbo_train": float(model.history["elbo_train"].iloc[-1, 0]),
        "markers": clusters.loc[markers].astype({"cluster": str}).T.to_dict(),
        "seconds": seconds,
    }


def largest(adata: ad.AnnData, n_clusters: int) -> list[str]:
    """The largest clusters other than the flat one, in the order of their peaks."""
    table = bv.get.clusters(adata)
    table = table[table.index != FLAT].nlargest(n_clusters, "n_genes")
    return list(table.sort_values("peak", kind="stable").index)


def draw_bases(model: bv.BasisVAE, title: str) -> Figure:
    """Basis functions of the largest clusters over the courses of their genes."""
    shown = largest(model.adata, N_PANELS)
    panels = bv.pl.basis_functions(model.adata, clusters=shown, n_genes=60, ncols=6, show=False)
    figure = panels[0].figure
    n_rows = -(-len(shown) // 6)
    figure.set_size_inches(11.0, 1.9 * n_rows + 0.4)
    for panel in panels:
        panel.set_title(panel.get_title(), fontsize=7.5)
        if not panel.get_subplotspec().is_last_row() and len(panels) > 6:
            panel.set_xlabel("")
    figure.suptitle(title, fontsize=9)
    return figure


def draw_genes(models: dict[bool, bv.BasisVAE], lineage: str) -> Figure:
    """Figure 8: markers along z in the colours of their clusters, without and with shifts."""
    genes = [g for g in MARKERS[lineage] if g in next(iter(models.values())).adata.var_names]
    figure = plt.figure(figsize=(1.55 * len(genes) + 0.6, 2.1 * len(models)), layout="constrained")
    parts = np.atleast_1d(figure.subfigures(len(models), 1))
    for part, text, (has_shifts, model) in zip(parts, "AB", models.items(), strict=False):
        panels = part.subplots(1, len(genes))
        bv.pl.gene_trends(model.adata, genes, ax=panels, n_bins=20, show=False)
        clusters = model.get_clusters()
        for panel, gene in zip(panels, genes, strict=True):
            row = clusters.loc[gene]
            name = "flat" if row["cluster"] == FLAT else f"cluster {row['cluster']}"
            delta = f", δ = {row['shift']:+.2f}".replace("-", "−") if has_shifts else ""
            panel.set_title(f"{gene}\n{name}{delta}", fontsize=7.5)
            panel.set_ylabel("normalised counts" if panel is panels[0] else "")
        part.suptitle("With shifts" if has_shifts else "Without shifts", fontsize=9)
        letter(part, text, x=0.003, y=0.99)
    return figure


def draw_heatmap(model: bv.BasisVAE, title: str) -> Figure:
    """Figure 9: the data as they come, and ordered by z, cluster and peak."""
    adata = model.adata
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(11.0, 6.4), layout="constrained", width_ratios=[1.0, 1.1]
    )
    axes = bv.pl.heatmap(adata, ax=right, n_bins=N_BINS, show=False)
    limits = right.images[0].get_clim()
    left.imshow(
        _as_it_comes(adata).T,
        aspect="auto",
        cmap="RdBu_r",
        vmin=limits[0],
        vmax=limits[1],
        interpolation="antialiased",
    )
    left.set(xticks=[], yticks=[], xlabel="cells as in the file (columns hold equal numbers)")
    right.set_ylabel("")
    left.set_ylabel(f"{adata.n_vars:,} genes")
    for ax, text in ((left, "A"), (right, "B")):
        # Not as a title, which the colour bars would lift.
        ax.text(0.0, 1.015, text, transform=ax.transAxes, fontweight="bold", fontsize=11)
    if model.module.genes.translation_invariant:
        _draw_shifts(right, adata)
    axes["colorbar"].set_xlabel("expression, z-score per gene", fontsize=7)
    figure.suptitle(title, fontsize=9)
    return figure


def _as_it_comes(adata: ad.AnnData) -> np.ndarray:
    """Z-scores of means over bins of cells in the order of the file, (bins, genes)."""
    size = adata.obs["size_factor"].to_numpy()
    bins = np.array_split(np.arange(adata.n_obs), min(N_BINS, adata.n_obs))
    means = np.array(
        [np.asarray(adata.X[rows].sum(axis=0)).ravel() / size[rows].sum() for rows in bins]
    )
    spread = means.std(axis=0)
    return (means - means.mean(axis=0)) / np.where(spread > 0, spread, 1.0)


def _draw_shifts(ax: Axes, adata: ad.AnnData) -> None:
    """δ of the genes beside the rows of the heatmap."""
    order = bv.get.clusters(adata)
    order = order.index[np.lexsort((order.index.astype(int), order["peak"].fillna(np.inf)))]
    rank = {cluster: i for i, cluster in enumerate(order)}
    table = bv.get.genes(adata)  # by peak within a cluster, as in the heatmap
    rows = np.argsort(table["cluster"].astype(str).map(rank).to_numpy(), kind="stable")
    shift = table["shift"].to_numpy()[rows]
    limit = float(np.quantile(np.abs(shift), 0.99)) or 1.0
    strip = ax.inset_axes([-0.045, 0.0, 0.03, 1.0])
    image = strip.imshow(
        shift[:, None],
        aspect="auto",
        cmap="PuOr",
        vmin=-limit,
        vmax=limit,
        interpolation="nearest",
    )
    strip.set(xticks=[], yticks=[])
    bar = ax.inset_axes([0.08, 1.0 + 0.12 / 6.0, 0.4, 0.1 / 6.0])
    ax.figure.colorbar(image, cax=bar, orientation="horizontal", extend="both")
    bar.xaxis.set_ticks_position("top")
    bar.xaxis.set_label_position("top")
    bar.tick_params(labelsize="x-small")
    bar.set_xlabel("shift δ, units of z", fontsize=7)


def main() -> None:
    """Fit what was asked for, draw, write."""
    parser = command_line(__doc__)
    parser.add_argument("h5ad", type=Path)
    parser.add_argument("--lineages", nargs="+", choices=[*LINEAGES], default=[*LINEAGES])
    parser.add_argument("--shift", choices=["no", "yes", "both"], default="both")
    parser.add_argument("--genes", type=int, default=7000)
    parser.add_argument("--cells", type=int, help="a random subset; by default all")
    parser.add_argument("--n-basis", type=int, default=50)
    arguments = parser.parse_args()
    settings = {"no": [False], "yes": [True], "both": [False, True]}[arguments.shift]
    figures, results = {}, {}
    for lineage in arguments.lineages:
        adata, models, results[lineage] = load(arguments, lineage), {}, {}
        for has_shifts in settings:
            model, seconds = fit(
                adata,
                seed=arguments.seed,
                max_epochs=arguments.max_epochs,
                setup={"size_factor_key": "size_factor"},
                root=ROOT,
                n_basis=arguments.n_basis,
                translation_invariant=has_shifts,
            )
            name = "with shifts" if has_shifts else "without shifts"
            of = results[lineage][name] = measure(model, lineage, seconds)
            models[has_shifts] = model
            title = f"{LINEAGES[lineage].capitalize()}, {name}: {of['n_clusters']} clusters"
            stem = f"single_cell_{lineage}_{'shifts' if has_shifts else 'plain'}"
            figures[f"{stem}_bases"] = draw_bases(model, title)
            figures[f"{stem}_heatmap"] = draw_heatmap(model, title)
            print(
                f"{lineage:5} {name:14} {of['n_obs']} × {of['n_vars']} "
                f"rho {of['spearman_with_slingshot']:.3f} clusters {of['n_clusters']} "
                f"flat {of['share_flat']:.2f} {seconds:.0f} s",
                flush=True,
            )
        figures[f"single_cell_{lineage}_genes"] = draw_genes(models, lineage)
        if len(models) > 1:
            plain, shifted = (m.get_clusters()["cluster"].astype(str) for m in models.values())
            results[lineage]["ari_without_and_with"] = float(adjusted_rand_score(plain, shifted))
    save(figures, results, arguments, "single_cell")


if __name__ == "__main__":
    main()
