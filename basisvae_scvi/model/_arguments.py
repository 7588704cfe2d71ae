"""Which arguments of the model are possible."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from numbers import Integral, Real

import numpy as np

from basisvae_scvi.module import SCHEMES


def default_deviation(objective: str, n_latent: int) -> float | str:
    """Own deviations of genes where the user says nothing; 0 where nothing would heed them."""
    return "learned" if _heeds_deviation(objective, n_latent) else 0.0


# Whether a model is made from one that was saved before bases were curves on a grid.
_has_networks: ContextVar[bool] = ContextVar("basisvae_networks", default=False)


@contextmanager
def networks_by_default(has_networks: bool) -> Iterator[None]:
    """Within the context models have networks for basis functions unless told otherwise."""
    token = _has_networks.set(has_networks)
    try:
        yield
    finally:
        _has_networks.reset(token)


def default_basis(objective: str, n_latent: int) -> str:
    """Kind of basis functions where the user says nothing."""
    if _has_networks.get():
        return "network"
    return "smooth" if _heeds_deviation(objective, n_latent) else "network"


def check_arguments(arguments: dict) -> None:
    """Raise ValueError if one of the arguments of the model is out of range."""
    _check_choice(arguments["inference"], SCHEMES, "inference")
    _check_choice(arguments["dispersion"], ("gene", "gene-batch"), "dispersion")
    _check_choice(arguments["zero_inflation"], ("gene", "latent"), "zero_inflation")
    _check_choice(arguments["gene_prior"], ("assigned", "all"), "gene_prior")
    _check_choice(arguments["objective"], ("evidence", "paper"), "objective")
    _check_basis(arguments["basis_functions"], arguments["objective"], arguments["n_latent"])
    for name in ("concentration", "latent_weight", "assignment_weight", "latent_prior_scale"):
        check_number(arguments[name], name, above=0.0)
    check_at_least(arguments["n_basis"], 2, "n_basis")
    for name in ("n_latent", "n_hidden_basis", "n_hidden", "n_layers"):
        check_at_least(arguments[name], 1, name)
    check_number(arguments["dropout_rate"], "dropout_rate", minimum=0.0, below=1.0)
    for name in ("scale_invariant", "translation_invariant", "allow_non_integer"):
        check_flag(arguments[name], name)
    _check_deviation(arguments["shape_deviation"], arguments["objective"], arguments["n_latent"])
    n_grid = arguments["n_grid"]
    check_at_least(n_grid, 0, "n_grid")
    if 0 < n_grid < 5:
        raise ValueError(f"n_grid={n_grid} must be 0 (no grid) or at least 5.")


def check_flag(value, argument: str) -> None:
    """Raise ValueError unless ``value`` is true or false; Python takes even "False" for true."""
    if not isinstance(value, bool | np.bool_ | Integral) or value not in (0, 1):
        raise ValueError(f"{argument}={value!r} must be True or False.")


def check_number(
    value,
    argument: str,
    *,
    minimum: float = -np.inf,
    above: float = -np.inf,
    maximum: float = np.inf,
    below: float = np.inf,
) -> None:
    """Raise ValueError unless ``value`` is a finite number within its limits."""
    is_number = isinstance(value, Real) and not isinstance(value, bool) and np.isfinite(value)
    if is_number and minimum <= value <= maximum and above < value < below:
        return
    limits = {"at least": minimum, "above": above, "at most": maximum, "below": below}
    told = [f"{name} {limit:g}" for name, limit in limits.items() if np.isfinite(limit)]
    raise ValueError(f"{argument}={value!r} must be a number {' and '.join(told)}.")


def check_at_least(value, minimum: int, argument: str) -> None:
    """Raise ValueError unless ``value`` is a whole number of at least ``minimum``."""
    is_whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not is_whole or value < minimum:
        raise ValueError(f"{argument}={value!r} must be a whole number of at least {minimum}.")


def _check_choice(value: str, choices: tuple[str, ...], argument: str) -> None:
    if value not in choices:
        raise ValueError(f"{argument}={value!r} is unknown; choose one of {[*choices]}.")


def _check_basis(kind: str, objective: str, n_latent: int) -> None:
    """Raise ValueError for a kind of basis functions that is unknown, or that nothing finds."""
    _check_choice(kind, ("smooth", "network"), "basis_functions")
    if kind == "smooth" and not _heeds_deviation(objective, n_latent):
        raise ValueError(
            f"basis_functions='smooth' takes objective='evidence' and n_latent=1, not "
            f"objective={objective!r} and n_latent={n_latent}; leave it out, or choose 'network'."
        )


def _heeds_deviation(objective: str, n_latent: int) -> bool:
    """Whether the search finds the structure, in which genes may deviate from their group."""
    return objective == "evidence" and n_latent == 1


def _check_deviation(deviation: float | str, objective: str, n_latent: int) -> None:
    """Raise ValueError for a deviation that cannot be, or that nothing would heed."""
    is_number = isinstance(deviation, Real) and not isinstance(deviation, bool)
    if deviation != "learned" and not (is_number and 0.0 <= deviation < np.inf):
        raise ValueError(
            f"shape_deviation={deviation!r} must be 'learned', 0 or a positive number; 0.3 lets "
            "genes differ by about 30 % from the course of their group."
        )
    if deviation and not _heeds_deviation(objective, n_latent):
        raise ValueError(
            f"shape_deviation={deviation!r} takes objective='evidence' and n_latent=1, not "
            f"objective={objective!r} and n_latent={n_latent}; leave it out."
        )
