"""Reading, writing, and what is never overwritten."""

import os
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from basisvae_scvi.cli._errors import CommandError
from basisvae_scvi.cli._files import read_anndata, strip_leftovers, write_anndata
from basisvae_scvi.cli._staging import Staging, is_saved_model, is_zarr


@pytest.fixture
def refusal(fit):
    """Call ``fit``; gives the one line with which it must end."""

    def call(*arguments) -> str:
        result = fit(*arguments)
        assert result.status == 1
        assert result.out == []
        [line] = result.err
        return line

    return call


def test_missing_input(refusal, tmp_path):
    line = refusal(tmp_path / "no.h5ad", "-o", tmp_path / "x.h5ad")
    assert f"{tmp_path / 'no.h5ad'} does not exist" in line


def test_text_file_and_truncated_file(refusal, counts, tmp_path):
    text, short = tmp_path / "text.h5ad", tmp_path / "short.h5ad"
    text.write_text("gene,cell\n")
    short.write_bytes(counts.read_bytes()[:20_000])
    for path, said in ((text, "is a table of text"), (short, "cannot be read as an h5ad file")):
        assert f"{path} {said}" in refusal(path, "-o", tmp_path / "x.h5ad")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["short.h5ad", "text.h5ad"]


def test_folder_that_is_no_zarr(refusal, tmp_path):
    (tmp_path / "in.zarr").mkdir()
    assert "zarr folder" in refusal(tmp_path / "in.zarr", "-o", tmp_path / "x.h5ad")


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
def test_data_without_cells_and_with_duplicate_names(tmp_path):
    path = tmp_path / "a.h5ad"
    ad.AnnData(np.ones((0, 3), dtype=np.float32)).write_h5ad(path)
    with pytest.raises(CommandError, match="0 cells and 3 genes"):
        read_anndata(path)
    obs = pd.DataFrame(index=["a", "b", "a"])
    ad.AnnData(np.ones((3, 3), dtype=np.float32), obs=obs).write_h5ad(path)
    with pytest.raises(CommandError, match=r"obs_names of .* has duplicates: a\. .*make_unique"):
        read_anndata(path)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--layer", "spliced"], "'spliced' is not in layers; there are: counts"),
        (["--batch-key", "donor"], "--batch-key='donor'"),
        (["--size-factor-key", "size"], "true_size_factor"),
        (
            ["--size-factor-key", "batch"],
            "--size-factor-key='batch': adata.obs['batch'] must hold numbers",
        ),
        (["--continuous-covariate-key", "batch"], "there are: true_z, true_size_factor"),
        (["--latent-key", "pt"], "--latent-key='pt'"),
        (["--init", "umap"], "manifold, pca, random"),
        (["--root", "CD34"], "nor a boolean column of obs (is_start)"),
        (["--n-basis", "40"], "exceeds the 24 gene(s)"),
        (["--likelihood", "bernoulli"], "values other than 0 and 1"),
        (["--likelihood", "bernoulli", "--n-top-genes", "8"], "values other than 0 and 1"),
    ],
)
def test_wrong_keys_and_values_are_named_in_one_line(refusal, counts, tmp_path, options, expected):
    assert expected in refusal(counts, "-o", tmp_path / "x.h5ad", *options)
    assert list(tmp_path.iterdir()) == []


def test_log_normalised_counts_are_refused_before_genes_are_chosen(refusal, counts, tmp_path):
    adata = ad.read_h5ad(counts)
    adata.X = adata.X.log1p()
    adata.write_h5ad(tmp_path / "log.h5ad")
    line = refusal(tmp_path / "log.h5ad", "-o", tmp_path / "x.h5ad", "--n-top-genes", "10")
    assert "looks log-normalised" in line


def test_gpu_that_is_not_there(run, counts, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    result = run("fit", counts, "-o", tmp_path / "x.h5ad", "--accelerator", "gpu")
    assert (result.status, len(result.err)) == (1, 1)
    assert "--accelerator gpu" in result.err[0]


def test_existing_outputs_are_kept_without_overwrite(refusal, counts, tmp_path):
    for name, option in (("x.h5ad", None), ("t/genes.tsv", "--tables"), ("m", "--model-dir")):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
        extra = [] if option is None else [option, tmp_path / name.split("/")[0]]
        output = tmp_path / ("x.h5ad" if option is None else "y.h5ad")
        assert f"{path} exists; pass --overwrite" in refusal(counts, "-o", output, *extra)
        assert path.read_text() == "mine"
    assert not (tmp_path / "y.h5ad").exists()


def test_input_is_never_the_output_even_through_a_link(run, counts, tmp_path):
    link = tmp_path / "link.h5ad"
    link.symlink_to(counts)
    before = counts.read_bytes()
    result = run("fit", counts, "-o", link, "--overwrite")
    assert (result.status, len(result.err)) == (2, 1)
    assert counts.read_bytes() == before


def test_folder_that_cannot_be_made(refusal, counts, tmp_path):
    (tmp_path / "file").write_text("")
    line = refusal(counts, "-o", tmp_path / "file" / "x.h5ad")
    assert f"Cannot make the folder {tmp_path / 'file'}" in line


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_write_permission(refusal, counts, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o555)
    line = refusal(counts, "-o", tmp_path / "locked" / "x.h5ad")
    assert "Cannot write to the folder" in line


def test_staging_leaves_nothing_after_an_error_and_keeps_what_was_there(tmp_path):
    target, folder = tmp_path / "a.txt", tmp_path / "m"
    target.write_text("old")

    def stops_half_way():
        with Staging(overwrite=True) as staging:
            staging.claim(target).write_text("half")
            staging.claim(folder).mkdir()
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        stops_half_way()
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert target.read_text() == "old"


def test_staging_shows_the_first_claim_last(tmp_path, monkeypatch):
    order, replace = [], os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (order.append(Path(b).name), replace(a, b)))
    with Staging(overwrite=False) as staging:
        for name in ("out.h5ad", "out.h5ad.run.json"):
            staging.claim(tmp_path / name).write_text("")
        staging.commit()
    assert order == ["out.h5ad.run.json", "out.h5ad"]


def test_overwrite_replaces_only_folders_of_the_same_kind(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.txt").write_text("years of work")
    staging = Staging(overwrite=True)
    for kind in (is_saved_model, is_zarr, None):
        with pytest.raises(CommandError, match="other contents"):
            staging.claim(home, kind)
    assert (home / "thesis.txt").read_text() == "years of work"
    (home / "model.pt").write_text("old")
    with staging:
        (new := staging.claim(home, is_saved_model)).mkdir()
        (new / "model.pt").write_text("new")
        staging.commit()
    assert [p.name for p in tmp_path.iterdir()] == ["home"]
    assert (home / "model.pt").read_text() == "new"


def test_strip_leftovers_takes_only_those_of_scvi():
    adata = ad.AnnData(np.ones((2, 2), dtype=np.float32))
    adata.obs[["_scvi_batch", "_scvi_labels", "scvi_own"]] = 1
    adata.uns |= {"_scvi_uuid": "x", "_scvi_manager_uuid": "y", "kept": 1}
    adata.obsm["_scvi_extra_continuous_covs"] = np.ones((2, 1))
    adata.obsm["X_pca"] = np.ones((2, 1))
    strip_leftovers(adata)
    assert list(adata.obs) == ["scvi_own"]
    assert list(adata.uns) == ["kept"]
    assert list(adata.obsm) == ["X_pca"]


@pytest.mark.filterwarnings("ignore:Writing zarr v2")
def test_strings_with_missing_values_are_written(tmp_path):
    adata = ad.AnnData(np.ones((2, 2), dtype=np.float32))
    adata.obs["note"] = pd.array(["a", None], dtype="string")
    for name in ("a.h5ad", "a.zarr"):
        write_anndata(adata, tmp_path / name)
        note = read_anndata(tmp_path / name).obs["note"]
        assert note.isna().tolist() == [False, True]
