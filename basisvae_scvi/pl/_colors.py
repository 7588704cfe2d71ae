"""Colours of clusters and of other categories."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from anndata import AnnData
from matplotlib.colors import is_color_like, to_hex, to_rgb

from basisvae_scvi.get import Annotation

# After Paul Tol's "muted" scheme, which people with any colour vision can tell apart, without the
# colours too pale for thin lines, and in an order in which neighbours differ most.
_BASE = (
    "#332288",
    "#CC6677",
    "#44AA99",
    "#882255",
    "#56B4E9",
    "#117733",
    "#AA4499",
    "#999933",
)
FLAT_COLOR = "#8C8C8C"
MISSING_COLOR = "lightgray"
# After the base colours come darker and lighter ones: share and lightness of what is mixed in.
_MIXTURES = ((0.0, 0.0), (0.45, 0.0), (0.35, 1.0))


def palette(n_colors: int) -> list[str]:
    """Colours that stay distinct without colour vision for up to 8, and mostly up to 24."""
    shades = [
        to_hex([(1.0 - share) * part + share * lightness for part in to_rgb(color)])
        for share, lightness in _MIXTURES
        for color in _BASE
    ]
    return [shades[i % len(shades)] for i in range(n_colors)]


def stored_colors(adata: AnnData, column: str, categories: Sequence[str]) -> dict[str, str] | None:
    """Colours in ``uns["<column>_colors"]`` by category; ``None`` if there are none that fit."""
    colors = adata.uns.get(f"{column}_colors")
    if colors is None or len(colors) < len(categories) or not all(map(is_color_like, colors)):
        return None
    return dict(zip(categories, colors, strict=False))


def category_colors(adata: AnnData, column: str, categories: Sequence[str]) -> dict[str, str]:
    """Colours of the categories of an ``.obs`` column: the stored ones, else the palette."""
    stored = stored_colors(adata, column, categories)
    return stored or dict(zip(categories, palette(len(categories)), strict=True))


def cluster_colors(adata: AnnData, column: str) -> dict[str, str]:
    """Colours of the clusters of genes: the stored ones, else the palette with ``"0"`` grey."""
    values = adata.var[column]
    categories = (
        list(values.cat.categories)
        if isinstance(values.dtype, pd.CategoricalDtype)
        else sorted(values.dropna().unique(), key=int)
    )
    stored = stored_colors(adata, column, categories)
    if stored is not None:
        return stored
    dynamic = [c for c in categories if c != Annotation.FLAT]
    return {Annotation.FLAT: FLAT_COLOR} | dict(zip(dynamic, palette(len(dynamic)), strict=True))
