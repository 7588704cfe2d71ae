"""Smooth curves: Gaussian-process priors of several wiggliness, and the evidence of a fit.

The slope of a curve is a zero-mean Gaussian process with a squared-exponential kernel, so that a
curve goes on level where nothing is known of it. Fits are penalised maximum likelihood with
Laplace's approximation of the evidence (Rasmussen & Williams 2006, section 3.4), which is exact
for Gaussian data; the prior is the one of the list with the largest evidence.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np

_LENGTHS = (0.35, 0.8, 1.6)
_SLOPES = (1.0, 3.0)
_LEVEL_SD = 0.5
# Directions with less prior variance than this share of the largest are left out.
_NEGLIGIBLE = 1e-5
_MAX_NEWTON_STEPS = 30
# Nats. Newton's method squares its error: after a step that gains so little, none is left.
_MIN_STEP_GAIN = 1e-2
_LOG_RANGE = (-30.0, 8.0)


class SmoothFit(NamedTuple):
    """A fitted curve.

    Attributes
    ----------
    curve
        Values on the support, shape ``(C,)``.
    complexity
        What the curve costs in nats: log prior at the fit plus Laplace's log volume; negative.
    log_likelihood
        Of the fit, up to a constant of the data.
    """

    curve: np.ndarray
    complexity: float
    log_likelihood: float

    @property
    def evidence(self) -> float:
        """Log evidence, up to a constant of the data."""
        return self.log_likelihood + self.complexity


@dataclass(frozen=True)
class SmoothPrior:
    """f = U w with w ~ N(0, I).

    Attributes
    ----------
    basis
        U, shape ``(C, R)``.
    length
        Length scale of the slope, in units of x.
    """

    basis: np.ndarray
    length: float

    @classmethod
    def of(cls, x: np.ndarray, *, length: float, slope: float, level: float) -> SmoothPrior:
        """Prior on an even support.

        Parameters
        ----------
        x
            Support, shape ``(C,)``.
        length
            Length scale of the slope, in units of x.
        slope
            Standard deviation of the slope.
        level
            Standard deviation of the value in the middle of the support.
        """
        of_slope = slope**2 * np.exp(-0.5 * ((x[:, None] - x) / length) ** 2)
        integral = np.tril(np.full(of_slope.shape, x[1] - x[0]))
        integral -= integral[len(x) // 2]
        covariance = integral @ of_slope @ integral.T + level**2
        variance, direction = np.linalg.eigh(covariance)
        kept = variance > _NEGLIGIBLE * variance[-1]
        return cls(direction[:, kept] * np.sqrt(variance[kept]), length)

    def _complexity(self, weight: np.ndarray, information: np.ndarray) -> float:
        precision = np.eye(len(weight)) + (self.basis.T * information) @ self.basis
        return -0.5 * weight @ weight - 0.5 * np.linalg.slogdet(precision)[1]

    def fit_linear(self, linear: np.ndarray, quadratic: np.ndarray) -> SmoothFit:
        """Fit to a log likelihood Σ_c a_c f_c − ½ h_c f_c².

        Parameters
        ----------
        linear, quadratic
            a and h ≥ 0, shape ``(C,)``.
        """
        precision = np.eye(self.basis.shape[1]) + (self.basis.T * quadratic) @ self.basis
        weight = np.linalg.solve(precision, self.basis.T @ linear)
        curve = self.basis @ weight
        log_likelihood = float(linear @ curve - 0.5 * quadratic @ curve**2)
        return SmoothFit(curve, self._complexity(weight, quadratic), log_likelihood)

    def fit_log(
        self, count: np.ndarray, expected: np.ndarray, near: np.ndarray | None = None
    ) -> SmoothFit:
        """Fit to Poisson counts of mean M_c exp(f_c), by Newton's method.

        Parameters
        ----------
        count, expected
            Counts, and M: what they would be for f = 0; shape ``(C,)``.
        near
            Curve to start from, ``(C,)``; by default f = 0.
        """
        near = np.zeros(len(count)) if near is None else near
        weight = near @ self.basis / np.square(self.basis).sum(0)
        curve = np.clip(self.basis @ weight, *_LOG_RANGE)
        log_likelihood = float(count @ curve - expected @ np.exp(curve))
        for _ in range(_MAX_NEWTON_STEPS):
            mean = expected * np.exp(curve)
            gradient = self.basis.T @ (count - mean) - weight
            precision = np.eye(len(weight)) + (self.basis.T * mean) @ self.basis
            step = np.linalg.solve(precision, gradient)
            before = log_likelihood - 0.5 * weight @ weight
            for share in (1.0, 0.5, 0.25, 0.1, 0.02):
                proposal = weight + share * step
                proposed = np.clip(self.basis @ proposal, *_LOG_RANGE)
                log_likelihood = float(count @ proposed - expected @ np.exp(proposed))
                gain = log_likelihood - 0.5 * proposal @ proposal - before
                if gain >= 0:
                    break
            weight, curve = proposal, proposed
            if gain < _MIN_STEP_GAIN:
                break
        return SmoothFit(curve, self._complexity(weight, expected * np.exp(curve)), log_likelihood)


@cache
def smooth_priors(n_points: int, step: float) -> tuple[SmoothPrior, ...]:
    """Priors to choose from, on a support of ``n_points`` that are ``step`` apart."""
    x = step * np.arange(n_points)
    return tuple(
        SmoothPrior.of(x, length=length, slope=slope, level=_LEVEL_SD)
        for length in _LENGTHS
        for slope in _SLOPES
    )
