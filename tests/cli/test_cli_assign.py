"""``basisvae-scvi assign``: further genes of a saved model's cells."""

import shutil

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from basisvae_scvi import BasisVAE

FAST = ("--accelerator", "cpu", "--threads", "1", "--quiet", "--seed", "3")


@pytest.fixture
def assign(run, fitted):
    return lambda *words: run("assign", *FAST, "--model-dir", fitted / "model", *words)


def test_results_are_those_of_assign_genes(assign, counts, fitted, tmp_path):
    tables = tmp_path / "tables"
    result = assign(counts, "-o", tmp_path / "out.h5ad", "--tables", tables)
    assert result.status == 0, result.err
    out = ad.read_h5ad(tmp_path / "out.h5ad")
    model = BasisVAE.load(str(fitted / "model"), accelerator="cpu")
    expected = model.assign_genes(ad.read_h5ad(counts), seed=3, n_jobs=1, silent=True)
    assert out.var["basisvae_cluster"].astype(str).tolist() == (
        expected.clusters["cluster"].astype(str).tolist()
    )
    np.testing.assert_allclose(
        out.varm["basisvae_assignment"], expected.assignments, rtol=1e-5, atol=1e-6
    )
    genes = pd.read_csv(tables / "genes.tsv", sep="\t", index_col=0)
    assert list(genes.index) == list(out.var_names)
    np.testing.assert_allclose(genes["shift"], expected.clusters["shift"], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(
        out.obsm["X_basisvae"], ad.read_h5ad(fitted / "out.h5ad").obsm["X_basisvae"]
    )
    assert out.uns["basisvae"]["params"]["size_factor_key"] == "None"


def test_only_the_named_genes_are_assigned(assign, counts, tmp_path):
    names = list(ad.read_h5ad(counts).var_names[[3, 20]])
    words = [word for name in names for word in ("--gene", name)]
    assert assign(counts, "-o", tmp_path / "out.h5ad", *words).status == 0
    cluster = ad.read_h5ad(tmp_path / "out.h5ad").var["basisvae_cluster"]
    assert list(cluster.index[cluster.notna()]) == names


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--gene", "nothing"], "nothing"),
        (["--layer", "raw"], "raw"),
    ],
)
def test_what_is_not_there_is_named(assign, counts, tmp_path, words, expected):
    result = assign(counts, "-o", tmp_path / "out.h5ad", *words)
    [line] = result.err
    assert result.status == 1
    assert expected in line
    assert list(tmp_path.iterdir()) == []


def test_other_cells_are_refused(assign, counts, tmp_path):
    adata = ad.read_h5ad(counts)[:40].copy()
    adata.write_h5ad(tmp_path / "half.h5ad")
    result = assign(tmp_path / "half.h5ad", "-o", tmp_path / "out.h5ad")
    [line] = result.err
    assert result.status == 1
    assert "cell" in line


def test_a_model_without_its_cells(run, counts, fitted, tmp_path):
    shutil.copytree(fitted / "model", tmp_path / "model")
    (tmp_path / "model" / "adata.h5ad").unlink()
    words = ("--model-dir", tmp_path / "model", "-o", tmp_path / "out.h5ad")
    result = run("assign", counts, *words, *FAST)
    [line] = result.err
    assert result.status == 1
    assert "holds no adata.h5ad" in line
