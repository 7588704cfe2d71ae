"""Saved models that are damaged or of another kind, and cells that do not fit them."""

import hashlib
import os
import shutil

import anndata as ad
import numpy as np
import pytest
import torch

RUN = ("--accelerator", "cpu", "--threads", "1", "--quiet")


class MakeFolder:
    """Code in a pickle."""

    def __reduce__(self):
        return os.mkdir, ("must_not_be_there",)


def _bytes(change):
    def edit(folder):
        path = folder / "model.pt"
        path.write_bytes(change(path.read_bytes()))

    return edit


def _content(change):
    def edit(folder):
        path = folder / "model.pt"
        content = torch.load(path, weights_only=False)
        change(content)
        torch.save(content, path)

    return edit


def _parameters(change):
    return _content(lambda content: change(content["model_state_dict"]))


def _attributes(change):
    return _content(lambda content: change(content["attr_dict"]))


def _replace_folder(folder):
    shutil.rmtree(folder)
    folder.write_text("no folder")


MODELS = {
    "no folder": (shutil.rmtree, "is not a folder"),
    "a file": (_replace_folder, "is not a folder"),
    "no model.pt": (lambda folder: (folder / "model.pt").unlink(), "holds no model.pt but"),
    "empty": (_bytes(lambda content: b""), "is damaged or cut short"),
    **{
        f"cut at {share:.0%}": (
            _bytes(lambda content, share=share: content[: int(share * len(content))]),
            "is damaged or cut short",
        )
        for share in (0.001, 0.25, 0.5, 0.9, 0.999)
    },
    "text": (_bytes(lambda content: b"a,b\n"), "is damaged or cut short"),
    "other tensors": (_content(dict.clear), "is not a saved model"),
    "code": (_content(lambda c: c.update(code=MakeFolder())), "mkdir, which no saved BasisVAE"),
    "no attributes": (_content(lambda c: c.pop("attr_dict")), "lacks registry_"),
    "no registry": (_attributes(lambda a: a.pop("registry_")), "lacks registry_"),
    "no arguments": (_attributes(lambda a: a.pop("init_params_")), "lacks init_params_"),
    "another class": (
        _attributes(lambda a: a["registry_"].update(model_name="SCVI")),
        "of class SCVI, not of BasisVAE",
    ),
    "an argument of another version": (
        _attributes(lambda a: a["init_params_"]["non_kwargs"].update(n_tomorrow=3)),
        "does not fit",
    ),
    "a parameter less": (_parameters(lambda p: p.pop("basis.weight")), "does not fit"),
    "a parameter more": (_parameters(lambda p: p.update(new=torch.zeros(2))), "does not fit"),
    "a parameter of another size": (
        _parameters(lambda p: p.update({"genes.shift": p["genes.shift"][:, :2]})),
        "genes.shift of shape (12, 2), which does not fit its genes and n_basis=4",
    ),
    "a parameter that is no number": (
        _parameters(lambda p: p["genes.shift"].fill_(float("nan"))),
        "values in genes.shift that are not finite",
    ),
}
OF_ASSIGN = {
    "no cells": (lambda folder: (folder / "adata.h5ad").unlink(), "holds no adata.h5ad"),
    "cells cut": (
        lambda folder: (folder / "adata.h5ad").write_bytes(b"\x89HDF\r\n\x1a\n"),
        "adata.h5ad cannot be read",
    ),
}


@pytest.fixture
def call(run, fitted, counts, tmp_path, monkeypatch):
    """Call a command with an edited copy of the model and of the cells."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(fitted / "model", "model")

    def call(command, *options, edit_model=None, edit_cells=None):
        if edit_model is not None:
            edit_model(tmp_path / "model")
        adata = ad.read_h5ad(counts)
        edited = None if edit_cells is None else edit_cells(adata)
        (adata if edited is None else edited).write_h5ad("in.h5ad")
        before = contents(tmp_path)
        arguments = ("in.h5ad", "--model-dir", "model", "-o", "out.h5ad", *RUN, *options)
        result = run(command, *arguments)
        assert result.out == []
        if result.status == 0:
            return None
        assert result.status == 1
        assert contents(tmp_path) == before
        [line] = result.err
        assert line.startswith("basisvae-scvi: error: ")
        assert "--debug" not in line, line
        return line

    return call


def contents(folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("command", ["project", "assign"])
def test_models(call, command, name):
    edit, said = MODELS[name]
    line = call(command, edit_model=edit)
    assert line is not None
    assert said in line


@pytest.mark.parametrize("name", OF_ASSIGN)
def test_cells_of_models(call, name):
    edit, said = OF_ASSIGN[name]
    line = call("assign", edit_model=edit)
    assert line is not None
    assert said in line


def _value(value):
    def edit(adata):
        matrix = adata.X.toarray().astype(float)
        matrix[3] = value
        adata.X = matrix

    return edit


def _column(value):
    def edit(adata):
        adata.obs["batch"] = [value] * 3 + list(adata.obs["batch"][3:])

    return edit


def _rename(axis, names):
    return lambda adata: setattr(adata, axis, names(list(getattr(adata, axis))))


VALUES = {
    "negative": (_value(-1.0), (), "negative"),
    "NaN": (_value(np.nan), (), "NaN"),
    "infinite": (_value(np.inf), (), "infinite"),
    "fraction": (_value(0.5), (), "integer"),
    "text": (lambda adata: setattr(adata, "X", adata.X.toarray().astype(str)), (), "numbers"),
    "a name twice": (_rename("obs_names", lambda n: ["c", "c", *n[2:]]), (), "obs_names"),
    "a gene twice": (_rename("var_names", lambda n: ["g", "g", *n[2:]]), (), "var_names"),
    "no such layer": (None, ("--layer", "raw"), "'raw'"),
    "no cell": (lambda adata: adata[:0].copy(), (), "0 cells"),
    "no gene": (lambda adata: adata[:, :0].copy(), (), "0 genes"),
    "no X": (lambda adata: ad.AnnData(obs=adata.obs, var=adata.var), (), "X is empty"),
}
OF_PROJECT = {
    "half of the genes": (lambda adata: adata[:, ::2].copy(), (), "lacks"),
    "other genes": (_rename("var_names", lambda n: [f"x{i}" for i in n]), (), "none of the model"),
    "no batch": (lambda adata: adata.obs.drop(columns="batch", inplace=True), (), "'batch'"),
    "gaps in the batch": (_column(None), (), "'batch'"),
}
FURTHER = {
    "half of the cells": (lambda adata: adata[::2].copy(), (), "lacks 40 of the model's 80 cells"),
    "other cells": (_rename("obs_names", lambda n: [f"x{i}" for i in n]), (), "model's 80 cells"),
    "no such gene": (None, ("--gene", "gene0", "--gene", "TP53"), "TP53"),
}


@pytest.mark.parametrize("name", VALUES | OF_PROJECT)
def test_new_cells(call, name):
    edit, options, said = (VALUES | OF_PROJECT)[name]
    line = call("project", *options, edit_cells=edit)
    assert line is not None
    assert said in line


@pytest.mark.parametrize("name", VALUES | FURTHER)
def test_further_genes(call, name):
    edit, options, said = (VALUES | FURTHER)[name]
    line = call("assign", *options, edit_cells=edit)
    assert line is not None
    assert said in line


def test_unedited_models_and_cells_are_good(call):
    assert call("project") is None
    assert np.isfinite(ad.read_h5ad("out.h5ad").obsm["X_basisvae"]).all()
