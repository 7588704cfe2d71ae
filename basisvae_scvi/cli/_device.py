"""Where and with how many threads torch computes."""

import numba
import torch
from threadpoolctl import threadpool_limits

from ._choices import Accelerator
from ._errors import CommandError


def check_accelerator(accelerator: Accelerator) -> None:
    """Raise CommandError if a GPU is asked for and there is none."""
    if accelerator is not Accelerator.gpu:
        return
    if not (torch.cuda.is_available() or torch.backends.mps.is_available()):
        raise CommandError("--accelerator gpu: torch finds no GPU; use cpu or auto.")


def limit_threads(n_threads: int | None) -> None:
    """Limit the CPU threads of torch, numba and the linear algebra behind numpy."""
    if n_threads is None:
        return
    torch.set_num_threads(n_threads)
    numba.set_num_threads(min(n_threads, numba.config.NUMBA_NUM_THREADS))
    threadpool_limits(n_threads)
