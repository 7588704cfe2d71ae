"""Named shapes of expression along the latent process, and their normalisation."""

from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, roots_hermitenorm

# With 200 nodes the narrowest basis here is integrated to better than 1e-10.
N_NODES = 200


class Shape(NamedTuple):
    """A basis function and where on it a gene sits before it gets a shift of its own.

    Two shapes on one basis differ by a shift alone: a translation-invariant model should put
    their genes together, the plain model should not.

    Attributes
    ----------
    basis
        Name of the basis function, a key of ``BASES``.
    offset
        Shift, in units of z, that is added to every gene of this shape.

    Examples
    --------
    >>> SHAPES["early"].basis, SHAPES["early"].offset
    ('transient', 1.5)
    """

    basis: str
    offset: float


def _transient(x: NDArray) -> NDArray:
    return np.exp(-0.5 * x**2)


def _pulse(x: NDArray) -> NDArray:
    return np.exp(-0.5 * (x / 0.5) ** 2)


def _double(x: NDArray) -> NDArray:
    return _pulse(x + 1.25) + _pulse(x - 1.25)


def _up(x: NDArray) -> NDArray:
    return 0.4 * np.logaddexp(0.0, x)


def _down(x: NDArray) -> NDArray:
    return _up(-x)


def _switch_on(x: NDArray) -> NDArray:
    return expit(3.0 * x)


def _switch_off(x: NDArray) -> NDArray:
    return expit(-3.0 * x)


BASES: Mapping[str, Callable[[NDArray], NDArray]] = MappingProxyType(
    {
        "transient": _transient,
        "pulse": _pulse,
        "double": _double,
        "up": _up,
        "down": _down,
        "switch_on": _switch_on,
        "switch_off": _switch_off,
        "flat": np.ones_like,
    }
)

SHAPES: Mapping[str, Shape] = MappingProxyType(
    {
        "early": Shape("transient", 1.5),
        "peak": Shape("transient", 0.0),
        "late": Shape("transient", -1.5),
        **{name: Shape(name, 0.0) for name in BASES if name != "transient"},
    }
)


@cache
def _prior_mean(name: str) -> float:
    """Mean of the basis ``name`` under N(0, 1), by Gauss–Hermite quadrature."""
    nodes, weights = roots_hermitenorm(N_NODES)
    return float(weights @ BASES[name](nodes) / weights.sum())


def basis_values(name: str, x: ArrayLike, *, normalized: bool = True) -> NDArray[np.float64]:
    """Evaluate a named basis function.

    Normalised, it is b(x) = f(x) / E[f(u)] with u ~ N(0, 1): its mean under the prior of z is
    1, so that the scale λ alone carries the level of a gene (Märtens & Yau 2020, eq. 3, where
    x = z + δ).

    Parameters
    ----------
    name
        A key of ``BASES``.
    x
        Points, any shape, in units of z.
    normalized
        Divide by the mean under the prior. The toy data of the paper do not.

    Returns
    -------
    Array like ``x``: the basis at each point, no unit, never negative.

    Raises
    ------
    ValueError
        ``name`` is not a key of ``BASES``.

    Examples
    --------
    >>> basis_values("transient", [-1.0, 0.0, 1.0]).round(3).tolist()
    [0.858, 1.414, 0.858]
    >>> basis_values("up", [0.0], normalized=False).round(3).tolist()
    [0.277]
    """
    if name not in BASES:
        raise ValueError(f"name={name!r} is no basis function; known: {', '.join(BASES)}")
    values = BASES[name](np.asarray(x, dtype=np.float64))
    return values / _prior_mean(name) if normalized else values
