"""An end asked for from outside, as by a time limit: orderly, and never a success."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# What schedulers, containers and closed terminals send before they kill.
_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGXCPU") if hasattr(signal, name)
)
_SECONDS_TO_WAIT = 0.01


class Terminated(SystemExit):
    """A signal asked the process to end; the exit status is 128 and its number.

    Attributes
    ----------
    number
        The signal.
    kept
        What there is to go on from, and where; ``None`` if nothing is kept.
    """

    def __init__(self, number: int):
        super().__init__(128 + number)
        self.number = signal.Signals(number)
        self.kept: str | None = None

    def __str__(self) -> str:
        return f"terminated ({self.number.name})"


class _Handler:
    """Raises :class:`Terminated` at the first signal; later ones are not heard."""

    def __init__(self):
        self.owner, self.is_deaf = os.getpid(), False

    def __call__(self, number: int, frame) -> None:
        if os.getpid() != self.owner:  # a forked worker ends as it would have without us
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif not self.is_deaf:
            self.is_deaf = True
            raise Terminated(number)

    def send_again(self, number: int) -> None:
        """Hear a signal once more whose exception was lost, in a moment."""
        self.is_deaf = False
        again = threading.Timer(_SECONDS_TO_WAIT, os.kill, (self.owner, number))
        again.daemon = True
        again.start()


@contextmanager
def _nothing_lost(handler: _Handler) -> Iterator[None]:
    """Send signals again that come where Python drops exceptions, as while it frees an object."""
    report = sys.unraisablehook

    def hook(lost) -> None:
        if isinstance(lost.exc_value, Terminated):
            handler.send_again(lost.exc_value.number)
        else:
            report(lost)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = report


def let_finish() -> None:
    """From here on no signal raises: what is left to do is quick, and half of it is worth less."""
    for handler in map(signal.getsignal, _SIGNALS):
        if isinstance(handler, _Handler):
            handler.is_deaf = True


@contextmanager
def orderly_termination(tell: Callable[[Terminated], None]) -> Iterator[None]:
    """Let a signal that would kill the process raise :class:`Terminated` within.

    Signals that somebody handles already, or ignores, are left to them; outside the main thread
    Python allows no handlers. The signal is heard once: what it sets off may be finished.

    Parameters
    ----------
    tell
        Says what became of the run, where this is the outermost such block.

    Raises
    ------
    Terminated
        After ``tell``.
    """
    handler = _Handler()
    is_main = threading.current_thread() is threading.main_thread()
    taken = [n for n in _SIGNALS if is_main and signal.getsignal(n) is signal.SIG_DFL]
    try:
        for number in taken:
            signal.signal(number, handler)
        if taken:
            with _nothing_lost(handler):
                yield
        else:
            yield
    except Terminated as end:
        if taken:
            tell(end)
        raise
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)
