"""Where z starts: every way to say it, in the order in which they are looked for."""

import numpy as np
import pandas as pd
import pytest

from basisvae_scvi.data import root_cells
from basisvae_scvi.datasets import simulate_counts

STAGES = ["stem", "late", "stem", "early=1", "late", None]


@pytest.fixture
def adata():
    adata = simulate_counts(n_obs=6, n_vars=3, seed=0)
    adata.obs["stage"] = pd.Categorical(STAGES)
    adata.obs["leiden"] = [0, 1, 2, 0, 1, 2]
    adata.obs["is_late"] = [False, True, False, False, True, False]
    return adata


@pytest.mark.parametrize(
    ("root", "cells"),
    [
        ("cell3", [3]),
        ("is_late", [1, 4]),
        ("stage=stem", [0, 2]),
        ("stage=early=1", [3]),
        ("leiden=2", [2, 5]),
        ("is_late=False", [0, 2, 3, 5]),
        (np.arange(6) > 3, [4, 5]),
        (pd.Series(np.arange(6) == 1), [1]),
    ],
)
def test_the_cells_that_are_meant(adata, root, cells):
    mask = root_cells(adata, root)
    assert mask.dtype == bool
    assert np.flatnonzero(mask).tolist() == cells


def test_a_gene_names_no_cell(adata):
    assert root_cells(adata, "gene1") is None


def test_cells_and_genes_that_are_named_like_something_else_come_first(adata):
    adata.obs_names = [*adata.obs_names[:5], "stage=stem"]
    adata.var_names = ["leiden=2", "CD34", adata.var_names[2]]
    adata.obs["CD34"] = np.linspace(0.0, 1.0, 6)  # a gene's values, as many keep them in obs
    assert np.flatnonzero(root_cells(adata, "stage=stem")).tolist() == [5]
    assert root_cells(adata, "leiden=2") is None
    assert root_cells(adata, "CD34") is None


@pytest.mark.parametrize(
    ("root", "message"),
    [
        ("nobody", r"root='nobody' is neither .* column of obs \(is_late\), nor a gene .*"),
        (
            "leiden",
            r"'leiden' is a column .* holds numbers.*leiden=…; there are: 0, 1, 2",
        ),
        ("stage=mid", r"no cell has .mid. in .*; there are: stem, late, early=1"),
        ("stage=nan", r"no cell has 'nan'"),
        ("place=here", r"root='place=here' is neither"),
        (np.ones(5, bool), r"boolean mask of length 6, .* got True/False of shape \(5,\)"),
        ([0, 1, 0, 0, 0, 0], r"boolean mask of length 6"),
        (np.zeros(6, bool), r"root marks no cell"),
    ],
)
def test_what_is_no_root(adata, root, message):
    with pytest.raises(ValueError, match=message):
        root_cells(adata, root)


def test_a_column_that_marks_no_cell_is_named(adata):
    adata.obs["never"] = False
    with pytest.raises(ValueError, match=r"root='never' marks no cell"):
        root_cells(adata, "never")
