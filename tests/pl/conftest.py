"""Data annotated by hand, and a backend that needs no screen."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from anndata import AnnData
from matplotlib import pyplot as plt
from scipy import sparse
from scipy.special import expit

N_OBS, N_VARS = 240, 24


def hand_annotated(*, n_obs=N_OBS, n_vars=N_VARS, likelihood="poisson", seed=0):
    """Counts around known courses: clusters flat, transient, down and up, in that numbering."""
    rng = np.random.default_rng(seed)
    grid = np.linspace(-2.6, 2.6, 200)
    basis = np.column_stack(
        [
            np.ones_like(grid),
            1.6 * np.exp(-0.5 * grid**2),
            2 * expit(-2 * grid),
            2 * expit(2 * grid),
        ]
    )
    z = rng.uniform(-2, 2, n_obs)
    cluster = np.arange(n_vars) % 4
    shift = np.where(cluster > 0, rng.uniform(-0.5, 0.5, n_vars), 0.0)
    size = rng.uniform(0.7, 1.4, n_obs)
    points = z[:, None] + shift
    course = np.stack(
        [np.interp(points[:, j], grid, basis[:, k]) for j, k in enumerate(cluster)], axis=1
    )
    scale = 1.0 / np.average(course, axis=0, weights=size)  # 1 is the gene's mean
    names = [f"gene{j}" for j in range(n_vars)]
    var = pd.DataFrame(
        {
            "basisvae_cluster": pd.Categorical(cluster.astype(str)),
            "basisvae_confidence": rng.uniform(0.6, 1.0, n_vars),
            "basisvae_gene_shift": shift,
            "basisvae_gene_scale": scale,
        },
        index=names,
    )
    params = {
        "gene_likelihood": likelihood,
        "latent_min": z.min(),
        "latent_max": z.max(),
        "layer": "None",
        "size_factor_key": "size",
    }
    return AnnData(
        sparse.csr_matrix(rng.poisson(3 * scale * course * size[:, None]).astype(np.float32)),
        obs=pd.DataFrame({"size": size}, index=[f"cell{i}" for i in range(n_obs)]),
        var=var,
        obsm={"X_basisvae": z[:, None].astype(np.float32)},
        uns={"basisvae": {"params": params, "grid": grid, "basis": basis}},
    )


@pytest.fixture
def hand():
    return hand_annotated()


@pytest.fixture
def annotated():
    """The function that makes data by hand, for other sizes and likelihoods."""
    return hand_annotated


@pytest.fixture(autouse=True)
def no_screen():
    """Draw into memory, close all figures, and insist that no setting was changed."""
    backend = mpl.get_backend()
    plt.switch_backend("agg")
    before = dict(mpl.rcParams)
    yield
    plt.close("all")
    assert dict(mpl.rcParams) == before
    plt.switch_backend(backend)


@pytest.fixture
def shown(monkeypatch):
    """List that grows by one each time a figure is shown; scanpy shows figures by itself."""
    calls = []
    monkeypatch.setattr(plt, "show", lambda *_, **__: calls.append(1))
    before, sc.settings.autoshow = sc.settings.autoshow, True
    yield calls
    sc.settings.autoshow = before
