"""The part of log p that depends on neither the location nor the basis, entry by entry.

It is needed once per entry of the data, and for the negative binomial its slope in θ as well, in
double precision: it is a difference of log gamma functions, which a shift of their argument by
eight and an asymptotic series give to the last digit of single precision.
"""

from __future__ import annotations

import math

import numpy as np
from numba.extending import overload

from ._densities import Bernoulli, Gaussian, NegativeBinomialCount, PoissonCount
from ._simd import compiled

_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)
_SERIES_FROM = 8.0
# Counts below this, nearly all there are, are looked up: each follows from the one before.
N_REMEMBERED = 64
# What is kept of a count x: value, slope, log Γ(x + θ) / Γ(θ), its derivative, log(1 + x / θ).
_VALUE, _SLOPE, _RISING, _RECIPROCALS, _LOG_RATIO = range(5)
N_KEPT = 5
_LOG_FACTORIAL = np.array([math.lgamma(x + 1.0) for x in range(N_REMEMBERED)])
_X_LOG_X = np.array([x * math.log(x) if x else 0.0 for x in range(N_REMEMBERED)])


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


@compiled()
def _poisson(case, x, theta):
    return -_HALF_LOG_2PI - 0.5 * math.log(x) - stirling_remainder(x)[0], 0.0


@compiled()
def _negative_binomial(case, x, theta):
    at_total, slope_total = stirling_remainder(x + theta)
    at_theta, slope_theta = stirling_remainder(theta)
    value = -_HALF_LOG_2PI - 0.5 * (math.log1p(x / theta) + math.log(x))
    value += at_total - at_theta - stirling_remainder(x)[0]
    return value, 0.5 * x / (theta * (x + theta)) + slope_total - slope_theta


@compiled()
def _gaussian(case, x, theta):
    return -_HALF_LOG_2PI - math.log(theta), -1.0 / theta


@compiled()
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
def _is_remembered(x):
    return (x >= 0.0) & (x < N_REMEMBERED) & (x == math.floor(x))


@compiled()
def _extend(theta, memory, n_known, n_wanted):
    """Fill the rows of ``memory`` from ``n_known`` up to ``n_wanted``; row 0 stays zero.

    Γ(x + θ) = (x − 1 + θ) Γ(x − 1 + θ), so that a count takes one logarithm.
    """
    log_theta = math.log(theta)
    for x in range(max(n_known, 1), n_wanted):
        before = memory[x - 1]
        rising = before[_RISING] + log_theta + before[_LOG_RATIO]
        reciprocals = before[_RECIPROCALS] + 1.0 / (theta + (x - 1))
        log_ratio = math.log1p(x / theta)
        value = rising - _LOG_FACTORIAL[x] + _X_LOG_X[x]
        memory[x, _VALUE] = value - theta * log_ratio - x * (log_theta + log_ratio)
        memory[x, _SLOPE] = reciprocals - log_ratio
        memory[x, _RISING] = rising
        memory[x, _RECIPROCALS] = reciprocals
        memory[x, _LOG_RATIO] = log_ratio


def remembered(case, x, theta, memory, n_known):
    """As :func:`saturated`, but with what is known of smaller counts; compiled code only.

    Parameters
    ----------
    case, x, theta
        As in :func:`saturated`.
    memory
        Shape ``(N_REMEMBERED, N_KEPT)``, all zero before the first count of a gene.
    n_known
        Number of rows that have been filled, shape ``(1,)``; increased.
    """
    raise NotImplementedError("This function exists only in compiled code.")


@compiled()
def _remembered_poisson(case, x, theta, memory, n_known):
    if not _is_remembered(x):
        return saturated(case, x, theta)
    k = np.intp(x)
    return _X_LOG_X[k] - x - _LOG_FACTORIAL[k], 0.0


@compiled()
def _remembered_negative_binomial(case, x, theta, memory, n_known):
    if not _is_remembered(x):
        return saturated(case, x, theta)
    k = np.intp(x)
    if n_known[0] <= k:
        _extend(theta, memory, n_known[0], k + 1)
        n_known[0] = k + 1
    return memory[k, _VALUE], memory[k, _SLOPE]


_REMEMBERED = {
    PoissonCount: _remembered_poisson,
    NegativeBinomialCount: _remembered_negative_binomial,
}


@overload(remembered)
def _compile_remembered(case, x, theta, memory, n_known):
    implementation = _REMEMBERED.get(case.instance_class)

    def from_memory(case, x, theta, memory, n_known):
        return implementation(case, x, theta, memory, n_known)

    def at_once(case, x, theta, memory, n_known):
        return saturated(case, x, theta)

    return at_once if implementation is None else from_memory
