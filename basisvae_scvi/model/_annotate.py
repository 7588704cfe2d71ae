"""Write the results of a model into an AnnData (the keys of :class:`basisvae_scvi.data.Keys`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData

from basisvae_scvi._version import __version__
from basisvae_scvi.data import Keys

from ._certainty import describe_certainty, describe_restarts
from ._depth import describe_depth

if TYPE_CHECKING:
    from ._model import BasisVAE

_N_GRID = 200


def annotate(
    model: BasisVAE,
    adata: AnnData | None,
    *,
    key_added: str,
    copy: bool,
    intervals: bool = True,
    tables: dict[str, pd.DataFrame] | None = None,
) -> AnnData | None:
    """See :meth:`basisvae_scvi.BasisVAE.annotate`.

    ``tables`` are the tables of other genes than those that were trained (``assignment``,
    ``shift``, ``scale``, ``clusters``), to be written in place of the model's.
    """
    model._check_if_trained(warn=False)
    target = model.adata if adata is None else adata
    if target is None:
        raise ValueError("The model has no data; pass adata=... to annotate.")
    target = target.copy() if copy else target
    keys = Keys(key_added)
    # Intervals are those of the training cells. Asked before z is: that may give the model data.
    intervals = intervals and model.adata is not None and not model.is_query_
    # Everything is computed before anything is written: an error leaves adata as it was.
    tables = _gene_tables(model) if tables is None else tables
    cells, genes = _cell_values(model, target), _gene_values(tables, target)
    known = describe_certainty(model, tables, keys, intervals=intervals)
    certainty = {name: values.reindex(target.var_names) for name, values in known.items()}
    uns = _run_description(model, tables["clusters"]["shift"]) | describe_restarts(model)
    if not model.is_query_ and (depth := describe_depth(model)):
        uns["depth"] = depth
    # An earlier fit under the same key may have left what this one does not write.
    for attribute, names in keys.optional.items():
        container = getattr(target, attribute)
        for name in names:
            if name in container:
                del container[name]
    target.obsm[keys.latent] = cells.to_numpy(dtype=np.float32)
    if model.module.n_latent == 1:
        target.obs[keys.pseudotime] = _pseudotime(cells.iloc[:, 0].to_numpy())
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


def _pseudotime(z: np.ndarray) -> np.ndarray:
    z = z.astype(np.float64)
    span = np.nanmax(z) - np.nanmin(z)
    return (z - np.nanmin(z)) / span if span > 0 else z * 0.0


def _cell_values(model: BasisVAE, target: AnnData) -> pd.DataFrame:
    """z of the cells of ``target``; NaN where the model does not know them."""
    if model.adata is not None:
        z = pd.DataFrame(model.get_latent_representation(), index=model.adata.obs_names)
        if target is model.adata or target.obs_names.equals(z.index):
            return z
        if z.index.is_unique and target.obs_names.isin(z.index).any():
            return z.reindex(target.obs_names)
    if not target.var_names.equals(model._gene_names()):
        raise ValueError(
            "adata shares no cells with the model's data and its genes are not the model's; "
            "pass the data the model was trained on, or new cells with the model's genes."
        )
    return pd.DataFrame(model.get_latent_representation(target), index=target.obs_names)


def _gene_tables(model: BasisVAE) -> dict[str, pd.DataFrame]:
    return {
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
    return {name: table.reindex(names) for name, table in tables.items()}


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
