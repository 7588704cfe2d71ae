"""Training survives small last minibatches and Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from model_helpers import all_tables, build, fit, small_counts, train, twin

import basisvae_scvi


@pytest.mark.filterwarnings("error:Last batch")
def test_a_last_minibatch_of_one_cell_trains():
    model = fit(small_counts(65), max_epochs=2)
    train(model, 1, batch_size=64)
    assert len(model.history["elbo_train"]) == 3
    assert np.isfinite(model.history["elbo_train"].to_numpy(dtype=float)).all()


class Interrupt(Callback):
    """Ctrl-C in the middle of an epoch."""

    def __init__(self, epoch, action):
        self.epoch, self.action, self.last = epoch, action, None

    def on_train_epoch_start(self, trainer, pl_module):
        self.last = trainer.current_epoch

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.current_epoch == self.epoch and batch_idx == 1:
            self.action()


def raise_keyboard_interrupt():
    raise KeyboardInterrupt


def send_signal():
    signal.raise_signal(signal.SIGINT)


@pytest.fixture(params=[raise_keyboard_interrupt, send_signal], ids=["exception", "signal"])
def interrupted(request):
    """A model whose training was interrupted in its third epoch, and the callback."""
    model = build(small_counts())
    stop = Interrupt(2, request.param)
    with pytest.warns(UserWarning, match=r"interrupted; the model keeps the parameters"):
        train(model, 50, batch_size=32, callbacks=[stop])
    return model, stop


def test_an_interrupted_training_ends_at_once(interrupted):
    assert interrupted[1].last == 2


def test_an_interrupted_model_can_be_read(interrupted):
    model, _ = interrupted
    assert model.is_trained_
    assert not model.module.training
    for name, table in all_tables(model).items():
        assert np.isfinite(table.to_numpy(dtype=float)).all(), name


def test_the_handler_of_ctrl_c_is_given_back(interrupted):
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupted_model_can_be_saved(interrupted, tmp_path):
    model, _ = interrupted
    model.save(str(tmp_path / "model"))
    again = basisvae_scvi.BasisVAE.load(str(tmp_path / "model"), model.adata, accelerator="cpu")
    np.testing.assert_array_equal(
        again.get_latent_representation(), model.get_latent_representation()
    )


def test_training_goes_on_from_where_it_was_interrupted(interrupted, monkeypatch):
    model, _ = interrupted

    def no_start(*args, **kwargs):
        raise AssertionError("training started anew")

    for name in ("_start_latent.start_latent", "_start.start_shapes", "_start.fit_encoder"):
        monkeypatch.setattr(f"basisvae_scvi.model.{name}", no_start)
    before = model.module.basis.weight.detach().clone()
    train(model, 1)
    change = (model.module.basis.weight - before).abs().max()
    assert 0 < change < 0.5


def test_the_users_own_handler_is_in_place_after_training(adata):
    def own(number, frame):
        pass

    previous = signal.signal(signal.SIGINT, own)
    try:
        fit(adata)
        assert signal.getsignal(signal.SIGINT) is own
    finally:
        signal.signal(signal.SIGINT, previous)


def test_other_exits_are_not_swallowed(adata):
    def leave():
        raise SystemExit(7)

    with pytest.raises(SystemExit, match="7"):
        train(build(adata), 3, batch_size=32, callbacks=[Interrupt(0, leave)])


CHILD = """
import json, signal, sys, warnings
from pathlib import Path

import torch
from lightning.pytorch import Callback

torch.set_num_threads(1)
from basisvae_scvi import BasisVAE
from basisvae_scvi.datasets import simulate_counts
from basisvae_scvi.model import _start


class Ready(Callback):
    def on_train_epoch_end(self, trainer, pl_module):
        Path(sys.argv[1]).touch()


_start.ENCODER_STEPS = 20
adata = simulate_counts(n_obs=60, n_vars=20, seed=1)
BasisVAE.setup_anndata(adata)
model = BasisVAE(adata, n_basis=3, n_hidden=8)
quiet = {"accelerator": "cpu", "enable_progress_bar": False}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    model.train(max_epochs=1_000_000, seed=0, callbacks=[Ready()], **quiet)
n_epochs = len(model.history["elbo_train"])
handler = signal.getsignal(signal.SIGINT) is signal.default_int_handler
model.train(max_epochs=2, seed=0, **quiet)
result = {
    "warned": any("interrupted" in str(w.message) for w in caught),
    "stopped": n_epochs < 1_000_000,
    "handler": handler,
    "continued": len(model.history["elbo_train"]) - n_epochs,
    "finite": bool(torch.isfinite(torch.tensor(model.get_latent_representation())).all()),
}
print("RESULT", json.dumps(result))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to one process")
def test_ctrl_c_at_the_terminal_keeps_the_work(tmp_path):
    script, ready = tmp_path / "child.py", tmp_path / "ready"
    script.write_text(CHILD)
    root = str(Path(basisvae_scvi.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root}
    child = subprocess.Popen(
        [sys.executable, str(script), str(ready)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    try:
        for _ in range(1200):
            if ready.exists() or child.poll() is not None:
                break
            time.sleep(0.1)
        child.send_signal(signal.SIGINT)
        output, errors = child.communicate(timeout=300)
    finally:
        child.kill()
    assert child.returncode == 0, errors[-2000:]
    line = next(line for line in output.splitlines() if line.startswith("RESULT"))
    assert json.loads(line.removeprefix("RESULT")) == {
        "warned": True,
        "stopped": True,
        "handler": True,
        "continued": 2,
        "finite": True,
    }


def test_interrupted_parameters_are_those_of_the_last_step(adata):
    """The state after the interrupt is the state of that moment, not the start."""
    seen = {}

    class Remember(Callback):
        def on_train_batch_end(self, trainer, pl_module, *args):
            seen["level"] = pl_module.module.basis.weight.detach().clone()

    model = build(adata)
    stop = Interrupt(2, raise_keyboard_interrupt)
    with pytest.warns(UserWarning, match="interrupted"):
        train(model, 50, batch_size=32, callbacks=[Remember(), stop])
    assert torch.equal(model.module.basis.weight, seen["level"])


def test_training_that_goes_on_is_in_training_mode(fitted):
    """Dropout is at work again, although the model was at rest in between."""
    modes = []

    class Mode(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            modes.append([m.training for m in pl_module.module.modules()])

    train(twin(fitted), 1, callbacks=[Mode()])
    assert all(modes[0])


class Poison(Callback):
    """Makes a gradient NaN in the second step of an epoch, and keeps the state of every epoch."""

    def __init__(self, epoch, name):
        self.epoch, self.name, self.states = epoch, name, []

    def on_train_epoch_start(self, trainer, pl_module):
        module = pl_module.module
        self.states.append({name: p.detach().clone() for name, p in module.named_parameters()})

    def on_after_backward(self, trainer, pl_module):
        if trainer.current_epoch == self.epoch and trainer.global_step % 2:
            dict(pl_module.module.named_parameters())[self.name].grad[0, 0] = torch.nan


@pytest.mark.parametrize("name", ["genes.log_scale", "basis.weight"])
def test_a_step_that_is_not_finite_leaves_the_last_good_epoch(name):
    model, poison = build(small_counts()), Poison(3, name)
    with pytest.raises(FloatingPointError, match=rf"epoch 3\), which .* {name}\. The model keeps"):
        train(model, 6, batch_size=50, callbacks=[poison])
    assert len(poison.states) == 4
    # The dispersion, since bringing z to its unit at the end changes bases, scales and shifts.
    kept, last = model.module.genes.log_dispersion, poison.states[3]["genes.log_dispersion"]
    assert torch.equal(kept, last)
    assert not torch.equal(kept, poison.states[2]["genes.log_dispersion"])
    assert all(np.isfinite(table.to_numpy()).all() for table in all_tables(model).values())
    train(model, 1, batch_size=50)  # and it goes on from there


def test_a_first_epoch_that_is_not_finite_leaves_the_model_untrained():
    model = build(small_counts())
    with pytest.raises(
        FloatingPointError, match=r"plan_kwargs=\{'lr': 0.0001, 'lr_genes': 0.001\}"
    ):
        train(model, 2, batch_size=50, callbacks=[Poison(0, "genes.log_scale")])
    assert not model.is_trained_
    assert all(p.isfinite().all() for p in model.module.parameters())


def test_a_learning_rate_that_blows_up_is_noticed():
    model = build(small_counts())
    with pytest.raises(FloatingPointError, match="Try smaller learning rates"):
        train(model, 3, plan_kwargs={"lr": 1e38, "lr_genes": 1e38})
    assert all(p.isfinite().all() for p in model.module.parameters())
