"""Whether another start would have told the same, and how many bases the data bear."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from basisvae_scvi.data import DEFAULT_KEY
from basisvae_scvi.get import Annotation
from basisvae_scvi.get import clusters as cluster_table

from ._basis_functions import by_peak
from ._colors import MISSING_COLOR, cluster_colors
from ._comparison import comparison as draw_comparison
from ._figure import finish, panel_axes, say, tidy

_HOW_TO_GET = "train with n_restarts=2 or more\n(n_latent=1), then model.annotate(adata)"


def stability(
    adata: AnnData,
    comparison: pd.DataFrame | None = None,
    *,
    key: str = DEFAULT_KEY,
    ax: Axes | Sequence[Axes] | None = None,
    show: bool | None = None,
) -> dict[str, Axes]:
    """Draw how far the restarts of the search agree, and how many bases the data bear.

    Left, the bound of every restart relative to the best, and the number of groups it found.
    Right, the stability of the genes of each cluster (see :func:`basisvae_scvi.get.genes`): a dot
    per gene, a box over the middle half, a line at the median. With ``comparison``, a third panel
    shows the held-out log likelihood of the settings compared, e.g. of numbers of bases.

    Parameters
    ----------
    adata
        Data annotated by ``model.annotate(adata)``.
    comparison
        Result of :func:`basisvae_scvi.tl.compare`, e.g. with ``{"n_basis": [5, 10, 20, 50]}``.
    key
        The ``key_added`` of the annotation.
    ax
        Axes to draw into, two, or three with ``comparison``.
    show
        Whether to show the figure; by default scanpy's setting for own figures.

    Returns
    -------
    Axes ``"restarts"``, ``"clusters"`` and, if given, ``"comparison"``. Where something was not
    annotated, the panel says so.

    Raises
    ------
    KeyError
        If the annotation is missing.
    ValueError
        If ``ax`` does not fit, or ``comparison`` is another table.

    Examples
    --------
    >>> import basisvae_scvi as bv
    >>> sorted(bv.pl.stability(annotated, show=False))
    ['clusters', 'restarts']
    """
    annotation = Annotation.of(adata, key=key)
    table = cluster_table(adata, key=key)
    names = ["restarts", "clusters", *(["comparison"] if comparison is not None else [])]
    height = float(np.clip(0.9 + 0.24 * len(table), 2.8, 9.0))
    panels = panel_axes(len(names), ax=ax, ncols=3, size=(3.6, height))
    axes = dict(zip(names, panels, strict=True))
    _draw_restarts(axes["restarts"], adata, annotation)
    _draw_clusters(axes["clusters"], adata, annotation, table)
    if comparison is not None:
        draw_comparison(comparison, ax=axes["comparison"], show=False)
        axes["comparison"].set_title("settings", fontsize="medium")
    finish(show, is_own_figure=ax is None)
    return axes


def _draw_restarts(ax: Axes, adata: AnnData, annotation: Annotation) -> None:
    bounds = adata.uns[annotation.keys.uns].get("restart_bounds")
    labels = adata.varm.get(annotation.keys.restarts)
    if bounds is None or labels is None:
        say(ax, f"no restarts:\n{_HOW_TO_GET}")
        return
    bounds = np.asarray(bounds, dtype=float)
    labels = pd.DataFrame(labels).to_numpy()
    n_groups = [len(np.unique(column[np.isfinite(column)])) for column in labels.T]
    order = np.argsort(-bounds, kind="stable")
    place = np.arange(len(bounds))
    ax.plot(place, bounds[order] - bounds.max(), "o", color="#4477AA", markersize=6)
    names = [f"{i}\n({n_groups[i]})" for i in order]
    ax.set_xticks(place, names, fontsize="small" if len(bounds) <= 12 else "x-small")
    ax.set_xlim(-0.6, len(bounds) - 0.4)
    lowest = float((bounds - bounds.max()).min())
    ax.set_ylim(min(1.15 * lowest, -1.0), max(-0.08 * lowest, 0.1))
    ax.axhline(0.0, color="0.8", linewidth=1.0, zorder=0)
    ax.set_xlabel("restart (groups found, the flat one included)")
    ax.set_ylabel("bound relative to the best (nats)")
    ax.set_title("restarts", fontsize="medium")
    ax.yaxis.set_major_locator(MaxNLocator(5))
    tidy(ax)


def _draw_clusters(ax: Axes, adata: AnnData, annotation: Annotation, table: pd.DataFrame) -> None:
    genes = annotation.genes
    if "stability" not in genes:
        say(ax, f"no stability:\n{_HOW_TO_GET}")
        return
    order = by_peak(table)
    values = [genes.loc[genes["cluster"] == c, "stability"].dropna().to_numpy() for c in order]
    colors = cluster_colors(adata, annotation.keys.cluster)
    drawn = ax.boxplot(
        values,
        orientation="horizontal",
        positions=np.arange(len(order)),
        widths=0.6,
        patch_artist=True,
        showfliers=False,
        medianprops={"color": "black", "linewidth": 1.4},
        manage_ticks=False,
    )
    for box, cluster in zip(drawn["boxes"], order, strict=True):
        box.set(facecolor=colors.get(cluster, MISSING_COLOR), alpha=0.5, edgecolor="0.3")
    rng = np.random.default_rng(0)
    for row, (cluster, own) in enumerate(zip(order, values, strict=True)):
        ax.scatter(
            own,
            row + rng.uniform(-0.25, 0.25, len(own)),
            s=5,
            color=colors.get(cluster, MISSING_COLOR),
            alpha=0.5,
            linewidths=0,
            rasterized=True,
        )
        if not len(own):
            ax.text(0.5, row, "not searched", ha="center", va="center", fontsize="x-small")
    shape = table["shape"].astype(object)
    labels = [c if pd.isna(shape[c]) else f"{c} · {shape[c]}" for c in order]
    names = [
        f"{label} ({table.loc[c, 'n_genes']:,})" for label, c in zip(labels, order, strict=True)
    ]
    ax.set_yticks(
        np.arange(len(order)), names, fontsize="small" if len(order) <= 25 else "x-small"
    )
    ax.set_ylim(len(order) - 0.4, -0.6)
    ax.set_xlim(-0.02, 1.02)
    ax.set_xlabel("stability of the genes")
    ax.set_title("clusters", fontsize="medium")
    ax.tick_params(axis="y", length=0)
    tidy(ax)
