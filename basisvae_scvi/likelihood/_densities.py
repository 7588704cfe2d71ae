"""log p of one observation and its derivatives, as functions that compile into vector loops.

The formulas are those of :mod:`._families`. A family is a type, so that numba compiles each loop
for the family at hand and nothing else.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numba.extending import overload

from ._families import MEAN_FLOOR
from ._simd import HALF, ONE, STRICT, ZERO, exp_of_negative, log_parts, single


class Poisson(NamedTuple):
    """Poisson counts."""

    floor: np.float32 = single(MEAN_FLOOR)


class NegativeBinomial(NamedTuple):
    """Negative binomial counts."""

    floor: np.float32 = single(MEAN_FLOOR)


class ZeroInflatedNegativeBinomial(NamedTuple):
    """Negative binomial counts with dropout."""

    floor: np.float32 = single(MEAN_FLOOR)


class Gaussian(NamedTuple):
    """Gaussian observations."""

    floor: np.float32 = ZERO


class Bernoulli(NamedTuple):
    """Binary observations."""

    floor: np.float32 = ZERO


FAMILIES = {
    "poisson": Poisson(),
    "nb": NegativeBinomial(),
    "zinb": ZeroInflatedNegativeBinomial(),
    "gaussian": Gaussian(),
    "bernoulli": Bernoulli(),
}


def density(family, x, factor, signal, dispersion, logit, softplus, sigmoid, saturated):
    """log p(x) and its derivatives; compiled code only.

    Parameters
    ----------
    family
        One of :data:`FAMILIES`.
    x
        Observation.
    factor
        Size factor times batch factor for counts, batch offset otherwise.
    signal
        Scale times basis function.
    dispersion, logit
        θ or σ, and the logit of dropout.
    softplus, sigmoid
        log(1 + exp(−|logit|)) and σ(−logit), which do not depend on the basis.
    saturated
        log p of a perfect fit.

    Returns
    -------
    log p, and its derivatives with respect to the signal, the factor (its logarithm for counts),
    the dispersion (without the saturated part) and the logit.
    """
    raise NotImplementedError("This function exists only in compiled code.")


@njit(inline="always", fastmath=STRICT)
def _poisson(family, x, factor, signal, dispersion, logit, softplus, sigmoid, saturated):
    expected = factor * signal
    mean = expected + family.floor
    above = x - mean
    inverse = ONE / mean
    excess = above * inverse
    is_zero = x == ZERO
    # x log(x / μ) − (x − μ) is (x − μ)² / μ plus the curved part where x is near μ.
    far, near, curved = log_parts(ONE if is_zero else x * inverse, ZERO if is_zero else excess)
    linear = above * excess if far == ZERO else x * (far + near) - above
    deviance = mean if is_zero else linear + x * curved
    return saturated - deviance, excess * factor, excess * expected, ZERO, ZERO


@njit(inline="always", fastmath=STRICT)
def _negative_binomial(
    family, x, factor, signal, dispersion, logit, softplus, sigmoid, saturated
):
    expected = factor * signal
    mean, theta = expected + family.floor, dispersion
    x_total, mean_total, above = x + theta, mean + theta, x - mean
    inverse, inverse_second = ONE / mean_total, ONE / (mean * x_total)
    excess, excess_second = above * inverse, theta * above * inverse_second
    far, near, curved = log_parts(x_total * inverse, excess)
    is_zero = x == ZERO
    far_2, near_2, curved_2 = log_parts(
        ONE if is_zero else x * mean_total * inverse_second, ZERO if is_zero else excess_second
    )
    # Where both ratios are near 1, their linear parts leave only a product of two differences.
    linear = x * (far_2 + near_2) - theta * (far + near)
    is_near = (far == ZERO) & (far_2 == ZERO) & (x > ZERO)
    linear = excess_second * theta * excess if is_near else linear
    log_p = saturated - (linear + x * curved_2 - theta * curved)
    slope = excess_second * x_total * inverse
    lost = curved if far == ZERO else far + near + curved - excess
    return log_p, slope * factor, slope * expected, lost, ZERO


@njit(inline="always", fastmath=STRICT)
def _zero_inflated(family, x, factor, signal, dispersion, logit, softplus, sigmoid, saturated):
    expected = factor * signal
    mean, theta = expected + family.floor, dispersion
    x_total, mean_total, above = x + theta, mean + theta, x - mean
    inverse, inverse_second = ONE / mean_total, ONE / (mean * x_total)
    excess, excess_second = above * inverse, theta * above * inverse_second
    far, near, curved = log_parts(x_total * inverse, excess)
    zero_deviance = -theta * (far + near + curved)
    odds = -zero_deviance - logit
    small = exp_of_negative(-abs(odds))
    is_zero = x == ZERO
    # One logarithm serves both kinds of entries: of 1 + e^−|odds| at zeros, of the second ratio
    # of the deviance elsewhere.
    far_2, near_2, curved_2 = log_parts(
        ONE + small if is_zero else x * mean_total * inverse_second,
        small if is_zero else excess_second,
    )
    linear = x * (far_2 + near_2) - theta * (far + near)
    is_near = (far == ZERO) & (far_2 == ZERO)
    linear = excess_second * theta * excess if is_near else linear
    deviance = linear + x * curved_2 - theta * curved
    # softplus(odds) − softplus(−logit) and −softplus(logit), without what they have in common.
    below = min(logit, ZERO)
    log_zero = (-zero_deviance if odds > ZERO else below) + (far_2 + near_2 + curved_2)
    log_p = (log_zero if is_zero else saturated - deviance - (logit - below)) - softplus
    chance = (ONE if odds > ZERO else small) / (ONE + small)
    certain = chance if is_zero else ONE
    slope = certain * excess_second * x_total * inverse
    lost = curved if far == ZERO else far + near + curved - excess
    return log_p, slope * factor, slope * expected, certain * lost, sigmoid - certain


@njit(inline="always", fastmath=STRICT)
def _gaussian(family, x, factor, signal, dispersion, logit, softplus, sigmoid, saturated):
    inverse = ONE / dispersion
    residual = (x - signal - factor) * inverse
    square = residual * residual
    slope = residual * inverse
    return saturated - HALF * square, slope, slope, square * inverse, ZERO


@njit(inline="always", fastmath=STRICT)
def _bernoulli(family, x, factor, signal, dispersion, logit, softplus, sigmoid, saturated):
    odds = signal + factor
    small = exp_of_negative(-abs(odds))
    far, near, curved = log_parts(ONE + small, small)
    inverse = ONE / (ONE + small)
    slope = x - (inverse if odds > ZERO else small * inverse)
    log_p = x * odds - max(odds, ZERO) - (far + near + curved)
    return log_p, slope, slope, ZERO, ZERO


_IMPLEMENTATIONS = {
    Poisson: _poisson,
    NegativeBinomial: _negative_binomial,
    ZeroInflatedNegativeBinomial: _zero_inflated,
    Gaussian: _gaussian,
    Bernoulli: _bernoulli,
}


@overload(density, inline="always")
def _compile_density(
    family, x, factor, signal, dispersion, logit, softplus, sigmoid, saturated
):
    implementation = _IMPLEMENTATIONS[family.instance_class]

    def compiled_density(
        family, x, factor, signal, dispersion, logit, softplus, sigmoid, saturated
    ):
        return implementation(
            family, x, factor, signal, dispersion, logit, softplus, sigmoid, saturated
        )

    return compiled_density
