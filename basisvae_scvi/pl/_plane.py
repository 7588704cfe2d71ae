"""Cells in the plane of two latent dimensions."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.axes import Axes

from basisvae_scvi.data import flags, numbers

from ._colors import MISSING_COLOR, category_colors
from ._figure import single_axes, tidy

_SINGLE_COLOR = "#4477AA"


def is_number(column: pd.Series) -> bool:
    """Whether a column is one of numbers, and not of categories or truth values."""
    is_categorical = isinstance(column.dtype, pd.CategoricalDtype)
    return not is_categorical and flags(column) is None and numbers(column) is not None


def as_categories(values: pd.Series) -> pd.Series:
    """A column as categories, of str unless it has some already."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        return values
    return values.astype(object).map(str, na_action="ignore").astype("category")


def draw_plane(
    ax: Axes | None, adata: AnnData, latent: np.ndarray, color: str | None, size: float, cmap: str
) -> Axes:
    """Draw cells at the first two columns of ``latent``, coloured by a column of ``.obs``."""
    ax = single_axes(ax, (4.6, 3.6))
    x, y = latent[:, 0], latent[:, 1]
    dots = {"s": size, "linewidths": 0, "rasterized": True}
    if color is None:
        ax.scatter(x, y, color=_SINGLE_COLOR, alpha=0.5, **dots)
    elif is_number(adata.obs[color]):
        values = numbers(adata.obs[color])
        missing = ~np.isfinite(values)
        ax.scatter(x[missing], y[missing], color=MISSING_COLOR, **dots)
        drawn = ax.scatter(x[~missing], y[~missing], c=values[~missing], cmap=cmap, **dots)
        ax.figure.colorbar(drawn, ax=ax, label=color)
    else:
        _draw_categories(ax, adata, latent, color, dots)
    ax.set(xlabel="z, dimension 0", ylabel="z, dimension 1")
    tidy(ax)
    return ax


def _draw_categories(ax: Axes, adata: AnnData, latent: np.ndarray, color: str, dots: dict) -> None:
    values = as_categories(adata.obs[color])
    colors = category_colors(adata, color, list(values.cat.categories))
    # In random order, so that no category lies on top of the others.
    order = np.random.default_rng(0).permutation(len(latent))
    shades = [colors.get(value, MISSING_COLOR) for value in values.iloc[order]]
    ax.scatter(latent[order, 0], latent[order, 1], color=shades, **dots)
    for category in values.cat.categories:
        ax.scatter([], [], color=colors[category], s=25, label=str(category))
    ax.legend(title=color, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def draw_basis(ax: Axes, points: np.ndarray, values: np.ndarray, label: str) -> None:
    """Draw values ``(G,)`` as colours at the first two columns of ``points`` ``(G, Q)``."""
    low, high = min(0.0, float(values.min())), float(values.max())
    drawn = ax.scatter(
        points[:, 0],
        points[:, 1],
        c=values,
        vmin=low,
        vmax=high,
        s=9,
        linewidths=0,
        rasterized=True,
    )
    ax.figure.colorbar(drawn, ax=ax, label=label).ax.tick_params(labelsize="x-small")
    tidy(ax)
