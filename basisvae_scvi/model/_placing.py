"""z of the cells of any AnnData: those the model was fitted to as they are, others encoded."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

from basisvae_scvi._compat import forget_cells, known_manager, register_cells
from basisvae_scvi.data import (
    cell_digests,
    describe_location,
    iter_rows,
    pointing_to_counts,
    read_matrix,
    same_cells,
    shortened,
)

if TYPE_CHECKING:
    from ._model import BasisVAE


def place(
    model: BasisVAE, target: AnnData, layer: str | None, own: np.ndarray | None = None
) -> np.ndarray:
    """z of every cell of ``target``, shape ``(N, Q)``, float32.

    Parameters
    ----------
    model
        A trained model.
    target
        Cells with at least the model's genes; of the model's own cells some genes are enough.
    layer
        Place of the data in ``target``.
    own
        Which of the model's cells each cell is, −1 for others, where that is known. Then cells
        that cannot be encoded get NaN, with a warning.

    Raises
    ------
    KeyError
        For a layer or column that is not there.
    ValueError
        If there are cells that are not the model's and cannot be encoded.
    """
    if target is model.adata and layer == model._setup_argument("layer"):
        return model.get_latent_representation()
    matrix = read_matrix(target, layer)
    rows = own_cells(model, target, matrix) if own is None else own
    is_own = rows >= 0
    z = np.full((target.n_obs, model.module.n_latent), np.nan, dtype=np.float32)
    if is_own.any():
        z[is_own] = model.get_latent_representation(indices=rows[is_own])
    if is_own.all():
        return z
    try:
        with pointing_to_counts(target, layer):
            z[~is_own] = _encode(model, target, matrix, layer, ~is_own)
    except (KeyError, ValueError) as error:
        if own is None:
            raise
        warnings.warn(
            f"{int((~is_own).sum())} cell(s) of adata are not the model's and have no z (NaN): "
            f"{error.args[0]}",
            UserWarning,
            stacklevel=4,
        )
    return z


def own_cells(model: BasisVAE, target: AnnData, matrix) -> np.ndarray:
    """Which of the model's cells each cell of ``target`` is, shape ``(N,)``; −1 for others.

    A cell is known by its name and by its values in all genes that both have: names alone, such
    as "0", "1" or barcodes, are shared by cells of different samples.
    """
    nobody = np.full(target.n_obs, -1)
    if model.adata is None:
        return nobody
    rows = match_names(target.obs_names, model.adata.obs_names)
    genes = pd.Index(model.get_var_names())
    columns = target.var_names.get_indexer(genes)
    shared = np.flatnonzero(columns >= 0)
    if not len(shared) or not (rows >= 0).any():
        return nobody
    model._check_own_data()
    known = cell_digests(model._matrix(), shared)
    found = cell_digests(matrix, columns[shared])
    is_same = (rows >= 0) & same_cells(found, known[rows])
    return np.where(is_same, rows, -1)


def match_names(names: pd.Index, known: pd.Index) -> np.ndarray:
    """Place of each name in ``known``, −1 without one; all in order where both are equal."""
    if names.equals(known):
        return np.arange(len(known))
    if names.is_unique and known.is_unique:
        return known.get_indexer(names)
    return np.full(len(names), -1)


def _encode(
    model: BasisVAE, target: AnnData, matrix, layer: str | None, chosen: np.ndarray
) -> np.ndarray:
    """z of the chosen cells, by the encoder; ``target`` is left without marks of scvi-tools."""
    genes = model.get_var_names()
    columns = target.var_names.get_indexer(pd.Index(genes))
    if (columns < 0).any():
        raise ValueError(
            f"adata has {int(chosen.sum())} cell(s) that are not the model's (by name and "
            f"values), and lacks {int((columns < 0).sum())} of the model's {len(genes)} genes, "
            f"without which they have no z: {shortened(genes[columns < 0])}. "
            "BasisVAE.prepare_query_anndata(adata, model) adds genes that were not seen."
        )
    registered = model._setup_argument("layer")
    part = _part(matrix, chosen, columns)
    obs = target.obs[chosen].copy()
    if not obs.index.is_unique:
        obs.index = [str(row) for row in range(len(obs))]
    work = AnnData(
        X=part if registered is None else None,
        layers=None if registered is None else {registered: part},
        obs=obs,
        var=pd.DataFrame(index=pd.Index(genes)),
        obsm={key: target.obsm[key][chosen] for key in _latent_keys(model) if key in target.obsm},
    )
    with _temporarily_known(model, work, describe_location(layer)):
        return model.get_latent_representation(work)


def _latent_keys(model: BasisVAE) -> list[str]:
    keys = (model._setup_argument(name) for name in ("latent_key", "latent_prior_key"))
    return [key for key in keys if key is not None]


def _part(matrix, chosen: np.ndarray, columns: np.ndarray):
    """Some cells and genes of a matrix, of which a block at a time is read; all as it is."""
    if chosen.all() and np.array_equal(columns, np.arange(matrix.shape[1])):
        return matrix
    blocks = [block[np.flatnonzero(chosen[rows])][:, columns] for rows, block in iter_rows(matrix)]
    is_sparse = sparse.issparse(blocks[0])
    return sparse.vstack(blocks, format="csr") if is_sparse else np.concatenate(blocks)


@contextmanager
def _temporarily_known(model: BasisVAE, work: AnnData, location: str) -> Iterator[None]:
    try:
        model._check_new(work, location)
        if model.adata_manager is not None:
            register_cells(model, work)
        yield
    finally:
        if known_manager(model, work) is not None:
            forget_cells(model, work)
