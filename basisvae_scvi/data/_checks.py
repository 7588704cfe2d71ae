"""Checks of what the user hands in. Every message names the key and the cure."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import numpy as np
import pandas as pd
from anndata import AnnData

from ._counts import where_counts_are
from ._matrices import iter_rows, plain_matrix, row_sums, stored_values


def describe_location(layer: str | None) -> str:
    """How the user writes the place of the matrix."""
    return "adata.X" if layer is None else f"adata.layers[{layer!r}]"


def shortened(names: Iterable, limit: int = 5) -> str:
    """The first few names, and how many there are."""
    names = [str(n) for n in names]
    listed = ", ".join(names[:limit])
    return listed if len(names) <= limit else f"{listed}, … ({len(names)} in all)"


def check_layer(adata: AnnData, layer: str | None) -> None:
    """Raise KeyError for a missing layer, ValueError for a missing X."""
    # anndata 0.13 lists X among the layers, under the name None.
    names = [name for name in adata.layers if name is not None]
    if layer is not None and layer not in names:
        raise KeyError(
            f"layer={layer!r} is not in adata.layers; "
            f"there are: {shortened(names, 12) or 'none'}. "
            "Leave layer out to use adata.X."
        )
    if layer is None and adata.X is None:
        raise ValueError(
            f"adata.X is empty; name the matrix with layer=...{where_counts_are(adata)}"
        )


def check_names(adata: AnnData) -> None:
    """Raise ValueError for duplicate gene names: every table of ours is keyed by gene."""
    if not adata.var_names.is_unique:
        duplicates = adata.var_names[adata.var_names.duplicated()].unique()
        raise ValueError(
            f"adata.var_names has duplicates: {shortened(duplicates)}. "
            "Make them unique with adata.var_names_make_unique()."
        )


def check_real(matrix, location: str) -> None:
    """Raise ValueError for a matrix of anything but real numbers."""
    if np.dtype(matrix.dtype).kind not in "biuf":
        raise ValueError(
            f"{location} holds values of type {matrix.dtype}, not real numbers. Convert it first, "
            "e.g. with .astype('float32')."
        )


def read_matrix(adata: AnnData, layer: str | None):
    """The matrix of a layer, or X, in a form that can be read; see :func:`plain_matrix`."""
    check_layer(adata, layer)
    location = describe_location(layer)
    matrix = adata.X if layer is None else adata.layers[layer]
    check_real(matrix, location)
    return plain_matrix(matrix, location)


def check_finite(matrix, location: str) -> None:
    """Raise ValueError unless all entries are real numbers, neither NaN nor infinite."""
    check_real(matrix, location)
    for rows, block in iter_rows(matrix):
        values = stored_values(block)
        if not np.isfinite(values).all():
            raise ValueError(
                f"{location} contains NaN or infinite values (first in cells "
                f"{rows.start}-{rows.stop - 1}). Remove or replace them first."
            )


def check_binary(matrix, location: str) -> None:
    """Raise ValueError unless all entries are 0 or 1."""
    for _, block in iter_rows(matrix):
        values = stored_values(block)
        if not np.isin(values, (0, 1)).all():
            raise ValueError(
                f"{location} contains values other than 0 and 1, which "
                "gene_likelihood='bernoulli' needs. Threshold the data first."
            )


def warn_empty(matrix, totals: np.ndarray, location: str) -> None:
    """Warn of cells and genes without a single count; the model can handle both."""
    n_cells = int((row_sums(matrix) == 0).sum())
    n_genes = int((totals == 0).sum())
    if n_cells:
        warnings.warn(
            f"{n_cells} cell(s) of {location} have no counts: their z comes from the prior. "
            "Filter them with scanpy.pp.filter_cells(adata, min_counts=1).",
            UserWarning,
            stacklevel=3,
        )
    if n_genes:
        warnings.warn(
            f"{n_genes} gene(s) of {location} have no counts: they can only be called flat. "
            "Filter them with scanpy.pp.filter_genes(adata, min_counts=1).",
            UserWarning,
            stacklevel=3,
        )


def check_same_genes(found: pd.Index, expected: np.ndarray) -> None:
    """Raise ValueError unless ``found`` are the model's genes in the model's order."""
    expected = pd.Index(np.asarray(expected, dtype=str))
    found = pd.Index(np.asarray(found, dtype=str))
    if found.equals(expected):
        return
    missing = expected.difference(found, sort=False)
    if len(missing):
        raise ValueError(
            f"adata lacks {len(missing)} of the model's genes: {shortened(missing)}. "
            "BasisVAE.prepare_query_anndata(adata, model) pads and orders them."
        )
    raise ValueError(
        "adata.var_names are not the model's genes in the model's order. Reorder with "
        "adata[:, model.get_var_names()].copy(), or BasisVAE.prepare_query_anndata(adata, model)."
    )
