"""Which arguments of the model are possible."""

from __future__ import annotations

from numbers import Integral

import numpy as np

from basisvae_scvi.module import SCHEMES


def default_deviation(objective: str, n_latent: int) -> float | str:
    """Own deviations of genes where the user says nothing; 0 where nothing would heed them."""
    return "learned" if _heeds_deviation(objective, n_latent) else 0.0


def default_basis(objective: str, n_latent: int) -> str:
    """Kind of basis functions where the user says nothing."""
    return "smooth" if _heeds_deviation(objective, n_latent) else "network"


def check_arguments(arguments: dict) -> None:
    """Raise ValueError if one of the arguments of the model is out of range."""
    _check_choice(arguments["inference"], SCHEMES, "inference")
    _check_choice(arguments["dispersion"], ("gene", "gene-batch"), "dispersion")
    _check_choice(arguments["zero_inflation"], ("gene", "latent"), "zero_inflation")
    _check_choice(arguments["gene_prior"], ("assigned", "all"), "gene_prior")
    _check_choice(arguments["objective"], ("evidence", "paper"), "objective")
    _check_basis(arguments["basis_functions"], arguments["objective"], arguments["n_latent"])
    for name in ("n_latent", "n_hidden_basis", "concentration"):
        _check_positive(arguments[name], name)
    for name in ("latent_weight", "assignment_weight", "latent_prior_scale"):
        _check_positive(arguments[name], name)
    _check_positive(arguments["n_basis"], "n_basis", minimum=1)
    for name in ("n_hidden", "n_layers"):
        check_at_least(arguments[name], 1, name)
    rate = arguments["dropout_rate"]
    if not 0.0 <= rate < 1.0:
        raise ValueError(f"dropout_rate={rate} must be at least 0 and below 1.")
    _check_deviation(arguments["shape_deviation"], arguments["objective"], arguments["n_latent"])
    n_grid = arguments["n_grid"]
    if n_grid != 0 and n_grid < 5:
        raise ValueError(f"n_grid={n_grid} must be 0 (no grid) or at least 5.")


def check_at_least(value, minimum: int, argument: str) -> None:
    """Raise ValueError unless ``value`` is a whole number of at least ``minimum``."""
    is_whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not is_whole or value < minimum:
        raise ValueError(f"{argument}={value!r} must be a whole number of at least {minimum}.")


def _check_choice(value: str, choices: tuple[str, ...], argument: str) -> None:
    if value not in choices:
        raise ValueError(f"{argument}={value!r} is unknown; choose one of {[*choices]}.")


def _check_positive(value: float, argument: str, minimum: float = 0.0) -> None:
    if not np.isfinite(value) or value <= minimum:
        raise ValueError(f"{argument}={value} must be greater than {minimum:g}.")


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
    if deviation != "learned" and (isinstance(deviation, str) or not 0.0 <= deviation < np.inf):
        raise ValueError(
            f"shape_deviation={deviation!r} must be 'learned', 0 or a positive number; 0.3 lets "
            "genes differ by about 30 % from the course of their group."
        )
    if deviation and not _heeds_deviation(objective, n_latent):
        raise ValueError(
            f"shape_deviation={deviation!r} takes objective='evidence' and n_latent=1, not "
            f"objective={objective!r} and n_latent={n_latent}; leave it out."
        )
