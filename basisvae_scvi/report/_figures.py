"""The figures of the report: drawn by :mod:`basisvae_scvi.pl`, kept as PNG inside the page."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib import pyplot as plt

from basisvae_scvi import pl
from basisvae_scvi.get import Annotation

_DPI = 150
# Pixels on the page for an inch of a figure, so that its text is about as large as that around it.
_PIXELS_PER_INCH = 108
_DENSE = 128
_MAX_GENES = 12
_MAX_CLUSTERS = 24
_EMBEDDINGS = ("X_umap", "X_tsne", "X_draw_graph_fa", "X_phate", "X_diffmap", "X_pca")


@dataclass(frozen=True)
class Figure:
    """A figure on the page, or the reason why there is none.

    Attributes
    ----------
    name
        Anchor.
    title
        Heading.
    caption
        How to read it.
    alt
        What it shows, for those who do not see it.
    image
        ``data:`` address of the PNG; empty if the figure could not be drawn.
    width, height
        Size on the page in pixels.
    missing
        Why it could not be drawn, with the cure.
    """

    name: str
    title: str
    caption: str
    alt: str
    image: str = ""
    width: int = 0
    height: int = 0
    missing: str = ""


@dataclass(frozen=True)
class _Plan:
    """A figure to be drawn."""

    name: str
    title: str
    caption: str
    alt: str
    draw: Callable
    pixels_per_inch: int = _PIXELS_PER_INCH


def draw_figures(
    adata: AnnData,
    annotation: Annotation,
    genes: pd.DataFrame,
    clusters: pd.DataFrame,
    *,
    shown_genes: Sequence[str] | None = None,
    colors: Sequence[str] = (),
) -> list[Figure]:
    """Draw every figure that the results allow.

    Parameters
    ----------
    adata
        Annotated data.
    annotation
        Its results.
    genes, clusters
        Tables of the genes and of the clusters.
    shown_genes
        Genes whose courses are shown; by default the leading one of each cluster.
    colors
        Columns of ``.obs`` to show z against.
    """
    plans = [
        *_shapes(adata, annotation, genes, clusters, shown_genes),
        *_orders(adata, annotation, colors),
    ]
    # Whatever style the user has set, the same results give the same picture; and a name with
    # dollar signs is a name, not mathematics.
    style = ["default", {"text.parse_math": False}]
    with plt.style.context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        return [_realise(plan) for plan in plans]


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
) -> Iterator[_Plan]:
    """Figures along z; those of one latent dimension."""
    key = annotation.keys.key_added
    if annotation.n_latent != 1:
        return
    largest = set(
        clusters.sort_values("n_genes", ascending=False, kind="stable").index[:_MAX_CLUSTERS]
    )
    shown_clusters = [label for label in clusters.index if label in largest]
    left_out = len(clusters) - len(shown_clusters)
    yield _Plan(
        "basis-functions",
        "Shapes of the clusters",
        "Thick line: the basis function of a cluster, relative expression along z. Thin lines: "
        "the fitted courses of single genes of the cluster, each with its own scale and shift."
        + (f" The {left_out} smallest clusters are left out." if left_out else ""),
        "One panel per cluster, from early to late peaks: "
        + _describe(clusters.loc[shown_clusters]),
        lambda: pl.basis_functions(adata, clusters=shown_clusters, key=key, show=False),
    )
    yield _Plan(
        "heatmap",
        "All genes along the process",
        "Rows are genes by cluster and peak, columns are cells in the order of z. Red: above the "
        "gene's own average; blue: below.",
        f"Heat map of {len(genes):,} genes in {len(clusters)} clusters over cells ordered by z.",
        lambda: pl.heatmap(adata, key=key, ax=_axes(7.2, 6.6), show=False),
        _DENSE,
    )
    chosen = leading_genes(genes, clusters) if shown_genes is None else list(shown_genes)
    yield _Plan(
        "gene-trends",
        "Courses of single genes",
        "Dots: means of bins of cells with their standard errors. Line: the fit. Do they agree? "
        "The gene table below has the same for every gene.",
        "Observed means and fitted curves along z of " + ", ".join(map(str, chosen)) + ".",
        lambda: pl.gene_trends(adata, chosen, key=key, show=False),
    )


def _orders(adata: AnnData, annotation: Annotation, colors: Sequence[str]) -> Iterator[_Plan]:
    """Figures of the cells."""
    key = annotation.keys.key_added
    for q in range(annotation.n_latent):
        yield _Plan(
            f"latent-{q}",
            "Cells along z" if annotation.n_latent == 1 else f"Cells along z, dimension {q}",
            "Number of cells at each place of the process. Gaps between islands of cells would "
            "mean that there is no continuous process.",
            "Histogram of the latent coordinate of the cells.",
            lambda q=q: pl.latent(adata, dimension=q, key=key, ax=_axes(7.0, 3.0), show=False),
        )
    found = next((name for name in _EMBEDDINGS if name in adata.obsm), None)
    if found is not None:
        yield _Plan(
            "embedding",
            "z on the embedding",
            "Cells coloured by z; the order should run smoothly along the embedding.",
            f"Scatter plot of adata.obsm['{found}'] coloured by z.",
            lambda: pl.latent(adata, basis=found, key=key, ax=_axes(6.4, 4.8), show=False),
        )
    for i, column in enumerate(colors):
        yield _Plan(
            f"column-{i}",
            f"z against {column}",
            f"Cells by z and by the column {column} of obs; bars are medians of categories.",
            f"z of the cells for every value of {column}.",
            lambda column=column: pl.latent(adata, color=column, key=key, show=False),
        )


def _describe(clusters: pd.DataFrame) -> str:
    named = [
        f"cluster {label}, {row['shape']}, {row['n_genes']:,} genes"
        for label, row in clusters.iterrows()
    ]
    return "; ".join(named) + "."


def _axes(width: float, height: float):
    """Axes of a figure of a size that suits the page."""
    return plt.subplots(figsize=(width, height), layout="constrained")[1]


def _realise(plan: _Plan) -> Figure:
    before = set(plt.get_fignums())
    words = (plan.name, plan.title, plan.caption, plan.alt)
    try:
        figure = _figure(plan.draw())
        image, (width, height) = _encode(figure, plan.pixels_per_inch)
        return Figure(*words, image, width, height)
    except (KeyError, ValueError) as error:
        # Our plots name what is missing and the cure.
        return Figure(*words, missing=str(error.args[0] if error.args else error))
    finally:
        for number in set(plt.get_fignums()) - before:
            plt.close(number)


def _figure(axes):
    first = next(iter(axes.values())) if isinstance(axes, dict) else np.ravel(axes)[0]
    return first.get_figure()


def _encode(figure, pixels_per_inch: int) -> tuple[str, tuple[int, int]]:
    """Address of a PNG, and its size on the page."""
    file = io.BytesIO()
    # Without the version of matplotlib, which would be written into it.
    figure.savefig(
        file, dpi=_DPI, bbox_inches="tight", facecolor="white", metadata={"Software": None}
    )
    encoded = base64.b64encode(file.getvalue()).decode("ascii")
    height, width = plt.imread(io.BytesIO(file.getvalue())).shape[:2]
    on_page = tuple(round(side * pixels_per_inch / _DPI) for side in (width, height))
    return f"data:image/png;base64,{encoded}", on_page
