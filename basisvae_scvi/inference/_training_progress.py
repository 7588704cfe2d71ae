"""How far the gradient steps are."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar

from basisvae_scvi._progress import Meter

from ._interrupt import GracefulStop


class TrainingProgress(Callback):
    """Lightning callback that tells how far training is, and whether Ctrl-C ended it.

    Parameters
    ----------
    silent
        Show no bar; log messages are made in any case.
    """

    def __init__(self, *, silent: bool = False):
        self.silent = silent
        self.n_epochs = 0
        self._stop: GracefulStop | None = None
        self._meter: Meter | None = None

    @property
    def was_interrupted(self) -> bool:
        """Whether training ended by Ctrl-C."""
        return self._stop is not None and self._stop.interrupted

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find the callback that catches Ctrl-C."""
        self._stop = next((c for c in trainer.callbacks if isinstance(c, GracefulStop)), None)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the bar."""
        silent = self.silent or not trainer.is_global_zero
        self._meter = Meter("Training", trainer.max_epochs, unit="epoch", silent=silent)
        self._meter.done = trainer.current_epoch
        self._meter.__enter__()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell the epoch and its loss."""
        self.n_epochs = trainer.current_epoch + 1
        loss = trainer.callback_metrics.get("elbo_train")
        note = "" if loss is None else f"elbo_train {float(loss):.2f}"
        is_due = self.n_epochs in (1, trainer.max_epochs)
        self._meter.advance(self.n_epochs, note, is_due=is_due)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take the bar away, also after an error."""
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception) -> None:
        """Take the bar away before the error is told."""
        self._close()

    def _close(self) -> None:
        if self._meter is not None:
            self._meter.__exit__()
            self._meter = None


def with_progress(trainer_kwargs: dict[str, Any]) -> list[Callback]:
    """Callbacks for a trainer: the user's, and one that tells the progress unless they have one.

    Parameters
    ----------
    trainer_kwargs
        Arguments of :class:`scvi.train.Trainer`; changed so that it shows no bar of its own.
    """
    callbacks = list(trainer_kwargs.get("callbacks") or [])
    if any(isinstance(callback, ProgressBar) for callback in callbacks):
        trainer_kwargs["simple_progress_bar"] = False
    if not trainer_kwargs.get("simple_progress_bar", True):
        return callbacks
    is_wanted = trainer_kwargs.get("enable_progress_bar", True)
    rate = trainer_kwargs.get("progress_bar_refresh_rate", 1)
    trainer_kwargs["enable_progress_bar"] = False
    if not any(isinstance(callback, TrainingProgress) for callback in callbacks):
        callbacks.append(TrainingProgress(silent=not (is_wanted and rate)))
    return callbacks
