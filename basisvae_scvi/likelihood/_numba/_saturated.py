"""The part of log p that depends on neither the location nor the basis, entry by entry.

It is needed once per entry of the data, and for the negative binomial its slope in θ as well, in
double precision: it is a difference of log gamma functions, which a shift of their argument by
eight and an asymptotic series give to the last digit of single precision.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numba.extending import overload

from ._densities import Bernoulli, Gaussian, NegativeBinomialCount, PoissonCount
from ._simd import compiled

_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)
_SERIES_FROM = 8.0
# Counts below this, nearly all there are, are looked up once they have been seen in a gene.
N_REMEMBERED = 64


@compiled()
def stirling_remainder(t):
    """ω(t) = log Γ(t) − [(t − ½) log t − t + ½ log 2π] and its derivative, for t > 0."""
    if not t > 0.0:
        return math.nan, math.nan
    moved, product, reciprocals = t, 1.0, 0.0
    while moved < _SERIES_FROM:
        product *= moved
        reciprocals += 1.0 / moved
        moved += 1.0
    r = 1.0 / moved
    s = r * r
    value = r * (1 / 12 - s * (1 / 360 - s * (1 / 1260 - s * (1 / 1680 - s / 1188))))
    slope = -s * (1 / 12 - s * (1 / 120 - s * (1 / 252 - s * (1 / 240 - s / 132))))
    if moved > t:
        log_t, log_moved = math.log(t), math.log(moved)
        value += (moved - 0.5) * log_moved - (t - 0.5) * log_t - (moved - t) - math.log(product)
        slope += log_moved - 0.5 / moved - log_t + 0.5 / t - reciprocals
    return value, slope


def saturated(case, x, theta):
    """log p(x) of a perfect fit, and its derivative in θ; compiled code only."""
    raise NotImplementedError("This function exists only in compiled code.")


@njit
def _poisson(case, x, theta):
    return -_HALF_LOG_2PI - 0.5 * math.log(x) - stirling_remainder(x)[0], 0.0


@njit
def _negative_binomial(case, x, theta):
    at_total, slope_total = stirling_remainder(x + theta)
    at_theta, slope_theta = stirling_remainder(theta)
    value = -_HALF_LOG_2PI - 0.5 * (math.log1p(x / theta) + math.log(x))
    value += at_total - at_theta - stirling_remainder(x)[0]
    return value, 0.5 * x / (theta * (x + theta)) + slope_total - slope_theta


@njit
def _gaussian(case, x, theta):
    return -_HALF_LOG_2PI - math.log(theta), -1.0 / theta


@njit
def _bernoulli(case, x, theta):
    return 0.0, 0.0


_IMPLEMENTATIONS = {
    PoissonCount: _poisson,
    NegativeBinomialCount: _negative_binomial,
    Gaussian: _gaussian,
    Bernoulli: _bernoulli,
}


@overload(saturated)
def _compile_saturated(case, x, theta):
    implementation = _IMPLEMENTATIONS[case.instance_class]

    def compiled_saturated(case, x, theta):
        return implementation(case, x, theta)

    return compiled_saturated


@compiled()
def remembered(case, x, theta, memory):
    """As :func:`saturated`, looked up in ``memory``, shape ``(64, 2)``, NaN where unknown."""
    if x >= N_REMEMBERED or x < 0.0 or x != math.floor(x):
        return saturated(case, x, theta)
    k = np.intp(x)
    if math.isnan(memory[k, 0]):
        memory[k] = saturated(case, x, theta)
    return memory[k, 0], memory[k, 1]
