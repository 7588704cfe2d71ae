"""Results written by hand, whose answers are known."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

# Name, cluster, confidence, δ, its sd, whether it is told, λ, stability, dynamic.
GENES = [
    ("early", "1", 0.99, 0.5, 0.1, True, 1.0, 0.9, True),
    ("late", "1", 0.994, -0.3, 0.2, True, 2.0, 0.7, True),
    ("open", "1", 0.80, 0.9, 0.6, False, 3.0, 0.9, False),
    ("other", "2", 1.00, 0.0, 0.1, True, 1.5, 1.0, True),
    ("flat_a", "0", 0.90, 0.0, 0.0, False, 1.0, 1.0, False),
    ("flat_b", "0", 0.95, 0.0, 0.0, False, 1.0, 1.0, False),
    ("never", None, np.nan, np.nan, np.nan, False, np.nan, np.nan, False),
]
COLUMNS = [
    "cluster",
    "confidence",
    "gene_shift",
    "gene_shift_sd",
    "shift_identified",
    "gene_scale",
    "stability",
    "is_dynamic",
]


@pytest.fixture
def hand():
    names, *values = map(list, zip(*GENES, strict=True))
    var = pd.DataFrame(
        {f"basisvae_{name}": column for name, column in zip(COLUMNS, values, strict=True)},
        index=names,
    )
    var["basisvae_cluster"] = pd.Categorical(var["basisvae_cluster"])
    grid = np.linspace(-2.5, 2.5, 100)
    basis = np.column_stack([np.ones(100), np.exp(-0.5 * grid**2), np.exp(grid)])
    params = {"translation_invariant": True, "latent_min": -2.0, "latent_max": 2.0}
    return AnnData(
        np.ones((5, len(names)), dtype=np.float32),
        var=var,
        obsm={"X_basisvae": np.linspace(-2, 2, 5, dtype=np.float32)[:, None]},
        uns={"basisvae": {"params": params, "grid": grid, "basis": basis}},
    )
