"""How far a piece of work is: what, how much of it, about how long; one look for all of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

T = TypeVar("T")
logger = logging.getLogger(__name__)

# Where there is no bar: seconds between two lines at least, and at most once a twentieth is done.
_SECONDS_BETWEEN_LINES, _LONG_SILENCE = 10.0, 60.0
_SHARE_BETWEEN_LINES = 0.05
# Before, too little is known to tell how long it will take.
_SECONDS_TO_ESTIMATE = 2.0


class Meter:
    """Progress of one piece of work: a bar on a terminal or in a notebook, else a line at times.

    Bars are drawn on stderr and vanish at the end; lines are log messages of level INFO.

    Parameters
    ----------
    what
        The work, in a word or two.
    total
        Number of its steps.
    unit
        What a step is called.
    silent
        Show no bar.
    has_lines
        Whether to log lines where there is no bar.

    Examples
    --------
    >>> with Meter("Counting", 3, unit="number") as meter:
    ...     for number in range(3):
    ...         meter.advance()
    >>> meter.done
    3
    """

    _shown: Progress | None = None  # terminals have room for one display, with a row for each

    def __init__(
        self, what: str, total: int, *, unit: str, silent: bool = False, has_lines: bool = True
    ):
        self.what, self.total, self.unit, self.done = what, total, unit, 0
        self.silent, self.has_lines = silent, has_lines
        self._task: TaskID | None = None
        self._owns_display = False

    def __enter__(self) -> Meter:
        self._began = self._said_at = time.monotonic()
        self._began_second: float | None = None
        self._first = self._said = self.done
        if not self.silent and (Meter._shown is not None or _has_room()):
            if Meter._shown is None:
                Meter._shown, self._owns_display = _display(), True
                Meter._shown.start()
            self._task = Meter._shown.add_task(self.what, total=self.total, note="")
        return self

    def __exit__(self, *error) -> None:
        if self._task is not None and Meter._shown is not None:
            Meter._shown.remove_task(self._task)
            if self._owns_display:
                Meter._shown.stop()
                Meter._shown = None
        self._task = None

    def advance(self, to: int | None = None, note: str = "", *, is_due: bool = False) -> None:
        """One more step is done, or so many in all.

        Parameters
        ----------
        to
            Steps that are done by now.
        note
            What else is to be said.
        is_due
            Log a line in any case, where there is no bar.
        """
        self.done = self.done + 1 if to is None else to
        if self._began_second is None:
            self._began_second = time.monotonic()
        said = ", ".join(
            filter(None, (f"{self.unit} {self.done}/{self.total}", note, self._left()))
        )
        if self._task is not None and Meter._shown is not None:
            Meter._shown.update(self._task, completed=self.done, note=said)
        elif self.has_lines and (is_due or self._is_due()):
            self._said, self._said_at = self.done, time.monotonic()
            logger.info("%s: %s", self.what, said)

    def _is_due(self) -> bool:
        passed = time.monotonic() - self._said_at
        share = (self.done - self._said) / max(self.total, 1)
        is_far = share >= _SHARE_BETWEEN_LINES or passed >= _LONG_SILENCE
        return is_far and passed >= _SECONDS_BETWEEN_LINES

    def _left(self) -> str:
        """About how long the rest will take, in words."""
        now, steps = time.monotonic(), self.done - self._first
        is_early = self.done < _SHARE_BETWEEN_LINES * self.total
        if now - self._began < _SECONDS_TO_ESTIMATE or steps < 1 or self.done >= self.total:
            return ""
        if steps == 1 and is_early:
            return ""
        # The first of many steps is no measure of the others: code is compiled in it.
        each = now - self._began if steps == 1 else (now - self._began_second) / (steps - 1)
        seconds = each * (self.total - self.done)
        return (
            f"about {seconds:.0f} s left"
            if seconds < 100
            else f"about {seconds / 60:.0f} min left"
        )


def track(
    items: Iterable[T], what: str, *, total: int, unit: str, silent: bool = False
) -> Iterator[T]:
    """Go through items and show how far it is; see :class:`Meter`.

    ``silent`` leaves out bar and lines.
    """
    with Meter(what, total, unit=unit, silent=silent, has_lines=not silent) as meter:
        for item in items:
            yield item
            meter.advance()


def _display() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[note]}"),
        console=Console(stderr=True),
        transient=True,
    )


def _has_room() -> bool:
    """Whether there is a terminal, or a notebook that can draw a bar."""
    console = Console(stderr=True)
    if console.is_jupyter:
        return find_spec("ipywidgets") is not None
    return console.is_terminal and not console.is_dumb_terminal
