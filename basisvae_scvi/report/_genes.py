"""Genes and clusters as tables, and in the compact form in which the page carries them."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np
import pandas as pd
from anndata import AnnData

from basisvae_scvi import get
from basisvae_scvi.data import DEFAULT_KEY, Keys
from basisvae_scvi.get import Annotation
from basisvae_scvi.pl._colors import MISSING_COLOR, cluster_colors

from ._observed import Observed

# Columns of var that only some annotations have: what the page calls them, and whose key it is.
OPTIONAL = {
    "shift_lower": "shift_lower",
    "shift_upper": "shift_upper",
    "identified": "shift_identified",
    "scale_lower": "scale_lower",
    "scale_upper": "scale_upper",
    "dynamic": "is_dynamic",
    "stability": "stability",
}
_DIGITS = 4


def gene_table(adata: AnnData, *, key: str = DEFAULT_KEY) -> pd.DataFrame:
    """:func:`basisvae_scvi.get.genes` with intervals, flags and stability where they are known.

    Parameters
    ----------
    adata
        Annotated data.
    key
        The ``key_added`` of the annotation.

    Returns
    -------
    Indexed by gene: ``cluster``, ``shape``, ``peak``, ``shift``, ``scale``, ``confidence`` and
    those of ``OPTIONAL`` that have a value for some gene, flags as 1, 0 and NaN for not known.
    """
    base = ["cluster", "shape", "peak", "shift", "scale", "confidence"]
    table = get.genes(adata, key=key)[base]
    for name, attribute in OPTIONAL.items():
        column = adata.var.get(getattr(Keys(key), attribute))
        if column is None or column.notna().sum() == 0:
            continue
        values = column.reindex(table.index)
        table[name] = values.astype(float)
    if "identified" in table and "shift_lower" in table:
        # Intervals may be known of some genes only; of the others nothing is known.
        table["identified"] = table["identified"].where(table["shift_lower"].notna())
    return table


def cluster_table(adata: AnnData, genes: pd.DataFrame, *, key: str = DEFAULT_KEY) -> pd.DataFrame:
    """:func:`basisvae_scvi.get.clusters` with colours and mean stability, in the order of figures.

    Parameters
    ----------
    adata
        Annotated data.
    genes
        Table of :func:`gene_table`.
    key
        The ``key_added`` of the annotation.

    Returns
    -------
    Indexed by cluster, from early to late peaks, the flat one last: ``n_genes``, ``shape``,
    ``peak``, ``top_genes``, ``color`` and, where known, ``stability``.
    """
    table = get.clusters(adata, n_top=8, key=key)[["n_genes", "shape", "peak", "top_genes"]]
    colors = cluster_colors(adata, Keys(key).cluster)
    table["color"] = [colors.get(label, MISSING_COLOR) for label in table.index]
    if "stability" in genes:
        mean = genes.groupby(genes["cluster"].astype(str), observed=True)["stability"].mean()
        table["stability"] = mean.reindex(table.index)
    order = np.lexsort((table.index.astype(int), table["peak"].fillna(np.inf)))
    return table.iloc[order]


def page_data(
    annotation: Annotation, genes: pd.DataFrame, clusters: pd.DataFrame, observed: Observed | None
) -> dict:
    """Everything that the page's table draws from, as plain lists.

    Parameters
    ----------
    annotation
        Results.
    genes, clusters
        Tables of :func:`gene_table` and :func:`cluster_table`.
    observed
        Bin means in the order of ``genes``, if there are any.
    """
    shapes = [s for s in get.SHAPE_LABELS if s in set(clusters["shape"].dropna())]
    columns: dict[str, list] = {
        "cluster": clusters.index.get_indexer(genes["cluster"].astype(str)).tolist(),
        "shape": _codes(genes["shape"], shapes),
    }
    for name in genes.columns.drop(["cluster", "shape"]):
        columns[name] = compact(genes[name])
    if observed is not None:
        columns["mean"] = compact(observed.mean)
    data = {
        "names": [str(name) for name in genes.index],
        "columns": columns,
        "shapes": shapes,
        "clusters": [
            {
                "label": label,
                "color": row["color"],
                "n_genes": int(row["n_genes"]),
                "shape": _text(row["shape"]),
                "peak": compact([row["peak"]])[0],
                "stability": compact([row.get("stability", np.nan)])[0],
                "top_genes": row["top_genes"],
            }
            for label, row in clusters.iterrows()
        ],
        "likelihood": str(annotation.parameter("gene_likelihood")),
    }
    if annotation.n_latent == 1:
        data["z"] = compact([annotation.params["latent_min"], annotation.params["latent_max"]])
        data["grid"] = [float(annotation.grid[0]), float(annotation.grid[-1])]
        data["basis"] = [compact(annotation.basis[:, int(label)]) for label in clusters.index]
    if observed is not None:
        data["observed"] = {
            "z": compact(observed.z),
            "weight": compact(observed.weight),
            "largest": compact(observed.largest),
            "steps": base64.b64encode(observed.steps.tobytes()).decode("ascii"),
        }
    return data


def compact(values: Sequence[float] | np.ndarray | pd.Series) -> list:
    """Numbers with four significant digits, whole ones without a point; NaN becomes ``None``."""
    numbers = np.asarray(values, dtype=np.float64)
    rounded = [float(f"{v:.{_DIGITS}g}") if np.isfinite(v) else None for v in numbers]
    return [int(v) if v is not None and v.is_integer() else v for v in rounded]


def _codes(column: pd.Series, categories: list[str]) -> list:
    place = {name: i for i, name in enumerate(categories)}
    return [place.get(value) for value in column.astype(object)]


def _text(value) -> str:
    return "" if pd.isna(value) else str(value)
