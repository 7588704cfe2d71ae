"""What shifts do: the genes of a cluster before and after they are aligned."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Colormap, ListedColormap, Normalize

from basisvae_scvi.data import DEFAULT_KEY
from basisvae_scvi.get import Annotation
from basisvae_scvi.get import clusters as cluster_table

from ._basis_functions import by_peak, choose_clusters, cluster_title
from ._binning import Cells, is_count_model
from ._figure import finish, panel_axes, tidy

_PANEL_SIZE = (3.0, 2.3)
_MIN_GENES = 2
_N_POINTS = 200
_WHOLE = np.linspace(0.0, 1.0, 256)
# From light green for late genes to violet for early ones: yellow lines are lost on white.
_DARK = np.linspace(0.85, 0.0, 256)


def alignment(
    adata: AnnData,
    *,
    clusters: Sequence[str] | str | None = None,
    n_clusters: int = 6,
    n_genes: int = 40,
    n_bins: int = 25,
    layer: str | None = None,
    size_factor_key: str | None = None,
    cmap: str | None = None,
    key: str = DEFAULT_KEY,
    ax: Axes | Sequence[Axes] | None = None,
    show: bool | None = None,
) -> np.ndarray:
    """Draw the genes of a cluster before and after shifting.

    Two panels per cluster: observed expression in units of the gene's scale, against z and
    against z + δ, with the basis in black. Lines are single genes, coloured by shift. Where shifts
    are right, what was spread on the left lies on the basis on the right.

    Parameters
    ----------
    adata
        Data annotated by ``model.annotate(adata)``.
    clusters
        Clusters to show, in this order; by default the largest that change, ordered by peak.
    n_clusters
        How many by default.
    n_genes
        Genes per cluster at most: those assigned with most confidence, of the genes whose shift is
        identified, and where these are too many those with most counts.
    n_bins
        Bins of equal numbers of cells along z.
    layer, size_factor_key
        As in :func:`gene_trends`.
    cmap
        Colour map of the shifts, from late to early; by default viridis without its pale end.
    key
        The ``key_added`` of the annotation.
    ax
        Axes to draw into, two per cluster.
    show
        Whether to show the figure; by default scanpy's setting for own figures.

    Returns
    -------
    Axes, shape (n_clusters, 2): before and after.

    Raises
    ------
    KeyError
        If the annotation, a cluster, the layer or a column is missing.
    ValueError
        For a model without shifts, data that are not what was fitted, or if ``ax`` does not fit.

    Examples
    --------
    >>> import basisvae_scvi as bv
    >>> axes = bv.pl.alignment(annotated, n_clusters=1, show=False)
    >>> axes[0, 0].get_xlabel(), axes[0, 1].get_xlabel()
    ('z', 'z + δ')
    """
    annotation = Annotation.of(adata, key=key)
    annotation.require_one_dimension("Courses along z")
    annotation.require_shifts("Figures of alignment")
    table = cluster_table(adata, key=key)
    chosen = choose_clusters(table, _largest(table, n_clusters) if clusters is None else clusters)
    cells = Cells.of(
        adata, annotation, layer=layer, size_factor_key=size_factor_key, n_bins=n_bins
    )
    colors = mpl.colormaps["viridis"](_DARK) if cmap is None else mpl.colormaps[cmap](_WHOLE)
    cmap = ListedColormap(colors)
    panels = panel_axes(2 * len(chosen), ax=ax, ncols=2, size=_PANEL_SIZE).reshape(-1, 2)
    for pair, cluster in zip(panels, chosen, strict=True):
        genes, courses = _observed(adata, annotation, cells, cluster, n_genes)
        _draw(pair, annotation, cluster, genes, cells.centers, courses, cmap)
        title = cluster_title(cluster, table.loc[cluster]).replace("\n", " · ")
        pair[0].set_title(f"{title}\nbefore", fontsize="medium", loc="left")
        pair[1].set_title("after shifting", fontsize="medium", loc="left")
    finish(show, is_own_figure=ax is None)
    return panels


def _largest(table: pd.DataFrame, n_clusters: int) -> list[str]:
    if n_clusters < 1:
        raise ValueError(f"n_clusters={n_clusters} must be at least 1.")
    moving = table[(table.index != Annotation.FLAT) & (table["n_genes"] >= _MIN_GENES)]
    if not len(moving):
        raise ValueError("No cluster but the flat one has two genes: there is nothing to align.")
    largest = moving.sort_values("n_genes", ascending=False, kind="stable").index[:n_clusters]
    return [cluster for cluster in by_peak(table) if cluster in largest]


def _observed(
    adata: AnnData, annotation: Annotation, cells: Cells, cluster: str, n_genes: int
) -> tuple[pd.DataFrame, np.ndarray]:
    """Genes to show and their bin means in units of the basis, ``(n_bins, J)``."""
    genes = annotation.genes[annotation.genes["cluster"] == cluster]
    if "shift_identified" in genes and genes["shift_identified"].any():
        genes = genes[genes["shift_identified"]]
    means = cells.means(adata.var_names.get_indexer(genes.index))
    overall = np.nansum(means * cells.counts[:, None], axis=0) / cells.counts.sum()
    order = np.lexsort((-np.abs(overall), -genes["confidence"].round(2).to_numpy()))[:n_genes]
    genes, means = genes.iloc[order], means[:, order]
    unit = genes["scale"].to_numpy().copy()
    if is_count_model(annotation):
        unit = unit * overall[order]
    else:
        # The unit of other tables: what brings the course onto its basis, by least squares.
        basis = annotation.basis_at(cluster, cells.centers[:, None] + genes["shift"].to_numpy())
        unit = (means * basis).sum(0) / np.maximum((basis**2).sum(0), 1e-12)
    return genes, np.divide(means, unit, out=np.full_like(means, np.nan), where=unit != 0)


def _draw(
    pair: np.ndarray,
    annotation: Annotation,
    cluster: str,
    genes: pd.DataFrame,
    z: np.ndarray,
    courses: np.ndarray,
    cmap: Colormap,
) -> None:
    shift = genes["shift"].to_numpy()
    limit = max(float(np.abs(shift).max()), 1e-6)
    norm = Normalize(-limit, limit)
    opacity = float(np.clip(15.0 / max(len(shift), 1), 0.45, 0.9))
    for ax, points in zip(pair, (z[:, None] + 0.0 * shift, z[:, None] + shift), strict=True):
        lines = [np.column_stack(line) for line in zip(points.T, courses.T, strict=True)]
        drawn = LineCollection(lines, cmap=cmap, norm=norm, linewidths=0.9, alpha=opacity)
        drawn.set_array(shift)
        ax.add_collection(drawn)
        x = np.linspace(points.min(), points.max(), _N_POINTS)
        ax.plot(x, annotation.basis_at(cluster, x), color="black", linewidth=1.8, label="basis")
        ax.set_xlim(points.min(), points.max())
        top = np.nanquantile(courses, 0.995) if courses.size else 1.0
        low = min(0.0, float(np.nanquantile(courses, 0.005)))
        ax.set_ylim(low, 1.08 * max(top, annotation.basis_at(cluster, x).max()))
        tidy(ax)
    pair[0].set_xlabel("z")
    pair[1].set_xlabel("z + δ")
    pair[0].set_ylabel("expression / scale")
    bar = pair[1].inset_axes([1.03, 0.0, 0.035, 1.0])
    pair[1].figure.colorbar(mpl.cm.ScalarMappable(norm, cmap), cax=bar)
    bar.tick_params(labelsize="x-small")
    bar.set_ylabel("δ (up: earlier)", fontsize="x-small")
