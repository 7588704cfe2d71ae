"""One fit of one rival; its peak memory means something in a process of its own."""

from __future__ import annotations

import importlib
import re
import resource
import sys
import time
from functools import cache
from pathlib import Path
from types import ModuleType

import anndata as ad
from _peer import Problem, Unavailable


def reason_to_skip(_path: None, *, module: str) -> str | None:
    """Why a rival cannot run here, or ``None``."""
    try:
        importlib.import_module(module).load()
    except Unavailable as reason:
        return str(reason)
    return None


def _peak_mib() -> float:
    """Largest resident memory of this process.

    The figure of ``getrusage`` starts at that of the parent on Linux, so it comes last.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


@cache
def _ready(module: str) -> ModuleType:
    """Import a rival and what it needs, and compile: none of it is part of the time of a fit."""
    rival = importlib.import_module(module)
    rival.load()
    rival.warm()
    return rival


def fit(path: str | Path, *, module: str, n_groups: int | None, seed: int, **about) -> dict:
    """Group the genes of a file; ``about`` are the further fields of :class:`Problem`."""
    rival = _ready(module)
    adata = ad.read_h5ad(path)
    problem = Problem(adata, adata.obs["pseudotime"].to_numpy(), **about)
    before, began = _peak_mib(), time.perf_counter()
    found = rival.group(problem, n_groups, seed)
    return {
        "seconds": time.perf_counter() - began,
        "peak_mib": _peak_mib(),
        "mib_before": before,
        "labels": [str(label) for label in found.labels],
        "shifts": None if found.shifts is None else [float(shift) for shift in found.shifts],
    }
