"""Counts in other files: read where that is easy, else named, with a cure that works."""

import bz2
import gzip
import os
import pickle
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import anndata as ad
import h5py
import mudata
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import io, sparse

from basisvae_scvi.cli._errors import CommandError
from basisvae_scvi.cli._files import read_anndata

CELLS, GENES = [f"AAAC-{i}" for i in range(6)], [f"G{i}" for i in range(3)] + ["NA"]
COUNTS = np.random.default_rng(0).poisson(2.0, (6, 4)).astype(np.float32)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to work in, with the counts as ``a.h5ad``."""
    monkeypatch.chdir(tmp_path)
    _anndata().write_h5ad("a.h5ad")
    return tmp_path


def _anndata() -> ad.AnnData:
    names = {"obs": pd.DataFrame(index=CELLS), "var": pd.DataFrame(index=GENES)}
    return ad.AnnData(sparse.csr_matrix(COUNTS), **names)


def _table() -> pd.DataFrame:
    return pd.DataFrame(COUNTS.astype(int), index=CELLS, columns=GENES)


def assert_counts(path, genes=GENES):
    found = read_anndata(Path(path))
    np.testing.assert_array_equal(sparse.csr_matrix(found.X).toarray(), COUNTS)
    assert list(found.obs_names) == CELLS
    assert list(found.var_names) == genes
    return found


def message(path) -> str:
    with pytest.raises(CommandError) as error:
        read_anndata(Path(path))
    text = str(error.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    return text


def follow(text: str) -> None:
    """Run the command that a message gives, as a user would in a shell."""
    start = min(
        at
        for sign in ("python -c", "gunzip", "unzip", "tar xf", "bunzip2")
        if (at := text.find(f" {sign} ") + 1)
    )
    line = text[start:]
    line = line[: line.index('"', line.index('"') + 1) + 1] if '"' in line else line.split(",")[0]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path}
    subprocess.run(["bash", "-c", line.rstrip(".")], check=True, env=env)


# -- what is read ---------------------------------------------------------------------------------


def test_a_compressed_h5ad_is_read_and_leaves_no_copy(folder, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    Path("a.h5ad.gz").write_bytes(gzip.compress(Path("a.h5ad").read_bytes()))
    assert_counts("a.h5ad.gz")
    assert sorted(os.listdir()) == ["a.h5ad", "a.h5ad.gz"]
    with pytest.raises(CommandError, match=r"gunzip -k a\.h5ad\.gz"):
        read_anndata(Path("a.h5ad.gz"), backed=True)


def test_an_anndata_is_known_by_what_is_in_it(folder):
    for name in ("a.h5", "a.hdf5", "a"):
        shutil.copy("a.h5ad", name)
        assert_counts(name)


def _write_mtx(path: Path, columns: int, *, kind="genes", end="", prefix="", turned=False):
    """A folder in the form of 10x, genes with so many columns."""
    path.mkdir(exist_ok=True)
    rows = [[f"ENSG{i}", name, "Gene Expression"] for i, name in enumerate(GENES)]
    rows = [row[1:2] if columns == 1 else row[:columns] for row in rows]
    io.mmwrite(path / "m.mtx", sparse.coo_matrix((COUNTS if turned else COUNTS.T).astype(int)))
    texts = {
        "matrix.mtx": (path / "m.mtx").read_text(),
        f"{kind}.tsv": "".join("\t".join(row) + "\n" for row in rows),
        "barcodes.tsv": "\n".join(CELLS) + "\n",
    }
    (path / "m.mtx").unlink()
    for name, text in texts.items():
        data = text.encode()
        (path / f"{prefix}{name}{end}").write_bytes(gzip.compress(data) if end else data)


@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize("kind", ["genes", "features"])
@pytest.mark.parametrize("columns", [1, 2, 3])
def test_folders_of_10x_name_their_genes_in_one_two_or_three_columns(folder, columns, kind, end):
    _write_mtx(Path("mtx"), columns, kind=kind, end=end)
    found = assert_counts("mtx")
    if columns > 1:
        assert list(found.var["gene_ids"]) == [f"ENSG{i}" for i in range(4)]


def test_a_matrix_may_be_named_itself_and_have_cells_as_rows(folder):
    _write_mtx(Path("many"), 2, prefix="GSM1_")
    _write_mtx(Path("many"), 1, prefix="GSM2_", turned=True)
    assert "Name one of them, e.g. many/GSM1_matrix.mtx." in message("many")
    for name in ("GSM1_matrix.mtx", "GSM2_matrix.mtx"):
        assert_counts(f"many/{name}")


def test_other_features_than_genes_are_left_out(folder):
    _write_mtx(Path("mtx"), 3, kind="features")
    rows = (
        Path("mtx/features.tsv")
        .read_text()
        .replace("G1\tGene Expression", "CD3\tAntibody Capture")
    )
    Path("mtx/features.tsv").write_text(rows)
    assert list(read_anndata(Path("mtx")).var_names) == ["G0", "G2", "NA"]


@pytest.mark.parametrize(
    ("gone", "named"), [("genes", "features.tsv or genes.tsv"), ("barcodes", "barcodes.tsv")]
)
def test_names_that_are_missing_are_asked_for(folder, gone, named):
    _write_mtx(Path("mtx"), 1)
    Path(f"mtx/{gone}.tsv").unlink()
    for path in ("mtx", "mtx/matrix.mtx"):
        with pytest.raises(CommandError, match=f"needs {named}"):
            read_anndata(Path(path))


def test_names_of_another_run_are_counted(folder):
    _write_mtx(Path("mtx"), 1)
    Path("mtx/genes.tsv").write_text("heading\n" + Path("mtx/genes.tsv").read_text())
    with pytest.raises(CommandError, match=r"4 rows and 6 columns, and genes\.tsv names 5 genes"):
        read_anndata(Path("mtx"))


# -- what is named, with a cure -------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a b.csv", "a.tsv", "a.csv.gz", "it's.txt", "a.h5ad"])
def test_a_table_of_text_becomes_an_anndata(folder, name):
    separator = {".tsv": "\t", ".txt": " "}.get(Path(name).suffix, ",")
    _table().to_csv(name, sep=separator)
    text = message(name)
    assert "is a table of text" in text
    output = Path(name.partition(".")[0] + ".h5ad")
    if str(output) == name:
        Path(name).rename("a.csv")
        text = message("a.csv")
    follow(text)
    # pandas reads the gene NA as missing, which is not the point here
    np.testing.assert_array_equal(read_anndata(output).X, COUNTS)


@pytest.mark.parametrize("whole", [True, False])
def test_a_zipped_zarr_is_unpacked(folder, whole):
    _anndata().write_zarr("b.zarr")
    shutil.make_archive("b.zarr", "zip", *([".", "b.zarr"] if whole else ["b.zarr"]))
    shutil.rmtree("b.zarr")
    follow(message("b.zarr.zip"))
    assert_counts("b.zarr")


@pytest.mark.parametrize("name", ["m.h5mu", "m.h5ad", "m.zarr"])
def test_a_mudata_gives_the_modality_with_the_counts(folder, name):
    data = mudata.MuData({"prot": _anndata(), "rna": _anndata()})
    data.write_zarr(name) if name.endswith("zarr") else data.write_h5mu(name)
    text = message(name)
    assert "is a MuData of " in text
    follow(text)
    assert_counts("m_rna.h5ad")


def test_archives_are_unpacked(folder):
    Path("b.h5ad.bz2").write_bytes(bz2.compress(Path("a.h5ad").read_bytes()))
    with tarfile.open("b.tar.gz", "w:gz") as archive:
        archive.add("a.h5ad", "c.h5ad")
    for name, found in (("b.h5ad.bz2", "b.h5ad"), ("b.tar.gz", "c.h5ad")):
        follow(message(name))
        assert_counts(found)


def _hdf5(path, *names):
    with h5py.File(path, "w") as file:
        for name in names:
            file[name] = np.arange(3)


OTHERS = {
    "x.loom": (
        lambda p: _hdf5(p, "matrix", "row_attrs/Gene", "col_attrs/CellID"),
        "pip install loompy",
    ),
    "x.rds": (
        lambda p: p.write_bytes(gzip.compress(b"X\n\x00\x00\x00\x03" + bytes(20))),
        "readRDS('x.rds')",
    ),
    "x.RData": (
        lambda p: p.write_bytes(gzip.compress(b"RDX3\nX\n" + bytes(20))),
        "load('x.RData')",
    ),
    "x.h5seurat": (lambda p: _hdf5(p, "assays/RNA"), "SeuratDisk::Convert('x.h5seurat'"),
    "molecule_info.h5": (lambda p: _hdf5(p, "barcode_info", "x"), "filtered_feature_bc_matrix.h5"),
    "x.h5": (lambda p: _hdf5(p, "foo", "bar"), "an HDF5 file with bar, foo; an AnnData has obs"),
    "x.h5ad": (lambda p: p.write_text("<!DOCTYPE html>\n<html></html>"), "is a web page"),
    "y.h5ad": (
        lambda p: p.write_text("version https://git-lfs.github.com/spec/v1\n"),
        "git lfs pull",
    ),
    "z.h5ad": (lambda p: p.write_bytes(b""), "is empty"),
    "noise.h5ad": (lambda p: p.write_bytes(bytes(range(256))), "the signature of HDF5"),
    "x.pkl": (lambda p: p.write_bytes(pickle.dumps([1])), "is a pickle"),
    "x.npz": (lambda p: np.savez(p, x=1), "without names of cells and genes"),
    "cut.h5ad.gz": (lambda p: p.write_bytes(gzip.compress(b"a" * 9000)[:20]), "damaged gzip file"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_else_is_there_is_named(folder, name):
    write, expected = OTHERS[name]
    write(Path(name))
    text = message(name)
    assert expected in text
    if name != "cut.h5ad.gz" and not name.endswith(".h5ad"):
        assert "Copy it again" not in text


def test_a_folder_says_what_is_in_it(folder):
    Path("void").mkdir()
    assert "nothing in it" in message("void")
    _write_mtx(Path("outs/filtered_feature_bc_matrix").parent, 1, prefix="")
    shutil.move("outs", "inner")
    Path("outs").mkdir()
    shutil.move("inner", "outs/filtered_feature_bc_matrix")
    assert "name one of them: outs/filtered_feature_bc_matrix." in message("outs")


def test_a_pipe_is_no_file(folder):
    os.mkfifo("pipe.h5ad")
    assert "a pipe or device" in message("pipe.h5ad")


def test_a_key_that_is_missing_is_called_missing(folder):
    with h5py.File("b.h5", "w") as file:
        file["matrix/barcodes"], file["matrix/data"] = np.array([b"a"]), np.ones(1)
    assert "there is no 'shape' in it" in message("b.h5")


def test_entries_of_a_newer_anndata_are_no_damage(folder):
    with h5py.File("a.h5ad", "r+") as file:
        file["obs"].attrs["encoding-version"] = "9.9.9"
    text = message("a.h5ad")
    assert "pip install --upgrade anndata" in text
    assert "Copy it again" not in text


def test_it_is_said_before_anything_heavy_is_imported(run_lightly, tmp_path):
    (tmp_path / "a.csv").write_text(",g\nc,1\n")
    done = run_lightly("fit", "a.csv", "-o", "o.h5ad")
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "a.csv is a table of text" in line


def test_a_saved_model_is_no_file_of_cells(folder):
    (folder / "model").mkdir()
    torch.save({"model_state_dict": {}}, folder / "model" / "model.pt")
    shutil.copy("a.h5ad", "model/adata.h5ad")
    assert "is a saved model, for --model-dir; name the file" in message("model")
    assert "a file of torch, as of a saved model. Name the file with" in message("model/model.pt")


@pytest.mark.parametrize("address", ["https://x.org/a.h5ad", "s3://x/a.zarr", "file:///a.h5ad"])
def test_an_address_is_to_be_downloaded_first(address):
    with pytest.raises(CommandError, match=r"Addresses are not read: download it, then name"):
        read_anndata(Path(address))
