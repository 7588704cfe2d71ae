"""Shifts and scales of the genes of each cluster, with what is known of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from basisvae_scvi.data import DEFAULT_KEY
from basisvae_scvi.get import Annotation
from basisvae_scvi.get import clusters as cluster_table

from ._basis_functions import by_peak, choose_clusters, cluster_title
from ._colors import MISSING_COLOR, cluster_colors
from ._figure import finish, outside_legend, panel_axes, tidy

_MAX_NAMES = 40
_PANEL_WIDTH = 2.7
# Inches for title and axis, and for the name of a gene.
_MARGIN, _LINE = 0.9, 0.16
_OPEN_COLOR = "0.6"
# Over less than this factor, the ticks of a logarithmic axis are those of a linear one.
_NARROW = 6.0
_HOW_TO_GET_INTERVALS = "no intervals: run model.annotate(adata, intervals=True)"


def shifts(
    adata: AnnData,
    *,
    clusters: Sequence[str] | str | None = None,
    gene_labels: bool | None = None,
    ncols: int = 4,
    key: str = DEFAULT_KEY,
    ax: Axes | Sequence[Axes] | None = None,
    show: bool | None = None,
) -> np.ndarray:
    """Draw the order in time of the genes of each cluster: shifts δ with 90 % intervals.

    One panel per cluster, genes from early (top) to late. The axis of δ runs backwards, so that
    earlier genes lie to the left, as along z. Hollow grey dots are genes whose shift the data do
    not tell. Intervals that leave the panel are cut off.

    Parameters
    ----------
    adata
        Data annotated by ``model.annotate(adata)``.
    clusters
        Clusters to show, in this order; by default all but the flat one, ordered by peak.
    gene_labels
        Whether to write the names; by default in panels that have room for them.
    ncols
        Panels per row.
    key
        The ``key_added`` of the annotation.
    ax
        Axes to draw into, one per panel.
    show
        Whether to show the figure; by default scanpy's setting for own figures.

    Returns
    -------
    Axes, shape (n_panels,).

    Raises
    ------
    KeyError
        If the annotation is missing, or a cluster has no genes.
    ValueError
        If the model has no shifts, all genes are flat, or ``ax`` does not fit.

    Examples
    --------
    >>> import basisvae_scvi as bv
    >>> axes = bv.pl.shifts(annotated, show=False)
    >>> bool(axes[0].xaxis_inverted())
    True
    """
    annotation = Annotation.of(adata, key=key)
    annotation.require_shifts("Figures of shifts")
    panels = _draw_panels(adata, annotation, "shift", clusters, gene_labels, ncols, ax)
    for panel in panels:
        panel.axvline(0.0, color="0.8", linewidth=0.8, zorder=0)
        panel.invert_xaxis()
        panel.set_xlabel("shift δ (early to late)")
    finish(show, is_own_figure=ax is None)
    return panels


def scales(
    adata: AnnData,
    *,
    clusters: Sequence[str] | str | None = None,
    gene_labels: bool | None = None,
    ncols: int = 4,
    key: str = DEFAULT_KEY,
    ax: Axes | Sequence[Axes] | None = None,
    show: bool | None = None,
) -> np.ndarray:
    """Draw how strongly the genes of each cluster follow its shape: scales λ with 90 % intervals.

    One panel per cluster, genes from large (top) to small λ, on a logarithmic axis. For counts,
    λ = 1 means that the gene's mean is that of its basis.

    Parameters
    ----------
    adata
        Data annotated by ``model.annotate(adata)``.
    clusters
        Clusters to show, in this order; by default all but the flat one, ordered by peak.
    gene_labels
        Whether to write the names; by default in panels that have room for them.
    ncols
        Panels per row.
    key
        The ``key_added`` of the annotation.
    ax
        Axes to draw into, one per panel.
    show
        Whether to show the figure; by default scanpy's setting for own figures.

    Returns
    -------
    Axes, shape (n_panels,).

    Raises
    ------
    KeyError
        If the annotation is missing, or a cluster has no genes.
    ValueError
        If all genes are flat, or ``ax`` does not fit.

    Examples
    --------
    >>> import basisvae_scvi as bv
    >>> axes = bv.pl.scales(annotated, show=False)
    >>> axes[0].get_xscale()
    'log'
    """
    annotation = Annotation.of(adata, key=key)
    panels = _draw_panels(adata, annotation, "scale", clusters, gene_labels, ncols, ax)
    for panel in panels:
        panel.set_xscale("log")
        low, high = panel.get_xlim()
        is_narrow = high < _NARROW * low
        wide = LogLocator(subs=(1.0, 2.0, 5.0), numticks=7)
        panel.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]) if is_narrow else wide)
        panel.xaxis.set_major_formatter("{x:g}")
        panel.xaxis.set_minor_locator(NullLocator())
        panel.axvline(1.0, color="0.8", linewidth=0.8, zorder=0)
        panel.set_xlabel("scale λ")
    finish(show, is_own_figure=ax is None)
    return panels


def _draw_panels(
    adata: AnnData,
    annotation: Annotation,
    name: str,
    clusters: Sequence[str] | str | None,
    gene_labels: bool | None,
    ncols: int,
    ax,
) -> np.ndarray:
    table = cluster_table(adata, key=annotation.keys.key_added)
    if clusters is None:
        clusters = [c for c in by_peak(table) if c != Annotation.FLAT]
        if not clusters:
            raise ValueError("All genes are flat: there is no cluster to show.")
    chosen = choose_clusters(table, clusters)
    genes = annotation.genes
    members = [genes[genes["cluster"] == c].sort_values(name, ascending=False) for c in chosen]
    most = max(map(len, members))
    fits = most <= _MAX_NAMES if gene_labels is None else gene_labels
    height = float(np.clip(_MARGIN + _LINE * most, 2.2, 7.5 if fits else 3.6))
    room = (height - _MARGIN) / _LINE + 0.5
    panels = panel_axes(len(chosen), ax=ax, ncols=ncols, size=(_PANEL_WIDTH, height))
    colors = cluster_colors(adata, annotation.keys.cluster)
    for panel, cluster, rows in zip(panels, chosen, members, strict=True):
        has_names = len(rows) <= room if gene_labels is None else gene_labels
        _draw(panel, rows, name, colors.get(cluster, MISSING_COLOR), has_names)
        panel.set_title(cluster_title(cluster, table.loc[cluster]), fontsize="medium")
    outside_legend(panels, _handles(genes, name), is_own_figure=ax is None)
    return panels


def _draw(ax: Axes, rows: pd.DataFrame, name: str, color: str, has_names: bool) -> None:
    place, value = np.arange(len(rows)), rows[name].to_numpy()
    told = _is_told(rows, name)
    # Many genes: thin pale intervals, behind dots that stay visible.
    size = float(np.clip(140.0 / max(len(rows), 1), 1.6, 5.0))
    width, opacity = np.clip(60.0 / max(len(rows), 1), [0.3, 0.3], [0.9, 0.6])
    if f"{name}_lower" in rows:
        lower, upper = rows[f"{name}_lower"].to_numpy(), rows[f"{name}_upper"].to_numpy()
        lower = np.maximum(lower, 1e-3) if name == "scale" else lower
        line_colors = np.where(told, color, _OPEN_COLOR)
        ax.hlines(place, lower, upper, colors=list(line_colors), linewidth=width, alpha=opacity)
    style = {"linestyle": "none", "marker": "o", "markersize": size, "rasterized": len(rows) > 500}
    edge = min(0.8, 0.25 * size)
    hollow = {"markerfacecolor": "white", "markeredgecolor": _OPEN_COLOR, "markeredgewidth": edge}
    ax.plot(value[~told], place[~told], **hollow, **style)
    ax.plot(value[told], place[told], color=color, markeredgewidth=0, **style)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    _set_range(ax, rows, name, told)
    if has_names:
        ax.set_yticks(place, list(rows.index), fontsize="x-small")
    else:
        ax.set_yticks([])
    ax.tick_params(axis="y", length=0)
    tidy(ax)


def _is_told(rows: pd.DataFrame, name: str) -> np.ndarray:
    """Whether the data tell the value; of λ they always do."""
    if name == "scale" or "shift_identified" not in rows:
        return np.ones(len(rows), dtype=bool)
    return rows["shift_identified"].to_numpy(dtype=bool)


def _set_range(ax: Axes, rows: pd.DataFrame, name: str, told: np.ndarray) -> None:
    """Span all dots, and the intervals of most of the genes that are told."""
    value = rows[name].to_numpy()
    low, high = value.min(), value.max()
    if f"{name}_lower" in rows and told.any():
        low = min(low, np.nanquantile(rows[f"{name}_lower"][told], 0.02))
        high = max(high, np.nanquantile(rows[f"{name}_upper"][told], 0.98))
    if name == "scale":
        low = max(low, 0.2 * value.min(), 1e-3)
        ax.set_xlim(low / 1.15, high * 1.15)
    else:
        margin = 0.06 * (high - low) or 0.1
        ax.set_xlim(low - margin, high + margin)


def _handles(genes: pd.DataFrame, name: str) -> list[Line2D]:
    """What dots and lines mean, as far as there are any."""
    dot = {"linestyle": "none", "marker": "o", "markersize": 4}
    if f"{name}_lower" not in genes:
        return [Line2D([], [], color="0.3", label=_HOW_TO_GET_INTERVALS, **dot)]
    line = {**dot, "linestyle": "-"}
    handles = [Line2D([], [], color="0.3", label="gene, 90 % interval", **line)]
    if name == "shift" and "shift_identified" in genes:
        open_ = {"markerfacecolor": "white", "color": _OPEN_COLOR}
        handles.append(Line2D([], [], label="shift not identified", **line, **open_))
    return handles
