"""The shapes that the model found, and the genes that follow them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from basisvae_scvi.data import DEFAULT_KEY
from basisvae_scvi.get import Annotation
from basisvae_scvi.get import clusters as cluster_table

from ._colors import MISSING_COLOR, cluster_colors
from ._figure import finish, label_axes, panel_axes, tidy
from ._plane import draw_basis

_N_POINTS = 200
_PANEL_SIZE = (2.6, 2.2)
_YLABELS = {"gaussian": "expression / r.m.s.", "bernoulli": "logit"}


def basis_functions(
    adata: AnnData,
    *,
    clusters: Sequence[str] | str | None = None,
    n_genes: int = 100,
    ncols: int = 4,
    key: str = DEFAULT_KEY,
    ax: Axes | Sequence[Axes] | None = None,
    show: bool | None = None,
) -> np.ndarray:
    """Draw the basis function of every cluster over the courses of its genes.

    One panel per cluster in use, ordered by where the basis peaks, the flat cluster last. Thin
    lines are λ b(z + δ) of single genes, in units of the gene's mean; the thick line is the basis
    itself. Panels have their own vertical axes, from 0 for counts.

    With several latent dimensions a panel shows the basis as colour in the plane of the first two.

    Parameters
    ----------
    adata
        Data annotated by ``model.annotate(adata)``.
    clusters
        Clusters to show, in this order; by default all that have genes.
    n_genes
        Thin lines per panel at most: the genes assigned with most confidence.
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
        If ``ax`` does not fit.

    Examples
    --------
    >>> import basisvae_scvi as bv
    >>> adata = bv.datasets.simulate_counts(n_obs=80, n_vars=20)
    >>> train_kwargs = {"enable_progress_bar": False}
    >>> bv.tl.basisvae(adata, n_basis=4, max_epochs=2, train_kwargs=train_kwargs)
    >>> axes = bv.pl.basis_functions(adata, show=False)
    """
    annotation = Annotation.of(adata, key=key)
    table = cluster_table(adata, key=key)
    chosen = choose_clusters(table, clusters)
    colors = cluster_colors(adata, annotation.keys.cluster)
    panels = panel_axes(len(chosen), ax=ax, ncols=ncols, size=_PANEL_SIZE)
    likelihood = annotation.parameter("gene_likelihood")
    label = _YLABELS.get(likelihood, "relative expression")
    for panel, cluster in zip(panels, chosen, strict=True):
        panel.set_title(cluster_title(cluster, table.loc[cluster]), fontsize="medium")
        if annotation.n_latent > 1:
            draw_basis(panel, annotation.grid, annotation.basis[:, int(cluster)], label)
            continue
        z = annotation.points(_N_POINTS)
        genes = annotation.genes[annotation.genes["cluster"] == cluster]
        genes = genes.sort_values("confidence", ascending=False, kind="stable")[:n_genes]
        _draw(panel, annotation, cluster, genes, z, colors.get(cluster, MISSING_COLOR))
    if annotation.n_latent > 1:
        label_axes(panels, xlabel="z, dimension 0", ylabel="z, dimension 1")
    else:
        label_axes(panels, xlabel="z", ylabel=label)
    finish(show, is_own_figure=ax is None)
    return panels


def by_peak(table: pd.DataFrame) -> list[str]:
    """Clusters in the order of figures: by peak, flat ones last, ties by number."""
    order = np.lexsort((table.index.astype(int), table["peak"].fillna(np.inf)))
    return list(table.index[order])


def choose_clusters(table: pd.DataFrame, clusters: Sequence[str] | str | None) -> list[str]:
    """The clusters asked for, or all in the order of figures.

    Raises
    ------
    KeyError
        If one has no genes, or none is named.
    """
    if clusters is None:
        return by_peak(table)
    chosen = [clusters] if isinstance(clusters, str) else [str(c) for c in clusters]
    unknown = [c for c in chosen if c not in table.index]
    if unknown or not chosen:
        raise KeyError(
            f"clusters={chosen}: no genes in {', '.join(unknown) or 'an empty list'}; clusters "
            f"with genes are {', '.join(table.index)}."
        )
    return chosen


def cluster_title(cluster: str, row: pd.Series) -> str:
    """Number, shape and size of a cluster, for its panel."""
    n = row["n_genes"]
    shape = "" if pd.isna(row["shape"]) else f" · {row['shape']}"
    return f"cluster {cluster}{shape}\n{n:,} gene{'' if n == 1 else 's'}"


def _draw(
    ax: Axes,
    annotation: Annotation,
    cluster: str,
    genes: pd.DataFrame,
    z: np.ndarray,
    color: str,
) -> None:
    courses = annotation.courses(genes, z)
    lines = [np.column_stack([z, course]) for course in courses.T]
    opacity = float(np.clip(10.0 / max(len(lines), 1), 0.25, 0.5))
    ax.add_collection(
        LineCollection(lines, colors=color, linewidths=0.6, alpha=opacity, label="genes")
    )
    basis = annotation.basis_at(cluster, z)
    ax.plot(z, basis, color=color, linewidth=2.2, label="basis")
    ax.autoscale_view()
    ax.set_xlim(z[0], z[-1])
    highest = max(courses.max(), basis.max())
    if courses.min() >= 0 and highest > 0:
        ax.set_ylim(0, 1.08 * highest)
    tidy(ax)
