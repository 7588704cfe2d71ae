"""Results as tab-separated tables."""

from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData

from basisvae_scvi import BasisVAE
from basisvae_scvi.data import Keys

FLAT = "0"


def gene_table(model: BasisVAE) -> pd.DataFrame:
    """Cluster, confidence, shift, scale and, with one latent dimension, the place of the peak.

    Returns
    -------
    Indexed by gene. ``peak`` is the z and ``peak_pseudotime`` the pseudotime at which the gene's
    expected expression is highest; both are missing for flat genes.
    """
    table = model.get_clusters()
    table["shift"] = table["shift"] + 0.0  # no "-0" in the file
    if model.module.n_latent > 1:
        return table
    trends = model.get_gene_trends()
    z = trends.index.to_numpy()
    peak = z[trends.to_numpy().argmax(axis=0)]
    is_flat = (table["cluster"] == FLAT).to_numpy()
    table["peak"] = np.where(is_flat, np.nan, peak)
    table["peak_pseudotime"] = np.where(is_flat, np.nan, model.to_pseudotime(peak))
    return table


def cell_table(adata: AnnData, key_added: str) -> pd.DataFrame:
    """z and, with one latent dimension, pseudotime of every cell."""
    keys = Keys(key_added)
    z = np.asarray(adata.obsm[keys.latent])
    names = ["z"] if z.shape[1] == 1 else [f"z{q}" for q in range(z.shape[1])]
    table = pd.DataFrame(z, index=adata.obs_names, columns=names)
    if z.shape[1] == 1:
        table["pseudotime"] = adata.obs[keys.pseudotime]
    return table


def write_table(table: pd.DataFrame, path: Path, index_label: str) -> None:
    """Write a table with seven significant digits, missing values empty."""
    table.to_csv(path, sep="\t", index_label=index_label, float_format="%.7g")
