"""Two annotated data sets: one written by hand, one by a fitted model."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.special import expit

import basisvae_scvi as bv

# Name, cluster, confidence, δ, λ. The last gene was not modelled.
GENES = [
    ("late", "2", 0.90, -0.5, 2.0),
    ("rise", "3", 1.00, 0.3, 1.0),
    ("const", "0", 0.70, 0.0, 1.1),
    ("early", "2", 0.99, 1.0, 0.5),
    ("fall", "1", 1.00, 0.0, 1.0),
    ("never", None, np.nan, np.nan, np.nan),
]


def hand_basis(x):
    return np.column_stack(
        [np.ones_like(x), expit(-3 * x), 2 * np.exp(-0.5 * x**2), expit(3 * x), np.exp(x)]
    )


@pytest.fixture
def hand():
    """Cells at z from −2 to 2 and bases that are flat, down, transient, up, and unused."""
    names, cluster, confidence, shift, scale = map(list, zip(*GENES, strict=True))
    grid = np.linspace(-2.5, 3.0, 200)
    var = pd.DataFrame(
        {
            "basisvae_cluster": pd.Categorical(cluster),
            "basisvae_confidence": confidence,
            "basisvae_gene_shift": shift,
            "basisvae_gene_scale": scale,
        },
        index=names,
    )
    return AnnData(
        X=np.ones((50, len(names)), dtype=np.float32),
        var=var,
        obsm={"X_basisvae": np.linspace(-2, 2, 50, dtype=np.float32)[:, None]},
        uns={
            "basisvae": {
                "params": {"gene_likelihood": "nb", "latent_min": -2.0, "latent_max": 2.0},
                "version": "0",
                "grid": grid,
                "basis": hand_basis(grid),
                "history": {},
                "seed": 0,
            }
        },
    )


@pytest.fixture(scope="session")
def fitted():
    """A small model and its annotated data."""
    adata = bv.datasets.simulate_counts(n_obs=150, n_vars=30, mean_count=3.0, seed=1)
    bv.BasisVAE.setup_anndata(adata)
    model = bv.BasisVAE(adata, n_basis=5, translation_invariant=True, gene_likelihood="nb")
    model.train(4, seed=0, accelerator="cpu", enable_progress_bar=False)
    model.annotate()
    return model, adata
