"""What Cell Ranger writes, counts that stay on disk, and inputs that are not there."""

import gzip

import anndata as ad
import h5py
import numpy as np
import pytest
from anndata.abc import CSRDataset
from scipy import io, sparse

from basisvae_scvi.cli._errors import CommandError
from basisvae_scvi.cli._files import read_anndata, write_anndata

FAST = ("--likelihood", "poisson", "--n-restarts", "1", "--seed", "1", "--quiet")


@pytest.fixture(scope="module")
def tenx(counts, tmp_path_factory):
    """The same counts as a 10x h5 file and two mtx folders, two genes with one symbol."""
    folder = tmp_path_factory.mktemp("tenx")
    adata = ad.read_h5ad(counts)
    matrix = sparse.csc_matrix(adata.X.T.astype(np.int32))
    symbols = ["TWIN", "TWIN", *adata.var_names[2:]]
    features = [[f"ENSG{i}", name, "Gene Expression"] for i, name in enumerate(symbols)]
    _write_h5(folder / "cells.h5", matrix, adata.obs_names, features)
    _write_mtx(folder / "v3", matrix, adata.obs_names, features, prefix="sample_")
    _write_mtx(folder / "v2", matrix, adata.obs_names, features, legacy=True)
    return folder


def _write_h5(path, matrix, barcodes, features):
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        for name in ("data", "indices", "indptr"):
            group[name] = getattr(matrix, name)
        group["shape"] = np.array(matrix.shape, dtype=np.int32)
        group["barcodes"] = np.array(barcodes, dtype="S")
        for column, name in enumerate(("id", "name", "feature_type")):
            group[f"features/{name}"] = np.array([row[column] for row in features], dtype="S")
        group["features/genome"] = np.array(["GRCh38"] * len(features), dtype="S")


def _write_mtx(folder, matrix, barcodes, features, *, prefix="", legacy=False):
    folder.mkdir()
    io.mmwrite(folder / "plain.mtx", matrix)
    columns = 2 if legacy else 3
    texts = {
        "matrix.mtx": (folder / "plain.mtx").read_text(),
        "barcodes.tsv": "\n".join(barcodes) + "\n",
        "genes.tsv" if legacy else "features.tsv": "".join(
            "\t".join(row[:columns]) + "\n" for row in features
        ),
    }
    (folder / "plain.mtx").unlink()
    for name, text in texts.items():
        if legacy:
            (folder / name).write_text(text)
        else:
            (folder / f"{prefix}{name}.gz").write_bytes(gzip.compress(text.encode()))


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
@pytest.mark.parametrize("name", ["cells.h5", "v3", "v2"])
def test_what_cell_ranger_writes_is_read(tenx, counts, name):
    expected, found = ad.read_h5ad(counts), read_anndata(tenx / name)
    np.testing.assert_array_equal(found.X.toarray(), expected.X.toarray())
    assert found.X.format == "csr"
    assert list(found.obs_names) == list(expected.obs_names)
    assert list(found.var_names) == ["TWIN", "TWIN-1", *expected.var_names[2:]]
    assert list(found.var["gene_ids"][:2]) == ["ENSG0", "ENSG1"]


def test_commands_take_what_cell_ranger_writes(run, fit, tenx, tmp_path):
    model = tmp_path / "model"
    done = fit(
        tenx / "cells.h5", "-o", tmp_path / "a.h5ad", "--model-dir", model, "--init", "pca", *FAST
    )
    assert done.status == 0, done.err
    for command, name in (("project", "v3"), ("assign", "v2")):
        output = tmp_path / f"{command}.h5ad"
        done = run(command, tenx / name, "-o", output, "--model-dir", model, "-q")
        assert done.status == 0, done.err
    fitted, projected = (ad.read_h5ad(tmp_path / f"{n}.h5ad") for n in ("a", "project"))
    np.testing.assert_array_equal(projected.obsm["X_basisvae"], fitted.obsm["X_basisvae"])
    assigned = ad.read_h5ad(tmp_path / "assign.h5ad")
    assert list(assigned.var_names) == list(fitted.var_names)
    assert assigned.var["basisvae_cluster"].notna().all()


def test_what_is_no_output_of_cell_ranger_is_named_with_the_cure(tenx, tmp_path):
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["x"] = [1]
    with pytest.raises(CommandError, match=r"other\.h5 is an HDF5 file with x; an AnnData has"):
        read_anndata(other)
    folder = tmp_path / "several"
    folder.mkdir()
    for name in ("a_matrix.mtx.gz", "b_matrix.mtx.gz"):
        (folder / name).write_bytes((tenx / "v3" / "sample_matrix.mtx.gz").read_bytes())
    with pytest.raises(CommandError, match=r"several matrices: a_matrix.*, b_matrix"):
        read_anndata(folder)
    (folder / "a_matrix.mtx.gz").unlink()
    with pytest.raises(CommandError, match=r"needs b_features\.tsv or b_genes\.tsv"):
        read_anndata(folder)


@pytest.fixture(params=["h5ad", "zarr"])
def stored(request, counts, tmp_path):
    """The counts with a dense layer and a CSC one."""
    adata = ad.read_h5ad(counts)
    adata.layers["dense"] = adata.X.toarray()
    adata.layers["columns"] = sparse.csc_matrix(adata.X)
    write_anndata(adata, tmp_path / f"in.{request.param}")
    return tmp_path / f"in.{request.param}"


@pytest.mark.filterwarnings("ignore:Writing zarr v2")
@pytest.mark.parametrize("output", ["out.h5ad", "out.zarr"])
def test_counts_stay_on_disk_and_are_written_as_they_were(stored, counts, tmp_path, output):
    expected, opened = ad.read_h5ad(counts), read_anndata(stored, backed=True)
    assert isinstance(opened.X, CSRDataset)
    assert isinstance(opened.layers["counts"], CSRDataset)
    assert not isinstance(opened.layers["dense"], np.ndarray)
    opened.obs["new"] = np.arange(opened.n_obs)
    write_anndata(opened, tmp_path / output)
    written = read_anndata(tmp_path / output)
    for matrix in (written.X, *(written.layers[name] for name in ("counts", "dense", "columns"))):
        dense = matrix.toarray() if sparse.issparse(matrix) else matrix
        np.testing.assert_array_equal(dense, expected.X.toarray())
    assert list(written.obs["new"]) == list(range(expected.n_obs))
    assert list(written.obs["batch"]) == list(expected.obs["batch"])
    np.testing.assert_array_equal(written.obsm["true"], expected.obsm["true"])


def test_a_fit_from_disk_gives_what_one_in_memory_gives(run, fit, counts, tmp_path):
    results = {}
    for name, option in (("disk", ["--backed"]), ("memory", [])):
        path, model = tmp_path / f"{name}.h5ad", tmp_path / f"{name}_model"
        arguments = ("--layer", "counts", "--init", "true_z", *FAST, "--model-dir", model)
        assert fit(counts, "-o", path, *arguments, *option).status == 0
        results[name] = ad.read_h5ad(path)
    disk, memory = results["disk"], results["memory"]
    # Minibatches from disk are drawn in another way, hence the noise.
    np.testing.assert_allclose(disk.obsm["X_basisvae"], memory.obsm["X_basisvae"], atol=0.1)
    for matrix in ("basisvae_assignment", "basisvae_scale"):
        np.testing.assert_allclose(disk.varm[matrix], memory.varm[matrix], atol=0.15)
    np.testing.assert_array_equal(disk.X.toarray(), memory.X.toarray())
    for command in ("project", "assign"):
        found = []
        for option in ([], ["--backed"]):
            output = tmp_path / f"{command}{len(option)}.h5ad"
            done = run(
                *(command, counts, "-o", output, "--model-dir", tmp_path / "disk_model"),
                *("--quiet", "--seed", "1", *option),
            )
            assert done.status == 0, done.err
            found.append(ad.read_h5ad(output))
        key = "X_basisvae" if command == "project" else "basisvae_scale"
        tables = [f.obsm[key] if command == "project" else f.varm[key] for f in found]
        np.testing.assert_array_equal(*map(np.asarray, tables))
        np.testing.assert_array_equal(*(f.X.toarray() for f in found))


def test_what_stays_behind_is_said(counts, tmp_path, caplog):
    adata = ad.read_h5ad(counts)
    adata.raw = adata
    adata.write_h5ad(tmp_path / "raw.h5ad")
    opened = read_anndata(tmp_path / "raw.h5ad", backed=True)
    assert opened.raw is None
    assert f"--backed leaves out raw of {tmp_path / 'raw.h5ad'}" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["fit", "cells.h5", "-o", "x.h5ad", "--backed"], "cells.h5 is a 10x h5 file"),
        (["fit", "v2", "-o", "x.h5ad", "--backed"], "v2 is a 10x mtx folder"),
        (
            ["fit", "a.h5ad", "-o", "x.h5ad", "--backed", "--n-top-genes", "60"],
            "--n-top-genes reads all counts",
        ),
        (["assign", "v3", "-o", "x.h5ad", "--backed", "--model-dir", "m"], "10x mtx folder"),
    ],
)
def test_what_cannot_stay_on_disk_is_a_wrong_call(run, tenx, monkeypatch, arguments, expected):
    monkeypatch.chdir(tenx)
    result = run(*arguments)
    assert result.status == 2
    [line] = result.err
    assert expected in line


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["fit", "missing.h5ad", "-o", "x.h5ad"], "missing.h5ad does not exist"),
        (["project", "a.h5ad", "-o", "x.h5ad", "--model-dir", "m"], "--model-dir m is not"),
        (["assign", "missing", "-o", "x.h5ad", "--model-dir", "."], "holds no model.pt"),
        (["report", "missing.h5ad", "-o", "x.html"], "missing.h5ad does not exist"),
    ],
)
def test_missing_inputs_are_noticed_before_anything_heavy_is_imported(
    run_lightly, arguments, expected
):
    done = run_lightly(*arguments)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert expected in line
