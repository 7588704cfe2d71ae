"""What is seen of training: a bar on a terminal, a line now and then elsewhere."""

import logging
import sys
import time

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from basisvae_scvi.inference import GracefulStop

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 30.0
_SHARE_BETWEEN_LINES = 0.1


class TrainingProgress(Callback):
    """Lightning callback that tells how far training is, and whether Ctrl-C ended it.

    Parameters
    ----------
    quiet
        Say nothing.
    """

    def __init__(self, *, quiet: bool = False):
        self.quiet = quiet
        self.n_epochs = 0
        self._stop: GracefulStop | None = None
        self._bar: Progress | None = None
        self._said_epoch, self._said_at = 0, 0.0

    @property
    def was_interrupted(self) -> bool:
        """Whether training ended by Ctrl-C."""
        return self._stop is not None and self._stop.interrupted

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find the callback that catches Ctrl-C."""
        self._stop = next((c for c in trainer.callbacks if isinstance(c, GracefulStop)), None)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the bar, on a terminal."""
        self._said_at = time.monotonic()
        if self.quiet or not sys.stderr.isatty():
            return
        self._bar = Progress(
            TextColumn("Training"),
            BarColumn(),
            TextColumn("epoch {task.completed}/{task.total} · ELBO loss {task.fields[loss]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._bar.add_task("train", total=trainer.max_epochs, loss="…")
        self._bar.start()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Advance the bar, or log a line if the last one is some time ago."""
        self.n_epochs = trainer.current_epoch + 1
        loss = trainer.callback_metrics.get("elbo_train")
        text = "…" if loss is None else f"{float(loss):.2f}"
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self.n_epochs, loss=text)
        elif self._is_due(trainer.max_epochs):
            logger.info("epoch %d/%d, elbo_train %s", self.n_epochs, trainer.max_epochs, text)

    def _is_due(self, max_epochs: int) -> bool:
        now = time.monotonic()
        share = (self.n_epochs - self._said_epoch) / max_epochs
        is_due = (
            self.n_epochs in (1, max_epochs)
            or share >= _SHARE_BETWEEN_LINES
            or now - self._said_at >= _SECONDS_BETWEEN_LINES
        )
        if is_due:
            self._said_epoch, self._said_at = self.n_epochs, now
        return is_due

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take the bar away, also after an error."""
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception) -> None:
        """Take the bar away before the error is told."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
