"""All genes at once: expression along z, by cluster and peak."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from anndata import AnnData
from matplotlib.axes import Axes

from basisvae_scvi.data import DEFAULT_KEY
from basisvae_scvi.get import Annotation

from ._binning import Cells, is_count_model
from ._colors import cluster_colors
from ._figure import finish, single_axes
from ._gene_rows import MAX_LABELS, draw_clusters, label_rows, ordered_genes, rows_height

_QUARTERS = np.linspace(0.0, 1.0, 5)
# Colours span all but this share of the values at either end.
_TAIL = 0.01


def heatmap(
    adata: AnnData,
    *,
    genes: Sequence[str] | None = None,
    layer: str | None = None,
    size_factor_key: str | None = None,
    n_bins: int = 100,
    values: Literal["zscore", "relative"] = "zscore",
    gene_labels: bool | None = None,
    cmap: str | None = None,
    key: str = DEFAULT_KEY,
    ax: Axes | None = None,
    show: bool | None = None,
) -> dict[str, Axes]:
    """Draw expression of many genes along z, genes ordered by cluster and peak.

    Columns are bins of equal numbers of cells in the order of z, rows are genes, with clusters in
    the order of their peaks and the flat one last. Colours saturate at the outermost 1 % of the
    values.

    Parameters
    ----------
    adata
        Data annotated by ``model.annotate(adata)``.
    genes
        Genes to show, in any order; by default all that were modelled.
    layer
        Layer with the data; by default what the model was fitted to.
    size_factor_key
        Column of ``.obs`` with size factors; by default what the model was fitted with (see
        :func:`gene_trends`).
    n_bins
        Columns; fewer if there are fewer cells.
    values
        ``"zscore"``: bin means of normalised expression, per gene centred and scaled to standard
        deviation 1 over the bins; ``"relative"``: bin means in units of the gene's mean, for
        counts.
    gene_labels
        Whether to write the names; by default for up to 60 genes.
    cmap
        Colour map; by default ``"RdBu_r"`` for z-scores and ``"viridis"`` for relative values.
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
        If the annotation, a gene, the layer or a column is missing.
    ValueError
        For more than one latent dimension, data that are not what was fitted, or an unknown or
        unsuitable ``values``.

    Examples
    --------
    >>> import basisvae_scvi as bv
    >>> adata = bv.datasets.simulate_counts(n_obs=80, n_vars=20)
    >>> train_kwargs = {"enable_progress_bar": False}
    >>> bv.tl.basisvae(adata, n_basis=4, max_epochs=2, train_kwargs=train_kwargs)
    >>> sorted(bv.pl.heatmap(adata, show=False))
    ['clusters', 'colorbar', 'heatmap']
    """
    annotation = Annotation.of(adata, key=key)
    _check_values(values, annotation)
    table = ordered_genes(adata, annotation, genes, key)
    cells = Cells.of(
        adata, annotation, layer=layer, size_factor_key=size_factor_key, n_bins=n_bins
    )
    means = cells.means(adata.var_names.get_indexer(table.index)).T
    shown = _standardised(means) if values == "zscore" else _relative(means, cells)
    own_figure = ax is None
    has_labels = len(table) <= MAX_LABELS if gene_labels is None else gene_labels
    height = rows_height(len(table), has_labels)
    ax = single_axes(ax, (6.0, height + 1.0))
    axes = {
        "heatmap": ax,
        "clusters": ax.inset_axes([1.015, 0.0, 0.025, 1.0]),
        "colorbar": ax.inset_axes([0.6, 1.0 + 0.12 / height, 0.4, 0.1 / height]),
    }
    image = _draw_image(ax, shown, values, cmap)
    label_rows(ax, table.index, has_labels)
    _label_columns(ax, cells.z, shown.shape[1])
    colors = cluster_colors(adata, annotation.keys.cluster)
    draw_clusters(axes["clusters"], ax, table, colors, height)
    _draw_colorbar(axes["colorbar"], image, values)
    finish(show, is_own_figure=own_figure)
    return axes


def _check_values(values: str, annotation: Annotation) -> None:
    if values not in ("zscore", "relative"):
        raise ValueError(f"values={values!r} is unknown; choose one of ['zscore', 'relative'].")
    if values == "relative" and not is_count_model(annotation):
        raise ValueError("values='relative' needs a model of counts; use values='zscore'.")


def _standardised(means: np.ndarray) -> np.ndarray:
    centred = means - np.nanmean(means, axis=1, keepdims=True)
    spread = np.nanstd(centred, axis=1, keepdims=True)
    return np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 0)


def _relative(means: np.ndarray, cells: Cells) -> np.ndarray:
    weight = cells.bins @ cells.size_factor
    overall = np.nansum(means * weight, axis=1, keepdims=True) / weight.sum()
    return np.divide(means, overall, out=np.zeros_like(means), where=overall > 0)


def _draw_image(ax: Axes, shown: np.ndarray, values: str, cmap: str | None):
    if values == "zscore":
        limit = float(np.nanquantile(np.abs(shown), 1.0 - _TAIL)) or 1.0
        low, high, default = -limit, limit, "RdBu_r"
    else:
        low, high, default = 0.0, float(np.nanquantile(shown, 1.0 - _TAIL)) or 1.0, "viridis"
    # Averaging of neighbouring rows keeps 7,000 genes on 600 pixels truthful.
    return ax.imshow(
        shown,
        aspect="auto",
        cmap=default if cmap is None else cmap,
        vmin=low,
        vmax=high,
        interpolation="antialiased",
        extent=(0, shown.shape[1], shown.shape[0], 0),
    )


def _label_columns(ax: Axes, z: np.ndarray, n_bins: int) -> None:
    values = np.round(np.quantile(z, _QUARTERS), 1) + 0.0  # no "−0.0"
    labels = [f"{value:.1f}".replace("-", "−") for value in values]
    ax.set_xticks(_QUARTERS * n_bins, labels)
    ax.set_xlabel("z (columns hold equal numbers of cells)")


def _draw_colorbar(bar: Axes, image, values: str) -> None:
    extend = "both" if values == "zscore" else "max"
    image.figure.colorbar(image, cax=bar, orientation="horizontal", extend=extend)
    bar.xaxis.set_ticks_position("top")
    bar.xaxis.set_label_position("top")
    bar.tick_params(labelsize="x-small")
    label = "expression, z-score per gene" if values == "zscore" else "expression / gene's mean"
    bar.set_xlabel(label, fontsize="small")
