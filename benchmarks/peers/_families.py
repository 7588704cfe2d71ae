"""Names of the data sets. Imports nothing heavy: every process of a fit loads it."""

from __future__ import annotations

from typing import NamedTuple


class Family(NamedTuple):
    """How a simulation is drawn, and what a grouping of its genes is compared with."""

    generator: str
    arguments: dict
    likelihood: str
    has_shifts: bool
    truth: str


FAMILIES = {
    "toy groups": Family("toy_groups", {}, "gaussian", False, "true_group"),
    "toy groups, shifts": Family("toy_groups", {}, "gaussian", True, "true_shape"),
    "toy shifts": Family("toy_shifts", {}, "gaussian", True, "true_shape"),
    "counts": Family("simulate_counts", {}, "nb", True, "true_group"),
    "counts, 60 % flat": Family(
        "simulate_counts", {"proportions": [0.4, 0.4, 0.4, 1.8]}, "nb", True, "true_group"
    ),
}
N_BASIS = 20
LINEAGES = {"erythroid": "ery", "monocyte": "mono"}
LINEAGE_BASIS = 30
PSEUDOTIMES = ("dpt", "rank", "truth")
