"""One process, unless several are asked for: what a job scheduler says of tasks is no wish."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lightning.fabric.plugins.environments import ClusterEnvironment, LightningEnvironment
from lightning.pytorch.utilities.rank_zero import rank_zero_only

# By these Lightning knows a process of SLURM, torchrun, or jsrun.
_SIGNS = ("SLURM_NTASKS", "TORCHELASTIC_RUN_ID", "JSM_NAMESPACE_SIZE")


@contextmanager
def one_process() -> Iterator[None]:
    """Keep Lightning from taking the tasks of SLURM, LSF or torchrun for those of one training.

    Many scripts ask a scheduler for tasks to get cores, and run one process, or one for every
    sample. Without this Lightning ends such runs, or lets all but the first keep no record.
    """
    hidden = {name: os.environ.pop(name) for name in _SIGNS if name in os.environ}
    rank, rank_zero_only.rank = rank_zero_only.rank, 0
    try:
        yield
    finally:
        rank_zero_only.rank = rank
        os.environ.update(hidden)


@contextmanager
def processes_asked_for(devices, trainer_kwargs: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Train in :func:`one_process`, unless the arguments of the trainer ask for several.

    Parameters
    ----------
    devices, trainer_kwargs
        Arguments of the trainer.

    Yields
    ------
    The arguments to use in place of ``trainer_kwargs``.
    """
    plugins = _as_list(trainer_kwargs.get("plugins"))
    if (
        not _is_single(devices)
        or trainer_kwargs.get("strategy") not in (None, "auto")
        or trainer_kwargs.get("num_nodes") not in (None, 1)
        or any(isinstance(plugin, ClusterEnvironment) for plugin in plugins)
    ):
        yield trainer_kwargs
        return
    with one_process():  # MPI shows in no variable
        yield {**trainer_kwargs, "plugins": [*plugins, LightningEnvironment()]}


def _is_single(devices) -> bool:
    """Whether an argument ``devices`` names one device, or none."""
    return devices in ("auto", "1", 1, None) or (
        isinstance(devices, list | tuple) and len(devices) == 1
    )


def _as_list(value) -> list:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
