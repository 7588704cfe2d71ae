"""How sure the model is of the groups: φ as a heat map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.axes import Axes

from basisvae_scvi.data import DEFAULT_KEY
from basisvae_scvi.get import Annotation
from basisvae_scvi.get import clusters as cluster_table

from ._basis_functions import by_peak
from ._colors import cluster_colors
from ._figure import finish, single_axes
from ._gene_rows import MAX_LABELS, draw_clusters, label_rows, ordered_genes, rows_height

# Bases that no gene has with more probability than this are left out.
_NEXT_TO_NOTHING = 0.01
_MANY_COLUMNS = 25


def assignments(
    adata: AnnData,
    *,
    genes: Sequence[str] | None = None,
    gene_labels: bool | None = None,
    cmap: str = "Blues",
    key: str = DEFAULT_KEY,
    ax: Axes | None = None,
    show: bool | None = None,
) -> dict[str, Axes]:
    """Draw the probabilities φ of genes and basis functions.

    Rows are genes by cluster, and within a cluster from sure to unsure; columns are bases in the
    order of their peaks, the flat one last. Bases without genes are left out. A sure fit has one
    dark block per cluster; a gene with two pale cells could be in either.

    Parameters
    ----------
    adata
        Data annotated by ``model.annotate(adata)``.
    genes
        Genes to show, in any order; by default all that were modelled.
    gene_labels
        Whether to write the names; by default for up to 60 genes.
    cmap
        Colour map of φ, from 0 to 1.
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
        If the annotation or a gene is missing.
    ValueError
        If ``genes`` is empty.

    Examples
    --------
    >>> import basisvae_scvi as bv
    >>> sorted(bv.pl.assignments(annotated, show=False))
    ['clusters', 'colorbar', 'heatmap']
    """
    annotation = Annotation.of(adata, key=key)
    phi = annotation.table(
        adata, "assignment", what="Assignments", cure="run model.annotate(adata) once more"
    )
    table = ordered_genes(adata, annotation, genes, key)
    rank = pd.factorize(table["cluster"].astype(object))[0]
    table = table.iloc[np.lexsort((-table["confidence"].to_numpy(), rank))]
    columns, n_left_out = _columns(phi, by_peak(cluster_table(adata, key=key)))
    shown = phi.loc[table.index, columns].to_numpy()
    has_labels = len(table) <= MAX_LABELS if gene_labels is None else gene_labels
    height = rows_height(len(table), has_labels)
    own_figure = ax is None
    width = float(np.clip(0.3 * len(columns), 2.2, 6.0))
    ax = single_axes(ax, (width + 1.8, height + 1.0))
    axes = {
        "heatmap": ax,
        "clusters": ax.inset_axes([1.0 + 0.08 / width, 0.0, 0.15 / width, 1.0]),
        "colorbar": ax.inset_axes([0.0, 1.0 + 0.12 / height, min(1.0, 1.8 / width), 0.1 / height]),
    }
    image = ax.imshow(
        shown,
        aspect="auto",
        cmap=cmap,
        vmin=0.0,
        vmax=1.0,
        interpolation="antialiased" if len(table) > MAX_LABELS else "nearest",
        extent=(0, len(columns), len(table), 0),
    )
    label_rows(ax, table.index, has_labels)
    size = "small" if len(columns) <= _MANY_COLUMNS else "xx-small"
    ax.set_xticks(np.arange(len(columns)) + 0.5, columns, fontsize=size)
    left_out = f"\n({n_left_out} without genes not shown)" if n_left_out else ""
    ax.set_xlabel(f"basis function{left_out}")
    colors = cluster_colors(adata, annotation.keys.cluster)
    draw_clusters(axes["clusters"], ax, table, colors, height, line_color="0.75")
    _draw_colorbar(axes["colorbar"], image)
    finish(show, is_own_figure=own_figure)
    return axes


def _columns(phi: pd.DataFrame, used: list[str]) -> tuple[list[str], int]:
    """Bases to show, those in use first, and how many are left out."""
    rest = [k for k in phi.columns if k not in used and phi[k].max() > _NEXT_TO_NOTHING]
    return [*used, *rest], phi.shape[1] - len(used) - len(rest)


def _draw_colorbar(bar: Axes, image) -> None:
    image.figure.colorbar(image, cax=bar, orientation="horizontal", ticks=[0.0, 0.5, 1.0])
    bar.xaxis.set_ticks_position("top")
    bar.xaxis.set_label_position("top")
    bar.tick_params(labelsize="x-small")
    bar.set_xlabel("probability φ", fontsize="small")
