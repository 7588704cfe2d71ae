"""Where the user says that z starts."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData

from ._checks import shortened


def root_cells(adata: AnnData, root: str | np.ndarray | pd.Series) -> np.ndarray | None:
    """Mask of the cells at which z starts, shape ``(N,)``; ``None`` if the root is a gene.

    Parameters
    ----------
    adata
        The cells.
    root
        Name of a cell, of a boolean ``.obs`` column, of a gene, or of a category as
        ``"column=category"``, looked for in this order; or a boolean mask over the cells.

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
    elif root in adata.obs and adata.obs[root].dtype == bool:
        mask = adata.obs[root].to_numpy()
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
    mask = np.asarray(root)
    if mask.dtype != bool or mask.shape != (adata.n_obs,):
        raise ValueError(
            f"root must be a boolean mask of length {adata.n_obs}, one entry per cell; "
            f"got dtype {mask.dtype} and shape {mask.shape}."
        )
    return mask


def _of_category(adata: AnnData, root: str) -> np.ndarray:
    """Cells of one category, written as ``"column=category"``."""
    column, _, category = root.partition("=")
    values = adata.obs[column]
    text = values.astype(str).where(values.notna())
    if not (text == category).any():
        raise ValueError(
            f"root={root!r}: no cell has {category!r} in adata.obs[{column!r}]; "
            f"there are: {shortened(text.dropna().unique(), 12) or 'none'}."
        )
    return (text == category).to_numpy()


def _unknown(adata: AnnData, root: str) -> str:
    flags = [name for name in adata.obs.columns if adata.obs[name].dtype == bool]
    return (
        f"root={root!r} is neither a cell (adata.obs_names), nor a boolean column of obs "
        f"({shortened(flags, 12) or 'none'}), nor a gene (adata.var_names), nor a category "
        "as 'column=category'."
    )
