"""Checkpoints of a training, from which it goes on as if it had never been stopped."""

from __future__ import annotations

import random
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning.pytorch import Callback, Trainer

from basisvae_scvi._termination import Terminated

from ._checkpoint_file import CheckpointFile

# Share of the time that may go into writing checkpoints.
_MAX_SHARE = 0.05


class TrainingCheckpoint(Callback):
    """Lightning callback that writes the state at the start of epochs, and takes it up again.

    All that the rest of the training depends on is in it: parameters, optimizer, schedules, early
    stopping, counters, and the state of every random generator, which also gives the order of the
    cells. So a resumed training takes the same steps as one that was never stopped.

    Attributes
    ----------
    is_resumed
        Whether there is a state to go on from.
    n_epochs
        Epochs that are behind that state.
    found
        What the search for starting values had left, beside the parameters.

    Parameters
    ----------
    file
        Where the state is written.
    identity
        What a run must share with the one that wrote the file.
    resumed
        State to go on from, as :meth:`CheckpointFile.read` gives it; ``None`` for a new start.
    """

    def __init__(
        self, file: CheckpointFile, identity: dict[str, str], resumed: dict[str, Any] | None
    ):
        self.file, self.identity, self._resumed = file, identity, resumed
        self.is_resumed = resumed is not None
        self._fixed: dict[str, Any] = {}
        self._wrote_at, self._took = -np.inf, 0.0
        self._can_write = True
        self._last: dict[str, Any] | None = None
        self.found = resumed["found"] if resumed else {}
        self.n_epochs = resumed["training"]["epoch"] if resumed and "training" in resumed else 0

    def begin(self, module: torch.nn.Module, seed: int, found: dict[str, Any]) -> None:
        """Before training: write the starting values, or take up those of the file.

        Parameters
        ----------
        module
            With its starting values.
        seed
            Of the run.
        found
            What else the search for starting values has left.
        """
        self._fixed = {"identity": self.identity, "seed": seed, "found": found}
        if self._resumed is None:
            self._write({"module": module.state_dict(), "random": random_state()})
            return
        module.load_state_dict(self._resumed["module"])
        set_random_state(self._resumed["random"])
        if self.n_epochs == 0:
            self._resumed = None

    def setup(self, trainer: Trainer, pl_module, stage: str) -> None:
        """Refuse what has more than one state."""
        if trainer.world_size > 1:
            raise ValueError(
                f"checkpoint_dir works with one device, and there are {trainer.world_size}: pass "
                "devices=1, or leave checkpoint_dir out."
            )

    def on_train_start(self, trainer: Trainer, pl_module) -> None:
        """Take up optimizer, schedules, counters and history."""
        if self._resumed is None:
            return
        state = self._resumed["training"]
        device = pl_module.device.type
        if state["device"] != device:
            raise ValueError(
                f"The checkpoint {self.file.path} was made on {state['device']}, and this run is "
                f"on {device}: choose the same accelerator, or delete the file to start anew."
            )
        for optimizer, saved in zip(trainer.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        for config, saved in zip(trainer.lr_scheduler_configs, state["schedulers"], strict=True):
            config.scheduler.load_state_dict(saved)
        if trainer.early_stopping_callback is not None:
            trainer.early_stopping_callback.load_state_dict(state["stopping"])
        _set_counters(trainer, state["epoch"], state["step"])
        if _has_history(trainer):
            trainer.logger.experiment.data = _frames(state["history"])

    def on_train_epoch_start(self, trainer: Trainer, pl_module) -> None:
        """Go on with the random numbers that are due, or write the state."""
        if self._resumed is not None:
            # Only now: setting up the loaders has drawn some.
            set_random_state(self._resumed["random"])
            self._resumed = None
        elif trainer.current_epoch > 0 and self._can_write:
            self._last = self._state(trainer, pl_module)
            if time.monotonic() - self._wrote_at >= self._took / _MAX_SHARE:
                self.write_last()

    def _state(self, trainer: Trainer, pl_module) -> dict[str, Any]:
        """A copy of all that training depends on."""
        stopping = trainer.early_stopping_callback
        training = {
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            "device": pl_module.device.type,
            "optimizers": [optimizer.state_dict() for optimizer in trainer.optimizers],
            "schedulers": [c.scheduler.state_dict() for c in trainer.lr_scheduler_configs],
            "stopping": None if stopping is None else stopping.state_dict(),
            "history": _plain_history(trainer.logger.history) if _has_history(trainer) else {},
        }
        state = {
            "module": pl_module.module.state_dict(),
            "random": random_state(pl_module.device),
            "training": training,
        }
        return deepcopy(state)

    def write_last(self) -> None:
        """Write the state at the start of the last epoch, unless the file has it."""
        if self._last is None:
            return
        try:
            self._write(self._last)
            self._last = None
        except OSError as error:
            self._can_write, self._last = False, None
            warnings.warn(
                f"The checkpoint {self.file.path} cannot be written ({error.strerror}): training "
                f"goes on without, and would resume from the last one.",
                UserWarning,
                stacklevel=2,
            )

    def _write(self, state: dict[str, Any]) -> None:
        begin = time.monotonic()
        self.file.write({**self._fixed, **state})
        self._wrote_at = time.monotonic()
        self._took = self._wrote_at - begin


@contextmanager
def keeping_state(checkpoint: TrainingCheckpoint | None) -> Iterator[None]:
    """Write the last state of a training when it ends, however it does."""
    try:
        try:
            yield
        finally:
            if checkpoint is not None:
                checkpoint.write_last()
    except Terminated as end:
        end.kept = None if checkpoint is None else checkpoint.file.kept
        raise


def random_state(device: torch.device | None = None) -> dict[str, Any]:
    """State of all random generators that training draws from."""
    # The legacy generators of numpy are what scvi-tools draws from.
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    state = {
        "torch": torch.get_rng_state(),
        "numpy": [kind, keys.astype(np.int64), *rest],
        "python": random.getstate(),
    }
    if device is not None and device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: dict[str, Any]) -> None:
    """Make the generators go on from a state of :func:`random_state`."""
    torch.set_rng_state(state["torch"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.astype(np.uint32), *rest))  # noqa: NPY002
    random.setstate(state["python"])
    if "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"])


def _set_counters(trainer: Trainer, n_epochs: int, n_steps: int) -> None:
    """Let Lightning count on from so many epochs and steps."""
    # Its own way to resume leaves the order of the cells to chance, and differs between versions.
    loop = trainer.fit_loop
    for progress in (loop.epoch_progress.current, loop.epoch_progress.total):
        for stage in ("ready", "started", "processed", "completed"):
            setattr(progress, stage, n_epochs)
    steps = loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step.total
    steps.ready = steps.completed = n_steps
    loop.epoch_loop._batches_that_stepped = n_steps


def _has_history(trainer: Trainer) -> bool:
    """Whether the logger is that of scvi-tools, which keeps the figures of the epochs."""
    return isinstance(getattr(trainer.logger, "history", None), dict)


def _plain_history(history: dict[str, pd.DataFrame]) -> dict[str, list]:
    return {
        name: [
            table.index.tolist(),
            table[name].tolist(),
            table.index.name,
            str(table[name].dtype),
        ]
        for name, table in history.items()
    }


def _frames(history: dict[str, list]) -> dict[str, pd.DataFrame]:
    return {
        name: pd.DataFrame({name: values}, index=pd.Index(at, name=label)).astype(kind)
        for name, (at, values, label, kind) in history.items()
    }
