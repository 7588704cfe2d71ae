"""Reproducible randomness that leaves the caller's generators as they were."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral

import numpy as np
import scvi
import torch


def resolve_seed(seed: int | None) -> int:
    """The seed to use: the given one, scvi-tools' global one, or a fresh one.

    Raises
    ------
    ValueError
        If the seed is not a whole number from 0 to 2³² − 1.
    """
    if seed is None:
        seed = scvi.settings.seed
    if seed is None:
        seed = int(np.random.SeedSequence().generate_state(1)[0])
    is_whole = isinstance(seed, Integral) and not isinstance(seed, bool)
    if not is_whole or not 0 <= seed < 2**32:
        raise ValueError(f"seed={seed!r} must be a whole number from 0 to 4294967295.")
    return int(seed)


def check_seed_of_processes(seed: int | None, strategy) -> None:
    """Raise ValueError if the processes of a strategy of Lightning would draw a seed each.

    They split the cells, search for starting values and refresh q(w) on their own, and agree only
    because all of it follows from the seed.
    """
    is_parallel = any(name in str(strategy).lower() for name in ("ddp", "fsdp"))
    if is_parallel and seed is None and scvi.settings.seed is None:
        raise ValueError(f"strategy={strategy!r} needs a seed, the same in all processes: seed=0.")


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed Python, numpy, torch and scvi-tools for a block; restore all of them afterwards."""
    # The legacy generators of numpy are what scvi-tools and scanpy draw from.
    states = (
        random.getstate(),
        np.random.get_state(),  # noqa: NPY002
        scvi.settings._seed,
    )
    devices = list(range(torch.cuda.device_count()))
    logger = logging.getLogger("lightning.fabric.utilities.seed")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with torch.random.fork_rng(devices=devices):
            scvi.settings.seed = seed
            yield
    finally:
        logger.setLevel(level)
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        scvi.settings._seed = states[2]
