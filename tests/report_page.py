"""Annotated data made by hand, and what can be read out of a report."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse

GRID = np.linspace(-3.0, 3.0, 200)
BASIS = np.column_stack(
    [
        np.ones_like(GRID),
        1.8 * np.exp(-0.5 * GRID**2),
        2 / (1 + np.exp(2 * GRID)),
        2 / (1 + np.exp(-2 * GRID)),
        np.ones_like(GRID),  # a basis that no gene uses
    ]
)
HISTORY = 100.0 + 20.0 * np.exp(-np.arange(60) / 5.0)


def make_annotated(*, n_obs=260, n_vars=40, names=None, certain=True, seed=0) -> AnnData:
    """Counts around known courses: clusters flat, transient, down and up, in that numbering.

    ``certain`` adds what ``annotate`` writes of intervals and restarts.
    """
    rng = np.random.default_rng(seed)
    z = rng.uniform(-2, 2, n_obs)
    cluster = np.arange(n_vars) % 4
    shift = np.where(cluster > 0, rng.uniform(-0.5, 0.5, n_vars), 0.0)
    scale = rng.uniform(0.5, 1.5, n_vars)
    course = np.empty((n_obs, n_vars))
    for k in range(4):
        own = cluster == k
        course[:, own] = scale[own] * np.interp(z[:, None] + shift[own], GRID, BASIS[:, k])
    names = [f"gene{j}" for j in range(n_vars)] if names is None else names
    var = pd.DataFrame(
        {
            "basisvae_cluster": pd.Categorical(cluster.astype(str), categories=list("01234")),
            "basisvae_confidence": np.round(rng.uniform(0.88, 1.0, n_vars), 3),
            "basisvae_gene_shift": shift,
            "basisvae_gene_scale": scale,
        },
        index=names,
    )
    if certain:
        width = rng.uniform(0.05, 0.3, n_vars)
        for name, value in (("shift", shift), ("scale", scale)):
            var[f"basisvae_gene_{name}_sd"] = width / 1.64
            var[f"basisvae_gene_{name}_lower"] = value - width
            var[f"basisvae_gene_{name}_upper"] = value + width
        var["basisvae_shift_identified"] = (cluster == 1) | (np.arange(n_vars) % 3 == 0)
        var["basisvae_is_dynamic"] = cluster > 0
        var["basisvae_stability"] = rng.uniform(0.85, 1.0, n_vars)
    columns = [str(k) for k in range(BASIS.shape[1])]
    rest = (1.0 - var["basisvae_confidence"].to_numpy()) / (BASIS.shape[1] - 1)
    phi = np.repeat(rest[:, None], len(columns), axis=1)
    phi[np.arange(n_vars), cluster] = var["basisvae_confidence"]
    phi = pd.DataFrame(phi, names, columns)
    varm = {"basisvae_assignment": phi}
    run = {
        "params": {
            "n_basis": 5,
            "n_latent": 1,
            "translation_invariant": True,
            "gene_likelihood": "poisson",
            "latent_min": -2.0,
            "latent_max": 2.0,
            "layer": "None",
            "size_factor_key": "size",
            "batch_key": "None",
        },
        "version": "0.0.test",
        "seed": 7,
        "grid": GRID,
        "basis": BASIS,
        "history": {"elbo_train": HISTORY},
    }
    if certain:
        labels = np.column_stack([cluster, cluster]).astype(float)
        varm["basisvae_restarts"] = pd.DataFrame(labels, names, ["0", "1"])
        run |= {"restart_bounds": np.array([-10.0, -12.0]), "best_restart": "0"}
        run["search"] = pd.DataFrame(
            {"restart": [0, 1], "move": "start", "bound": [-10.0, -12.0], "n_used_bases": 4}
        )
    return AnnData(
        sparse.csr_matrix(rng.poisson(3 * course).astype(np.float32)),
        obs=pd.DataFrame(
            {"size": np.ones(n_obs), "stage": np.where(z < 0, "early", "late")},
            index=[f"cell{i}" for i in range(n_obs)],
        ),
        var=var,
        obsm={"X_basisvae": z[:, None].astype(np.float32)},
        varm=varm,
        uns={"basisvae": run},
    )


def data_of(path) -> dict:
    """What the page's table draws from."""
    text = path.read_text(encoding="utf-8")
    [block] = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', text, re.DOTALL)
    return json.loads(block)


class Page(HTMLParser):
    """Elements with their attributes, and the text outside scripts and styles."""

    def __init__(self, text: str):
        super().__init__()
        self.elements, self.words, self._silent = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._silent = tag in ("script", "style")

    def handle_endtag(self, tag):
        self._silent = False

    def handle_data(self, data):
        if not self._silent:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]
