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


def with_certainty(adata, *, n_restarts=3, seed=0):
    """Add what tells how far results can be trusted: φ, intervals, flags, restarts, moves."""
    rng = np.random.default_rng(seed)
    var, run = adata.var, adata.uns["basisvae"]
    n, n_basis = adata.n_vars, run["basis"].shape[1]
    cluster = var["basisvae_cluster"].astype(int).to_numpy()
    confidence = var["basisvae_confidence"].to_numpy()
    phi = np.repeat((1 - confidence)[:, None] / (n_basis - 1), n_basis, axis=1)
    phi[np.arange(n), cluster] = confidence
    labels = np.repeat(cluster[:, None], n_restarts, axis=1).astype(float)
    moved = rng.random(n) < 0.2
    labels[moved, 1] = (cluster[moved] + 1) % n_basis
    columns = [str(k) for k in range(n_basis)]
    adata.varm["basisvae_assignment"] = pd.DataFrame(phi, index=var.index, columns=columns)
    adata.varm["basisvae_restarts"] = pd.DataFrame(
        labels, index=var.index, columns=[str(i) for i in range(n_restarts)]
    )
    for name in ("shift", "scale"):
        sd = rng.uniform(0.05, 0.2, n)
        value = var[f"basisvae_gene_{name}"].to_numpy()
        var[f"basisvae_gene_{name}_sd"] = sd
        var[f"basisvae_gene_{name}_lower"] = np.maximum(value - 1.64 * sd, -5 * (name == "shift"))
        var[f"basisvae_gene_{name}_upper"] = value + 1.64 * sd
    var["basisvae_shift_identified"] = (cluster > 0) & (rng.random(n) < 0.8)
    var["basisvae_is_dynamic"] = cluster > 0
    var["basisvae_stability"] = rng.uniform(0.5, 1.0, n)
    run["params"]["translation_invariant"] = True
    run["history"] = {"elbo_train": np.geomspace(300, 200, 12)}
    run["search"] = pd.DataFrame(
        {
            "restart": np.repeat(np.arange(n_restarts), 4),
            "move": ["start", "delete+delete", "merge", "settle"] * n_restarts,
            "bound": (np.arange(n_restarts)[:, None] + [-900.0, -500.0, -400.0, -390.0]).ravel(),
            "n_used_bases": [9, 6, 5, 4] * n_restarts,
        },
        index=[str(i) for i in range(4 * n_restarts)],
    )
    run["restart_bounds"] = np.arange(n_restarts) - 390.0
    run["best_restart"] = str(n_restarts - 1)
    run["flat_bound"] = -1000.0
    return adata


@pytest.fixture
def certain():
    return with_certainty(hand_annotated())


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
