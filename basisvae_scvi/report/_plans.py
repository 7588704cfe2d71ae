"""Which figures the report has, how they are read, and how :mod:`basisvae_scvi.pl` draws them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pandas as pd
from anndata import AnnData
from matplotlib import pyplot as plt

from basisvae_scvi import pl
from basisvae_scvi.get import Annotation

# Pixels on the page for an inch of a figure, so that its text is about as large as that around it.
_PIXELS_PER_INCH = 108
_DENSE = 128
_MAX_GENES = 12
_MAX_CLUSTERS, _MAX_TIMED = 24, 12
_EMBEDDINGS = ("X_umap", "X_tsne", "X_draw_graph_fa", "X_phate", "X_diffmap", "X_pca")


@dataclass(frozen=True)
class Plan:
    """A figure to be drawn."""

    name: str
    title: str
    caption: str
    alt: str
    draw: Callable
    pixels_per_inch: int = _PIXELS_PER_INCH


def plan_figures(
    adata: AnnData,
    annotation: Annotation,
    genes: pd.DataFrame,
    clusters: pd.DataFrame,
    *,
    shown_genes: Sequence[str] | None,
    colors: Sequence[str],
) -> list[Plan]:
    """Figures in the order of the page; arguments as in ``draw_figures``."""
    return [
        *_shapes(adata, annotation, genes, clusters, shown_genes),
        *_timing(adata, annotation, clusters),
        *_orders(adata, annotation, colors),
        *_certainty(adata, annotation, genes),
    ]


def leading_genes(genes: pd.DataFrame, clusters: pd.DataFrame, n: int = _MAX_GENES) -> list[str]:
    """Genes that stand for their clusters: one of each, then a second, in the order of clusters.

    Parameters
    ----------
    genes
        Table with ``cluster``, ``confidence`` and ``scale``.
    clusters
        Table indexed by cluster.
    n
        Number of genes at most.
    """
    moving = genes[genes["cluster"].astype(str) != Annotation.FLAT]
    ranked = moving.assign(
        sure=moving["confidence"].round(2),
        place=clusters.index.get_indexer(moving["cluster"].astype(str)),
    ).sort_values(["sure", "scale"], ascending=False, kind="stable")
    ranked["turn"] = ranked.groupby("place").cumcount()
    chosen = ranked.sort_values(["turn", "place"], kind="stable")[:n]
    chosen = chosen.sort_values(["place", "turn"], kind="stable")
    return list(chosen.index) or list(genes.index[:1])


def _shapes(
    adata: AnnData,
    annotation: Annotation,
    genes: pd.DataFrame,
    clusters: pd.DataFrame,
    shown_genes: Sequence[str] | None,
) -> Iterator[Plan]:
    """Figures along z; those of one latent dimension."""
    key = annotation.keys.key_added
    if annotation.n_latent != 1:
        return
    large = _largest(clusters, _MAX_CLUSTERS)
    yield Plan(
        "basis-functions",
        "Shapes of the clusters",
        "Thick line: the basis function of a cluster, relative expression along z. Thin lines: "
        "the fitted courses of single genes of the cluster, each with its own scale and shift."
        + _left_out(clusters, large),
        "One panel per cluster, from early to late peaks: " + _describe(large),
        lambda: pl.basis_functions(adata, clusters=list(large.index), key=key, show=False),
    )
    yield Plan(
        "heatmap",
        "All genes along the process",
        "Rows are genes by cluster and peak, columns are cells in the order of z. Red: above the "
        "gene's own average; blue: below.",
        f"Heat map of {len(genes):,} genes in {len(clusters)} clusters over cells ordered by z.",
        lambda: pl.heatmap(adata, key=key, ax=_axes(7.2, 6.6), show=False),
        _DENSE,
    )
    chosen = leading_genes(genes, clusters) if shown_genes is None else list(shown_genes)
    yield Plan(
        "gene-trends",
        "Courses of single genes",
        "Dots: means of bins of cells with their standard errors. Line: the fit. Do they agree? "
        "The gene table below has the same for every gene.",
        "Observed means and fitted curves along z of " + ", ".join(map(str, chosen)) + ".",
        lambda: pl.gene_trends(adata, chosen, key=key, show=False),
    )


def _timing(adata: AnnData, annotation: Annotation, clusters: pd.DataFrame) -> Iterator[Plan]:
    """Figures of shifts and scales; those of one latent dimension."""
    key = annotation.keys.key_added
    moving = clusters[clusters.index != Annotation.FLAT]
    if annotation.n_latent != 1 or not len(moving):
        return
    large = _largest(moving, _MAX_TIMED)
    names = list(large.index)
    described = f"One panel per cluster: {_describe(large)}"
    if annotation.parameter("translation_invariant"):
        yield Plan(
            "shifts",
            "Order in time within the clusters",
            "Genes of a cluster from early (top) to late by their shift δ, with 90 % intervals. "
            "Hollow dots: the data do not tell the shift." + _left_out(moving, large),
            described,
            lambda: pl.shifts(adata, clusters=names, key=key, show=False),
        )
        yield Plan(
            "alignment",
            "Genes before and after shifting",
            "Observed courses of the genes of the largest clusters, against z and against z + δ; "
            "black: the basis function. What is spread on the left should lie on it on the right.",
            "Two panels for each of the largest clusters, before and after shifting.",
            lambda: pl.alignment(adata, n_clusters=3, key=key, show=False),
        )
    if annotation.params.get("scale_invariant", True):
        yield Plan(
            "scales",
            "Strength within the clusters",
            "Genes of a cluster by their scale λ, with 90 % intervals: how strongly they follow "
            "its shape." + _left_out(moving, large),
            described,
            lambda: pl.scales(adata, clusters=names, key=key, show=False),
        )


def _orders(adata: AnnData, annotation: Annotation, colors: Sequence[str]) -> Iterator[Plan]:
    """Figures of the cells."""
    key = annotation.keys.key_added
    for q in range(annotation.n_latent):
        yield Plan(
            f"latent-{q}",
            "Cells along z" if annotation.n_latent == 1 else f"Cells along z, dimension {q}",
            "Number of cells at each place of the process. Gaps between islands of cells would "
            "mean that there is no continuous process.",
            "Histogram of the latent coordinate of the cells.",
            lambda q=q: pl.latent(adata, dimension=q, key=key, ax=_axes(7.0, 3.0), show=False),
        )
    other = annotation.keys.other_order
    if other in adata.obs and annotation.n_latent == 1:
        yield Plan(
            "other-order",
            "z against another order",
            "Cells by z and by the best order that tells another process: where they form a line, "
            "both agree.",
            f"Scatter plot of z and of the column {other} of obs.",
            lambda: pl.latent(adata, color=other, key=key, ax=_axes(5.0, 4.0), show=False),
        )
    found = next((name for name in _EMBEDDINGS if name in adata.obsm), None)
    if found is not None:
        yield Plan(
            "embedding",
            "z on the embedding",
            "Cells coloured by z; the order should run smoothly along the embedding.",
            f"Scatter plot of adata.obsm['{found}'] coloured by z.",
            lambda: pl.latent(adata, basis=found, key=key, ax=_axes(6.4, 4.8), show=False),
        )
    for i, column in enumerate(colors):
        yield Plan(
            f"column-{i}",
            f"z against {column}",
            f"Cells by z and by the column {column} of obs; bars are medians of categories.",
            f"z of the cells for every value of {column}.",
            lambda column=column: pl.latent(adata, color=column, key=key, show=False),
        )


def _certainty(adata: AnnData, annotation: Annotation, genes: pd.DataFrame) -> Iterator[Plan]:
    """Figures that tell how far the results can be trusted."""
    key = annotation.keys.key_added
    yield Plan(
        "assignments",
        "How sure the clusters are",
        "Probability of every basis function (columns) for every gene (rows). Dark blocks: sure; "
        "a row with several pale cells is a gene between clusters.",
        f"Heat map of the probabilities of the clusters for {len(genes):,} genes.",
        lambda: pl.assignments(adata, key=key, show=False),
        _DENSE,
    )
    yield Plan(
        "coclustering",
        "Which genes stay together",
        "Genes against genes. Bright blocks on the diagonal are clusters; bright patches beside "
        "it are pairs of clusters that could as well be one.",
        "Heat map of how probably two genes share a cluster.",
        lambda: pl.coclustering(adata, key=key, show=False),
        _DENSE,
    )
    if annotation.n_latent == 1:
        yield Plan(
            "stability",
            "Agreement of the restarts",
            "Left: the bound that each restart reached. Right: the share of its partners that "
            "every gene keeps from restart to restart, by cluster.",
            "Bounds of the restarts, and stability of the genes of each cluster.",
            lambda: pl.stability(adata, key=key, show=False),
            _DENSE,
        )
    yield Plan(
        "history",
        "How the fit came about",
        "The bound over the epochs should level off; the search for the structure should end in "
        "about the same place from every start.",
        "Bound by epoch, bound by move of the search, and number of basis functions in use.",
        lambda: pl.history(adata, key=key, show=False),
    )


def _largest(clusters: pd.DataFrame, n: int) -> pd.DataFrame:
    """The ``n`` clusters with most genes, in the order of the table."""
    by_size = clusters.sort_values("n_genes", ascending=False, kind="stable").index
    return clusters[clusters.index.isin(by_size[:n])]


def _left_out(clusters: pd.DataFrame, shown: pd.DataFrame) -> str:
    n = len(clusters) - len(shown)
    return f" The {n} smallest clusters are left out." if n else ""


def _describe(clusters: pd.DataFrame) -> str:
    named = [
        f"cluster {label}, {row['shape']}, {row['n_genes']:,} genes"
        for label, row in clusters.iterrows()
    ]
    return "; ".join(named) + "."


def _axes(width: float, height: float):
    """Axes of a figure of a size that suits the page."""
    return plt.subplots(figsize=(width, height), layout="constrained")[1]
