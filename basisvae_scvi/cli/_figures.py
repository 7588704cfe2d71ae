"""Figures of a fit, drawn by :mod:`basisvae_scvi.pl` and saved as PNG."""

from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from anndata import AnnData

from ._tables import FLAT

DPI = 150
_MAX_TREND_GENES = 9


def figure_names(n_latent: int) -> list[str]:
    """File names of the figures; what is drawn along z needs one latent dimension."""
    along = ["basis_functions.png", "gene_trends.png", "heatmap.png"]
    return [*along, "latent.png"] if n_latent == 1 else ["latent.png"]


def leading_genes(genes: pd.DataFrame, n_per_cluster: int = 1) -> pd.DataFrame:
    """Genes that stand for their cluster: the surest and, among equally sure ones, the strongest.

    Parameters
    ----------
    genes
        Table with ``cluster``, ``confidence`` and ``scale``, indexed by gene.
    n_per_cluster
        Genes of each cluster.

    Returns
    -------
    Their rows, flat genes left out, clusters in order.
    """
    moving = genes[genes["cluster"] != FLAT]
    ranked = moving.assign(
        sure=moving["confidence"].round(2), number=moving["cluster"].astype(int)
    )
    ranked = ranked.sort_values(
        ["number", "sure", "scale"], ascending=[True, False, False], kind="stable"
    )
    return genes.loc[ranked.groupby("number", sort=True).head(n_per_cluster).index]


def draw_figures(
    adata: AnnData, genes: pd.DataFrame, key_added: str, paths: dict[str, Path]
) -> None:
    """Draw and save the figures.

    Parameters
    ----------
    adata
        Annotated data.
    genes
        Table of the genes; see :func:`leading_genes`.
    key_added
        Prefix of the annotation.
    paths
        Where to save each figure, by the names of :func:`figure_names`.
    """
    matplotlib.use("agg")
    from basisvae_scvi import pl

    shown = list(leading_genes(genes).index[:_MAX_TREND_GENES]) or list(genes.index[:1])
    plots: dict[str, Callable] = {
        "basis_functions.png": lambda **kwargs: pl.basis_functions(adata, **kwargs),
        "gene_trends.png": lambda **kwargs: pl.gene_trends(adata, shown, **kwargs),
        "heatmap.png": lambda **kwargs: pl.heatmap(adata, **kwargs),
        "latent.png": lambda **kwargs: pl.latent(adata, **kwargs),
    }
    for name, path in paths.items():
        _save(plots[name](key=key_added, show=False), path)


def _save(axes, path: Path) -> None:
    from matplotlib import pyplot as plt

    first = next(iter(axes.values())) if isinstance(axes, dict) else np.ravel(axes)[0]
    figure = first.get_figure()
    figure.savefig(path, dpi=DPI, bbox_inches="tight")
    plt.close(figure)
