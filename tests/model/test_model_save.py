"""A saved model gives back the same numbers."""

import json
from pathlib import Path

import numpy as np
import pytest
from model_helpers import all_tables, assert_same_tables, fit, gene_tables, small_counts

from basisvae_scvi import BasisVAE
from basisvae_scvi.datasets import toy_groups

ASSETS = Path(__file__).resolve().parents[1] / "assets"


@pytest.fixture(scope="module")
def saved(fitted, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "model"
    fitted.save(str(path))
    return str(path)


def test_every_accessor_reads_back_bit_for_bit(fitted, saved):
    model = BasisVAE.load(saved, adata=fitted.adata.copy(), accelerator="cpu")
    assert_same_tables(all_tables(model), all_tables(fitted))


def test_genes_need_no_data(fitted, saved):
    model = BasisVAE.load(saved, adata=False, accelerator="cpu")
    assert model.adata is None
    assert_same_tables(gene_tables(model), gene_tables(fitted))


def test_trends_of_batches_need_no_data_either(fitted_batches, tmp_path):
    fitted_batches.save(str(tmp_path / "model"))
    model = BasisVAE.load(str(tmp_path / "model"), adata=False, accelerator="cpu")
    # The two batches have equally many cells, and without data all batches count the same.
    assert (fitted_batches.adata.obs["batch"].value_counts() == 60).all()
    np.testing.assert_allclose(
        model.get_gene_trends(), fitted_batches.get_gene_trends(), rtol=1e-6
    )


def test_trends_without_data_weigh_batches_as_the_training_data_did(tmp_path):
    adata = small_counts(90, 20, n_batches=3)
    adata.obs["batch"] = np.where(adata.obs["batch"] == "batch0", "a", "b")
    model = fit(adata, setup={"batch_key": "batch"}, max_epochs=5)
    model.save(str(tmp_path / "model"))
    again = BasisVAE.load(str(tmp_path / "model"), adata=False, accelerator="cpu")
    np.testing.assert_allclose(again.get_gene_trends(), model.get_gene_trends(), rtol=1e-6)


def test_the_data_may_be_saved_with_the_model(fitted, tmp_path):
    fitted.save(str(tmp_path / "model"), save_anndata=True)
    model = BasisVAE.load(str(tmp_path / "model"), accelerator="cpu")
    assert_same_tables(all_tables(model), all_tables(fitted))


def test_history_seed_and_orientation_are_kept(fitted, saved):
    model = BasisVAE.load(saved, adata=fitted.adata.copy(), accelerator="cpu")
    assert (model.seed_, model.orientation_) == (fitted.seed_, fitted.orientation_)
    assert model.history["elbo_train"].equals(fitted.history["elbo_train"])


@pytest.mark.parametrize(
    ("setup", "arguments"),
    [
        ({"latent_key": "true_z"}, {}),
        ({"size_factor_key": "true_size_factor"}, {"gene_likelihood": "poisson"}),
        (
            {
                "batch_key": "batch",
                "categorical_covariate_keys": ["site"],
                "continuous_covariate_keys": ["true_size_factor"],
            },
            {"dispersion": "gene-batch", "gene_likelihood": "zinb"},
        ),
        ({}, {"zero_inflation": "latent", "gene_likelihood": "zinb", "n_latent": 2}),
        ({"layer": "counts"}, {"inference": "non-collapsed"}),
    ],
    ids=["observed z", "size factor", "covariates", "latent dropout", "layer"],
)
def test_every_kind_of_model_reads_back(setup, arguments, tmp_path):
    adata = small_counts(60, n_batches=2)
    adata.obs["site"] = np.where(np.arange(60) % 2, "a", "b")
    adata.layers["counts"] = adata.X.copy()
    model = fit(adata, setup=setup, **arguments)
    model.save(str(tmp_path / "model"))
    again = BasisVAE.load(str(tmp_path / "model"), adata=adata.copy(), accelerator="cpu")
    assert_same_tables(all_tables(again), all_tables(model))


def test_a_gaussian_model_reads_back_without_data(tmp_path):
    adata = toy_groups(n_obs=60, n_per_group=3)
    model = fit(adata, gene_likelihood="gaussian")
    model.save(str(tmp_path / "model"))
    again = BasisVAE.load(str(tmp_path / "model"), adata=False, accelerator="cpu")
    assert_same_tables(gene_tables(again), gene_tables(model))


def test_a_model_that_was_loaded_trains_on(fitted, saved):
    model = BasisVAE.load(saved, adata=fitted.adata.copy(), accelerator="cpu")
    n_epochs = len(model.history["elbo_train"])
    model.train(max_epochs=2, seed=0, accelerator="cpu", enable_progress_bar=False)
    assert len(model.history["elbo_train"]) == n_epochs + 2


def test_data_of_other_genes_are_refused(saved):
    with pytest.raises(ValueError, match=r"lacks 4 of the model's genes"):
        BasisVAE.load(saved, adata=small_counts(20, 20), accelerator="cpu")


def test_the_stored_model_stays_readable():
    """A model saved by an earlier version gives the numbers that it gave then."""
    model = BasisVAE.load(str(ASSETS / "saved_model"), accelerator="cpu")
    expected = json.loads((ASSETS / "saved_model" / "expected_values.json").read_text())
    clusters = model.get_clusters()
    assert list(clusters["cluster"]) == expected["cluster"]
    found = {
        "assignment": model.get_assignments().to_numpy(),
        "shift": clusters["shift"],
        "scale": clusters["scale"],
        "latent": model.get_latent_representation()[:, 0],
        "pseudotime": model.get_pseudotime(),
        "trend": model.get_gene_trends("gene3", np.linspace(-1.5, 1.5, 7))["gene3"],
        "basis": model.get_basis_functions(np.linspace(-1.5, 1.5, 7)).to_numpy(),
    }
    for name, values in found.items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-3, atol=1e-4, err_msg=name)


def test_the_stored_model_is_small():
    files = list((ASSETS / "saved_model").iterdir())
    assert {"model.pt", "adata.h5ad", "expected_values.json"} == {file.name for file in files}
    assert sum(file.stat().st_size for file in files) < 300_000
