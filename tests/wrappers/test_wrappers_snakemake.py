"""Snakemake wrappers: a workflow with all four, run by Snakemake."""

import anndata as ad
import pytest
import yaml
from wrapper_options import WRAPPERS

from basisvae_scvi import __version__

FOLDER = WRAPPERS / "snakemake"
COMMANDS = ("fit", "project", "assign", "report")


@pytest.mark.parametrize("command", COMMANDS)
def test_each_wrapper_has_its_parts(command):
    meta = yaml.safe_load((FOLDER / command / "meta.yaml").read_text())
    assert meta["name"] == f"basisvae-scvi {command}"
    environment = yaml.safe_load((FOLDER / command / "environment.yaml").read_text())
    assert environment["dependencies"] == [f"basisvae-scvi ={__version__}"]


@pytest.mark.slow
def test_a_workflow_of_all_wrappers(call, copy_of, data, tmp_path):
    for name in ("counts.h5ad", "new_cells.h5ad"):
        copy_of(data / name, name)
    snakefile = FOLDER / "test" / "Snakefile"
    call("snakemake", "--snakefile", snakefile, "--cores", "1", "--quiet", "all")
    fitted = ad.read_h5ad(tmp_path / "fitted.h5ad")
    assert fitted.var["basisvae_cluster"].notna().sum() == 20
    assert (tmp_path / "model" / "model.pt").is_file()
    projected = ad.read_h5ad(tmp_path / "projected.h5ad")
    assert projected.n_obs == 40
    assert projected.obs["basisvae_pseudotime"].between(0, 1).all()
    assert ad.read_h5ad(tmp_path / "assigned.h5ad").var["basisvae_cluster"].notna().all()
    assert "report" in (tmp_path / "report.html").read_text(encoding="utf-8").lower()
    assert "Wrote fitted.h5ad" in (tmp_path / "logs" / "fit.log").read_text()
