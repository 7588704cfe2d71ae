"""Genes as rows of a matrix: their order, their names and the bar of their clusters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from basisvae_scvi.get import Annotation
from basisvae_scvi.get import clusters as cluster_table
from basisvae_scvi.get import genes as gene_table

from ._basis_functions import by_peak
from ._colors import MISSING_COLOR

MAX_LABELS = 60
_MANY_CLUSTERS = 20


def ordered_genes(
    adata: AnnData, annotation: Annotation, genes: Sequence[str] | None, key: str
) -> pd.DataFrame:
    """Rows of :func:`basisvae_scvi.get.genes`, clusters in the order of figures.

    Raises
    ------
    KeyError
        For genes that were not modelled.
    ValueError
        If ``genes`` is empty.
    """
    table = gene_table(adata, key=key)
    if genes is not None:
        table = table[table.index.isin(annotation.select(genes).index)]
    if not len(table):
        raise ValueError("genes is empty; name at least one.")
    rank = {c: i for i, c in enumerate(by_peak(cluster_table(adata, key=key)))}
    return table.iloc[np.argsort(table["cluster"].astype(object).map(rank), kind="stable")]


def rows_height(n_genes: int, has_labels: bool) -> float:
    """Height of the heat map in inches: room for names if there are any."""
    return float(np.clip(0.17 * n_genes, 1.6, 40.0)) if has_labels else 6.0


def label_rows(ax: Axes, names: pd.Index, has_labels: bool) -> None:
    """Names of the genes, or how many there are."""
    if has_labels:
        ax.set_yticks(np.arange(len(names)) + 0.5, list(names), fontsize="x-small")
    else:
        ax.set_yticks([])
        ax.set_ylabel(f"{len(names):,} genes")
    ax.tick_params(axis="y", length=0)


def draw_clusters(
    strip: Axes,
    ax: Axes,
    table: pd.DataFrame,
    colors: dict[str, str],
    height: float,
    *,
    line_color: str = "white",
) -> None:
    """Colour bar of the clusters, their names beside it, and lines between them."""
    labels = table["cluster"].astype(object).to_numpy()
    rgb = [to_rgb(colors.get(c, MISSING_COLOR)) for c in labels]
    strip.imshow(
        np.array(rgb)[:, None],
        aspect="auto",
        interpolation="nearest",
        extent=(0, 1, len(labels), 0),
    )
    edges = np.flatnonzero(labels[1:] != labels[:-1]) + 1
    starts, ends = np.r_[0, edges], np.r_[edges, len(labels)]
    width = 0.8 if len(edges) < _MANY_CLUSTERS else 0.4
    for edge in edges:
        ax.axhline(edge, color=line_color, linewidth=width)
    shapes = table["shape"].astype(object).to_numpy()
    centers = (starts + ends) / 2
    names = [labels[i] if pd.isna(shapes[i]) else f"{labels[i]} · {shapes[i]}" for i in starts]
    # Line heights in inches, turned into rows.
    size, line = ("small", 0.16) if len(starts) <= _MANY_CLUSTERS else ("x-small", 0.13)
    kept = _apart(centers, ends - starts, gap=line * len(labels) / height)
    strip.yaxis.tick_right()
    strip.set_yticks(centers[kept], [names[i] for i in kept], fontsize=size)
    strip.set_xticks([])
    strip.tick_params(axis="y", length=0)
    strip.spines[:].set_visible(False)


def _apart(centers: np.ndarray, sizes: np.ndarray, gap: float) -> np.ndarray:
    """Indices of labels at least ``gap`` apart, larger clusters first."""
    kept: list[int] = []
    for i in np.argsort(-sizes, kind="stable"):
        if all(abs(centers[i] - centers[j]) >= gap for j in kept):
            kept.append(int(i))
    return np.sort(np.array(kept, dtype=int))
