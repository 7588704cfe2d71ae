"""Elementwise log densities and their derivatives, as Triton functions in float32.

Differences that cancel, such as log(1 + w) − w and 1 − exp(−d), are taken from series, so that
nothing depends on how well the device rounds.
"""

from __future__ import annotations

import os

import torch

try:
    import triton
    import triton.language as tl
except ImportError:  # No triton, no launch; but documentation and test collectors import this.
    triton = tl = None

# Triton reads the variable where a kernel is defined, so it has to be set before this import.
INTERPRETED = os.environ.get("TRITON_INTERPRET", "").lower() in ("1", "true", "yes", "on", "y")


def function(python):
    """Compile for use in kernels, where there is Triton."""
    return python if triton is None else triton.jit(python)


# For arguments well inside the range of float32, NVIDIA devices have these in one instruction,
# where the general functions take up to eight. Elsewhere the general functions serve.
if triton is None or INTERPRETED or torch.version.hip:

    @function
    def _inverse(y):
        return 1.0 / y

    @function
    def _log(y):
        return tl.log(y)

    @function
    def _exp(y):
        return tl.exp(y)

else:

    @function
    def _inverse(y):
        return tl.inline_asm_elementwise(
            "rcp.approx.ftz.f32 $0, $1;", "=f,f", [y], dtype=tl.float32, is_pure=True, pack=1
        )

    @function
    def _log(y):
        return 0.69314718 * tl.inline_asm_elementwise(
            "lg2.approx.ftz.f32 $0, $1;", "=f,f", [y], dtype=tl.float32, is_pure=True, pack=1
        )

    @function
    def _exp(y):
        y *= 1.44269504
        return tl.inline_asm_elementwise(
            "ex2.approx.ftz.f32 $0, $1;", "=f,f", [y], dtype=tl.float32, is_pure=True, pack=1
        )


@function
def _log1p(q, w):
    """log q and log q − w, where q = 1 + w > 0 and both are given to their last digit.

    Near 1 by log q = 2 artanh(s), s = w / (2 + w): the device's logarithm has a small absolute
    error there, but not a small relative one.
    """
    near = tl.abs(w) < 0.3
    s = w * _inverse(2.0 + w)
    s2 = s * s
    series = 0.66666667 + s2 * (0.4 + s2 * (0.28571429 + s2 * 0.22222222))
    beyond = s * (s2 * series - w)  # log(1 + w) − w
    log_q = _log(q)
    return tl.where(near, w + beyond, log_q), tl.where(near, beyond, log_q - w)


@function
def _softplus(v):
    """log(1 + exp(v)), and its derivative, the logistic function."""
    e = _exp(-tl.abs(v))
    log_total, _ = _log1p(1.0 + e, e)
    return tl.maximum(v, 0.0) + log_total, tl.where(v >= 0.0, 1.0, e) * _inverse(1.0 + e)


@function
def _poisson(x, mean):
    """Deviance and its derivative in the mean."""
    inverse = _inverse(mean)
    w = (x - mean) * inverse
    log_q, g = _log1p(tl.where(x > 0.0, x, mean) * inverse, tl.where(x > 0.0, w, 0.0))
    near = tl.abs(w) < 0.3
    return tl.where(near, mean * w * w + x * g, x * log_q - (x - mean)), -w


@function
def _ratios(x, mean, theta):
    """What both families with dispersion need.

    Returns the pairs (q, q − 1) for q = (x + θ) / (μ + θ) and for q₂ = x (μ + θ) / (μ (x + θ)),
    of which the latter is (1, 0) at x = 0, and θ / μ.
    """
    total, difference, positive = mean + theta, x - mean, x > 0.0
    inverse_total, inverse_mean, inverse_x = _inverse(total), _inverse(mean), _inverse(x + theta)
    q, w = (x + theta) * inverse_total, difference * inverse_total
    relative = theta * inverse_mean
    # In an order that neither overflows nor underflows.
    q2 = tl.where(positive, (x * inverse_x) * (total * inverse_mean), 1.0)
    w2 = tl.where(positive, (difference * inverse_x) * relative, 0.0)
    return q, w, q2, w2, relative


@function
def _deviance(x, theta, w, log_q, g, w2, log_q2, g2):
    """Negative binomial deviance x log q₂ − θ log q, from the logarithms and their parts g.

    Close to the mode the first-order parts w of the two logarithms cancel; their exact rest is
    w₂ θ w.
    """
    near = (x > 0.0) & (tl.abs(w) < 0.3) & (tl.abs(w2) < 0.3)
    return tl.where(near, (w2 * theta) * w + x * g2 - theta * g, x * log_q2 - theta * log_q)


@function
def _negative_binomial(x, mean, theta):
    """Minus the deviance, and its derivatives in mean and θ."""
    q, w, q2, w2, relative = _ratios(x, mean, theta)
    log_q, g = _log1p(q, w)
    log_q2, g2 = _log1p(q2, w2)
    return -_deviance(x, theta, w, log_q, g, w2, log_q2, g2), w * relative, g


@function
def _zero_inflated(x, mean, theta, logit):
    """Minus the deviance, or log[π + (1 − π) exp(−d)] at zeros; derivatives in μ, θ, logit."""
    q, w, q2, w2, relative = _ratios(x, mean, theta)
    log_q, g = _log1p(q, w)
    positive = x > 0.0
    minus_log_drop, keep = _softplus(-logit)
    # At zeros: the probability, and how far it is from 1. Where both of its terms would leave
    # float32 they are taken out of a common factor exp(-lift).
    d = tl.maximum(-theta * log_q, 0.0, propagate_nan=tl.PropagateNan.ALL)
    lift = tl.minimum(d, minus_log_drop)
    lift = tl.where(lift > 60.0, lift, 0.0)
    count, drop = _exp(lift - d), _exp(lift - minus_log_drop)
    series = 0.16666667 - d * (0.041666667 - d * (0.0083333333 - d * 0.0013888889))
    lost = tl.where(d < 0.25, d * (1.0 - d * (0.5 - d * series)), 1.0 - count)
    lost = keep * tl.where(lift > 0.0, 1.0, lost)
    zero = drop + keep * count
    # One logarithm for both: of the probability at zeros, of q₂ elsewhere.
    log_q2, g2 = _log1p(tl.where(positive, q2, zero), tl.where(positive, w2, -lost))
    nonzero = -_deviance(x, theta, w, log_q, g, w2, log_q2, g2)
    at_zero = log_q2 - lift
    inverse_zero = _inverse(zero)
    share = tl.where(positive, 1.0, keep * count * inverse_zero)  # of zeros that are counts
    by_logit = tl.where(positive, 0.0, drop * lost * inverse_zero)
    value = tl.where(positive, nonzero, at_zero)
    return value, share * w * relative, share * g, by_logit


@function
def location_part(x, location, dispersion, logit, FAMILY: tl.constexpr):
    """The part of log p that depends on the location, with its derivatives.

    Returns the value and its derivatives in location, dispersion and dropout logit; zeros where
    the family has no such parameter.
    """
    zero = tl.zeros_like(x)
    if FAMILY == "zinb":
        return _zero_inflated(x, location, dispersion, logit)
    elif FAMILY == "nb":
        value, by_mean, by_theta = _negative_binomial(x, location, dispersion)
        return value, by_mean, by_theta, zero
    elif FAMILY == "poisson":
        deviance, by_mean = _poisson(x, location)
        return -deviance, -by_mean, zero, zero
    elif FAMILY == "gaussian":
        inverse = _inverse(dispersion)
        r = (x - location) * inverse
        return -0.5 * r * r, r * inverse, r * r * inverse, zero
    else:
        e = _exp(-tl.abs(location))
        log_total, _ = _log1p(1.0 + e, e)
        up, down = tl.maximum(location, 0.0), tl.maximum(-location, 0.0)
        success = tl.where(location >= 0.0, 1.0, e) * _inverse(1.0 + e)
        return -(log_total + x * down + (1.0 - x) * up), x - success, zero, zero


@function
def _remainder(t):
    """ω(t) and ρ(t) for t > 0.

    ω(t) = log Γ(t) − [(t − ½) log t − t + ½ log 2π], and ρ(t) = ψ(t) − log t + 1 / 2t, which is
    its derivative. From 3 on by the asymptotic series, good to 1e-8 there; below by
    Γ(t + 3) = t (t + 1) (t + 2) Γ(t), with the logarithms gathered so that they hardly cancel.
    """
    large = t >= 3.0
    u = tl.where(large, 1.0, t)
    r = 1.0 / tl.where(large, t, t + 3.0)
    r2 = r * r
    omega = 0.083333333 - r2 * (0.0027777778 - r2 * (0.00079365079 - r2 * 0.00059523810))
    omega = r * (omega + r2 * r2 * r2 * r2 * 0.00084175084)
    rho = 0.0083333333 - r2 * (0.0039682540 - r2 * (0.0041666667 - r2 * 0.0075757576))
    rho = -r2 * (0.083333333 - r2 * rho)
    product = (u + 1.0) * (u + 2.0)
    rest = (3.0 * u + 7.0) / product  # (u + 3)² / ((u + 1) (u + 2)) − 1
    log_rest, _ = _log1p(1.0 + rest, rest)
    rise = 3.0 / u
    log_rise, _ = _log1p(1.0 + rise, rise)
    omega_small = omega + (u + 0.5) * log_rise + log_rest - 3.0
    rho_small = rho + log_rise - 0.5 / (u + 3.0) - 0.5 / u - (2.0 * u + 3.0) / product
    return tl.where(large, omega, omega_small), tl.where(large, rho, rho_small)


@function
def constant_part(x, theta, logit, FAMILY: tl.constexpr):
    """The part of log p that no location enters, with its derivatives in θ and the logit."""
    positive = x > 0.0
    count = tl.where(positive, x, 1.0)
    omega, _ = _remainder(count)
    value = -0.91893853 - 0.5 * tl.log(count) - omega
    by_theta, by_logit = tl.zeros_like(x), tl.zeros_like(x)
    if FAMILY != "poisson":
        total = count + theta
        omega_total, rho_total = _remainder(total)
        omega_theta, rho_theta = _remainder(theta)
        log_ratio, _ = _log1p(total / theta, count / theta)
        value += omega_total - omega_theta - 0.5 * log_ratio
        by_theta = 0.5 * count / theta / total + rho_total - rho_theta
    if FAMILY == "zinb":
        minus_log_keep, drop = _softplus(logit)
        value -= minus_log_keep
        by_logit = tl.where(positive, -drop, 0.0)
    return tl.where(positive, value, 0.0), tl.where(positive, by_theta, 0.0), by_logit
