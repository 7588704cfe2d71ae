"""Fitting and comparing small models."""

import copy
import os
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest

from basisvae_scvi import BasisVAE
from basisvae_scvi.datasets import simulate_counts
from basisvae_scvi.inference.structure import CurveSpace

ACCELERATOR = os.environ.get("BASISVAE_TEST_ACCELERATOR", "cpu")


@contextmanager
def brief_start():
    """Shorten search and warm start, where a test does not ask for a good fit."""
    search = "basisvae_scvi.inference.structure"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("basisvae_scvi.model._start.ENCODER_STEPS", 20)
        patch.setattr("basisvae_scvi.inference._warm_start._BASIS_FIT_STEPS", 40)
        fit = CurveSpace.fit
        patch.setattr(CurveSpace, "fit", lambda space, sums, all_: fit(space, sums, all_[1::2]))
        patch.setattr(f"{search}._search._FIRST_TRIES", 0)
        patch.setattr(f"{search}._search._FURTHER_TRIES", 0)
        patch.setattr(f"{search}._restart._ROUNDS", 1)
        yield


def train(model, max_epochs=2, *, seed=0, brief=True, **arguments):
    """Train quietly on the CPU, or on what ``BASISVAE_TEST_ACCELERATOR`` names."""
    arguments = {
        "max_epochs": max_epochs,
        "seed": seed,
        "accelerator": ACCELERATOR,
        "enable_progress_bar": False,
        **arguments,
    }
    if brief:
        with brief_start():
            model.train(**arguments)
    else:
        model.train(**arguments)


def build(adata, *, setup=None, **arguments):
    """Register ``adata`` and make a small untrained model."""
    BasisVAE.setup_anndata(adata, **(setup or {}))
    arguments = {"n_basis": 4, "n_hidden": 8, "gene_likelihood": "nb", **arguments}
    return BasisVAE(adata, **arguments)


def fit(adata, *, setup=None, max_epochs=2, seed=0, brief=True, **arguments):
    """Register ``adata``, make a small model and train it."""
    model = build(adata, setup=setup, **arguments)
    train(model, max_epochs, seed=seed, brief=brief)
    return model


def small_counts(n_obs=100, n_vars=20, **arguments):
    """A small count matrix with known truth."""
    return simulate_counts(
        n_obs=n_obs, n_vars=n_vars, **{"seed": 1, "mean_count": 1.5, **arguments}
    )


def twin(model):
    """A model with parameters of its own on the same data, to be edited."""
    other = copy.copy(model)
    other.module = copy.deepcopy(model.module)
    return other


def gene_tables(model):
    """Every public table of the genes, by name of its method."""
    points = np.linspace(-1.5, 1.5, 7)
    if model.module.n_latent > 1:
        points = np.stack([points] * model.module.n_latent, axis=1)
    clusters = model.get_clusters()
    return {
        "get_assignments": model.get_assignments(),
        "get_shifts": model.get_shifts(),
        "get_scales": model.get_scales(),
        "get_clusters": clusters.drop(columns="cluster"),
        "labels": clusters[["cluster"]].astype(str).astype(float),
        "get_coclustering": model.get_coclustering(),
        "get_basis_functions": model.get_basis_functions(points),
        "get_gene_trends": model.get_gene_trends(z=points),
        "default points": model.get_basis_functions().reset_index().iloc[:, :1],
    }


def all_tables(model):
    """Every public table of genes and cells."""
    tables = gene_tables(model)
    tables["get_latent_representation"] = pd.DataFrame(model.get_latent_representation())
    if model.module.n_latent == 1:
        tables["get_pseudotime"] = model.get_pseudotime().to_frame()
    return tables


def assert_same_tables(found, expected, *, rtol=0.0, atol=0.0):
    """Assert that two sets of tables agree; without tolerances, bit for bit."""
    assert found.keys() == expected.keys()
    for name, table in expected.items():
        assert list(found[name].columns) == list(table.columns), name
        assert list(found[name].index.astype(str)) == list(table.index.astype(str)) or (
            rtol + atol > 0
        ), name
        np.testing.assert_allclose(
            found[name].to_numpy(dtype=float),
            table.to_numpy(dtype=float),
            rtol=rtol,
            atol=atol,
            err_msg=name,
        )
