"""One answer to "can this be trusted?", and how its numbers are written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "warning"]


@dataclass(frozen=True)
class Finding:
    """One answer to "can this be trusted?".

    Attributes
    ----------
    level
        ``"ok"``; ``"note"``, worth knowing; ``"warning"``, look before results are used.
    title
        What was looked at.
    text
        What was found, with its numbers.
    advice
        What to try; empty where there is nothing to do.

    Examples
    --------
    >>> import basisvae_scvi as bv
    >>> bv.report.Finding("note", "Number of cells", "90 cells are few.", "Use more.").advice
    'Use more.'
    """

    level: Level
    title: str
    text: str
    advice: str = ""


def percent(share: float) -> str:
    """Share in percent, with two digits below ten."""
    value = 100.0 * share
    return f"{value:.0f} %" if value >= 10 or value == 0 else f"{value:.2g} %"


def plural(n: int, word: str) -> str:
    """The word, with an s unless there is one."""
    return word if n == 1 else f"{word}s"
