"""What all simulators share: checks of arguments, draws of z, and the AnnData with its truth."""

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

Z_DISTRIBUTIONS = ("uniform", "normal", "uneven")


def check_integer(name: str, value: int, *, minimum: int = 1) -> int:
    """Return ``value`` as an int of at least ``minimum``; raise ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < minimum:
        raise ValueError(f"{name} must be an integer of at least {minimum}, not {value!r}")
    return int(value)


def check_number(name: str, value: float, *, positive: bool = False) -> float:
    """Return ``value`` as a finite float, ≥ 0 or > 0; raise ValueError otherwise."""
    kind = "positive" if positive else "non-negative"
    real = isinstance(value, Real) and not isinstance(value, bool) and np.isfinite(value)
    if not real or value < 0 or (positive and value == 0):
        raise ValueError(f"{name} must be a finite {kind} number, not {value!r}")
    return float(value)


def check_per_gene(name: str, value: ArrayLike, n_vars: int, *, positive: bool) -> NDArray:
    """Return ``value`` as (n_vars,) finite floats from one number or an array of that shape."""
    if np.ndim(value) == 0:
        return np.full(n_vars, check_number(name, value, positive=positive))
    array = np.asarray(value, dtype=np.float64)
    if array.shape != (n_vars,):
        raise ValueError(f"{name} must be one number or have shape ({n_vars},): {array.shape}")
    if not np.isfinite(array).all() or (array < 0).any() or (positive and (array == 0).any()):
        kind = "positive" if positive else "non-negative"
        raise ValueError(f"{name} must hold finite {kind} numbers only")
    return array.copy()


def check_choice(name: str, value: str, choices: Sequence[str]) -> str:
    """Return ``value`` if it is one of ``choices``; raise ValueError otherwise."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")
    return value


def draw_z(
    rng: np.random.Generator, n_obs: int, distribution: str, *, half_width: float
) -> NDArray[np.float64]:
    """Draw the latent position of every cell, (n_obs,).

    "uniform" on ±half_width; "normal" is N(0, 1); "uneven" packs 60 % of the cells into a dense
    early pool and spreads the rest evenly, as stem cells crowd the start of a lineage.
    """
    if distribution == "normal":
        return rng.standard_normal(n_obs)
    z = rng.uniform(-half_width, half_width, n_obs)
    if distribution == "uneven":
        pool = rng.random(n_obs) < 0.6
        z[pool] = rng.normal(-0.6 * half_width, 0.15 * half_width, pool.sum())
    return z


def labels(values: Sequence[str], *, order: Sequence[str] = ()) -> pd.Categorical:
    """Make a categorical of str; categories stand as in ``order``, else as they first appear."""
    values = [str(value) for value in values]
    present = set(values)
    categories = [name for name in dict.fromkeys([*order, *values]) if name in present]
    return pd.Categorical(values, categories=categories)


def storable(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Turn parameters into what h5ad and zarr keep: numbers, str and arrays; drop None."""
    kept = {}
    for name, value in parameters.items():
        if isinstance(value, (str, int, float)):
            kept[name] = value
        elif value is not None:
            array = np.asarray(value)
            kept[name] = array.item() if array.ndim == 0 else array
    return kept


def assemble(
    x: Any,
    *,
    prefix: str,
    obs: Mapping[str, Any],
    var: Mapping[str, Any],
    parameters: Mapping[str, Any],
) -> ad.AnnData:
    """Put data (cells × genes) and truth together; genes are named ``prefix`` + position."""
    n_obs, n_vars = x.shape
    return ad.AnnData(
        x,
        obs=pd.DataFrame(dict(obs), index=[f"cell{i}" for i in range(n_obs)]),
        var=pd.DataFrame(dict(var), index=[f"{prefix}{j}" for j in range(n_vars)]),
        uns={"simulation": storable(parameters)},
    )
