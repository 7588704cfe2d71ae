"""How long the rest will take, as bars and lines tell it."""

import pytest

from basisvae_scvi import _progress
from basisvae_scvi._progress import Meter


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is set."""
    now = [100.0]
    monkeypatch.setattr(_progress.time, "monotonic", lambda: now[0])
    return now


def told(clock, caplog, total, seconds):
    """The last line after steps that took so many seconds each."""
    caplog.clear()
    with caplog.at_level("INFO", logger="basisvae_scvi"), Meter("Work", total, unit="step") as m:
        for one in seconds:
            clock[0] += one
            m.advance(is_due=True)
    return caplog.messages[-1]


@pytest.mark.parametrize(
    ("total", "seconds", "expected"),
    [
        (2, [30.0], "Work: step 1/2, about 30 s left"),
        (40, [16.0], "Work: step 1/40"),
        (40, [16.0, 0.5], "Work: step 2/40, about 19 s left"),
        (40, [16.0, 0.5, 1.5], "Work: step 3/40, about 37 s left"),
        (40, [0.5, 0.5], "Work: step 2/40"),
        (40, [60.0] * 20, "Work: step 20/40, about 20 min left"),
        (3, [5.0] * 3, "Work: step 3/3"),
    ],
)
def test_the_first_of_many_steps_is_no_measure_of_the_rest(
    clock, caplog, total, seconds, expected
):
    assert told(clock, caplog, total, seconds) == expected


def test_steps_of_an_earlier_run_are_not_counted(clock, caplog):
    with caplog.at_level("INFO", logger="basisvae_scvi"), Meter("Work", 40, unit="step") as meter:
        meter.done = meter._first = 30
        for _ in range(3):
            clock[0] += 4.0
            meter.advance(is_due=True)
    assert caplog.messages[-1] == "Work: step 33/40, about 28 s left"
