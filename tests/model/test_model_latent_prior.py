"""Prior means of z: they fix the direction, and hold cells as far as their width says."""

import numpy as np
import pytest
import torch
from model_helpers import fit
from scipy.stats import spearmanr
from scvi import REGISTRY_KEYS

from basisvae_scvi import BasisVAE
from basisvae_scvi.datasets import toy_groups
from basisvae_scvi.module import TENSOR_KEYS

GAUSSIAN = {"gene_likelihood": "gaussian", "max_epochs": 30, "brief": False}


@pytest.fixture
def toy():
    return toy_groups(n_obs=200, seed=4)


def z_of(adata, scale=0.5, **setup):
    setup = setup or {"latent_prior_key": "guess"}
    model = fit(adata, setup=setup, latent_prior_scale=scale, **GAUSSIAN)
    return model, model.get_latent_representation()[:, 0]


def rank_correlation(a, b):
    return spearmanr(a, b).statistic


@pytest.mark.slow
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_rough_guess_fixes_the_direction_and_leaves_the_order_to_the_data(toy, sign):
    rng = np.random.default_rng(0)
    truth = toy.obs["true_z"].to_numpy()
    toy.obs["guess"] = 10.0 + sign * (truth + rng.normal(0, 2.0, 200))
    assert 0.4 < abs(rank_correlation(toy.obs["guess"], truth)) < 0.85
    _, z = z_of(toy, scale=2.0)
    assert sign * rank_correlation(z, truth) > 0.99


@pytest.mark.slow
def test_a_narrow_prior_holds_cells_where_it_says(toy):
    """Times that have nothing to do with the data: only a narrow prior makes z follow them.

    As far as the encoder can, which has to tell them from the data.
    """
    toy.obs["guess"] = np.random.default_rng(1).permutation(toy.obs["true_z"].to_numpy())
    _, held = z_of(toy, scale=0.02)
    _, free = z_of(toy, scale=5.0)
    assert rank_correlation(held, toy.obs["guess"]) > 0.6
    assert abs(rank_correlation(free, toy.obs["guess"])) < 0.3
    assert abs(rank_correlation(free, toy.obs["true_z"])) > 0.99


def test_cells_without_a_guess_keep_the_standard_prior(toy):
    truth = toy.obs["true_z"].to_numpy()
    toy.obs["guess"] = np.where(np.arange(200) % 4 == 0, truth, np.nan)
    model, z = z_of(toy, scale=0.3)
    assert rank_correlation(z, truth) > 0.99
    model.to_device("cpu")
    prior = model.module.latent_prior(torch.tensor([[float(truth[0])], [np.nan]]))
    known = truth[::4]
    expected = (truth[0] - known.mean()) / known.std()
    np.testing.assert_allclose(prior.loc[:, 0], [expected, 0.0], rtol=1e-5)
    np.testing.assert_allclose(prior.scale[:, 0], [0.3, 1.0], rtol=1e-6)


def test_the_bound_pays_the_distance_from_the_guess(toy):
    toy.obs["guess"] = toy.obs["true_z"]
    model, _ = z_of(toy, scale=0.4)
    module = model.module
    tensors = model._cell_blocks(np.arange(7))[0]
    assert {TENSOR_KEYS.LATENT_PRIOR, REGISTRY_KEYS.X_KEY} <= tensors.keys()
    outputs, _, losses = module(tensors)
    guess = toy.obs["guess"].to_numpy()
    mean = (guess[:7] - guess.mean()) / guess.std()
    q = outputs["qz"]
    ratio = q.scale[:, 0].detach().cpu().numpy() / 0.4
    distance = (q.loc[:, 0].detach().cpu().numpy() - mean) / 0.4
    expected = 0.5 * (distance**2 + ratio**2 - 1 - 2 * np.log(ratio))
    np.testing.assert_allclose(
        losses.kl_local["kl_divergence_z"].detach().cpu(), expected, rtol=1e-4, atol=1e-6
    )


def test_a_saved_model_keeps_its_prior(toy, tmp_path):
    toy.obs["guess"] = toy.obs["true_z"]
    model, _ = z_of(toy, scale=0.4)
    model.save(tmp_path / "model")
    model.to_device("cpu")
    loaded = BasisVAE.load(tmp_path / "model", adata=toy, accelerator="cpu")
    value = torch.tensor([[0.5]])
    ours, theirs = (m.module.latent_prior(value) for m in (model, loaded))
    assert ours.loc == theirs.loc
    assert ours.scale == theirs.scale == pytest.approx(0.4)
    np.testing.assert_array_equal(
        model.get_latent_representation(), loaded.get_latent_representation()
    )


def test_guesses_that_do_not_serve(toy):
    toy.obs["guess"] = toy.obs["true_z"]
    with pytest.raises(ValueError, match="give one of them"):
        BasisVAE.setup_anndata(toy, latent_key="true_z", latent_prior_key="guess")
    with pytest.raises(KeyError, match="latent_prior_key='nowhere'"):
        BasisVAE.setup_anndata(toy, latent_prior_key="nowhere")
    toy.obs["text"] = "a"
    with pytest.raises(ValueError, match="must hold numbers"):
        BasisVAE.setup_anndata(toy, latent_prior_key="text")
    for bad, said in ((np.inf, "infinite values"), (np.nan, "has no value at all")):
        toy.obs["guess"] = bad
        with pytest.raises(ValueError, match=said):
            BasisVAE.setup_anndata(toy, latent_prior_key="guess")
    toy.obs["guess"] = toy.obs["true_z"]
    BasisVAE.setup_anndata(toy, latent_prior_key="guess")
    with pytest.raises(ValueError, match="1 dimension"):
        BasisVAE(toy, n_basis=4, n_latent=2, gene_likelihood="gaussian")
    with pytest.raises(ValueError, match="latent_prior_scale=0"):
        BasisVAE(toy, n_basis=4, gene_likelihood="gaussian", latent_prior_scale=0.0)
