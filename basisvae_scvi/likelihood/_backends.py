"""The one place that decides which backend sums the log likelihood."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal

import torch
from torch import Tensor

from . import _numba, _torch, _triton
from ._evaluators import BasisEvaluator
from ._families import Likelihood
from ._mixture import MixtureLogLikelihood, Observations, Pairs

Backend = Literal["torch", "numba", "triton"]
BACKENDS: dict[str, Callable[..., MixtureLogLikelihood]] = {
    "torch": _torch.expected_log_likelihood,
    "numba": _numba.expected_log_likelihood,
    "triton": _triton.expected_log_likelihood,
}

_chosen: ContextVar[str | None] = ContextVar("basisvae_backend", default=None)


def choose_backend(x: Tensor) -> Backend:
    """Name of the fastest backend that can work on ``x`` where it is.

    ``"numba"`` for single precision on the CPU, ``"triton"`` for single precision on a CUDA device
    where Triton is installed, ``"torch"`` for double precision and for all other devices.

    Examples
    --------
    >>> import torch
    >>> choose_backend(torch.zeros(2, 3)), choose_backend(torch.zeros(2, 3).double())
    ('numba', 'torch')
    """
    if x.dtype != torch.float32:
        return "torch"
    if x.device.type == "cpu":
        return "numba"
    if x.device.type == "cuda" and _triton.is_available():
        return "triton"
    return "torch"


@contextmanager
def use_backend(name: Backend) -> Iterator[None]:
    """Compute with one backend, whatever the device: for comparisons and for finding faults.

    Raises
    ------
    ValueError
        If there is no such backend.

    Examples
    --------
    >>> with use_backend("torch"):
    ...     elbo = model.get_elbo()
    """
    if name not in BACKENDS:
        raise ValueError(f"backend {name!r} is unknown; choose one of {[*BACKENDS]}.")
    token = _chosen.set(name)
    try:
        yield
    finally:
        _chosen.reset(token)


def expected_log_likelihood(
    likelihood: Likelihood,
    observations: Observations,
    z: Tensor,
    basis: BasisEvaluator,
    pairs: Pairs,
    weight: Tensor,
    scale: Tensor,
    shift: Tensor | None = None,
    **options,
) -> MixtureLogLikelihood:
    """Σ over pairs and over cells of log p, by the backend that suits the data.

    Parameters
    ----------
    likelihood
        Observation model.
    observations
        Minibatch of N cells and P genes with its nuisance parameters.
    z
        Latent coordinates, shape ``(N, Q)``.
    basis
        Basis functions.
    pairs
        The M (gene, basis) pairs to visit, sorted by gene.
    weight
        Weight φ of each pair, shape ``(M,)``.
    scale
        Scale of each pair in units of the data, m_j λ_jk, shape ``(M,)``.
    shift
        Shift δ_jk of each pair in units of z, shape ``(M,)``, or ``None``.
    **options
        Passed on to the backend; all have ``chunk_elements``, the number of entries of the
        cells × pairs table to hold at a time where a table cannot be avoided.

    Returns
    -------
    Sums per cell (weighted) and per pair (not weighted), both differentiable.
    """
    sums = BACKENDS[_chosen.get() or choose_backend(observations.x)]
    return sums(likelihood, observations, z, basis, pairs, weight, scale, shift, **options)
