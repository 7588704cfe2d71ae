"""Data to try the model on: simulators that keep their truth, real cells, recorded motion."""

from ._counts import expected_counts, simulate_counts
from ._marrow import marrow_erythroid
from ._motion import read_motion
from ._shapes import BASES, SHAPES, Shape, basis_values
from ._toy import toy_groups, toy_shifts

__all__ = [
    "BASES",
    "SHAPES",
    "Shape",
    "basis_values",
    "expected_counts",
    "marrow_erythroid",
    "read_motion",
    "simulate_counts",
    "toy_groups",
    "toy_shifts",
]
