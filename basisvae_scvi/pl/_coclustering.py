"""Which genes go together, and whether they do so from every start."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.axes import Axes

from basisvae_scvi.data import DEFAULT_KEY
from basisvae_scvi.get import Annotation

from ._colors import cluster_colors
from ._figure import finish, single_axes
from ._gene_rows import MAX_LABELS, draw_clusters, label_rows, ordered_genes

_LABELS = {
    "consensus": "share of {n} restarts in which two genes share a group",
    "assignment": "probability of sharing a basis function",
}
_SIDE = 5.0


def coclustering(
    adata: AnnData,
    *,
    genes: Sequence[str] | None = None,
    source: Literal["consensus", "assignment"] | None = None,
    max_genes: int = 1000,
    gene_labels: bool | None = None,
    cmap: str = "viridis",
    key: str = DEFAULT_KEY,
    ax: Axes | None = None,
    show: bool | None = None,
) -> dict[str, Axes]:
    """Draw how probably pairs of genes share a group.

    Genes × genes, both ordered by cluster and peak. Blocks on the diagonal are clusters; what is
    bright off the diagonal could as well be one cluster, and a pale block is not stable.

    Parameters
    ----------
    adata
        Data annotated by ``model.annotate(adata)``.
    genes
        Genes to show, in any order; by default all that were modelled.
    source
        ``"consensus"``: share of the search's restarts in which two genes have the same group,
        for genes that the search looked at; ``"assignment"``: Σ_k φ_ik φ_jk of the fitted model.
        By default the first if there are several restarts.
    max_genes
        Where there are more genes, every n-th of the order is shown.
    gene_labels
        Whether to write the names; by default for up to 60 genes.
    cmap
        Colour map, from 0 to 1.
    key
        The ``key_added`` of the annotation.
    ax
        Axes to draw into.
    show
        Whether to show the figure; by default scanpy's setting for own figures.

    Returns
    -------
    Axes ``"heatmap"``, ``"clusters"`` (the colour bar of the clusters) and ``"colorbar"``.

    Raises
    ------
    KeyError
        If the annotation, a gene, or the restarts that ``source`` needs are missing.
    ValueError
        For an unknown ``source``, or if no gene is left to show.

    Examples
    --------
    >>> import basisvae_scvi as bv
    >>> axes = bv.pl.coclustering(annotated, show=False)
    >>> axes["heatmap"].images[0].get_array().shape
    (30, 30)
    """
    annotation = Annotation.of(adata, key=key)
    source = _source(adata, annotation, source)
    table = ordered_genes(adata, annotation, genes, key)
    table, values, label, n_dropped = _matrix(adata, annotation, table, source, max_genes)
    has_labels = len(table) <= MAX_LABELS if gene_labels is None else gene_labels
    own_figure = ax is None
    side = max(_SIDE, 0.15 * len(table)) if has_labels else _SIDE
    ax = single_axes(ax, (side + 1.8, side + 0.8))
    axes = {
        "heatmap": ax,
        "clusters": ax.inset_axes([1.015, 0.0, 0.025, 1.0]),
        "colorbar": ax.inset_axes([0.0, 1.0 + 0.12 / side, 0.5, 0.1 / side]),
    }
    n = len(table)
    image = ax.imshow(
        values,
        aspect="auto",
        cmap=cmap,
        vmin=0.0,
        vmax=1.0,
        interpolation="nearest" if n <= MAX_LABELS else "antialiased",
        extent=(0, n, n, 0),
    )
    label_rows(ax, table.index, has_labels)
    ax.set_xticks([])
    if n_dropped:
        ax.set_xlabel(f"{n_dropped:,} genes not shown", fontsize="small")
    colors = cluster_colors(adata, annotation.keys.cluster)
    draw_clusters(axes["clusters"], ax, table, colors, side)
    for line in list(ax.get_lines()):
        ax.axvline(line.get_ydata()[0], color="white", linewidth=line.get_linewidth())
    _draw_colorbar(axes["colorbar"], image, label)
    finish(show, is_own_figure=own_figure)
    return axes


def _source(adata: AnnData, annotation: Annotation, source: str | None) -> str:
    if source not in (None, *_LABELS):
        raise ValueError(f"source={source!r} is unknown; choose one of {list(_LABELS)}.")
    if source is not None:
        return source
    restarts = adata.varm.get(annotation.keys.restarts)
    return "assignment" if restarts is None or restarts.shape[1] < 2 else "consensus"


def _matrix(
    adata: AnnData, annotation: Annotation, table: pd.DataFrame, source: str, max_genes: int
) -> tuple[pd.DataFrame, np.ndarray, str, int]:
    """Genes to show, their matrix, what it is, and how many genes are left out."""
    n_wanted = len(table)
    if source == "assignment":
        cure = "run model.annotate(adata) once more"
        phi = annotation.table(adata, "assignment", what="Probabilities of pairs", cure=cure)
        table = _thinned(table, max_genes)
        values = phi.loc[table.index].to_numpy()
        values = values @ values.T
        np.fill_diagonal(values, 1.0)
        return table, values, _LABELS[source], n_wanted - len(table)
    labels = annotation.table(
        adata,
        "restarts",
        what="Consensus matrices",
        cure="train with n_restarts=2 or more and n_latent=1, then run model.annotate(adata), or "
        "pass source='assignment'",
    )
    # The search looks at a part of the genes where there are very many.
    table = table[labels.loc[table.index].notna().all(axis=1).to_numpy()]
    if not len(table):
        raise ValueError("The search looked at none of these genes; pass source='assignment'.")
    table = _thinned(table, max_genes)
    groups = labels.loc[table.index].to_numpy()
    values = np.mean([column[:, None] == column for column in groups.T], axis=0)
    return table, values, _LABELS[source].format(n=groups.shape[1]), n_wanted - len(table)


def _thinned(table: pd.DataFrame, max_genes: int) -> pd.DataFrame:
    """At most ``max_genes`` of the rows, evenly taken."""
    if max_genes < 1:
        raise ValueError(f"max_genes={max_genes} must be at least 1.")
    if len(table) <= max_genes:
        return table
    return table.iloc[np.linspace(0, len(table) - 1, max_genes).round().astype(int)]


def _draw_colorbar(bar: Axes, image, label: str) -> None:
    image.figure.colorbar(image, cax=bar, orientation="horizontal", ticks=[0.0, 0.5, 1.0])
    bar.xaxis.set_ticks_position("top")
    bar.xaxis.set_label_position("top")
    bar.tick_params(labelsize="x-small")
    bar.set_xlabel(label, fontsize="small", loc="left")
