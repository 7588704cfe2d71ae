"""What annotate() writes comes back the same from h5ad and zarr."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from model_helpers import fit, small_counts


@pytest.fixture(scope="module")
def annotated():
    """Annotated data with cells and genes that were not modelled."""
    whole = small_counts(80, 24)
    model = fit(
        whole[::2, 1::2].copy(),
        setup={"continuous_covariate_keys": ["true_size_factor"]},
        translation_invariant=True,
    )
    return model.annotate(whole, copy=True)


@pytest.fixture(scope="module", params=["h5ad", "zarr"])
def read_back(request, annotated, tmp_path_factory):
    path = tmp_path_factory.mktemp("files") / f"annotated.{request.param}"
    if request.param == "h5ad":
        annotated.write_h5ad(path)
        return ad.read_h5ad(path)
    annotated.write_zarr(path)
    return ad.read_zarr(path)


def test_z_and_pseudotime_come_back(annotated, read_back):
    np.testing.assert_array_equal(read_back.obsm["X_basisvae"], annotated.obsm["X_basisvae"])
    assert read_back.obsm["X_basisvae"].dtype == np.float32
    np.testing.assert_array_equal(
        read_back.obs["basisvae_pseudotime"], annotated.obs["basisvae_pseudotime"]
    )


@pytest.mark.parametrize("name", ["assignment", "shift", "scale", "restarts"])
def test_tables_of_genes_come_back(annotated, read_back, name):
    found, expected = (a.varm[f"basisvae_{name}"] for a in (read_back, annotated))
    assert isinstance(found, pd.DataFrame)
    assert list(found.columns) == list(expected.columns)
    assert list(found.index) == list(expected.index)
    np.testing.assert_array_equal(found, expected)


def test_groups_come_back_with_their_order(annotated, read_back):
    found, expected = (a.var["basisvae_cluster"] for a in (read_back, annotated))
    assert list(found.cat.categories) == list(expected.cat.categories)
    assert found[::2].isna().all()
    assert list(found[1::2]) == list(expected[1::2])


@pytest.mark.parametrize(
    "name",
    [
        "confidence",
        "gene_shift",
        "gene_scale",
        "gene_shift_sd",
        "gene_scale_upper",
        "shift_identified",
        "is_dynamic",
        "stability",
    ],
)
def test_values_of_genes_come_back(annotated, read_back, name):
    key = f"basisvae_{name}"
    np.testing.assert_array_equal(read_back.var[key], annotated.var[key])
    assert read_back.var[key].dtype == annotated.var[key].dtype


def test_the_description_of_the_run_comes_back(annotated, read_back):
    found, expected = read_back.uns["basisvae"], annotated.uns["basisvae"]
    assert set(found) == set(expected)
    assert found["version"] == expected["version"]
    assert found["seed"] == expected["seed"]
    np.testing.assert_array_equal(found["grid"], expected["grid"])
    np.testing.assert_array_equal(found["basis"], expected["basis"])
    np.testing.assert_array_equal(found["restart_bounds"], expected["restart_bounds"])
    assert found["best_restart"] == expected["best_restart"]
    assert found["flat_bound"] == expected["flat_bound"]


def test_the_moves_of_the_search_come_back(annotated, read_back):
    found, expected = (a.uns["basisvae"]["search"] for a in (read_back, annotated))
    assert list(found.columns) == ["restart", "move", "bound", "n_used_bases"]
    pd.testing.assert_frame_equal(found, expected, check_names=False, check_index_type=False)


def test_parameters_of_the_run_come_back(annotated, read_back):
    found, expected = (a.uns["basisvae"]["params"] for a in (read_back, annotated))
    assert set(found) == set(expected)
    assert found["continuous_covariate_keys"] == "['true_size_factor']"
    for name, value in expected.items():
        assert found[name] == value, name


def test_the_history_of_the_run_comes_back(annotated, read_back):
    found, expected = (a.uns["basisvae"]["history"] for a in (read_back, annotated))
    assert set(found) == set(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)
