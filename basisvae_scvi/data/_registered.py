"""Whether an AnnData still holds what was registered of it: genes, size, values."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from anndata import AnnData

from ._checks import describe_location, shortened
from ._digests import describe_values, same_cells, sample_digests

# Entry of the registered state of the matrix; models saved by earlier versions have none.
DIGESTS = "digests"


def check_registered(adata: AnnData, layer: str | None, state: Mapping, cure: str) -> None:
    """Raise ValueError unless the matrix has the genes, the size and the values registered.

    Of a large matrix a sample of the cells is looked at.

    Parameters
    ----------
    adata
        The data.
    layer
        Place of the matrix.
    state
        What :class:`MatrixField` has registered.
    cure
        What to do about it, in whole sentences.
    """
    if (change := _change(adata, layer, state)) is not None:
        raise ValueError(
            f"{change} {cure} Counts in a layer of their own are safe from what is done to "
            "adata.X: adata.layers['counts'] = adata.X.copy(), then "
            "setup_anndata(adata, layer='counts')."
        )


def _change(adata: AnnData, layer: str | None, state: Mapping) -> str | None:
    expected = pd.Index(np.asarray(state["column_names"], dtype=str))
    found = pd.Index(np.asarray(adata.var_names, dtype=str))
    if len(found) != len(expected):
        return (
            f"adata has {len(found)} genes, but {len(expected)} were registered by "
            "setup_anndata: was it filtered in place since?"
        )
    if not found.equals(expected):
        other = found[found != expected]
        return (
            f"adata.var_names are not those that setup_anndata registered; {len(other)} differ: "
            f"{shortened(other)}."
        )
    if adata.n_obs != state["n_obs"]:
        return (
            f"adata has {adata.n_obs} cells, but {state['n_obs']} were registered by "
            "setup_anndata: was it filtered in place since?"
        )
    location = describe_location(layer)
    matrix = adata.X if layer is None else adata.layers.get(layer)
    if matrix is None:
        return f"{location}, which setup_anndata registered, is gone."
    known = state.get(DIGESTS)
    if known is None or not len(known):
        return None
    found = sample_digests(matrix)
    if len(found) == len(known) and not same_cells(found, np.asarray(known)).all():
        return (
            f"{location} has other values than those that setup_anndata registered"
            f"{describe_values(matrix)}."
        )
    return None
