"""When learning rates fall and when q(w) is refreshed."""

import numpy as np
import pytest
from lightning.pytorch import Callback
from model_helpers import build, small_counts, train

from basisvae_scvi.inference import AssignmentRefresher


class Rates(Callback):
    """Learning rates of encoder and genes at every step."""

    def __init__(self):
        self.of_steps = []

    def on_train_batch_end(self, trainer, *_):
        groups = trainer.optimizers[0].param_groups
        self.of_steps.append([group["lr"] for group in groups])


def rates(adata, n_epochs=3, train_size=1.0, **plan_kwargs):
    seen = Rates()
    arguments = {"train_size": train_size, "callbacks": [seen], "plan_kwargs": plan_kwargs}
    train(build(adata), n_epochs, batch_size=25, **arguments)
    return np.array(seen.of_steps)


def test_learning_rates_fall_along_half_a_cosine(adata):
    found = rates(adata, 3, lr=2e-3, lr_genes=0.05)
    done = np.arange(12) / 12  # four steps an epoch
    left = 0.01 + 0.99 * (1 + np.cos(np.pi * done)) / 2
    np.testing.assert_allclose(found, left[:, None] * [2e-3, 0.05], rtol=1e-12)


def test_learning_rates_can_be_held(adata):
    np.testing.assert_array_equal(rates(adata, lr=2e-3, anneal=False), 12 * [[2e-3, 0.01]])


def test_a_plateau_schedule_has_the_learning_rates_to_itself(adata):
    found = rates(adata, train_size=0.75, reduce_lr_on_plateau=True)
    np.testing.assert_array_equal(found, 9 * [[1e-3, 0.01]])


def test_training_without_an_end_keeps_its_rates(adata):
    seen = Rates()
    train(build(adata), -1, max_steps=6, batch_size=25, callbacks=[seen])
    np.testing.assert_array_equal(seen.of_steps, 6 * [[1e-3, 0.01]])


@pytest.fixture
def refreshed_at(monkeypatch):
    """Epochs that were over at every refresh of a training; the last is the end."""
    epochs = []
    refresh = AssignmentRefresher.__call__

    def record(self, module, **arguments):
        epochs.append(clock.n_epochs)
        refresh(self, module, **arguments)

    class Clock(Callback):
        n_epochs = None

        def on_train_epoch_start(self, trainer, plan):
            self.n_epochs = trainer.current_epoch

        def on_train_epoch_end(self, trainer, plan):
            self.n_epochs = trainer.current_epoch + 1

    clock = Clock()
    monkeypatch.setattr(AssignmentRefresher, "__call__", record)

    def of(model, **arguments):
        train(model, 21, batch_size=100, callbacks=[clock], **arguments)
        return epochs

    return of


def test_what_the_search_knows_is_held_to_the_end(adata, refreshed_at):
    assert refreshed_at(build(adata)) == [21]


def test_the_search_knows_the_batches(refreshed_at):
    adata = small_counts(100, n_batches=2)
    assert refreshed_at(build(adata, setup={"batch_key": "batch"})) == [21]


def test_without_the_search_assignments_are_refreshed(adata, refreshed_at):
    # Before the first epoch as well, which is where its assignments come from.
    assert refreshed_at(build(adata, objective="paper")) == [None, 10, 20, 21]


def test_refreshes_can_be_asked_for(adata, refreshed_at):
    assert refreshed_at(build(adata), plan_kwargs={"refresh_every": 8}) == [8, 16, 21]
