"""Run independent pieces of work side by side, wherever joblib is told to send them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import joblib
import torch
from threadpoolctl import threadpool_limits

from ._progress import track


@contextmanager
def _torch_threads(n_threads: int) -> Iterator[None]:
    """Let torch, and the compiled likelihood with it, use so many threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _in_one_thread(caller: int, function: Callable, *arguments) -> Any:
    if os.getpid() == caller:  # threads of one process share the setting, made by the caller
        return function(*arguments)
    with _torch_threads(1), threadpool_limits(1, user_api="blas"):
        return function(*arguments)


def run_jobs(
    function: Callable,
    tasks: Iterable[tuple],
    *,
    n_tasks: int,
    n_jobs: int | None = None,
    description: str = "Working",
    unit: str = "task",
    silent: bool = False,
) -> list:
    """Apply a function to every task through joblib, in order.

    Several jobs use one thread of torch each. They are threads of this process unless
    :func:`joblib.parallel_config` names another backend.

    Parameters
    ----------
    function
        Function of arrays and plain objects that can be pickled.
    tasks
        Arguments of each call; drawn as jobs become free.
    n_tasks
        Number of tasks.
    n_jobs
        Jobs at a time; ``None`` for those of :func:`joblib.parallel_config`, else as many as torch
        has threads.
    description
        Text beside the progress bar.
    unit
        What a task is called there.
    silent
        Whether to show none.
    """
    if n_jobs is None and joblib.effective_n_jobs(None) == 1:
        n_jobs = torch.get_num_threads()
    is_single = joblib.effective_n_jobs(n_jobs) == 1
    calls = (joblib.delayed(_in_one_thread)(os.getpid(), function, *task) for task in tasks)
    # Matrix products are rounded by the number of their threads; one everywhere gives one result.
    with threadpool_limits(1, user_api="blas"):
        if is_single:
            results = (function(*task) for task in tasks)
            return list(track(results, description, total=n_tasks, unit=unit, silent=silent))
        with _torch_threads(1):
            results = _start(calls, n_jobs)
            return list(track(results, description, total=n_tasks, unit=unit, silent=silent))


def _start(calls: Iterable, n_jobs: int | None) -> Iterable:
    """Results as they come, or all at once where the backend can do no better."""
    try:
        parallel = joblib.Parallel(n_jobs=n_jobs, prefer="threads", return_as="generator")
    except ValueError:
        parallel = joblib.Parallel(n_jobs=n_jobs, prefer="threads")
    return parallel(calls)
