"""Basis functions as the backends take them: values at the cells, or on a grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class BasisEvaluator(Protocol):
    """Basis functions that can be evaluated at the points of a set of pairs."""

    def at_pairs(self, z: Tensor, shift: Tensor | None, basis: Tensor) -> Tensor:
        """Values b_k(z_n + δ_m) for latent ``(N, Q)``, shifts ``(M,)`` and bases ``(M,)``."""


@dataclass(frozen=True)
class TabulatedBasis:
    """Bases without shifts, already evaluated at the cells: ``values`` has shape ``(N, K)``."""

    values: Tensor

    def at_pairs(self, z: Tensor, shift: Tensor | None, basis: Tensor) -> Tensor:
        """Look the values up."""
        return self.values.index_select(1, basis)


@dataclass(frozen=True)
class GridBasis:
    """Bases of a one-dimensional z on an even grid, shape ``(G, K)``, G ≥ 4.

    Values in between are those of the cubic through the four nearest grid points (Lagrange's
    form), whose error is at most 3/128 h⁴ max|b⁗| for spacing h; outside the grid the end values
    hold.

    Attributes
    ----------
    values
        b_k at the grid points, shape ``(G, K)``.
    lower, upper
        First and last grid point.
    """

    values: Tensor
    lower: float
    upper: float

    @property
    def step(self) -> float:
        """Distance between grid points."""
        return (self.upper - self.lower) / (self.values.shape[0] - 1)

    @staticmethod
    def points(lower: float, upper: float, n_grid: int, like: Tensor) -> Tensor:
        """The grid points, shape ``(G,)``, with the type and on the device of ``like``."""
        return torch.linspace(lower, upper, n_grid, dtype=like.dtype, device=like.device)

    def at_pairs(self, z: Tensor, shift: Tensor | None, basis: Tensor) -> Tensor:
        """Interpolate b_k at z_n + δ_m."""
        n_grid, n_basis = self.values.shape
        points = z if shift is None else z + shift
        position = (points.clamp(self.lower, self.upper) - self.lower) / self.step
        cell = position.detach().floor().clamp(1, n_grid - 3)
        t = position - cell
        first = (cell.long() - 1) * n_basis + basis
        flat = self.values.reshape(-1)
        weights = (
            -t * (t - 1) * (t - 2) / 6,
            (t + 1) * (t - 1) * (t - 2) / 2,
            -(t + 1) * t * (t - 2) / 2,
            (t + 1) * t * (t - 1) / 6,
        )
        result = flat.new_zeros(())
        for i, weight in enumerate(weights):
            result = result + weight * flat[first + i * n_basis]
        return result
