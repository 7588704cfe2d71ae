"""The genes that stand for a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import pandas as pd
from anndata import AnnData

from basisvae_scvi.data import DEFAULT_KEY, check_table_key
from basisvae_scvi.get import clusters as cluster_table
from basisvae_scvi.get import genes as gene_table

_ORDERS = {
    "confidence": (["confidence", "scale"], [False, False]),
    "scale": (["scale", "confidence"], [False, False]),
    "shift": (["shift", "confidence"], [False, False]),
    "stability": (["stability", "confidence", "scale"], [False, False, False]),
}


def rank_genes_in_cluster(
    adata: AnnData,
    cluster: Sequence[str] | str | None = None,
    *,
    by: Literal["confidence", "scale", "shift", "stability"] = "confidence",
    n_genes: int | None = None,
    only_dynamic: bool = False,
    key: str = DEFAULT_KEY,
    key_added: str | None = None,
) -> pd.DataFrame:
    """Rank the genes of each cluster.

    Parameters
    ----------
    adata
        Data annotated by ``model.annotate(adata)``.
    cluster
        One or several clusters; by default all in use.
    by
        What ranks: ``"confidence"`` (probability of the cluster, to two decimals, then scale),
        ``"scale"`` (λ, how strongly a gene follows the shape), ``"shift"`` (from early to late;
        genes whose shift is not identified come last) or ``"stability"`` (agreement of restarts,
        to two decimals, then as for confidence).
    n_genes
        Genes per cluster at most; by default all.
    only_dynamic
        Leave out genes that are not dynamic at a false discovery rate of 0.05.
    key
        The ``key_added`` of the annotation.
    key_added
        If given, also write the table to ``adata.uns[key_added]``.

    Returns
    -------
    Data frame: ``cluster`` and ``gene`` (str), ``rank`` (from 1 within the cluster), and the
    columns of :func:`basisvae_scvi.get.genes`.

    Raises
    ------
    KeyError
        If the annotation or a cluster is missing, or what ``by`` needs was not annotated.
    ValueError
        For an unknown ``by``, ``n_genes`` below 1, or a ``key_added`` that is no name or under
        which there is another thing.

    Examples
    --------
    >>> import basisvae_scvi as bv
    >>> table = bv.tl.rank_genes_in_cluster(annotated, n_genes=3)
    >>> list(table.columns)[:3], int(table["rank"].max()) <= 3
    (['cluster', 'gene', 'rank'], True)
    """
    if by not in _ORDERS:
        raise ValueError(f"by={by!r} is unknown; choose one of {list(_ORDERS)}.")
    if n_genes is not None and n_genes < 1:
        raise ValueError(f"n_genes={n_genes} must be at least 1, or None for all.")
    check_table_key(adata, key_added, ("cluster", "gene", "rank"))
    table = gene_table(adata, key=key)
    needed = {"stability": "stability"}.get(by), "is_dynamic" if only_dynamic else None
    for column in filter(None, needed):
        if column not in table:
            raise KeyError(
                f"{column!r} is not annotated: run model.annotate(adata) after train() with "
                "n_restarts=2 or more."
            )
    chosen = _choose(cluster, cluster_table(adata, key=key).index)
    if only_dynamic:
        table = table[table["is_dynamic"]]
    ranked = pd.concat([_rank(table[table["cluster"] == c], by)[:n_genes] for c in chosen])
    ranked.insert(0, "gene", ranked.index.astype(str))
    cluster_column = ranked.pop("cluster").astype(str).astype(object)
    ranked.insert(0, "cluster", cluster_column)
    ranked.insert(2, "rank", ranked.groupby("cluster", sort=False).cumcount() + 1)
    ranked = ranked.reset_index(drop=True)
    if key_added is not None:
        # Files know strings as the names of rows.
        adata.uns[key_added] = ranked.set_axis(ranked.index.astype(str))
    return ranked


def _choose(cluster: Sequence[str] | str | None, known: pd.Index) -> list[str]:
    if cluster is None:
        return list(known)
    chosen = [cluster] if isinstance(cluster, str) else [str(c) for c in cluster]
    missing = [c for c in chosen if c not in known]
    if missing or not chosen:
        raise KeyError(
            f"cluster={chosen}: no genes in {', '.join(missing) or 'an empty list'}; clusters "
            f"with genes are {', '.join(known)}."
        )
    return chosen


def _rank(genes: pd.DataFrame, by: str) -> pd.DataFrame:
    columns, ascending = _ORDERS[by]
    values = genes[columns].copy()
    for name in set(columns) & {"confidence", "stability"}:
        values[name] = values[name].round(2)
    if by == "shift" and "shift_identified" in genes:
        values.insert(0, "identified", genes["shift_identified"])
        columns, ascending = ["identified", *columns], [False, *ascending]
    order = (
        values.reset_index(drop=True)
        .sort_values(columns, ascending=ascending, kind="stable", na_position="last")
        .index
    )
    return genes.iloc[order]
