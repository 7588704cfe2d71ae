"""Ctrl-C during training: stop after the current step and keep what was learned."""

from __future__ import annotations

import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from lightning.pytorch import Callback, Trainer

INTERRUPTED = (
    "Training was interrupted; the model keeps the parameters it had reached. "
    "Call train() again to go on from there."
)


class GracefulStop(Callback):
    """Lightning callback that turns the first SIGINT into an orderly end of training.

    A second one interrupts at once, as usual. Outside the main thread Python allows no signal
    handlers, and SIGINT keeps its usual effect.
    """

    def __init__(self):
        self.interrupted = False
        self._previous = None

    def on_train_start(self, trainer: Trainer, pl_module) -> None:
        """Take over SIGINT."""
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._on_signal)

    def _on_signal(self, number, frame) -> None:
        self.interrupted = True
        self._restore()

    def on_train_batch_end(self, trainer: Trainer, pl_module, *args) -> None:
        """Stop after the step in which the signal came."""
        if self.interrupted:
            trainer.should_stop = True

    def teardown(self, trainer: Trainer, pl_module, stage: str) -> None:
        """Give SIGINT back."""
        self._restore()

    def _restore(self) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
            self._previous = None


@contextmanager
def survive_interrupt(callback: GracefulStop) -> Iterator[None]:
    """Run training; a KeyboardInterrupt from within ends it with a warning instead.

    Lightning answers a KeyboardInterrupt by SystemExit with SIGINT ignored from then on; both are
    undone here.
    """
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as stop:
        if not isinstance(stop, KeyboardInterrupt) and not isinstance(
            stop.__context__, KeyboardInterrupt
        ):
            raise
        callback.interrupted = True
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)
    if callback.interrupted:
        warnings.warn(INTERRUPTED, UserWarning, stacklevel=4)
