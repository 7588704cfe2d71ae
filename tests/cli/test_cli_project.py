"""``basisvae-scvi project``: new cells on the course of a saved model."""

import json
import shutil

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from basisvae_scvi import datasets

FAST = ("--accelerator", "cpu", "--threads", "1", "--quiet", "--seed", "1")


def _new_cells(counts, path, **change):
    """The cells of the fit under other names, with what ``change`` asks for."""
    adata = ad.read_h5ad(counts)
    adata.obs_names = [f"new{i}" for i in range(adata.n_obs)]
    if "batch" in change:
        adata.obs["batch"] = change["batch"]
    if "drop" in change:
        del adata.obs[change["drop"]]
    if "genes" in change:
        adata = adata[:, change["genes"](adata)].copy()
    adata.write_h5ad(path)
    return path


@pytest.fixture
def project(run, fitted):
    return lambda *words: run("project", *FAST, "--model-dir", fitted / "model", *words)


def test_cells_like_those_of_the_fit_get_their_z_and_time(project, counts, fitted, tmp_path):
    backwards = _new_cells(counts, tmp_path / "new.h5ad", genes=lambda a: a.var_names[::-1])
    result = project(backwards, "-o", tmp_path / "out.h5ad", "--tables", tmp_path / "tables")
    assert result.status == 0, result.err
    out, reference = ad.read_h5ad(tmp_path / "out.h5ad"), ad.read_h5ad(fitted / "out.h5ad")
    np.testing.assert_allclose(out.obsm["X_basisvae"], reference.obsm["X_basisvae"], atol=1e-4)
    np.testing.assert_allclose(
        out.obs["basisvae_pseudotime"], reference.obs["basisvae_pseudotime"], atol=1e-4
    )
    cluster = reference.var["basisvae_cluster"].astype(str)
    assert out.var["basisvae_cluster"].astype(str).to_dict() == cluster.to_dict()
    cells = pd.read_csv(tmp_path / "tables" / "cells.tsv", sep="\t", index_col=0)
    np.testing.assert_allclose(cells["z"], out.obsm["X_basisvae"][:, 0], rtol=1e-5)
    assert not [key for key in (*out.uns, *out.obs, *out.obsm) if key.startswith("_")]
    assert out.uns["basisvae"]["params"]["size_factor_key"] == "None"


def test_time_of_some_cells_is_that_of_the_whole_course(project, counts, fitted, tmp_path):
    """A few cells from the middle do not spread from 0 to 1, and depth is that of the fit."""
    reference = ad.read_h5ad(fitted / "out.h5ad")
    middle = reference.obs["basisvae_pseudotime"].between(0.3, 0.7).to_numpy()
    adata = ad.read_h5ad(counts)[middle].copy()
    adata.write_h5ad(tmp_path / "some.h5ad")
    assert project(tmp_path / "some.h5ad", "-o", tmp_path / "out.h5ad").status == 0
    time = ad.read_h5ad(tmp_path / "out.h5ad").obs["basisvae_pseudotime"]
    np.testing.assert_allclose(time, reference.obs["basisvae_pseudotime"][middle], atol=1e-4)


def test_a_new_batch_is_learned_and_the_course_stays(project, counts, fitted, tmp_path):
    new = _new_cells(counts, tmp_path / "new.h5ad", batch="later")
    words = ("-o", tmp_path / "out.zarr", "--max-epochs", "3", "--metrics", tmp_path / "m.json")
    result = project(new, *words)
    assert result.status == 0, result.err
    out, reference = ad.read_zarr(tmp_path / "out.zarr"), ad.read_h5ad(fitted / "out.h5ad")
    assert np.isfinite(out.obsm["X_basisvae"]).all()
    np.testing.assert_array_equal(
        out.varm["basisvae_shift"].to_numpy(), reference.varm["basisvae_shift"].to_numpy()
    )
    metrics = json.loads((tmp_path / "m.json").read_text())
    assert (metrics["n_cells"], metrics["n_epochs"], metrics["seed"]) == (80, 3, 1)
    assert "Number of cells" in [finding["title"] for finding in metrics["findings"]]
    assert json.loads((tmp_path / "out.zarr.run.json").read_text())["command"].startswith(
        "basisvae-scvi project"
    )


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"genes": lambda a: a.var_names[:-9]}, "of the model's 12 genes"),
        ({"genes": lambda a: a.var_names[:0]}, "0 genes"),
        ({"drop": "batch"}, "needs the column 'batch'"),
    ],
)
def test_cells_that_do_not_fit(project, counts, tmp_path, change, expected):
    new = _new_cells(counts, tmp_path / "new.h5ad", **change)
    result = project(new, "-o", tmp_path / "out.h5ad")
    assert result.status == 1
    [line] = result.err
    assert expected in line
    assert [path.name for path in tmp_path.iterdir()] == ["new.h5ad"]


def test_genes_of_another_species(project, tmp_path):
    other = datasets.simulate_counts(n_obs=20, n_vars=24, seed=2)
    other.var_names = [f"mouse{i}" for i in range(24)]
    other.write_h5ad(tmp_path / "other.h5ad")
    result = project(tmp_path / "other.h5ad", "-o", tmp_path / "out.h5ad")
    [line] = result.err
    assert result.status == 1
    assert "none of the model's 12 genes" in line
    assert "mouse0" in line


@pytest.mark.parametrize(
    ("keep", "expected"),
    [(0, "is damaged or cut short"), (2000, "is damaged or cut short"), (None, "no model.pt")],
)
def test_a_damaged_model(run, counts, fitted, tmp_path, keep, expected):
    broken = tmp_path / "model"
    shutil.copytree(fitted / "model", broken)
    file = broken / "model.pt"
    if keep is None:
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:keep])
    result = run("project", counts, "--model-dir", broken, "-o", tmp_path / "out.h5ad", *FAST)
    assert result.status == 1
    [line] = result.err
    assert expected in line
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
