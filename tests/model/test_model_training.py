"""Validation, early stopping, checkpoints, history, and training that goes on."""

import numpy as np
import pytest
import scvi
from lightning.pytorch import Callback
from model_helpers import all_tables, build, fit, gene_tables, small_counts, train
from scvi.train import SaveCheckpoint

from basisvae_scvi import BasisVAE
from basisvae_scvi.model._training import default_max_epochs

TRAIN_KEYS = {
    "train_loss",
    "elbo_train",
    "reconstruction_loss_train",
    "kl_local_train",
    "kl_global_train",
    "n_used_bases",
}


def test_all_cells_are_trained_on_by_default(adata):
    model = fit(adata, max_epochs=1)
    assert sorted(model.train_indices) == list(range(100))
    assert len(model.validation_indices) == 0
    assert set(model.history) == TRAIN_KEYS


def test_a_part_can_be_held_out(adata):
    model = build(adata)
    train(model, 2, train_size=0.7, validation_size=0.2)
    parts = (model.train_indices, model.validation_indices, model.test_indices)
    assert [len(part) for part in parts] == [70, 20, 10]
    assert sorted(np.concatenate(parts)) == list(range(100))


def test_a_split_that_is_not_shuffled_follows_the_cells(adata):
    model = build(adata)
    train(model, 1, train_size=0.8, shuffle_set_split=False)
    assert set(model.train_indices) in (set(range(80)), set(range(20, 100)))


def test_the_history_has_validation_and_training_in_every_epoch(adata):
    model = build(adata)
    train(model, 3, train_size=0.8)
    assert set(model.history) >= TRAIN_KEYS | {
        "elbo_validation",
        "reconstruction_loss_validation",
        "validation_loss",
    }
    for name, values in model.history.items():
        assert len(values) == 3, name
        assert np.isfinite(values.to_numpy(dtype=float)).all(), name


def test_early_stopping_holds_out_a_tenth_and_stops(adata):
    model = build(adata)
    train(
        model,
        60,
        early_stopping=True,
        early_stopping_patience=2,
        early_stopping_min_delta=1e6,
    )
    assert len(model.validation_indices) == 10
    assert len(model.history["elbo_validation"]) < 10


def test_the_number_of_used_bases_is_recorded(adata):
    model = fit(adata, max_epochs=2, n_basis=4)
    used = model.history["n_used_bases"].to_numpy(dtype=float)
    assert ((used >= 1) & (used <= 4) & (used == np.rint(used))).all()


@pytest.fixture
def checkpointed(adata, tmp_path, monkeypatch):
    monkeypatch.setattr(scvi.settings, "logging_dir", str(tmp_path))
    model = build(adata, translation_invariant=True)
    train(
        model,
        3,
        train_size=0.8,
        enable_checkpointing=True,
        checkpointing_monitor="elbo_validation",
    )
    (path,) = [p for p in tmp_path.rglob("epoch=*") if p.is_dir()]
    return model, str(path)


def test_training_with_checkpoints_ends_with_a_fitted_model(checkpointed):
    model, _ = checkpointed
    assert model.is_trained_
    assert np.isfinite(model.get_latent_representation()).all()


def test_a_checkpoint_is_a_model_whose_results_can_be_read(checkpointed):
    model, path = checkpointed
    best = BasisVAE.load(path, adata=model.adata.copy(), accelerator="cpu")
    for name, table in all_tables(best).items():
        assert np.isfinite(table.to_numpy(dtype=float)).all(), name


def test_the_best_state_can_be_taken_at_the_end(adata, tmp_path):
    model = build(adata)
    keep = SaveCheckpoint(dirpath=str(tmp_path), monitor="elbo_validation", load_best_on_end=True)
    train(model, 3, train_size=0.8, callbacks=[keep])
    best = BasisVAE.load(keep.best_model_path, adata=adata.copy(), accelerator="cpu")
    # The unit of z is fixed at the end of training, which a checkpoint has not seen.
    ours, theirs = (np.abs(m.get_latent_representation()) for m in (model, best))
    np.testing.assert_allclose(theirs / theirs.mean(), ours / ours.mean(), rtol=1e-4, atol=1e-6)


def test_training_can_be_continued(adata, monkeypatch):
    model = fit(adata, max_epochs=2)
    before = model.module.genes.log_dispersion.detach().clone()

    def no_start(*args, **kwargs):
        raise AssertionError("training started anew")

    monkeypatch.setattr("basisvae_scvi.model._start_latent.start_latent", no_start)
    monkeypatch.setattr("basisvae_scvi.model._start.start_shapes", no_start)
    train(model, 3)
    assert len(model.history["elbo_train"]) == 5
    assert (model.module.genes.log_dispersion != before).any()


def test_continued_training_improves_on_what_was_there(adata):
    model = build(adata, setup={"latent_key": "true_z"})
    train(model, 2)
    first = float(model.get_elbo())
    train(model, 30)
    assert float(model.get_elbo()) > first


def test_cells_get_fewer_epochs_the_more_there_are():
    assert [default_max_epochs(n) for n in (10, 10_000, 30_000, 10**7)] == [150, 150, 50, 20]


@pytest.mark.parametrize("init", ["manifold", "pca", "random", "true_z", "X_start"])
def test_every_start_trains(adata, init):
    adata.obsm["X_start"] = np.random.default_rng(0).normal(size=(100, 3))
    model = build(adata, n_latent=1)
    train(model, 1, init=init)
    assert np.isfinite(model.get_latent_representation()).all()


def test_a_given_start_is_taken_up(adata):
    model = build(adata, n_hidden=32)
    train(model, 1, init="true_z", brief=False)
    z = model.get_latent_representation()[:, 0]
    assert abs(np.corrcoef(z, adata.obs["true_z"])[0, 1]) > 0.8


def test_assignments_can_be_trained_by_gradient(adata):
    model = build(adata)
    plan = {"assignment_update": "gradient"}
    train(model, 1, plan_kwargs=plan)
    before = model.module.assignment.logits.detach().clone()
    train(model, 2, plan_kwargs=plan)
    assert (model.module.assignment.logits != before).any()


def test_both_weights_grow_over_their_epochs_of_warm_up(adata):
    seen = []

    class Weights(Callback):
        def on_train_batch_start(self, trainer, plan, batch, batch_idx):
            seen.append((plan.kl_weight, plan.loss_kwargs["assignment_kl_weight"]))

    plan = {"n_epochs_kl_warmup": 2, "n_epochs_assignment_warmup": 4}
    train(build(adata), 5, plan_kwargs=plan, callbacks=[Weights()])
    assert seen == [(0.0, 0.0), (0.5, 0.25), (1.0, 0.5), (1.0, 0.75), (1.0, 1.0)]


def test_a_model_of_two_batches_averages_trends_over_cells(fitted_batches):
    model = fitted_batches
    module = model.module
    z = np.linspace(-1, 1, 5)
    flat = module.genes.offsets().exp().detach().cpu().numpy()
    share = model.adata.obs["batch"].value_counts(normalize=True).sort_index().to_numpy()
    trends = model.get_gene_trends(z=z, own_course=False)
    # Without offsets the trends are those of the bases alone.
    tables = gene_tables(model)
    phi, scale = tables["get_assignments"], tables["get_scales"]
    shift = tables["get_shifts"]
    for j, gene in enumerate(["gene0", "gene13"]):
        j = model.adata.var_names.get_loc(gene)
        unit = float(module.genes.feature_scale[j])
        expected = sum(
            phi.loc[gene, k]
            * unit
            * scale.loc[gene, k]
            * model.get_basis_functions(z + shift.loc[gene, k])[k].to_numpy()
            for k in phi.columns
        )
        np.testing.assert_allclose(trends[gene], expected * (share @ flat[:, j]), rtol=1e-3)


def test_the_progress_bar_can_be_silenced(adata, capsys):
    train(build(adata), 1)
    captured = capsys.readouterr()
    assert "Epoch" not in captured.out + captured.err
    assert "Ordering" not in captured.out + captured.err


def test_size_factors_of_the_user_are_used(monkeypatch):
    """From one order of the cells: of several, another one might be taken."""
    # Only size factors of the model's own may be corrected for the composition of libraries.
    monkeypatch.setattr("basisvae_scvi.inference.structure._restart._COMPOSITION_ODDS", -1e6)
    adata = small_counts()
    total = adata.X.sum(axis=1).A1
    adata.obs["size"] = total / np.median(total)

    def latent(**setup):
        model = build(adata.copy(), setup=setup)
        train(model, init="pca")
        return model.get_latent_representation()

    expected = latent()
    np.testing.assert_allclose(latent(size_factor_key="size"), expected, atol=2e-2)
    adata.obs["size"] = 1.0
    assert np.abs(latent(size_factor_key="size") - expected).max() > 0.04
