"""A saved model runs no code from its file unless the user says so."""

import shutil

import pytest
import torch

from basisvae_scvi import BasisVAE

ASSET = "tests/assets/saved_model"


class Payload:
    """Touches a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.fixture
def poisoned(pytestconfig, tmp_path):
    """A saved model beside whose parameters a payload lies, and the file that it would touch."""
    folder, touched = tmp_path / "model", tmp_path / "touched"
    shutil.copytree(pytestconfig.rootpath / ASSET, folder)
    content = torch.load(folder / "model.pt", weights_only=False)
    content["attr_dict"]["note_"] = Payload(str(touched))
    torch.save(content, folder / "model.pt")
    return folder, touched


@pytest.mark.parametrize("way", ["load", "load_registry", "load_query_data", "prepare"])
def test_no_way_to_a_model_runs_its_code(poisoned, way):
    folder, touched = poisoned
    calls = {
        "load": lambda: BasisVAE.load(str(folder)),
        "load_registry": lambda: BasisVAE.load_registry(str(folder)),
        "load_query_data": lambda: BasisVAE.load_query_data(None, str(folder)),
        "prepare": lambda: BasisVAE.prepare_query_anndata(None, str(folder)),
    }
    with pytest.raises(ValueError, match=r"names (builtins|io|_io)\.open.*trust_file=True"):
        calls[way]()
    assert not touched.exists()


def test_the_users_word_runs_it(poisoned):
    folder, touched = poisoned
    BasisVAE.load(str(folder), accelerator="cpu", trust_file=True)
    assert touched.exists()


def test_a_model_of_ours_needs_no_word(pytestconfig):
    model = BasisVAE.load(str(pytestconfig.rootpath / ASSET), accelerator="cpu")
    assert model.is_trained_


def test_arguments_that_are_gone_are_named_with_a_cure(pytestconfig, tmp_path):
    """A model saved when genes had a shape_tolerance in place of deviations of their own."""
    folder = tmp_path / "model"
    shutil.copytree(pytestconfig.rootpath / ASSET, folder)
    content = torch.load(folder / "model.pt", weights_only=False)
    content["attr_dict"]["init_params_"]["non_kwargs"]["shape_tolerance"] = 0.1
    torch.save(content, folder / "model.pt")
    words = r"does not fit basisvae-scvi .*shape_tolerance.*version that saved it, or fit again"
    with pytest.raises(ValueError, match=words):
        BasisVAE.load(str(folder), accelerator="cpu")


def test_models_from_before_genes_deviated_have_none(pytestconfig):
    model = BasisVAE.load(str(pytestconfig.rootpath / ASSET), accelerator="cpu")
    assert float(model.module.genes.shape_deviation) == 0.0


def test_a_pickle_that_is_no_model(tmp_path):
    torch.save({"a": 1}, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="is not a saved model"):
        BasisVAE.load(str(tmp_path))


def test_a_file_from_elsewhere_is_not_loaded_unseen(tmp_path):
    with pytest.raises(ValueError, match="download it first"):
        BasisVAE.load(str(tmp_path), backup_url="https://example.org/model.pt")
