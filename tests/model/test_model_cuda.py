"""A model on a CUDA device is the model on the CPU, up to rounding.

``BASISVAE_TEST_ACCELERATOR=gpu pytest tests/model`` runs the other tests of the model on it too.
"""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from lightning.pytorch import Callback
from model_helpers import all_tables, assert_same_tables, build, small_counts, train
from scipy.stats import spearmanr
from sklearn.metrics import adjusted_rand_score

from basisvae_scvi import BasisVAE

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a CUDA device, and there is none"
)

VARIANTS = {
    "shift": {"translation_invariant": True},
    "zinb": {"gene_likelihood": "zinb"},
    "poisson": {"gene_likelihood": "poisson", "translation_invariant": True},
    "two dimensions": {"n_latent": 2},
    "two dimensions, shift": {"n_latent": 2, "translation_invariant": True},
    "paper": {"objective": "paper", "translation_invariant": True},
    "dispersion of batches": {"dispersion": "gene-batch"},
}


@pytest.fixture(scope="module")
def on_cuda():
    """Counts of 400 cells × 200 genes with shifts, and a model trained on the device."""
    adata = small_counts(400, 200, mean_count=3.0, max_shift=0.8)
    model = build(adata, translation_invariant=True, n_basis=8)
    train(model, 20, brief=False, accelerator="gpu")
    return model


def on_cpu(model):
    """The same parameters on the CPU."""
    other = copy.copy(model)
    other.module = copy.deepcopy(model.module).cpu()
    return other


@torch.inference_mode()
def per_cell(model):
    """Expected log-likelihood of every cell at its mean of z, on the device of the model."""
    module = model.module
    loader = model._make_data_loader(adata=model.adata, batch_size=model.adata.n_obs)
    tensors = {key: values.to(module.device) for key, values in next(iter(loader)).items()}
    z = module.inference(**module._get_inference_input(tensors))["qz"].loc
    phi = module.assignment()
    pairs = module.pairs(phi)
    return module.log_likelihood(tensors, z, pairs, pairs.select(phi)).per_cell.cpu().numpy()


def test_training_finds_order_and_groups(on_cuda):
    assert on_cuda.device.type == "cuda"
    adata = on_cuda.adata
    order = spearmanr(on_cuda.get_latent_representation()[:, 0], adata.obs["true_z"]).statistic
    assert abs(order) > 0.98
    found = on_cuda.get_clusters()["cluster"].astype(str)
    assert adjusted_rand_score(adata.var["true_group"].astype(str), found) > 0.9


@pytest.mark.parametrize("name", VARIANTS)
def test_tables_and_bound_are_those_of_the_cpu(name):
    adata = small_counts(120, 24, n_batches=2)
    model = build(adata, setup={"batch_key": "batch"}, **VARIANTS[name])
    train(model, 3, accelerator="gpu")
    assert model.device.type == "cuda"
    reference = on_cpu(model)
    assert_same_tables(all_tables(model), all_tables(reference), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(per_cell(model), per_cell(reference), rtol=1e-4)
    model.get_elbo(), model.get_reconstruction_error(), model.get_normalized_expression()
    model.posterior_predictive_sample(n_samples=1), model.get_marginal_ll(n_mc_samples=2)


def test_bound_with_observed_z_is_that_of_the_cpu():
    adata = small_counts(150, 20, seed=2)
    BasisVAE.setup_anndata(adata, latent_key="true_z")
    model = BasisVAE(adata, n_basis=5, gene_likelihood="zinb", translation_invariant=True)
    train(model, 5, accelerator="gpu")
    found, expected = model.get_elbo(), on_cpu(model).get_elbo()
    assert float(found) == pytest.approx(float(expected), rel=1e-5)


def test_intervals_tests_and_further_genes_are_those_of_the_cpu(on_cuda):
    reference = on_cpu(on_cuda)
    for method in ("get_gene_intervals", "get_dynamic_genes"):
        found, expected = getattr(on_cuda, method)(), getattr(reference, method)()
        for name, column in pd.DataFrame(expected).select_dtypes("number").items():
            np.testing.assert_allclose(
                pd.DataFrame(found)[name], column, rtol=1e-3, atol=1e-3, err_msg=f"{method} {name}"
            )
    more = small_counts(400, 200, mean_count=3.0, max_shift=0.8)
    found, expected = (model.assign_genes(more).clusters for model in (on_cuda, reference))
    assert (found["cluster"].astype(str) == expected["cluster"].astype(str)).mean() > 0.98


def test_saved_on_the_device_and_read_on_the_cpu(on_cuda, tmp_path):
    on_cuda.save(tmp_path / "model", save_anndata=True)
    for accelerator in ("cpu", "gpu"):
        loaded = BasisVAE.load(tmp_path / "model", accelerator=accelerator)
        assert loaded.device.type == {"cpu": "cpu", "gpu": "cuda"}[accelerator]
        assert_same_tables(all_tables(loaded), all_tables(on_cuda), rtol=1e-3, atol=1e-4)


class Stop(Callback):
    """Fail at the end of an epoch."""

    def on_train_epoch_end(self, trainer, pl_module):
        if trainer.current_epoch == 3:
            raise RuntimeError("stopped")


def test_a_stopped_training_goes_on_from_its_checkpoint(tmp_path):
    def run(**arguments):
        model = build(small_counts(120, 24), translation_invariant=True)
        train(model, 8, accelerator="gpu", **arguments)
        return model.history["elbo_train"].to_numpy(float).ravel()

    with pytest.raises(RuntimeError, match="stopped"):
        run(checkpoint_dir=tmp_path, callbacks=[Stop()])
    resumed, expected = run(checkpoint_dir=tmp_path), run()
    assert len(resumed) == len(expected) == 8
    np.testing.assert_allclose(resumed, expected, rtol=1e-3)


def test_the_same_seed_gives_nearly_the_same_model():
    """Atomic additions change the last digits; what is found stays."""
    runs = []
    for _ in range(2):
        adata = small_counts(200, 30)
        model = build(adata, translation_invariant=True)
        train(model, 10, accelerator="gpu")
        runs.append(model)
    first, second = (run.history["elbo_train"].to_numpy(float).ravel() for run in runs)
    np.testing.assert_allclose(first, second, rtol=1e-3)
    z = [run.get_latent_representation()[:, 0] for run in runs]
    assert abs(spearmanr(*z).statistic) > 0.99
