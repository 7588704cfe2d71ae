"""Counts that are elsewhere than looked for: the message points to them with a cure that works."""

import re

import anndata as ad
import numpy as np
import pytest
from scipy import sparse

from basisvae_scvi.data import (
    check_counts,
    check_layer,
    has_raw_counts,
    layers_of_counts,
    pointing_to_counts,
)

COUNTS = np.random.default_rng(0).poisson(2.0, (6, 4)).astype(np.float32)


def logged(raw=COUNTS, *, x=True, names=None):
    """Logs in X, or nothing; ``raw`` beside it."""
    adata = ad.AnnData(sparse.csr_matrix(np.asarray(raw)))
    adata.var_names = [f"g{j}" for j in range(adata.n_vars)]
    adata.raw = adata.copy()
    adata = adata if names is None else adata[:, names].copy()
    adata.X = sparse.csr_matrix(np.log1p(adata.X.toarray())) if x else None
    return adata


def complaint(adata, layer=None):
    """What is said of X, or a layer, of an AnnData."""
    try:
        with pointing_to_counts(adata, layer):
            check_layer(adata, layer)
            check_counts(adata.X if layer is None else adata.layers[layer], "here")
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("x", [True, False])
@pytest.mark.parametrize("names", [None, ["g2", "g0"]])
def test_the_cure_makes_counts_of_raw_a_layer(x, names):
    adata = logged(x=x, names=names)
    message = complaint(adata)
    code, layer = re.search(
        r"adata\.raw: (adata\.layers.*), then pass layer='(\w+)'", message
    ).groups()
    exec(code, {"adata": adata})
    expected = COUNTS if names is None else COUNTS[:, [2, 0]]
    np.testing.assert_array_equal(adata.layers[layer].toarray(), expected)
    assert complaint(adata, layer) == ""


def test_a_layer_that_is_there_is_not_proposed_for_the_counts_of_raw():
    adata = logged()
    adata.layers["counts"] = adata.X.copy()
    assert "adata.layers['counts_of_raw'] = " in complaint(adata)


def test_where_genes_differ_the_cure_is_the_object_of_raw():
    adata = logged()
    adata.var_names = ["other", *adata.var_names[1:]]
    code = re.search(r"use adata = (adata\.raw\.to_adata\(\))\.", complaint(adata)).group(1)
    found = eval(code, {"adata": adata})
    np.testing.assert_array_equal(found.X.toarray(), COUNTS)
    assert list(found.obs_names) == list(adata.obs_names)


def test_layers_with_counts_come_first():
    adata = logged()
    adata.layers["spliced"], adata.layers["scaled"] = COUNTS.astype(int), COUNTS - 0.5
    assert layers_of_counts(adata) == ["spliced"]
    assert "There are counts in adata.layers['spliced']: pass layer='spliced'." in complaint(adata)
    assert "layer='spliced'" in complaint(adata, "scaled")


@pytest.mark.parametrize("raw", [COUNTS / 2 + 0.25, -COUNTS, 0 * COUNTS, COUNTS + np.nan])
def test_what_is_no_count_is_not_pointed_to(raw):
    adata = logged(raw, x=False)
    assert not has_raw_counts(adata)
    message = complaint(adata)
    assert message
    assert "There are counts" not in message


def test_a_layer_is_not_pointed_to_from_itself():
    """Whether a layer holds counts is told by its first cells, and the last may be otherwise."""
    values = np.ones((3000, 2), np.float32)
    values[-1] = 0.5
    adata = ad.AnnData(layers={"a": values})
    message = complaint(adata, "a")
    assert "non-integer" in message
    assert "There are counts" not in message
