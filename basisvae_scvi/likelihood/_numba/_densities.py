"""log p of one observation and its derivatives, as functions that compile into vector loops.

The formulas are those of the likelihood families, split in two: zeros, which are most of a count
matrix, need a fraction of the work. Each case is a type, so that numba compiles the loops for the
cases at hand and nothing else.

A long formula waits for its own results: a processor cannot look far enough ahead to begin with
the next vector meanwhile. So the costly ones come in stages, each a loop of its own over all
lanes, whose results the next stage reads: half the time.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numba.extending import overload

from basisvae_scvi.likelihood._families import MEAN_FLOOR

from ._simd import HALF, ONE, ZERO, exp_of_negative, log1p_of_unit, log_parts, single

_FLOOR = single(MEAN_FLOOR)
# Up to this mean a zero with dropout goes by series: differences of numbers of order 1 would leave
# nothing of log p.
QUIET = single(0.0625)
_THIRD, _QUARTER, _FIFTH = single(1 / 3), single(1 / 4), single(1 / 5)
_SIXTH, _TWENTY_FOURTH, _HUNDRED_TWENTIETH = single(1 / 6), single(1 / 24), single(1 / 120)


class PoissonZero(NamedTuple):
    """A zero under Poisson."""

    floor: np.float32 = _FLOOR


class PoissonCount(NamedTuple):
    """A positive Poisson count."""

    floor: np.float32 = _FLOOR


class NegativeBinomialZero(NamedTuple):
    """A zero under the negative binomial."""

    floor: np.float32 = _FLOOR


class NegativeBinomialCount(NamedTuple):
    """A positive negative binomial count, with or without dropout."""

    floor: np.float32 = _FLOOR


class InflatedZero(NamedTuple):
    """A zero under the negative binomial with dropout."""

    floor: np.float32 = _FLOOR


class QuietZero(NamedTuple):
    """As :class:`InflatedZero`, for means up to :data:`QUIET`; good to the last digit there."""

    floor: np.float32 = _FLOOR


class Gaussian(NamedTuple):
    """Gaussian observation."""

    floor: np.float32 = ZERO


class Bernoulli(NamedTuple):
    """Binary observation."""

    floor: np.float32 = ZERO


class Cases(NamedTuple):
    """Kinds of observations of a likelihood.

    Attributes
    ----------
    zero, quiet_zero
        Zeros, and zeros of small mean; ``None`` where they are nothing special.
    other
        All others.
    """

    zero: NamedTuple | None
    quiet_zero: NamedTuple | None
    other: NamedTuple


CASES = {
    "poisson": Cases(PoissonZero(), None, PoissonCount()),
    "nb": Cases(NegativeBinomialZero(), None, NegativeBinomialCount()),
    "zinb": Cases(InflatedZero(), QuietZero(), NegativeBinomialCount()),
    "gaussian": Cases(None, None, Gaussian()),
    "bernoulli": Cases(None, None, Bernoulli()),
}


def density(case, k, x, factor, signal, dispersion, logit, constant, base, unit, early):
    """log p(x) and its derivatives; compiled code only.

    Parameters
    ----------
    case
        One of :data:`CASES`.
    k
        Numbers of the functions of :mod:`._simd`.
    x
        Observation.
    factor
        Size factor times batch factor for counts, batch offset otherwise.
    signal
        Scale times basis function.
    dispersion, logit
        θ or σ, and the logit of dropout.
    constant
        The part of log p that depends on neither the signal nor the factor.
    base, unit
        exp(−|logit|), and 1 / (1 + that).
    early
        Results of the stages before, four numbers; see :data:`STAGES`.

    Returns
    -------
    log p, and the derivatives of all but the constant with respect to the signal, the factor (its
    logarithm for counts), the dispersion and the logit; that of zeros with dropout is whole, in
    units of ``unit``.
    """
    raise NotImplementedError("This function exists only in compiled code.")


@njit(inline="always")
def _poisson_zero(case, k, x, factor, signal, dispersion, logit, constant, base, unit, early):
    expected = factor * signal
    return constant - (expected + case.floor), -factor, -expected, ZERO, ZERO


@njit(inline="always")
def _poisson_count(case, k, x, factor, signal, dispersion, logit, constant, base, unit, early):
    expected = factor * signal
    mean = expected + case.floor
    above, inverse = x - mean, ONE / mean
    excess = above * inverse
    # x log(x / μ) − (x − μ) is (x − μ)² / μ plus the curved part where x is near μ.
    far, near, curved = log_parts(k, x * inverse, excess)
    linear = above * excess if far == ZERO else x * (far + near) - above
    return constant - (linear + x * curved), excess * factor, excess * expected, ZERO, ZERO


@njit(inline="always")
def _negative_binomial_zero(
    case, k, x, factor, signal, dispersion, logit, constant, base, unit, early
):
    expected = factor * signal
    mean, theta = expected + case.floor, dispersion
    inverse = ONE / (mean + theta)
    ratio, excess = theta * inverse, -mean * inverse
    far, near, curved = log_parts(k, ratio, excess)
    log_ratio = far + near + curved
    lost = curved if far == ZERO else log_ratio - excess
    return constant + theta * log_ratio, -ratio * factor, -ratio * expected, lost, ZERO


@njit(inline="always")
def _ratio_of_zero(case, k, x, factor, signal, dispersion, logit, early):
    mean, theta = factor * signal + case.floor, dispersion
    inverse = ONE / (mean + theta)
    ratio, excess = theta * inverse, -mean * inverse
    far, near, curved = log_parts(k, ratio, excess)
    log_ratio = far + near + curved
    lost = curved if far == ZERO else log_ratio - excess
    return ratio, theta * log_ratio, lost, ZERO


@njit(inline="always")
def _odds_of_zero(case, k, x, factor, signal, dispersion, logit, early):
    ratio, log_zero, lost, _ = early
    return ratio, log_zero, lost, exp_of_negative(k, -abs(log_zero - logit))


@njit(inline="always")
def _inflated_zero(case, k, x, factor, signal, dispersion, logit, constant, base, unit, early):
    ratio, log_zero, lost, small = early
    expected = factor * signal
    is_count = log_zero > logit
    # softplus(odds) − softplus(−logit), without what they have in common.
    hinge = log_zero if is_count else min(logit, ZERO)
    log_p = hinge + (constant + log1p_of_unit(k, small))
    inverse = ONE / (ONE + small)
    chance = (ONE if is_count else small) * inverse
    slope = -chance * ratio
    gain = small - base if is_count else base - small
    by_logit = inverse * (gain if is_count | (logit > ZERO) else ONE - small * base)
    return log_p, slope * factor, slope * expected, chance * lost, by_logit


@njit(inline="always")
def _quiet_zero(case, k, x, factor, signal, dispersion, logit, constant, base, unit, early):
    ratio, d, lost, _ = early
    d = -ONE if d < -ONE else d  # lanes of counts, which may be far from quiet, stay finite
    # exp(d) − 1 and log(1 + w) by their series; p = 1 + w with w = (1 − π) (exp(d) − 1).
    gain = d * (ONE + d * (HALF + d * (_SIXTH + d * (_TWENTY_FOURTH + d * _HUNDRED_TWENTIETH))))
    kept = base * unit if logit > ZERO else unit
    w = kept * gain
    log_p = w * (ONE - w * (HALF - w * (_THIRD - w * (_QUARTER - w * _FIFTH))))
    inverse_p = ONE / (ONE + w)
    chance = (kept + w) * inverse_p
    slope = -chance * ratio
    by_logit = -base * unit * gain * inverse_p
    return log_p, slope * factor, slope * (factor * signal), chance * lost, by_logit


@njit(inline="always")
def _ratio_of_count(case, k, x, factor, signal, dispersion, logit, early):
    mean, theta = factor * signal + case.floor, dispersion
    inverse = ONE / (mean + theta)
    far, near, curved = log_parts(k, (x + theta) * inverse, (x - mean) * inverse)
    return inverse, far, near, curved


@njit(inline="always")
def _negative_binomial_count(
    case, k, x, factor, signal, dispersion, logit, constant, base, unit, early
):
    expected = factor * signal
    mean, theta = expected + case.floor, dispersion
    x_total, mean_total, above = x + theta, mean + theta, x - mean
    inverse, far, near, curved = early
    inverse_second = ONE / (mean * x_total)
    excess, excess_second = above * inverse, theta * above * inverse_second
    far_2, near_2, curved_2 = log_parts(k, x * mean_total * inverse_second, excess_second)
    # Where both ratios are near 1, their linear parts leave only a product of two differences.
    is_near = (far == ZERO) & (far_2 == ZERO)
    linear = x * (far_2 + near_2) - theta * (far + near)
    linear = excess_second * theta * excess if is_near else linear
    log_p = constant - (linear + x * curved_2 - theta * curved)
    slope = excess_second * x_total * inverse
    lost = curved if far == ZERO else far + near + curved - excess
    return log_p, slope * factor, slope * expected, lost, ZERO


@njit(inline="always")
def _gaussian(case, k, x, factor, signal, dispersion, logit, constant, base, unit, early):
    inverse = ONE / dispersion
    residual = (x - signal - factor) * inverse
    square, slope = residual * residual, residual * inverse
    return constant - HALF * square, slope, slope, square * inverse, ZERO


@njit(inline="always")
def _bernoulli(case, k, x, factor, signal, dispersion, logit, constant, base, unit, early):
    odds = signal + factor
    small = exp_of_negative(k, -abs(odds))
    slope = x - (ONE if odds > ZERO else small) / (ONE + small)
    log_p = constant + x * odds - max(odds, ZERO) - log1p_of_unit(k, small)
    return log_p, slope, slope, ZERO, ZERO


_IMPLEMENTATIONS = {
    PoissonZero: _poisson_zero,
    PoissonCount: _poisson_count,
    NegativeBinomialZero: _negative_binomial_zero,
    NegativeBinomialCount: _negative_binomial_count,
    InflatedZero: _inflated_zero,
    QuietZero: _quiet_zero,
    Gaussian: _gaussian,
    Bernoulli: _bernoulli,
}

# What comes before the density: functions of the same arguments up to the logit, and of the four
# numbers of the stage before, that return the four of theirs.
STAGES = {
    InflatedZero: (_ratio_of_zero, _odds_of_zero),
    QuietZero: (_ratio_of_zero,),
    NegativeBinomialCount: (_ratio_of_count,),
}


@overload(density, inline="always")
def _compile_density(case, k, x, factor, signal, dispersion, logit, constant, base, unit, early):
    implementation = _IMPLEMENTATIONS[case.instance_class]

    def compiled_density(
        case, k, x, factor, signal, dispersion, logit, constant, base, unit, early
    ):
        return implementation(
            case, k, x, factor, signal, dispersion, logit, constant, base, unit, early
        )

    return compiled_density
