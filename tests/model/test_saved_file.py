"""A saved model runs no code from its file unless the user says so."""

import shutil
import zipfile
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from model_helpers import small_counts, twin

from basisvae_scvi import BasisVAE
from basisvae_scvi.model._versions import portable

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


class Newer:
    """Something of pandas that only a later version can make."""

    def __reduce__(self):
        return pd.StringDtype, ("a storage of the future",)


@pytest.fixture
def asset(pytestconfig, tmp_path):
    """A copy of the stored model, and what changes its content."""
    folder = tmp_path / "model"
    shutil.copytree(pytestconfig.rootpath / ASSET, folder)

    def change(edit):
        content = torch.load(folder / "model.pt", weights_only=False)
        edit(content["attr_dict"])
        torch.save(content, folder / "model.pt")
        return str(folder)

    return change


@pytest.mark.parametrize("trust_file", [False, True])
@pytest.mark.parametrize(
    ("saved_with", "said"),
    [
        ({"pandas": "99.1", "numpy": version("numpy")}, "pip install pandas==99.1; or load it"),
        (None, "It was saved with scvi-tools "),
    ],
)
def test_a_file_of_newer_libraries_is_not_called_damaged(asset, saved_with, said, trust_file):
    def edit(attributes):
        attributes["note_"] = Newer()
        if saved_with is not None:
            attributes["saved_with_"] = saved_with

    folder = asset(edit)
    with pytest.raises(ValueError, match="is whole, but cannot be read") as error:
        BasisVAE.load(folder, accelerator="cpu", trust_file=trust_file)
    assert said in str(error.value)
    assert f"here are basisvae-scvi {version('basisvae-scvi')}" in str(error.value)
    assert f"pandas {version('pandas')}" in str(error.value)


def test_a_part_of_pandas_that_is_not_known_comes_with_the_versions(asset):
    folder = asset(lambda attributes: attributes.update(note_=pd.array([True])))
    with pytest.raises(ValueError, match=r"names pandas\..*BooleanArray.* here are .*pandas "):
        BasisVAE.load(folder)


def test_strings_are_saved_in_a_form_that_every_pandas_reads(fitted, tmp_path):
    model = twin(fitted)
    before = model.history_
    model.history_ = {
        name: frame.set_axis(pd.Index(frame.columns, dtype="string"), axis=1)
        for name, frame in before.items()
    }
    kept = model.history_
    model.save(tmp_path / "model")
    assert model.history_ is kept
    assert not hasattr(model, "saved_with_")
    with zipfile.ZipFile(tmp_path / "model" / "model.pt") as archive:
        [name] = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        assert b"String" not in archive.read(name)
    again = BasisVAE.load(str(tmp_path / "model"), adata=False, accelerator="cpu")
    assert again.saved_with_["pandas"] == version("pandas")
    for name, frame in before.items():
        np.testing.assert_array_equal(again.history[name].to_numpy(), frame.to_numpy())


def test_text_of_all_kinds_becomes_plain():
    text = pd.array(["a", None], dtype="string")
    frame = pd.DataFrame({"text": text, "number": [1.0, 2.0]}, index=pd.Index(text))
    found = portable({"frame": frame, "some": [text, (frame["text"], 3)]})
    assert found["frame"]["text"].dtype == object
    assert found["frame"]["number"].dtype == float
    assert found["frame"].index.dtype == object
    assert type(found["some"][0]) is np.ndarray
    assert found["some"][1][0].dtype == object
    assert found["some"][1][1] == 3
    counts = portable(defaultdict(list, a=[1]))
    assert (counts["a"], counts["new"]) == ([1], [])


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


@pytest.mark.parametrize("kind", [str, Path])
def test_a_model_that_is_not_there_is_no_old_one(tmp_path, kind):
    cells = small_counts()
    for folder in (kind(tmp_path), kind(tmp_path / "nowhere")):
        for call in (
            lambda at: BasisVAE.load(at, cells),
            lambda at: BasisVAE.load_registry(at),
            lambda at: BasisVAE.load_query_data(cells, at),
            lambda at: BasisVAE.prepare_query_anndata(cells, at),
        ):
            with pytest.raises(ValueError, match=r"There is no saved model .*model\.pt; name a"):
                call(folder)
