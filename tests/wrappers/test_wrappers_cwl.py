"""CWL tools: valid, and run by cwltool."""

import json

import anndata as ad
import pytest
import yaml
from wrapper_options import WRAPPERS

from basisvae_scvi import __version__

FOLDER = WRAPPERS / "cwl"
TOOLS = sorted(FOLDER.glob("*.cwl"))


@pytest.mark.parametrize("path", TOOLS, ids=lambda path: path.stem)
def test_version_and_name(path):
    tool = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert path.stem == "-".join(tool["baseCommand"])
    packages = tool["hints"]["SoftwareRequirement"]["packages"]
    assert packages == {"basisvae-scvi": {"version": [__version__]}}


@pytest.mark.slow
@pytest.mark.parametrize("path", TOOLS, ids=lambda path: path.stem)
def test_valid(call, path):
    assert "is valid CWL" in call("cwltool", "--validate", path).stdout


@pytest.mark.slow
def test_fit_then_report(call, data, tmp_path):
    job = {
        "counts": {"class": "File", "path": str(data / "counts.h5ad"), "format": "edam"},
        "layer": "counts",
        "n_basis": 4,
        "likelihood": "nb",
        "max_epochs": 2,
        "n_restarts": 1,
        "seed": 1,
        "accelerator": "cpu",
        "categorical_covariate_keys": ["batch"],
        "model_name": "model",
    }
    job["counts"]["format"] = "http://edamontology.org/format_3590"
    (tmp_path / "job.json").write_text(json.dumps(job))
    call("cwltool", "--quiet", FOLDER / "basisvae-scvi-fit.cwl", "job.json")
    fitted = ad.read_h5ad(tmp_path / "fitted.h5ad")
    assert "shapes_cluster" not in fitted.var
    assert fitted.var["basisvae_cluster"].notna().all()
    record = json.loads((tmp_path / "fitted.h5ad.run.json").read_text())
    assert "--categorical-covariate-key batch" in record["command"]
    assert (tmp_path / "model" / "model.pt").is_file()
