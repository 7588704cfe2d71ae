"""Draw the picture of the README from a file that `basisvae-scvi demo` or `fit` has written.

python scripts/draw_readme_figure.py demo_output/marrow_erythroid.h5ad
"""

from __future__ import annotations

import argparse
from io import BytesIO
from pathlib import Path

import anndata as ad
from matplotlib import pyplot as plt
from PIL import Image

import basisvae_scvi as bv

TARGET = Path(__file__).resolve().parents[1] / "docs" / "_static" / "readme.png"
N_CLUSTERS = 4  # with basis functions of their own
N_ROWS = 40  # genes of the heatmap from each cluster at most


def chosen_clusters(adata: ad.AnnData) -> list[str]:
    """The largest cluster of every shape, in the order of their peaks."""
    table = bv.get.clusters(adata)
    table = table[table["shape"] != "flat"].sort_values("n_genes", ascending=False)
    largest = table.groupby("shape", observed=True).head(1).head(N_CLUSTERS)
    return [str(c) for c in largest.sort_values("peak").index]


def chosen_genes(adata: ad.AnnData, clusters: list[str]) -> list[str]:
    """Genes of these clusters of which the group is sure."""
    genes = bv.get.genes(adata)
    genes = genes[genes["cluster"].astype(str).isin(clusters) & (genes["confidence"] > 0.9)]
    best = genes.sort_values("scale", ascending=False).groupby("cluster", observed=True)
    return best.head(N_ROWS).index.tolist()


def main() -> None:
    """Heatmap at the left, basis functions at the right."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("annotated", help="h5ad file with the results")
    parser.add_argument("-o", "--output", default=TARGET, type=Path)
    arguments = parser.parse_args()
    adata = ad.read_h5ad(arguments.annotated)
    size_factor_key = "size_factor" if "size_factor" in adata.obs else None
    clusters = chosen_clusters(adata)
    fig = plt.figure(figsize=(10, 4.6), layout="constrained")
    left, right = fig.subfigures(1, 2, width_ratios=(1.0, 1.15))
    bv.pl.heatmap(
        adata,
        genes=chosen_genes(adata, clusters),
        size_factor_key=size_factor_key,
        ax=left.subplots(),
        show=False,
    )
    axes = right.subplots(2, 2).ravel()
    bv.pl.basis_functions(adata, clusters=clusters, ax=axes[: len(clusters)], show=False)
    arguments.output.parent.mkdir(exist_ok=True)
    drawn = BytesIO()
    fig.savefig(drawn, dpi=110)
    # 128 colours make a third of the file.
    Image.open(drawn).convert("RGB").quantize(128).save(arguments.output, optimize=True)


if __name__ == "__main__":
    main()
