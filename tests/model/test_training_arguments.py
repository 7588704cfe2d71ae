"""What training could not do is said before the search: numbers, names, devices, folders."""

import pathlib

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from model_helpers import ACCELERATOR, build, train

import basisvae_scvi as bv
from basisvae_scvi import BasisVAE

REFUSED = {
    "no epoch": ({"max_epochs": 0}, r"max_epochs=0 must be a whole number of at least 1"),
    "epochs without end": ({"max_epochs": -1}, "max_epochs=-1 must be"),
    "part of an epoch": ({"max_epochs": 2.5}, r"max_epochs=2\.5 must be"),
    "no restart": ({"n_restarts": 0}, "n_restarts=0 must be a whole number of at least 1"),
    "no cell a step": ({"batch_size": 0}, "batch_size=0 must be a whole number of at least 1"),
    "no training cell": ({"train_size": 0.0}, r"train_size=0\.0 must be a number above 0"),
    "more than all": (
        {"train_size": 1.5},
        r"train_size=1\.5 must be a number above 0 and at most 1",
    ),
    "only validation": ({"validation_size": 1.0}, r"validation_size=1\.0 must be"),
    "size of no number": ({"train_size": "0.9"}, r"train_size='0\.9' must be a number above 0"),
    "size that is true": ({"validation_size": True}, "validation_size=True must be a number"),
    "text for a switch": ({"early_stopping": "False"}, "early_stopping='False' must be True or"),
    "nothing for a switch": ({"shuffle_set_split": None}, "shuffle_set_split=None must be True"),
    "no step": ({"max_steps": 0}, "max_steps=0 leaves no step to train"),
    "no batch": ({"limit_train_batches": 0}, "limit_train_batches=0 leaves no step to train"),
    "no share of batches": ({"limit_train_batches": 0.0}, r"limit_train_batches=0\.0 leaves no"),
    "nothing to validate": (
        {"check_val_every_n_epoch": 1},
        "check_val_every_n_epoch=1 takes validation cells",
    ),
    "logger": ({"logger": "runs"}, "logger='runs' is neither True, False nor a Logger"),
    "arguments in a row": ({"plan_kwargs": ["lr"]}, r"plan_kwargs=\['lr'\] must be arguments by"),
    "folder": ({"checkpoint_dir": 0}, "checkpoint_dir=0 must be the name of a folder"),
    "folder without a name": ({"checkpoint_dir": ""}, "checkpoint_dir='' must be the name"),
    "no callback": ({"callbacks": 0}, "callbacks has 0, which is no Callback"),
    "trainer": ({"max_epoch": 3}, r"train\(\) knows no argument 'max_epoch'"),
    "trainer, misspelt": (
        {"gradient_clip_value": 1.0},
        r"no argument 'gradient_clip_value'; is 'gradient_clip_val' meant",
    ),
    "plan": ({"plan_kwargs": {"lr_gene": 0.1}}, "plan_kwargs knows .*'lr_gene'; is 'lr_genes'"),
    "split": (
        {"datasplitter_kwargs": {"num_worker": 1}},
        "datasplitter_kwargs knows .*'num_worker'; is 'num_workers' meant",
    ),
    "split, size": ({"datasplitter_kwargs": {"batch_size": 5}}, "knows no argument 'batch_size'"),
    "monitor": (
        {"early_stopping": True, "early_stopping_monitor": "loss"},
        r"early_stopping_monitor='loss' is unknown; choose one of \['elbo_validation'",
    ),
    "nothing to monitor": (
        {"early_stopping": True, "train_size": 1.0},
        "early_stopping=True takes validation cells",
    ),
    "callback": ({"callbacks": [print]}, r"callbacks has .*print.*no Callback"),
    "precision": ({"precision": "17"}, r"cannot go on with these arguments.*17"),
    "device": (
        {"accelerator": "gpuu"},
        r"accelerator='gpuu' cannot be used here.*'cpu' or 'auto'",
    ),
    "devices": ({"devices": 0}, r"cannot go on with these arguments"),
}


@pytest.fixture
def unsearched(adata, monkeypatch):
    """A model that may not come to its search."""
    model = build(adata)

    def search(*_, **__):
        raise AssertionError("the search was begun")

    monkeypatch.setattr(model, "_start", search)
    return model


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_said_before_the_search(unsearched, case):
    arguments, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        train(unsearched, brief=False, **arguments)
    with pytest.raises(AssertionError, match="search was begun"):
        train(unsearched, brief=False)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(unsearched, adata):
    message = "accelerator='gpu' cannot be used here .*pass 'cpu' or 'auto'"
    with pytest.raises(ValueError, match=message):
        unsearched.train(accelerator="gpu")
    with pytest.raises(ValueError, match=message):
        bv.tl.basisvae(adata, n_basis=4, train_kwargs={"accelerator": "gpu"})
    assert "basisvae" not in adata.uns


@pytest.mark.parametrize("kind", [str, pathlib.Path])
def test_a_checkpoint_where_a_file_is(unsearched, tmp_path, kind):
    (tmp_path / "file").write_text("x")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ValueError, match=r"checkpoint_dir=.*file is a file; name another"):
            train(unsearched, brief=False, checkpoint_dir=kind(folder))


def test_one_call_says_it_as_early(adata, monkeypatch):
    monkeypatch.setattr(BasisVAE, "_start", None)
    for given in ({"max_epochs": 0}, {"train_kwargs": {"gpus": 1}}):
        with pytest.raises(ValueError, match=r"max_epochs=0|no argument .gpus."):
            bv.tl.basisvae(adata, n_basis=4, **given)


def test_settings_to_be_compared_are_looked_at_before_the_first_fit(adata, monkeypatch):
    monkeypatch.setattr(BasisVAE, "train", None)
    for vary in ({"n_basis": [4, 1]}, {"n_basis": [4, 40]}, {"n_layers": [1, 0], "n_basis": [4]}):
        with pytest.raises(ValueError, match=r"n_basis=1 |n_basis=40 |n_layers=0"):
            bv.tl.compare(adata, vary)
    with pytest.raises(ValueError, match="n_samples=0 must be at least 1"):
        bv.tl.compare(adata, {"n_basis": [4]}, n_samples=0)


def test_whole_numbers_of_numpy_and_one_callback_alone_are_taken(adata):
    class Count(Callback):
        n = 0

        def on_train_epoch_end(self, *_):
            self.n += 1

    model, count = build(adata), Count()
    train(model, np.int64(2), batch_size=np.int64(50), callbacks=count)
    assert count.n == 2


def test_cells_not_for_validation_are_trained_on(adata):
    model = build(adata)
    train(model, 1, validation_size=0.25)
    assert (len(model.train_indices), len(model.validation_indices)) == (75, 25)
    train(model, 1, validation_size=0.0)
    assert len(model.train_indices) == 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_hidden": 0}, "n_hidden=0 must be a whole number"),
        ({"n_layers": 0}, "n_layers=0 must be a whole number"),
        ({"dropout_rate": 1.0}, r"dropout_rate=1\.0 must be"),
    ],
)
def test_an_encoder_that_cannot_be_is_refused_with_the_model(adata, arguments, message):
    with pytest.raises(ValueError, match=message):
        build(adata, **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mc_samples": 0, "give_mean": False}, "mc_samples=0 must be"),
        ({"batch_size": 0}, "batch_size=0 must be"),
        ({"indices": []}, "indices names no cell"),
    ],
)
def test_none_of_something_is_not_all_of_it(fitted, arguments, message):
    with pytest.raises(ValueError, match=message):
        fitted.get_latent_representation(**arguments)


@pytest.mark.parametrize(
    ("method", "argument"),
    [
        ("get_elbo", "batch_size"),
        ("get_marginal_ll", "n_mc_samples"),
        ("get_normalized_expression", "n_samples"),
        ("get_normalized_expression", "n_samples_overall"),
        ("posterior_predictive_sample", "n_samples"),
        ("get_likelihood_parameters", "n_samples"),
        ("get_reconstruction_error", "batch_size"),
    ],
)
def test_no_draws_are_refused_by_every_method(fitted, method, argument):
    with pytest.raises(ValueError, match=f"{argument}=0 must be a whole number of at least 1"):
        getattr(fitted, method)(**{argument: 0})


@pytest.mark.parametrize("kind", [str, pathlib.Path])
def test_every_path_is_text_or_a_path(fitted, tmp_path, kind):
    """Those of saved models; other files have tests of their own."""
    folder = kind(tmp_path / "model")
    fitted.save(folder)
    fitted.save(folder, overwrite=True)
    again = BasisVAE.load(folder, fitted.adata.copy(), accelerator=ACCELERATOR)
    assert again.get_clusters().equals(fitted.get_clusters())
    assert BasisVAE.load_registry(folder)["model_name"] == "BasisVAE"
    cells = fitted.adata[:40, ::-1].copy()
    BasisVAE.prepare_query_anndata(cells, folder)
    assert list(cells.var_names) == list(fitted.adata.var_names)
    query = BasisVAE.load_query_data(cells, folder, accelerator=ACCELERATOR)
    assert query.adata is cells
