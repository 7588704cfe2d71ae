"""Curves of groups: the best one under its prior, for what genes say of it under all shifts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np

from basisvae_scvi.module._smooth import SmoothFit, smooth_priors

from ._grid import STEP, CurveGrid
from ._quadratic import unpacked

# Share of the largest singular value below which directions of curves are left out.
_NEGLIGIBLE = 1e-3


class CurveSums(NamedTuple):
    """What genes say of curves: Σ_d [linear_d · c_d − ½ c_d · quadratic_d c_d].

    c_d are the coordinates of a curve under shift d, :meth:`CurveGrid.coordinates`.

    Attributes
    ----------
    linear
        Shape ``(K, D, S)``.
    quadratic
        Triangles, :func:`packed`, shape ``(K, D, S (S + 1) / 2)``.
    """

    linear: np.ndarray
    quadratic: np.ndarray

    @classmethod
    def stacked(cls, sums: list[CurveSums]) -> CurveSums:
        """Sums of several curves in one."""
        linear, quadratic = (np.concatenate(values) for values in zip(*sums, strict=True))
        return cls(linear, quadratic)


class CurveInformation(NamedTuple):
    """The same as functions of curves Ψ v: pull·v − ½ v·information v.

    Attributes
    ----------
    pull
        Shape ``(K, R)``.
    information
        Shape ``(K, R, R)``.
    """

    pull: np.ndarray
    information: np.ndarray


@dataclass(frozen=True)
class CurvePrior:
    """Curves U w with w ~ N(0, I), where U = Ψ B.

    Attributes
    ----------
    basis
        U, shape ``(C, R')``.
    within
        B, shape ``(R, R')``.
    """

    basis: np.ndarray
    within: np.ndarray

    def fit(self, told: CurveInformation) -> SmoothFit:
        """The most probable curves, shape ``(K, C)``, and what they cost; exact."""
        pull = told.pull @ self.within
        information = self.within.T @ told.information @ self.within
        precision = np.eye(pull.shape[1]) + information
        weight = np.linalg.solve(precision, pull[..., None])[..., 0]
        bent = (information @ weight[..., None])[..., 0]
        fitted = (weight * (pull - 0.5 * bent)).sum(1)
        complexity = -0.5 * np.square(weight).sum(1) - 0.5 * np.linalg.slogdet(precision)[1]
        return SmoothFit(weight @ self.basis.T, complexity, fitted)


@dataclass(frozen=True)
class CurveSpace:
    """All curves that a group may have, and the priors to choose from.

    Attributes
    ----------
    windows
        Coordinates of the columns of Ψ under every shift, shape ``(D, S, R)``. Ψ is orthonormal
        and holds the curves of all priors.
    priors
        The roughest first.
    """

    windows: np.ndarray
    priors: tuple[CurvePrior, ...]

    def told(self, sums: CurveSums) -> CurveInformation:
        """What sums say of the curves."""
        flat = self.windows.reshape(-1, self.windows.shape[2])
        seen = unpacked(sums.quadratic) @ self.windows
        information = flat.T @ seen.reshape(len(seen), *flat.shape)
        return CurveInformation(sums.linear.reshape(len(seen), -1) @ flat, information)

    def fit(self, sums: CurveSums, priors: tuple[CurvePrior, ...]) -> SmoothFit:
        """The best curves, each under the prior of the largest evidence."""
        told, best = self.told(sums), None
        for prior in reversed(priors):  # smoothest first
            fit = prior.fit(told)
            best = fit if best is None else best.better(fit)
        return best


@cache
def curve_space(translation_invariant: bool) -> CurveSpace:
    """The curves on the support of the grid with or without shifts."""
    grid = CurveGrid(translation_invariant)
    priors = smooth_priors(len(grid.x), STEP)
    everything = np.concatenate([prior.basis for prior in priors], axis=1)
    left, singular, _ = np.linalg.svd(everything, full_matrices=False)
    space = left[:, singular > _NEGLIGIBLE * singular[0]]
    return CurveSpace(
        grid.coordinates(space.T).transpose(1, 2, 0),
        tuple(CurvePrior(prior.basis, space.T @ prior.basis) for prior in priors),
    )
