"""Write the results of a model into an AnnData (the keys of :class:`basisvae_scvi.data.Keys`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData

from basisvae_scvi._version import __version__
from basisvae_scvi.data import Keys, matrix_total, read_matrix

from ._certainty import describe_certainty, describe_restarts
from ._depth import describe_depth
from ._own_courses import has_deviations, trained_deviations
from ._placing import place
from ._structure import rank_correlation

if TYPE_CHECKING:
    from ._model import BasisVAE

_N_GRID = 200


def annotate(
    model: BasisVAE,
    adata: AnnData | None,
    *,
    key_added: str,
    copy: bool,
    layer: str | None = "auto",
    intervals: bool = True,
    tables: dict[str, pd.DataFrame] | None = None,
    own: np.ndarray | None = None,
) -> AnnData | None:
    """See :meth:`basisvae_scvi.BasisVAE.annotate`.

    ``tables`` are the tables of other genes than those that were trained (``assignment``,
    ``shift``, ``scale``, ``clusters``, and ``deviation`` where genes have any), to be written in
    place of the model's, and ``own`` says which of the model's cells each cell is, -1 for others.
    """
    model._check_if_trained(warn=False)
    source = model.adata if adata is None else adata
    if source is None:
        raise ValueError("The model has no data; pass adata=... to annotate.")
    keys = Keys(key_added)
    layer = model._setup_argument("layer") if layer == "auto" else layer
    # Everything is computed before anything is written: an error leaves adata as it was.
    # Intervals are those of the training cells.
    intervals = intervals and model.adata is not None and not model.is_query_
    tables = _gene_tables(model, intervals) if tables is None else tables
    genes = _gene_values(tables, source)
    known = describe_certainty(model, tables, keys, intervals=intervals)
    for name in ("deviation", "course_sd"):
        if name in tables:
            known[getattr(keys, name)] = tables[name]
    certainty = {name: values.reindex(source.var_names) for name, values in known.items()}
    z = place(model, source, layer, own)
    uns = _run_description(model, tables["clusters"]["shift"]) | describe_restarts(model)
    uns["params"] |= _data_description(source, layer, tables["assignment"].index)
    if not model.is_query_ and (depth := describe_depth(model)):
        uns["depth"] = depth
    other = _other_order(model, source, z)
    target = source.copy() if copy else source
    # An earlier fit under the same key may have left what this one does not write.
    for attribute, names in keys.optional.items():
        container = getattr(target, attribute)
        for name in names:
            if name in container:
                del container[name]
    target.obsm[keys.latent] = z
    if model.module.n_latent == 1:
        target.obs[keys.pseudotime] = model.to_pseudotime(z[:, 0])
    if other is not None:
        target.obs[keys.other_order] = other
    for name in ("assignment", "shift", "scale"):
        target.varm[getattr(keys, name)] = genes[name]
    clusters = genes["clusters"]
    target.var[keys.cluster] = clusters["cluster"]
    target.var[keys.confidence] = clusters["confidence"]
    target.var[keys.gene_shift] = clusters["shift"]
    target.var[keys.gene_scale] = clusters["scale"]
    for name, values in certainty.items():
        if isinstance(values, pd.DataFrame):
            target.varm[name] = values
        else:
            # What is not known of a gene that was not modelled is not so.
            is_flag = known[name].dtype == bool
            target.var[name] = values.eq(True) if is_flag else values
    target.uns[keys.uns] = uns
    return target if copy else None


def _other_order(model: BasisVAE, source: AnnData, z: np.ndarray) -> np.ndarray | None:
    """The order of the model's own cells that tells another process, along z; ``None`` without."""
    other = None if model.search_ is None else model.search_.get("other_order")
    if other is None or model.adata is None or model.is_query_:
        return None
    if not source.obs_names.equals(model.adata.obs_names):
        return None
    return other if rank_correlation(other, z[:, 0]) >= 0 else 1.0 - other


def _gene_tables(model: BasisVAE, intervals: bool) -> dict[str, pd.DataFrame]:
    own = trained_deviations(model, return_sd=intervals) if has_deviations(model) else {}
    return own | {
        "assignment": model.get_assignments(),
        "shift": model.get_shifts(),
        "scale": model.get_scales(),
        "clusters": model.get_clusters(),
    }


def _gene_values(tables: dict[str, pd.DataFrame], target: AnnData) -> dict[str, pd.DataFrame]:
    """Tables of the genes of ``target``; NaN where they were not modelled."""
    names = target.var_names
    if not names.is_unique:
        raise ValueError("adata.var_names has duplicates; call adata.var_names_make_unique().")
    if not names.isin(tables["assignment"].index).any():
        raise ValueError("adata shares no genes with the model; are adata.var_names the same?")
    written = ("assignment", "shift", "scale", "clusters")
    return {name: tables[name].reindex(names) for name in written}


def _data_description(adata: AnnData, layer: str | None, modelled: pd.Index) -> dict:
    """Place of the data, and by what a figure knows that they are still there."""
    columns = np.flatnonzero(adata.var_names.isin(modelled))
    return {
        "layer": _plain(layer),
        "data_cells": adata.n_obs,
        "data_genes": len(columns),
        "data_total": matrix_total(read_matrix(adata, layer), columns),
    }


def _plain(value):
    """Parameter in a form that h5ad and zarr store."""
    if value is None:
        return "None"
    return value if isinstance(value, bool | int | float | str) else str(value)


def _run_description(model: BasisVAE, shift: pd.Series) -> dict:
    """Entry of ``.uns``; the grid serves all cells and the given shifts, and those trained."""
    view = model._view()
    arguments = model.init_params_["non_kwargs"]
    params = {k: _plain(v) for k, v in arguments.items() if k not in ("adata", "registry")}
    params |= {k: _plain(v) for k, v in model.registry["setup_args"].items()}
    points = model._points(None)
    if model.module.n_latent == 1:
        # Curves are shown over the bulk of the cells; the grid serves every cell and shift.
        params["latent_min"], params["latent_max"] = float(points.min()), float(points.max())
        every = np.sort(model.orientation_ * np.asarray(model.latent_range_))
        trained = model.get_clusters()["shift"]
        low = every[0] + min(shift.min(), trained.min(), 0.0)
        high = every[1] + max(shift.max(), trained.max(), 0.0)
        points = np.linspace(low, high, _N_GRID)[:, None]
    history = model.history or {}
    return {
        "params": params,
        "version": __version__,
        "grid": points[:, 0] if model.module.n_latent == 1 else points,
        "basis": view.basis(points),
        "history": {
            name: frame.iloc[:, 0].to_numpy(dtype=np.float64) for name, frame in history.items()
        },
        "seed": int(model.seed_),
    }
