"""``basisvae-scvi report``, and ``fit --report``."""

import json
import re

import anndata as ad
import pytest

from basisvae_scvi import get


@pytest.fixture
def no_figures(monkeypatch):
    """Leave the figures out, which take most of the time."""
    monkeypatch.setattr("basisvae_scvi.report._write.draw_figures", lambda *_, **__: [])


def test_the_report_of_a_fit_is_that_of_its_file(run, fit, counts, tmp_path, no_figures):
    output, first = tmp_path / "out.h5ad", tmp_path / "first.html"
    done = fit(counts, "-o", output, "--seed", 1, "--report", first)
    assert done.status == 0
    second = tmp_path / "second.html"
    assert run("report", output, "-o", second).status == 0
    assert first.read_bytes() == second.read_bytes()
    text = first.read_text(encoding="utf-8")
    assert "<h1>out</h1>" in text
    assert "--report" in text  # the command, from the record of the run
    [block] = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', text, re.DOTALL)
    assert json.loads(block)["names"] == list(get.genes(ad.read_h5ad(output)).index)


def test_genes_and_columns_can_be_named(run, fitted, tmp_path):
    path = tmp_path / "report.html"
    gene = ad.read_h5ad(fitted / "out.h5ad").var["basisvae_cluster"].first_valid_index()
    done = run(
        *("report", fitted / "out.h5ad", "-o", path, "--gene", gene),
        *("--color", "batch", "--title", "Two batches"),
    )
    assert done.status == 0
    text = path.read_text(encoding="utf-8")
    assert "<h1>Two batches</h1>" in text
    assert f"Observed means and fitted curves along z of {gene}." in text
    assert "z against batch" in text


def test_an_existing_report_is_kept_without_overwrite(run, fitted, tmp_path, no_figures):
    path = tmp_path / "report.html"
    path.write_text("mine")
    done = run("report", fitted / "out.h5ad", "-o", path)
    assert (done.status, len(done.err)) == (1, 1)
    assert "--overwrite" in done.err[0]
    assert path.read_text() == "mine"
    assert run("report", fitted / "out.h5ad", "-o", path, "--overwrite").status == 0


def test_what_cannot_be_reported_on_is_one_line(run, counts, fitted, tmp_path):
    path = tmp_path / "report.html"
    (tmp_path / "broken.h5ad").write_text("nothing")
    for arguments, status, words in (
        ([tmp_path / "missing.h5ad", "-o", path], 1, "does not exist"),
        ([tmp_path / "broken.h5ad", "-o", path], 1, "of no kind that is read here"),
        ([counts, "-o", path], 1, "run model.annotate"),
        ([fitted / "out.h5ad", "-o", path, "--key-added", "x"], 1, "Annotated under: basisvae"),
        ([fitted / "out.h5ad", "-o", path, "--gene", "nobody"], 1, "nobody"),
        ([fitted / "out.h5ad", "-o", path, "--color", "nothing"], 1, "nothing"),
        ([fitted / "out.h5ad", "-o", tmp_path / "report.txt"], 2, ".html"),
    ):
        done = run("report", *arguments)
        assert (done.status, len(done.err)) == (status, 1)
        assert words in done.err[0]
    assert [p.name for p in tmp_path.iterdir()] == ["broken.h5ad"]
