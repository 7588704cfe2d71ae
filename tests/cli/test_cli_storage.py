"""How a file keeps its counts, and under which types its columns, makes no difference to a fit."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from model_helpers import brief_start
from storages import STORAGES

FIT = ("--likelihood", "nb", "--n-restarts", "1", "--seed", "1", "--quiet")


@pytest.fixture(autouse=True, scope="module")
def brief():
    with brief_start():
        yield


@pytest.fixture
def fit_to(fit, tmp_path):
    """z and φ of a fit of an AnnData."""

    def call(adata, *options):
        # In one process a file that stays on disk stays open: every input has a name of its own.
        path = tmp_path / f"in{len(list(tmp_path.glob('in*')))}.h5ad"
        adata.write_h5ad(path)
        result = fit(path, "-o", tmp_path / "x.h5ad", "--overwrite", *FIT, *options)
        assert result.status == 0, result.err
        found = ad.read_h5ad(tmp_path / "x.h5ad")
        return found.obsm["X_basisvae"], found.varm["basisvae_assignment"].to_numpy()

    return call


@pytest.mark.parametrize("options", [(), ("--backed",), ("--n-top-genes", "12")])
@pytest.mark.parametrize("storage", ["csr with duplicates", "unsorted csr"])
def test_counts_that_are_stored_out_of_order(fit_to, counts, storage, options):
    adata = ad.read_h5ad(counts)
    adata.X = STORAGES["csr"](adata.X.toarray())
    expected = fit_to(adata, *options)
    adata.X = STORAGES[storage](adata.X.toarray())
    for found, known in zip(fit_to(adata, *options), expected, strict=True):
        np.testing.assert_allclose(found, known, atol=1e-5)


def test_new_cells_and_genes_that_are_stored_out_of_order(run, counts, fitted, tmp_path):
    adata, results = ad.read_h5ad(counts), []
    for storage in ("csr", "csr with duplicates", "csc with duplicates"):
        adata.X = STORAGES[storage](adata.X.toarray())
        adata.write_h5ad(tmp_path / "in.h5ad")
        place = (tmp_path / "in.h5ad", "--model-dir", fitted / "model", "--overwrite", "--quiet")
        found = []
        for command, key in (("project", "obsm"), ("assign", "varm")):
            result = run(command, *place, "-o", tmp_path / "x.h5ad", "--accelerator", "cpu")
            assert result.status == 0, result.err
            found.append(getattr(ad.read_h5ad(tmp_path / "x.h5ad"), key))
        results.append((found[0]["X_basisvae"], found[1]["basisvae_assignment"].to_numpy()))
    for z, phi in results[1:]:
        np.testing.assert_allclose(z, results[0][0], atol=1e-5)
        np.testing.assert_allclose(phi, results[0][1], atol=1e-5)


def test_columns_of_nullable_types(fit_to, counts):
    adata = ad.read_h5ad(counts)
    adata.obs["size"] = adata.obs["true_size_factor"].to_numpy(np.float64)
    adata.obs["batch"] = np.where(adata.obs["batch"] == adata.obs["batch"].iloc[0], 1, 2)
    columns = ("--batch-key", "batch", "--size-factor-key", "size", "--root", "is_start")
    options = (*columns, "--continuous-covariate-key", "size", "--n-top-genes", "12")
    expected = fit_to(adata, *options)
    adata.obs["size"] = pd.Categorical(adata.obs["size"])
    adata.obs["is_start"] = pd.array(adata.obs["is_start"], dtype="boolean")
    adata.obs["batch"] = pd.array(adata.obs["batch"], dtype="Int64")
    for found, known in zip(fit_to(adata, *options), expected, strict=True):
        np.testing.assert_allclose(found, known, atol=1e-5)
    adata.obs["batch"] = pd.Categorical(adata.obs["batch"])
    for found, known in zip(fit_to(adata, *options), expected, strict=True):
        np.testing.assert_allclose(found, known, atol=1e-5)


@pytest.mark.parametrize("extra", [0, 3])
def test_counts_of_raw(fit_to, run, counts, tmp_path, extra):
    """For the genes of X, whatever else is in raw; commands after the fit find them too."""
    adata = ad.read_h5ad(counts)
    del adata.layers["counts"]
    genes = adata.var_names[extra:][::-1]
    expected = fit_to(adata[:, genes].copy())
    part = adata[:, genes].copy()
    part.raw = adata
    part.X = part.X.log1p()
    model = ("--model-dir", tmp_path / "model")
    for found, known in zip(fit_to(part, "--layer", "raw", *model), expected, strict=True):
        np.testing.assert_array_equal(found, known)
    output = ad.read_h5ad(tmp_path / "x.h5ad")
    np.testing.assert_array_equal(output.layers["raw"].toarray(), adata[:, genes].X.toarray())
    np.testing.assert_array_equal(output.X.toarray(), part.X.toarray())
    assert output.raw.shape == adata.shape
    result = run("report", tmp_path / "x.h5ad", "-o", tmp_path / "x.html", "--quiet")
    assert result.status == 0, result.err
    for command in ("project", "assign"):
        place = ("-o", tmp_path / f"{command}.h5ad", *model, "--quiet", "--accelerator", "cpu")
        result = run(command, tmp_path / "in1.h5ad", *place)
        assert result.status == 0, result.err
    z = ad.read_h5ad(tmp_path / "project.h5ad").obsm["X_basisvae"]
    np.testing.assert_allclose(z, expected[0], atol=1e-5)


def test_raw_is_not_read_with_backed(run, counts, tmp_path):
    adata = ad.read_h5ad(counts)
    adata.raw = adata
    adata.write_h5ad(tmp_path / "in.h5ad")
    options = ("--layer", "raw", "--backed", "--quiet")
    result = run("fit", tmp_path / "in.h5ad", "-o", tmp_path / "x.h5ad", *options)
    assert result.status == 1
    assert (
        "--layer raw: there is no such layer, and raw is read without --backed." in result.err[-1]
    )
    assert not (tmp_path / "x.h5ad").exists()
