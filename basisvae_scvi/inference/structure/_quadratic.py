"""Log likelihoods of genes as quadratic functions of their course, own deviations integrated out.

Every smooth function on the grid of z is Φ c with few coordinates c. A gene says of its course Φ c
that log p = const + b·c − ½ c·A c. Where the course is c = f + V u with u ~ N(0, I), the integral
over u is such a function of f again,

    T = I + Vᵀ A V,   q = b − A V T⁻¹ Vᵀ b,   M = A − A V T⁻¹ Vᵀ A,
    const + ½ bᵀ V T⁻¹ Vᵀ b − ½ log |T|,

so that a gene which deviates from its group costs no more than one that does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np


def packed(matrices: np.ndarray) -> np.ndarray:
    """Upper triangles of symmetric matrices ``(..., S, S)``, ``(..., S (S + 1) / 2)``."""
    return matrices[(..., *np.triu_indices(matrices.shape[-1]))]


def unpacked(triangles: np.ndarray) -> np.ndarray:
    """Symmetric matrices of such triangles, the inverse of :func:`packed`."""
    size = int((np.sqrt(8 * triangles.shape[-1] + 1) - 1) / 2)
    rows, columns = np.triu_indices(size)
    matrices = np.empty((*triangles.shape[:-1], size, size))
    matrices[..., rows, columns] = triangles
    matrices[..., columns, rows] = triangles
    return matrices


def squares(vectors: np.ndarray) -> np.ndarray:
    """What makes c·A c = packed(A)·squares(c), of vectors ``(..., S)``."""
    rows, columns = np.triu_indices(vectors.shape[-1])
    return np.where(rows == columns, 1.0, 2.0) * vectors[..., rows] * vectors[..., columns]


class Quadratics(NamedTuple):
    """Log likelihoods const + b·c − ½ c·A c of P genes.

    Attributes
    ----------
    constant
        Shape ``(P,)``.
    linear
        b, shape ``(P, S)``.
    quadratic
        A, symmetric, shape ``(P, S, S)``.
    """

    constant: np.ndarray
    linear: np.ndarray
    quadratic: np.ndarray

    def moved(self, offset: np.ndarray) -> Quadratics:
        """As functions of c where the course is c + offset, the offset of shape ``(S,)``."""
        bent = self.quadratic @ offset
        constant = self.constant + self.linear @ offset - 0.5 * bent @ offset
        return Quadratics(constant, self.linear - bent, self.quadratic)


@dataclass(frozen=True)
class Deviating:
    """Genes whose course is c + V u, u ~ N(0, I).

    Attributes
    ----------
    given
        Log likelihoods of the courses.
    directions
        V, shape ``(S, R)``.
    """

    given: Quadratics
    directions: np.ndarray

    @cached_property
    def _precision(self) -> np.ndarray:
        """T, shape ``(P, R, R)``."""
        inner = self.directions.T @ (self.given.quadratic @ self.directions)
        return np.eye(self.directions.shape[1]) + inner

    @cached_property
    def response(self) -> np.ndarray:
        """T⁻¹ Vᵀ, shape ``(P, R, S)``."""
        right = np.broadcast_to(
            self.directions.T, (len(self._precision), *self.directions.T.shape)
        )
        return np.linalg.solve(self._precision, right)

    @cached_property
    def marginal(self) -> Quadratics:
        """Log likelihoods of c, u integrated out."""
        constant, linear, quadratic = self.given
        through = (quadratic @ self.directions) @ self.response  # A V T⁻¹ Vᵀ
        gain = (linear @ self.directions * self._mean(linear)).sum(1)
        volume = np.linalg.slogdet(self._precision)[1]
        rest = quadratic - through @ quadratic
        return Quadratics(
            constant + 0.5 * gain - 0.5 * volume,
            linear - (through @ linear[..., None])[..., 0],
            0.5 * (rest + rest.transpose(0, 2, 1)),
        )

    @cached_property
    def marginal_packed(self) -> np.ndarray:
        """M as triangles, shape ``(P, S (S + 1) / 2)``."""
        return packed(self.marginal.quadratic)

    def _mean(self, linear: np.ndarray) -> np.ndarray:
        return (self.response @ linear[..., None])[..., 0]

    def courses(self, course: np.ndarray, share: np.ndarray) -> np.ndarray:
        """E[c + V u], shape ``(P, S)``.

        Parameters
        ----------
        course
            Σ_i w_i c_i over what the gene may follow, shape ``(P, S)``.
        share
            Σ_i w_i, shape ``(P,)``.
        """
        return course + self.coordinates(course, share) @ self.directions.T

    def coordinates(self, course: np.ndarray, share: np.ndarray) -> np.ndarray:
        """E[u], shape ``(P, R)``; parameters as in :meth:`courses`."""
        pull = share[:, None] * self.given.linear
        return self._mean(pull - (self.given.quadratic @ course[..., None])[..., 0])

    def direction(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """E[u_i] = α − β·c and its variance: α ``(P,)``, β ``(P, S)``, variance ``(P,)``."""
        row = self.response[:, index]
        level = (row * self.given.linear).sum(1)
        slope = (row[:, None] @ self.given.quadratic)[:, 0]
        return level, slope, np.linalg.inv(self._precision)[:, index, index]

    def freedom(self) -> np.ndarray:
        """How much of u the data leave open, 0 to 1 (1 where there is none), shape ``(P,)``."""
        n = self.directions.shape[1]
        if not n:
            return np.ones(len(self._precision))
        return np.trace(np.linalg.inv(self._precision), axis1=1, axis2=2) / n
