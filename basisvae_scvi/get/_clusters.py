"""One row per cluster of genes."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData

from basisvae_scvi.data import DEFAULT_KEY

from ._annotation import Annotation
from ._genes import gene_table
from ._shapes import SHAPE_LABELS

_N_POINTS = 401


def clusters(adata: AnnData, *, n_top: int = 5, key: str = DEFAULT_KEY) -> pd.DataFrame:
    """Size, shape, peak and leading genes of every cluster in use.

    Parameters
    ----------
    adata
        Data annotated by ``model.annotate(adata)``.
    n_top
        Genes to name for each cluster.
    key
        The ``key_added`` of the annotation.

    Returns
    -------
    Data frame indexed by cluster (str, in the order of their numbers):

    ``n_genes``
        Number of genes.
    ``shape``
        Categorical; see :func:`genes`.
    ``peak``
        z at which the basis is highest within the observed range; NaN for flat clusters.
    ``top_genes``
        Names joined by ``", "``: those assigned with most confidence, to two decimals, and
        among these with the largest scale λ.
    ``stability``
        Mean stability of the genes (see :func:`genes`), where restarts were annotated; near 1 the
        group comes out the same from every start.

    With several latent dimensions ``shape`` and ``peak`` are missing values.

    Raises
    ------
    KeyError
        If the annotation is missing.

    Examples
    --------
    >>> import basisvae_scvi as bv
    >>> adata = bv.datasets.simulate_counts(n_obs=80, n_vars=20)
    >>> train_kwargs = {"enable_progress_bar": False}
    >>> bv.tl.basisvae(adata, n_basis=4, max_epochs=2, train_kwargs=train_kwargs)
    >>> int(bv.get.clusters(adata)["n_genes"].sum())
    20
    """
    annotation = Annotation.of(adata, key=key)
    table = gene_table(annotation)
    members = {c: table[table["cluster"] == c] for c in annotation.clusters}
    shape = [genes["shape"].iloc[0] for genes in members.values()]
    columns = {
        "n_genes": [len(genes) for genes in members.values()],
        "shape": pd.Categorical(shape, categories=SHAPE_LABELS),
        "peak": [_peak(annotation, c, s) for c, s in zip(members, shape, strict=True)],
        "top_genes": [_top(genes, n_top) for genes in members.values()],
    }
    if "stability" in table:
        columns["stability"] = [genes["stability"].mean() for genes in members.values()]
    return pd.DataFrame(columns, index=pd.Index(list(members), name="cluster", dtype=object))


def _peak(annotation: Annotation, cluster: str, shape: str) -> float:
    if annotation.n_latent != 1 or cluster == Annotation.FLAT or shape == "flat":
        return np.nan
    z = annotation.points(_N_POINTS)
    return float(z[annotation.basis_at(cluster, z).argmax()])


def _top(genes: pd.DataFrame, n_top: int) -> str:
    ranked = genes.assign(confidence=genes["confidence"].round(2))
    ranked = ranked.sort_values(["confidence", "scale"], ascending=False, kind="stable")
    return ", ".join(map(str, ranked.index[:n_top]))
