"""Where the user says that z starts."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData

from ._checks import shortened
from ._values import flags, kind_of


def root_cells(adata: AnnData, root: str | np.ndarray | pd.Series) -> np.ndarray | None:
    """Mask of the cells at which z starts, shape ``(N,)``; ``None`` if the root is a gene.

    Parameters
    ----------
    adata
        The cells.
    root
        Name of a cell, of a boolean ``.obs`` column, of a gene, or of a category as
        ``"column=category"``, looked for in this order; or a boolean mask over the cells, a
        series by their names. What is missing in it marks nothing.

    Raises
    ------
    ValueError
        If it is none of these, or marks no cell.

    Examples
    --------
    >>> import basisvae_scvi as bv
    >>> adata = bv.datasets.simulate_counts(n_obs=4, n_vars=2)
    >>> adata.obs["stage"] = ["stem", "late", "stem", "late"]
    >>> root_cells(adata, "stage=stem").tolist()
    [True, False, True, False]
    """
    if not isinstance(root, str):
        mask = _as_mask(adata, root)
    elif root in adata.obs_names:
        mask = np.asarray(adata.obs_names == root)
    elif root in adata.obs and (mask := flags(adata.obs[root])) is not None:
        pass
    elif root in adata.var_names:
        return None
    elif "=" in root and root.partition("=")[0] in adata.obs:
        mask = _of_category(adata, root)
    else:
        raise ValueError(_unknown(adata, root))
    if not mask.any():
        named = f"={root!r}" if isinstance(root, str) else ""
        raise ValueError(f"root{named} marks no cell; mark those at which z starts.")
    return mask


def _as_mask(adata: AnnData, root) -> np.ndarray:
    if isinstance(root, pd.Series) and root.index.is_unique:
        names = adata.obs_names
        if len(root) == len(names) and names.isin(root.index).all():
            root = root.reindex(names)
    mask = flags(pd.Series(root)) if np.ndim(root) == 1 else None
    if mask is None or mask.shape != (adata.n_obs,):
        held = kind_of(pd.Series(root)) if np.ndim(root) == 1 else type(root).__name__
        raise ValueError(
            f"root must be a boolean mask of length {adata.n_obs}, one entry per cell; "
            f"got {held} of shape {np.shape(root)}. Compare a column with a value, e.g. "
            "adata.obs['stage'] == 'stem'."
        )
    return mask


def _of_category(adata: AnnData, root: str) -> np.ndarray:
    """Cells of one category, written as ``"column=category"``."""
    column, _, category = root.partition("=")
    text = _as_text(adata.obs[column])
    if not (text == category).any():
        raise ValueError(
            f"root={root!r}: no cell has {category!r} in adata.obs[{column!r}]; "
            f"there are: {shortened(text.dropna().unique(), 12) or 'none'}."
        )
    return (text == category).to_numpy()


def _as_text(values: pd.Series) -> pd.Series:
    """Values as objects of str, NaN where missing."""
    return values.astype(object).map(str, na_action="ignore")


def _unknown(adata: AnnData, root: str) -> str:
    if root in adata.obs:
        there = shortened(_as_text(adata.obs[root]).dropna().unique(), 5) or "none"
        return (
            f"root={root!r} is a column of obs that holds {kind_of(adata.obs[root])}, neither "
            f"True nor False. Say which cells as 'column=category', {root}=…; there are: {there}."
        )
    marks = [name for name in adata.obs.columns if flags(adata.obs[name]) is not None]
    return (
        f"root={root!r} is neither a cell (adata.obs_names), nor a boolean column of obs "
        f"({shortened(marks, 12) or 'none'}), nor a gene (adata.var_names), nor a category "
        "as 'column=category'."
    )
