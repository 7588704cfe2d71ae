"""The contracts between scvi-tools and its models."""

import inspect

import numpy as np
import pytest
import torch
from model_helpers import build, fit, small_counts, train
from scvi.train import TrainingPlan

from basisvae_scvi import BasisVAE, _compat
from basisvae_scvi.inference import BasisVAETrainingPlan


@pytest.mark.parametrize("is_trained", [False, True])
def test_every_property_can_be_read(adata, is_trained):
    """save() reads all attributes, so that a property that raises would break it."""
    model = build(adata)
    if is_trained:
        train(model)
    names = [name for name, _ in inspect.getmembers(BasisVAE, lambda m: isinstance(m, property))]
    assert "history" in names
    for name in names:
        getattr(model, name)


def test_an_untrained_model_can_be_saved_and_trained_later(adata, tmp_path):
    build(adata, translation_invariant=True).save(str(tmp_path / "model"))
    model = BasisVAE.load(str(tmp_path / "model"), adata, accelerator="cpu")
    assert not model.is_trained_
    train(model)
    assert np.isfinite(model.get_latent_representation()).all()


def test_the_training_plan_takes_and_passes_on_what_it_does_not_know():
    kinds = {p.kind for p in inspect.signature(BasisVAETrainingPlan.__init__).parameters.values()}
    assert {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD} <= kinds


def test_loss_arguments_reach_the_loss_through_the_plan(adata):
    plan = BasisVAETrainingPlan(build(adata).module, n_epochs_kl_warmup=7, my_loss_argument=3)
    assert plan.loss_kwargs["my_loss_argument"] == 3
    assert plan.n_epochs_kl_warmup == 7


def test_an_unknown_assignment_update_is_refused(adata):
    with pytest.raises(ValueError, match=r"assignment_update='sgd' is unknown; choose 'closed"):
        train(build(adata), 1, plan_kwargs={"assignment_update": "sgd"})


@pytest.mark.skipif(
    "fused_optimizer" not in inspect.signature(TrainingPlan.__init__).parameters,
    reason="the installed scvi-tools has no fused optimizer",
)
@pytest.mark.parametrize("is_fused", [True, False])
def test_the_fused_optimizer_can_be_chosen(adata, is_fused):
    plan = BasisVAETrainingPlan(build(adata).module, fused_optimizer=is_fused)
    optimizer = plan.get_optimizer_creator()(plan.module.parameters())
    assert bool(optimizer.param_groups[0]["fused"]) is is_fused
    assert [group["lr"] for group in optimizer.param_groups] == [1e-3, 1e-2]


def test_encoder_and_genes_have_learning_rates_of_their_own(adata):
    module = build(adata).module
    plan = BasisVAETrainingPlan(module, lr=0.02, lr_genes=0.3)
    groups = plan.get_optimizer_creator()(module.parameters()).param_groups
    assert [group["lr"] for group in groups] == [0.02, 0.3]
    assert {id(p) for p in groups[0]["params"]} == {id(p) for p in module.z_encoder.parameters()}
    n_parameters = sum(len(group["params"]) for group in groups)
    assert n_parameters == sum(p.requires_grad for p in module.parameters())


def full_batch(model):
    """All cells of a model as one minibatch."""
    loader = model._make_data_loader(adata=model.adata, batch_size=model.adata.n_obs)
    return next(iter(loader))


def test_inference_input_is_the_same_for_a_full_forward_pass(fitted):
    tensors = full_batch(fitted)
    plain = fitted.module._get_inference_input(tensors)
    full = fitted.module._get_inference_input(tensors, full_forward_pass=True)
    assert plain.keys() == full.keys()
    assert torch.equal(plain["x"], full["x"])
    assert torch.equal(plain["size_factor"], full["size_factor"])


def test_registry_is_the_second_argument_of_the_constructor(fitted):
    model = BasisVAE(None, fitted.registry, n_basis=3)
    assert model.adata is None
    assert model.module.genes.n_genes == 24
    assert model.module.n_basis == 3


@pytest.mark.parametrize("inference", ["collapsed", "non-collapsed", "fixed_pi"])
def test_the_loss_is_the_mean_local_part_plus_the_global_part_over_all_cells(inference):
    model = fit(
        small_counts(60),
        translation_invariant=True,
        inference=inference,
        latent_weight=0.7,
        assignment_weight=2.5,
    )
    module, tensors = model.module, full_batch(model)
    inputs, outputs, _ = module(tensors)
    loss = module.loss(tensors, inputs, outputs, n_obs=1000)
    phi = module.assignment()
    kl_w = module.assignment.kl(phi)
    scale, shift = module.genes.log_scale.exp(), module.genes.shifts()
    of_shifts = torch.distributions.Normal(0.0, module.genes.shift_prior_sd)
    prior = (phi * (of_shifts.log_prob(shift) - scale)).sum()
    prior = prior - 0.5 * module.basis.weight.square().sum()
    prior = prior - 0.5 * module.genes.deviation.weight.square().sum()
    qz = inputs["qz"]
    kl_z = torch.distributions.kl_divergence(qz, torch.distributions.Normal(0.0, 1.0)).sum(-1)
    local = loss.reconstruction_loss["reconstruction_loss"] + 0.7 * kl_z
    expected = local.mean() + (2.5 * kl_w - prior) / 1000
    torch.testing.assert_close(loss.loss, expected, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(loss.kl_global["kl_divergence_w"], kl_w)
    torch.testing.assert_close(loss.kl_global["negative_log_prior"], -prior, rtol=1e-4, atol=1e-3)


def test_the_elbo_in_the_history_is_local_plus_global_over_all_cells():
    model = build(small_counts(100), translation_invariant=True)
    # Without a refresh at the end, which comes after the last entry of the history.
    train(model, 3, batch_size=40, plan_kwargs={"assignment_update": "gradient"})
    history = {k: v.iloc[:, 0].to_numpy(dtype=float) for k, v in model.history.items()}
    expected = (
        history["reconstruction_loss_train"]
        + history["kl_local_train"]
        + history["kl_global_train"] / 100
    )
    np.testing.assert_allclose(history["elbo_train"], expected, rtol=1e-5)
    # The global part is that of the data set, however many minibatches there are.
    module = model.module
    phi = module.assignment()
    scale, shift = module.genes.log_scale.exp(), module.genes.shifts()
    of_shifts = torch.distributions.Normal(0.0, module.genes.shift_prior_sd)
    prior = (phi * (of_shifts.log_prob(shift) - scale)).sum()
    now = (module.assignment.kl(phi) - prior).item()
    assert history["kl_global_train"][-1] == pytest.approx(now, rel=0.2)


def test_what_scvi_tools_leaves_behind_is_known():
    adata = small_counts(60, n_batches=2)
    adata.obs["site"] = np.where(np.arange(60) % 2, "a", "b")
    before = set(adata.obs), set(adata.uns), set(adata.obsm), set(adata.var), set(adata.varm)
    fit(
        adata,
        setup={
            "batch_key": "batch",
            "categorical_covariate_keys": ["site"],
            "continuous_covariate_keys": ["true_size_factor"],
        },
        max_epochs=1,
    )
    new_obs = set(adata.obs) - before[0]
    assert new_obs == {"_scvi_batch"}
    assert all(name.startswith(_compat.LEFTOVER_OBS_PREFIX) for name in new_obs)
    assert set(adata.uns) - before[1] == set(_compat.LEFTOVER_UNS_KEYS)
    assert set(adata.obsm) - before[2] == set(_compat.LEFTOVER_OBSM_KEYS)
    assert (set(adata.var), set(adata.varm)) == before[3:]
