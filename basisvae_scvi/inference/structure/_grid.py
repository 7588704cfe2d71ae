"""The grid on which z, shifts and curves live, so that a shift is a move by whole steps."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

from basisvae_scvi.module import (
    LATENT_STEP,
    SHIFT_REACH,
    curve_support,
    latent_grid,
)
from basisvae_scvi.module._smooth import ROUGHEST, SmoothPrior

STEP = LATENT_STEP
_STEPS_PER_SHIFT = 2
# Directions of the roughest curves with less than this share of the largest variance are left out.
_NEGLIGIBLE = 1e-5
# Curvature of a log integrand, in steps of δ, above which sums over the grid are not trusted.
_NARROW = 2.0


class ShiftPeak(NamedTuple):
    """A parabola around the highest point of a function of δ, in steps of δ; each ``(P, K)``.

    Attributes
    ----------
    index
        Index of the highest point.
    is_inner
        Whether there is a parabola: not at the ends of the grid. Elsewhere it has no meaning.
    curvature
        Negative second derivative.
    offset
        From the point to the vertex.
    gain
        From the value at the point to that at the vertex.
    """

    index: np.ndarray
    is_inner: np.ndarray
    curvature: np.ndarray
    offset: np.ndarray
    gain: np.ndarray


class CurveGrid:
    """Even grids of z, of δ, and of their sum.

    Parameters
    ----------
    translation_invariant
        Whether genes may be shifted.

    Attributes
    ----------
    z
        Where cells may sit, shape ``(G,)``, in standard deviations of the prior.
    shifts
        The D shifts; only 0 without translation invariance.
    x
        Support of the curves, shape ``(C,)``: every z + δ.
    log_z_prior
        N(0, 1) on the grid of z, normalised over it, ``(G,)``.
    weights
        N(0, 1) on the support of the curves, normalised over it, ``(C,)``.
    basis
        Φ: orthonormal functions on the grid of z that all curves are made of as cells see them,
        the constant one among them, shape ``(G, S)``.
    """

    def __init__(self, translation_invariant: bool):
        self.z = latent_grid()
        stride = _STEPS_PER_SHIFT
        reach = round(SHIFT_REACH / (STEP * stride)) if translation_invariant else 0
        moves = stride * np.arange(-reach, reach + 1)
        self.shifts = STEP * moves
        pad = stride * reach
        self.x = curve_support(translation_invariant)
        self._index = (moves + pad)[:, None] + np.arange(len(self.z))
        self.log_z_prior = _log_normal(self.z)
        self.weights = np.exp(_log_normal(self.x))
        self.basis = _window_basis()

    @property
    def no_shift(self) -> int:
        """Index of δ = 0."""
        return len(self.shifts) // 2

    def log_shift_prior(self, sd: float = 1.0) -> np.ndarray:
        """N(0, sd²) on the shifts, normalised over them, ``(D,)``."""
        return _log_normal(self.shifts / sd)

    def windows(self, curves: np.ndarray) -> np.ndarray:
        """Curves ``(K, C)`` as cells see them under every shift, shape ``(K, D, G)``."""
        return curves[:, self._index]

    def coordinates(self, curves: np.ndarray) -> np.ndarray:
        """Curves ``(K, C)`` under every shift in terms of ``basis``, shape ``(K, D, S)``."""
        return self.windows(curves) @ self.basis

    def extended(self, courses: np.ndarray) -> np.ndarray:
        """Functions on the grid of z, ``(P, G)``, level beyond it: on the support, ``(P, C)``."""
        pad = (len(self.x) - len(self.z)) // 2
        return np.pad(courses, ((0, 0), (pad, pad)), mode="edge")

    def peak(self, log_joint: np.ndarray) -> ShiftPeak:
        """The parabola through the highest point over δ and its neighbours.

        Parameters
        ----------
        log_joint
            Log evidence plus log prior at every shift, shape ``(P, K, D)``; at least three shifts.
        """
        index = log_joint.argmax(axis=2).clip(1, len(self.shifts) - 2)
        left, centre, right = (
            np.take_along_axis(log_joint, index[..., None] + i, 2)[..., 0] for i in (-1, 0, 1)
        )
        curvature = 2.0 * centre - left - right
        is_inner = (centre >= left) & (centre >= right) & (curvature > 0.0)
        curvature = np.where(is_inner, curvature, 1.0)
        slope = np.where(is_inner, 0.5 * (right - left), 0.0)
        return ShiftPeak(index, is_inner, curvature, slope / curvature, 0.5 * slope**2 / curvature)

    def between_shifts(self, log_joint: np.ndarray, mass: np.ndarray):
        """What the sum over the grid of δ misses of an integral that is narrow against its step.

        Sums of smooth functions over an even grid are exact to many digits down to a standard
        deviation of about 0.7 steps. Narrower ones are normal, by the parabola through the highest
        point and its neighbours.

        Parameters
        ----------
        log_joint
            Log evidence plus log prior at every shift, shape ``(P, K, D)``.
        mass
            Sum of exp(log_joint − its maximum) over shifts, shape ``(P, K)``.

        Returns
        -------
        Nats to add to the log of the sum, shape ``(P, K)``.
        """
        if len(self.shifts) < 3:
            return 0.0
        peak = self.peak(log_joint)
        integral = peak.gain + 0.5 * np.log(2 * np.pi / peak.curvature)
        is_narrow = peak.is_inner & (peak.curvature > _NARROW)
        return np.where(is_narrow, integral - np.log(mass), 0.0)

    def moved(self, curve: np.ndarray, shift: float) -> np.ndarray:
        """The curve x ↦ f(x + shift), shift rounded to the grid, constant beyond the ends."""
        steps = round(shift / STEP)
        return curve[np.clip(np.arange(len(curve)) + steps, 0, len(curve) - 1)]

    def mean(self, values: np.ndarray) -> float:
        """Mean of a function on the support under N(0, 1)."""
        return float(values @ self.weights)


@cache
def _window_basis() -> np.ndarray:
    z = latent_grid()
    functions = SmoothPrior.of(z, negligible=_NEGLIGIBLE, **ROUGHEST).basis
    return np.linalg.qr(np.column_stack([np.ones(len(z)), functions]))[0]


def _log_normal(points: np.ndarray) -> np.ndarray:
    log_density = -0.5 * points**2
    return log_density - logsumexp(log_density)
