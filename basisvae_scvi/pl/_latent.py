"""The order of the cells: z by itself, against what is known of them, or on an embedding."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.axes import Axes

from basisvae_scvi.data import DEFAULT_KEY, check_obs_key, numbers
from basisvae_scvi.get import Annotation

from ._colors import category_colors
from ._figure import finish, single_axes, tidy
from ._plane import as_categories, draw_plane, is_number

_ROW_HEIGHT = 0.35
_HISTOGRAM_COLOR = "#4477AA"


def latent(
    adata: AnnData,
    *,
    color: str | None = None,
    basis: str | None = None,
    dimension: int | None = None,
    size: float | None = None,
    cmap: str = "viridis",
    key: str = DEFAULT_KEY,
    ax: Axes | None = None,
    show: bool | None = None,
) -> Axes:
    """Draw the latent coordinate z of the cells.

    Without arguments a histogram of z. With ``color``, z against a column of ``.obs``: one row of
    cells and their median per category, or a scatter plot for numbers. With ``basis``, an
    embedding whose cells are coloured by z.

    With several latent dimensions, and unless one is named, the cells in the plane of the first
    two, with ``color`` as their colour.

    Parameters
    ----------
    adata
        Data annotated by ``model.annotate(adata)``.
    color
        Column of ``.obs``; categories have the colours of ``.uns["<color>_colors"]`` if present.
    basis
        Embedding, e.g. ``"umap"`` for ``.obsm["X_umap"]``; its first two columns are drawn.
    dimension
        Which latent dimension, counted from 0; by default the first where one is needed.
    size
        Area of a dot in points²; by default 120,000 over the number of cells, 1 to 30.
    cmap
        Colour map of z on an embedding, and of numbers in the plane of two dimensions.
    key
        The ``key_added`` of the annotation.
    ax
        Axes to draw into.
    show
        Whether to show the figure; by default scanpy's setting for own figures.

    Returns
    -------
    Axes.

    Raises
    ------
    KeyError
        If the annotation, the column or the embedding is missing.
    ValueError
        If both ``color`` and ``basis`` are given, or there is no such dimension.

    Examples
    --------
    >>> import basisvae_scvi as bv
    >>> adata = bv.datasets.simulate_counts(n_obs=80, n_vars=20)
    >>> train_kwargs = {"enable_progress_bar": False}
    >>> bv.tl.basisvae(adata, n_basis=4, max_epochs=2, train_kwargs=train_kwargs)
    >>> bv.pl.latent(adata, color="true_z", show=False).get_xlabel()
    'z'
    """
    annotation = Annotation.of(adata, key=key)
    if color is not None and basis is not None:
        raise ValueError(
            "Pass color or basis, not both: an embedding is coloured by z here, and by columns of "
            "adata.obs in scanpy.pl.embedding."
        )
    if dimension is not None and not 0 <= dimension < annotation.n_latent:
        raise ValueError(f"dimension={dimension} must be from 0 to {annotation.n_latent - 1}.")
    check_obs_key(adata, color, "color")
    in_plane = annotation.n_latent > 1 and dimension is None and basis is None
    dimension = 0 if dimension is None else dimension
    z = annotation.latent[:, dimension]
    label = "z" if annotation.n_latent == 1 else f"z, dimension {dimension}"
    size = float(np.clip(120_000 / max(len(z), 1), 1.0, 30.0)) if size is None else size
    own_figure = ax is None
    if in_plane:
        ax = draw_plane(ax, adata, annotation.latent, color, size, cmap)
    elif basis is not None:
        ax = _on_embedding(ax, adata, basis, z, label, size, cmap)
    elif color is None:
        ax = _histogram(ax, z, label)
    elif is_number(adata.obs[color]):
        ax = _against_number(ax, adata.obs[color], z, label, size)
    else:
        ax = _against_category(ax, adata, color, z, label, size)
    finish(show, is_own_figure=own_figure)
    return ax


def _histogram(ax: Axes | None, z: np.ndarray, label: str) -> Axes:
    ax = single_axes(ax, (4.0, 2.6))
    known = z[np.isfinite(z)]
    bins = int(np.clip(np.sqrt(len(known)), 10, 60))
    ax.hist(known, bins=bins, color=_HISTOGRAM_COLOR)
    ax.set(xlabel=label, ylabel="cells")
    tidy(ax)
    return ax


def _against_number(
    ax: Axes | None, column: pd.Series, z: np.ndarray, label: str, size: float
) -> Axes:
    ax = single_axes(ax, (4.0, 3.2))
    ax.scatter(
        z,
        numbers(column),
        s=size,
        color=_HISTOGRAM_COLOR,
        alpha=0.4,
        linewidths=0,
        rasterized=True,
    )
    ax.set(xlabel=label, ylabel=str(column.name))
    tidy(ax)
    return ax


def _against_category(
    ax: Axes | None, adata: AnnData, column: str, z: np.ndarray, label: str, size: float
) -> Axes:
    values = as_categories(adata.obs[column])
    categories = list(values.cat.categories)
    colors = category_colors(adata, column, categories)
    ax = single_axes(ax, (4.5, 0.9 + _ROW_HEIGHT * len(categories)))
    # Jitter keeps cells apart; the same seed draws the same figure.
    jitter = np.random.default_rng(0).uniform(-0.3, 0.3, len(z))
    for row, category in enumerate(categories):
        own = (values == category).to_numpy() & np.isfinite(z)
        ax.scatter(
            z[own],
            row + jitter[own],
            s=size,
            color=colors[category],
            alpha=0.5,
            linewidths=0,
            rasterized=True,
        )
        if own.any():
            middle = np.median(z[own])
            ax.plot([middle, middle], [row - 0.38, row + 0.38], color="black", linewidth=1.5)
    ax.set_yticks(range(len(categories)), [str(c) for c in categories])
    ax.set_ylim(len(categories) - 0.5, -0.5)
    ax.set(xlabel=label, ylabel=column)
    ax.tick_params(axis="y", length=0)
    tidy(ax)
    return ax


def _on_embedding(
    ax: Axes | None,
    adata: AnnData,
    basis: str,
    z: np.ndarray,
    label: str,
    size: float,
    cmap: str,
) -> Axes:
    found = [name for name in (f"X_{basis}", basis) if name in adata.obsm]
    if not found:
        raise KeyError(
            f"basis={basis!r}: neither adata.obsm['X_{basis}'] nor adata.obsm[{basis!r}] is "
            f"there; there are: {', '.join(adata.obsm) or 'none'}."
        )
    points = np.asarray(adata.obsm[found[0]], dtype=np.float64)
    if points.ndim != 2 or points.shape[1] < 2:
        raise ValueError(f"adata.obsm[{found[0]!r}] needs two columns; it has {points.shape}.")
    ax = single_axes(ax, (4.4, 3.6))
    dots = ax.scatter(
        points[:, 0], points[:, 1], c=z, s=size, cmap=cmap, linewidths=0, rasterized=True
    )
    ax.figure.colorbar(dots, ax=ax, label=label)
    name = found[0].removeprefix("X_")
    name = {"umap": "UMAP", "tsne": "tSNE", "pca": "PC"}.get(name, name)
    ax.set(xlabel=f"{name}1", ylabel=f"{name}2", xticks=[], yticks=[])
    return ax
