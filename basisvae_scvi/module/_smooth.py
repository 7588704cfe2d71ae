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
# The prior under which curves are roughest.
ROUGHEST = {"length": min(_LENGTHS), "slope": max(_SLOPES), "level": _LEVEL_SD}
# Directions with less prior variance than this share of the largest are left out.
_NEGLIGIBLE = 1e-5
_MAX_NEWTON_STEPS = 30
# Nats. Newton's method squares its error: after a step that gains so little, none is left.
_MIN_STEP_GAIN = 1e-2
# Shares of a Newton step that are tried until one gains.
_STEP_SHARES = (1.0, 0.5, 0.25, 0.1, 0.02)
_LOG_RANGE = (-30.0, 8.0)


class SmoothFit(NamedTuple):
    """Fitted curves.

    Attributes
    ----------
    curve
        Values on the support, shape ``(K, C)``.
    complexity
        What each curve costs in nats: log prior at the fit plus Laplace's log volume; negative,
        shape ``(K,)``.
    log_likelihood
        Of each fit, up to a constant of the data, shape ``(K,)``.
    """

    curve: np.ndarray
    complexity: np.ndarray
    log_likelihood: np.ndarray

    @property
    def evidence(self) -> np.ndarray:
        """Log evidence of each, up to a constant of the data, shape ``(K,)``."""
        return self.log_likelihood + self.complexity

    def at(self, rows: np.ndarray) -> SmoothFit:
        """Some of the fits."""
        return SmoothFit(*(values[rows] for values in self))

    def better(self, other: SmoothFit) -> SmoothFit:
        """Of each curve the fit of larger evidence."""
        wins = other.evidence > self.evidence
        return SmoothFit(
            np.where(wins[:, None], other.curve, self.curve),
            np.where(wins, other.complexity, self.complexity),
            np.where(wins, other.log_likelihood, self.log_likelihood),
        )


@dataclass(frozen=True)
class SmoothPrior:
    """f = U w with w ~ N(0, I).

    Attributes
    ----------
    basis
        U, shape ``(C, R)``.
    """

    basis: np.ndarray

    @classmethod
    def of(
        cls,
        x: np.ndarray,
        *,
        length: float,
        slope: float,
        level: float,
        negligible: float = _NEGLIGIBLE,
    ) -> SmoothPrior:
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
        negligible
            Share of the largest variance below which directions are left out.
        """
        of_slope = slope**2 * np.exp(-0.5 * ((x[:, None] - x) / length) ** 2)
        integral = np.tril(np.full(of_slope.shape, x[1] - x[0]))
        integral -= integral[len(x) // 2]
        covariance = integral @ of_slope @ integral.T + level**2
        variance, direction = np.linalg.eigh(covariance)
        kept = variance > negligible * variance[-1]
        return cls(direction[:, kept] * np.sqrt(variance[kept]))

    def _precision(self, information: np.ndarray) -> np.ndarray:
        """Of w given the data, shape ``(K, R, R)``."""
        weighted = self.basis.T * information[:, None, :]
        return np.eye(self.basis.shape[1]) + weighted @ self.basis

    def _fit(self, weight: np.ndarray, precision: np.ndarray, curve, log_likelihood) -> SmoothFit:
        volume = np.linalg.slogdet(precision)[1]
        complexity = -0.5 * np.square(weight).sum(1) - 0.5 * volume
        return SmoothFit(curve, complexity, log_likelihood)

    def fit_linear(self, linear: np.ndarray, quadratic: np.ndarray) -> SmoothFit:
        """Fit to log likelihoods Σ_c a_c f_c − ½ h_c f_c².

        Parameters
        ----------
        linear, quadratic
            a and h ≥ 0 of every curve, shape ``(K, C)``.
        """
        precision = self._precision(quadratic)
        weight = _solved(precision, linear @ self.basis)
        curve = weight @ self.basis.T
        log_likelihood = (linear * curve - 0.5 * quadratic * curve**2).sum(1)
        return self._fit(weight, precision, curve, log_likelihood)

    def fit_log(
        self, count: np.ndarray, expected: np.ndarray, near: np.ndarray | None = None
    ) -> SmoothFit:
        """Fit to Poisson counts of mean M_c exp(f_c), by Newton's method.

        Parameters
        ----------
        count, expected
            Counts of every curve, and M: what they would be for f = 0; shape ``(K, C)``.
        near
            Curves to start from, ``(K, C)``; by default f = 0.
        """
        near = np.zeros(count.shape) if near is None else near
        weight = near @ self.basis / np.square(self.basis).sum(0)
        curve, log_likelihood = self._log_fit(weight, count, expected)
        open_ = np.arange(len(count))
        for _ in range(_MAX_NEWTON_STEPS):
            step = self._newton_step(weight[open_], curve[open_], count[open_], expected[open_])
            start, before = weight[open_], log_likelihood[open_]
            before = before - 0.5 * np.square(start).sum(1)
            gain, left = np.empty(len(open_)), np.arange(len(open_))
            for share in _STEP_SHARES:
                rows = open_[left]
                weight[rows] = start[left] + share * step[left]
                fit = self._log_fit(weight[rows], count[rows], expected[rows])
                curve[rows], log_likelihood[rows] = fit
                gain[left] = fit[1] - 0.5 * np.square(weight[rows]).sum(1) - before[left]
                left = left[gain[left] < 0]
                if not len(left):
                    break
            open_ = open_[gain >= _MIN_STEP_GAIN]
            if not len(open_):
                break
        precision = self._precision(expected * np.exp(curve))
        return self._fit(weight, precision, curve, log_likelihood)

    def _log_fit(self, weight: np.ndarray, count: np.ndarray, expected: np.ndarray):
        """Curves ``(K, C)`` and their log likelihood ``(K,)``."""
        curve = np.clip(weight @ self.basis.T, *_LOG_RANGE)
        return curve, (count * curve - expected * np.exp(curve)).sum(1)

    def _newton_step(self, weight, curve, count, expected) -> np.ndarray:
        mean = expected * np.exp(curve)
        return _solved(self._precision(mean), (count - mean) @ self.basis - weight)


def _solved(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.linalg.solve(matrix, right[..., None])[..., 0]


@cache
def smooth_priors(n_points: int, step: float) -> tuple[SmoothPrior, ...]:
    """Priors to choose from, on a support of ``n_points`` that are ``step`` apart."""
    x = step * np.arange(n_points)
    return tuple(
        SmoothPrior.of(x, length=length, slope=slope, level=_LEVEL_SD)
        for length in _LENGTHS
        for slope in _SLOPES
    )
