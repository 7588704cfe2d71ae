"""How far the results can be trusted, in the form that annotate() writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from basisvae_scvi.data import Keys

from ._structure import call_dynamic

if TYPE_CHECKING:
    from ._model import BasisVAE

LEVEL = 0.9
FDR = 0.05
_INTERVAL_COLUMNS = (
    "shift_sd",
    "shift_lower",
    "shift_upper",
    "shift_identified",
    "scale_sd",
    "scale_lower",
    "scale_upper",
)


def describe_certainty(
    model: BasisVAE, tables: dict[str, pd.DataFrame], keys: Keys, *, intervals: bool
) -> dict[str, pd.Series | pd.DataFrame]:
    """Entries of ``.var`` and ``.varm`` by key, each indexed by gene.

    Parameters
    ----------
    model
        A trained model.
    tables
        Tables of the genes to be written, as :func:`annotate` takes them.
    keys
        Where to write.
    intervals
        Whether to compute intervals of shifts and scales, where there is one latent dimension.
    """
    flat = tables["assignment"]["0"]
    found: dict[str, pd.Series | pd.DataFrame] = {keys.is_dynamic: call_dynamic(flat, FDR)}
    if intervals and model.module.n_latent == 1:
        table = _intervals(model, tables["clusters"]["cluster"])
        found |= {getattr(keys, name): table[name] for name in _INTERVAL_COLUMNS}
    if model.search_ is not None:
        found[keys.restarts] = _restart_labels(model)
        if len(model.search_["assignments"]) > 1:
            found[keys.stability] = model.get_stability()["stability"]
    return found


def describe_restarts(model: BasisVAE) -> dict:
    """Entries of ``.uns`` about the search; none for a model that was trained without one."""
    if model.search_ is None:
        return {}
    history = model.get_search_history()
    return {
        "search": history.set_axis(history.index.astype(str)),
        "restart_bounds": np.asarray(model.search_["bounds"], dtype=np.float64),
        "best_restart": str(int(np.argmax(model.search_["bounds"]))),
        "flat_bound": float(model.search_["flat_bound"]),
        **_orders(model.search_),
    }


def _orders(search: dict) -> dict:
    """Orders to choose from: evidence, agreement with the one taken, the best other."""
    # Models saved before orders were described have none.
    if "other" not in search or len(search["order_bounds"]) < 2:
        return {}
    return {
        "order_bounds": np.asarray(search["order_bounds"], dtype=np.float64),
        "order_agreement": np.asarray(search["order_agreement"], dtype=np.float64),
        "order": int(search["order"]),
        "other_order": int(search["other"]),
    }


def _intervals(model: BasisVAE, cluster: pd.Series) -> pd.DataFrame:
    """Intervals of the trained genes that are written with the group they were trained in."""
    table = model.get_gene_intervals(LEVEL)
    trained = table["cluster"].astype(str)
    written = cluster.astype(str).reindex(table.index)
    return table[(trained == written).to_numpy()]


def _restart_labels(model: BasisVAE) -> pd.DataFrame:
    search = model.search_
    names = model._gene_names()
    labels = np.full((len(names), len(search["assignments"])), np.nan)
    for column, phi in enumerate(search["assignments"]):
        labels[search["genes"], column] = np.argmax(phi, axis=1)
    columns = [str(i) for i in range(labels.shape[1])]
    return pd.DataFrame(labels, index=names, columns=columns)
