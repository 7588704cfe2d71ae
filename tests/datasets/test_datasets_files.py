"""What is written can be read back; the shipped file is what it says; the examples run."""

import doctest
import importlib
import inspect
from importlib.resources import files

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy.stats import spearmanr

from basisvae_scvi import datasets

MODULES = ("_counts", "_marrow", "_motion", "_shapes", "_toy")


def simulated():
    """One data set of each kind, with every optional field."""
    proportions = np.array([1.0, 2.0, 1.0, 1.0])
    return {
        "groups": datasets.toy_groups(n_obs=20, n_per_group=2),
        "shifts": datasets.toy_shifts(n_obs=20, n_vars=6, max_shift=np.float32(2)),
        "counts": datasets.simulate_counts(
            n_obs=20, n_vars=6, n_batches=2, proportions=proportions, seed=np.int64(3)
        ),
        "poisson": datasets.simulate_counts(n_obs=20, n_vars=6, likelihood="poisson"),
    }


def assert_same(left, right):
    """Compare values; dtypes of strings may change on the way to disk and back."""
    for a, b in [(left.obs, right.obs), (left.var, right.var)]:
        pd.testing.assert_frame_equal(a, b, check_index_type=False, check_dtype=False)
        assert list(a.index) == list(b.index)
    x, y = (v.X.toarray() if sp.issparse(v.X) else v.X for v in (left, right))
    np.testing.assert_array_equal(x, y)
    assert x.dtype == y.dtype
    assert set(left.varm) == set(right.varm)
    for key in left.varm:
        np.testing.assert_array_equal(left.varm[key], right.varm[key])
    assert set(left.uns["simulation"]) == set(right.uns["simulation"])
    for key, value in left.uns["simulation"].items():
        assert np.array_equal(value, right.uns["simulation"][key]), key


@pytest.mark.parametrize("kind", ["groups", "shifts", "counts", "poisson"])
@pytest.mark.parametrize("store", ["h5ad", "zarr"])
def test_round_trip(kind, store, tmp_path):
    adata, path = simulated()[kind], tmp_path / f"data.{store}"
    if store == "zarr":
        adata.write_zarr(path)
        back = ad.read_zarr(path)
    else:
        adata.write_h5ad(path)
        back = ad.read_h5ad(path)
    assert_same(simulated()[kind], back)
    for column in ("true_group", "true_shape"):
        assert isinstance(back.var[column].dtype, pd.CategoricalDtype)
        assert all(isinstance(name, str) for name in back.var[column].cat.categories)


@pytest.mark.parametrize(
    ("kind", "gene"), [("groups", "feature0"), ("shifts", "feature0"), ("counts", "gene0")]
)
def test_names(kind, gene):
    adata = simulated()[kind]
    assert adata.obs_names[0] == "cell0"
    assert adata.var_names[0] == gene
    assert adata.obs_names.is_unique
    assert adata.var_names.is_unique


def test_simulation_records_enough_to_repeat_it():
    adata = simulated()["counts"]
    arguments = dict(adata.uns["simulation"])
    assert arguments.pop("generator") == "simulate_counts"
    again = datasets.simulate_counts(**arguments)
    assert (again.X != adata.X).nnz == 0


def test_marrow_file_is_small_and_attributed():
    folder = files("basisvae_scvi.datasets")
    assert 500_000 < len((folder / "marrow_erythroid.h5ad").read_bytes()) < 2_000_000
    text = (folder / "ATTRIBUTION.md").read_text(encoding="utf-8")
    source = datasets.marrow_erythroid().uns["source"]
    assert source["sha256"] in text
    assert source["citation"].split("doi:")[1] in text
    assert "Permission is hereby granted" in text
    assert "Copyright (c) 2020–present Dana Pe'er Lab" in text


def test_marrow_holds_raw_counts():
    adata = datasets.marrow_erythroid()
    assert adata.X.format == "csr"
    assert adata.X.dtype == np.float32
    assert (adata.X.data >= 1).all()
    assert np.array_equal(adata.X.data, np.round(adata.X.data))
    assert adata.obs_names.is_unique
    assert adata.var_names.is_unique
    kept = np.asarray(adata.X.sum(axis=1)).ravel()
    assert pd.api.types.is_integer_dtype(adata.obs["total_counts"])
    assert (adata.obs["total_counts"] >= kept).all()
    np.testing.assert_array_equal(adata.var["n_cells"], adata.X.getnnz(axis=0))
    assert adata.var["n_cells"].min() >= 20
    assert sorted(adata.var["variability_rank"]) == list(range(adata.n_vars))


def test_marrow_is_one_path_from_stem_to_erythroid():
    adata = datasets.marrow_erythroid()
    size = adata.obs["total_counts"] / adata.obs["total_counts"].median()
    log = np.log1p(adata.X.toarray() / size.to_numpy()[:, None])
    log = pd.DataFrame(log, columns=adata.var_names)
    variable = log.loc[:, (adata.var["variability_rank"] < 500).to_numpy()]
    centred = variable - variable.mean()
    order = np.linalg.svd(centred.to_numpy(), full_matrices=False)[0][:, 0]
    order *= np.sign(spearmanr(order, log["KLF1"])[0])
    stages = log.groupby(pd.qcut(order, 5, labels=False)).mean()
    # The main axis of variation is the process: stem genes fall, erythroid genes rise, and GATA2
    # (on before GATA1, off at the end) passes through a maximum.
    for gene in ("CD34", "AVP", "HLF"):
        assert stages[gene].iloc[0] > 2 * stages[gene].iloc[-1]
    for gene in ("GATA1", "KLF1", "HBB", "CA1"):
        assert stages[gene].iloc[-1] > 5 * stages[gene].iloc[0]
    assert 0 < stages["GATA2"].argmax() < 4
    # No branch: what is left of other programmes is a background that does not change along the
    # path. A stage holds 200 cells of standard deviation near 0.5, so a mean errs by 0.035.
    for gene in ("MPO", "ELANE", "DNTT", "CD79A"):
        assert np.ptp(stages[gene]) < 4 * 0.035


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    result = doctest.testmod(importlib.import_module(f"basisvae_scvi.datasets.{name}"))
    assert result.attempted >= 2
    assert result.failed == 0


def test_public_functions_say_what_they_return_and_raise():
    functions = [vars(datasets)[name] for name in datasets.__all__ if name[0].islower()]
    assert functions
    for function in functions:
        for section in ("Returns", "Raises", "Examples"):
            assert f"\n{section}\n---" in inspect.getdoc(function), (function, section)
