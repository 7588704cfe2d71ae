"""Observed expression of single genes along z, with what the model says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.axes import Axes
from scipy.special import expit, logit

from basisvae_scvi.data import DEFAULT_KEY, feature_moments
from basisvae_scvi.get import Annotation, credible_band

from ._binning import Cells, is_count_model
from ._colors import MISSING_COLOR, cluster_colors
from ._figure import finish, label_axes, panel_axes, tidy

_N_POINTS = 200
_LEVEL = 0.9
_PANEL_SIZE = (2.8, 2.1)
_YLABELS = {"gaussian": "expression", "bernoulli": "share of cells"}


def gene_trends(
    adata: AnnData,
    genes: Sequence[str] | str,
    *,
    layer: str | None = None,
    size_factor_key: str | None = None,
    n_bins: int = 30,
    ncols: int = 4,
    key: str = DEFAULT_KEY,
    ax: Axes | Sequence[Axes] | None = None,
    show: bool | None = None,
) -> Axes | np.ndarray:
    """Draw observed and fitted expression of genes along z, coloured by cluster.

    Dots are means over bins of equal numbers of cells, Σ counts / Σ size factors, with a bar of
    one standard error to either side. The line is the fit under the gene's cluster: for counts
    m λ b(z + δ), where m is the gene's observed mean; for ``"zinb"`` it is lowered by the share
    of all counts that dropout takes, so that it compares with the dots. Batch factors, which are
    1 on average, are left out. The band is the 90 % credible interval of the line, as in
    :func:`basisvae_scvi.get.trends`, where ``annotate`` has written standard deviations.

    Parameters
    ----------
    adata
        Data annotated by ``model.annotate(adata)``.
    genes
        One or several modelled genes.
    layer
        Layer with the data; by default what the model was fitted to.
    size_factor_key
        Column of ``.obs`` with size factors; by default what the model was fitted with, i.e.
        the column named then, or the observed library of the modelled genes over its median
        (``adata`` must still have all of them).
    n_bins
        Bins of cells; fewer if there are fewer cells.
    ncols
        Panels per row.
    key
        The ``key_added`` of the annotation.
    ax
        Axes to draw into, one per gene.
    show
        Whether to show the figure; by default scanpy's setting for own figures.

    Returns
    -------
    Axes for one gene given as a str, else an array of Axes, shape (n_genes,).

    Raises
    ------
    KeyError
        If the annotation, a gene, the layer or a column is missing.
    ValueError
        For more than one latent dimension, values that are not what was fitted (such as logs in
        the place of counts), or if ``ax`` does not fit.

    Examples
    --------
    >>> import basisvae_scvi as bv
    >>> adata = bv.datasets.simulate_counts(n_obs=80, n_vars=20)
    >>> train_kwargs = {"enable_progress_bar": False}
    >>> bv.tl.basisvae(adata, n_basis=4, max_epochs=2, train_kwargs=train_kwargs)
    >>> ax = bv.pl.gene_trends(adata, adata.var_names[0], show=False)
    """
    annotation = Annotation.of(adata, key=key)
    table = annotation.select(genes)
    if not len(table):
        raise ValueError("genes is empty; name at least one.")
    cells = Cells.of(
        adata, annotation, layer=layer, size_factor_key=size_factor_key, n_bins=n_bins
    )
    values = cells.values(adata.var_names.get_indexer(table.index))
    mean, error = cells.means_and_errors(values)
    z = annotation.points(_N_POINTS)
    courses = [annotation.courses(table, z)]
    has_band = {"shift_sd", "scale_sd"} <= set(annotation.genes)
    if has_band:
        courses += credible_band(annotation, table, z, _LEVEL)
    curves = _fitted(adata, annotation, table, cells, values, np.stack(courses))
    panels = panel_axes(len(table), ax=ax, ncols=ncols, size=_PANEL_SIZE)
    colors = cluster_colors(adata, annotation.keys.cluster)
    for j, (panel, (name, row)) in enumerate(zip(panels, table.iterrows(), strict=True)):
        color = colors.get(row["cluster"], MISSING_COLOR)
        _draw(panel, cells.centers, mean[:, j], error[:, j], color)
        if has_band:
            band = {"color": color, "alpha": 0.22, "linewidth": 0.0, "label": "90 % credible"}
            panel.fill_between(z, curves[1, :, j], curves[2, :, j], **band)
        panel.plot(z, curves[0, :, j], color=color, linewidth=2.0, label="fit")
        panel.set_title(f"{name} · cluster {row['cluster']}", fontsize="medium")
        if values.min() >= 0:
            panel.set_ylim(bottom=0)
    label = _YLABELS.get(annotation.parameter("gene_likelihood"), "normalised counts")
    label_axes(panels, xlabel="z", ylabel=label)
    finish(show, is_own_figure=ax is None)
    return panels[0] if isinstance(genes, str) else panels


def _draw(ax: Axes, z: np.ndarray, mean: np.ndarray, error: np.ndarray, color: str) -> None:
    ax.errorbar(
        z,
        mean,
        yerr=error,
        fmt="o",
        markersize=3.5,
        color=color,
        ecolor=color,
        elinewidth=0.8,
        alpha=0.55,
        markeredgewidth=0,
        label="observed",
    )
    tidy(ax)


def _fitted(
    adata: AnnData,
    annotation: Annotation,
    table: pd.DataFrame,
    cells: Cells,
    values: np.ndarray,
    courses: np.ndarray,
) -> np.ndarray:
    """Courses λ b(z + δ) of the genes, last axis, in units of the data."""
    unit = _units(adata, annotation, table, cells, values)
    curves = unit * courses
    likelihood = annotation.parameter("gene_likelihood")
    if likelihood == "bernoulli":
        return expit(curves)
    if likelihood == "zinb":
        expected = cells.size_factor[:, None] * unit * annotation.courses(table, cells.z)
        total, possible = values.sum(axis=0), expected.sum(axis=0)
        # Dropout only takes counts away; what is left of them is at most all.
        curves = curves * np.divide(
            total, possible, out=np.ones_like(total), where=possible > total
        )
    return curves


def _units(
    adata: AnnData,
    annotation: Annotation,
    table: pd.DataFrame,
    cells: Cells,
    values: np.ndarray,
) -> np.ndarray:
    """What λ b = 1 means in units of the data, shape ``(J,)``."""
    mean = values.sum(axis=0) / max(cells.size_factor.sum(), 1e-12)
    if is_count_model(annotation):
        return mean
    is_flat = (table["cluster"] == Annotation.FLAT).to_numpy()
    if annotation.parameter("gene_likelihood") == "bernoulli":
        margin = 0.5 / len(values)
        return np.where(is_flat, logit(np.clip(mean, margin, 1.0 - margin)), 1.0)
    moments = feature_moments(cells.matrix)
    modelled = adata.var_names.get_indexer(annotation.genes.index)
    size = np.sqrt(np.mean((moments.variance + moments.mean**2)[modelled]))
    return np.where(is_flat, mean, size)
