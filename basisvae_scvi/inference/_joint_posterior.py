"""How well λ and δ are known when neither the curves nor z are.

Given z and the curves, a gene's shift is known very well; what is known less well is the metric of
z. So the joint posterior of z, curves, shifts and scales is taken: normal at the optimum
(Laplace's approximation with expected second derivatives), every gene on its most probable basis.
With x = z_n + δ_j the linear predictor of cell n and gene j has the derivatives

    ∂η/∂δ_j = ∂η/∂z_n = a_nj f'(x),   ∂η/∂log λ_j = t_nj,   ∂η/∂w = a_nj U(x)

for a curve f = U w with w ~ N(0, I). Counts have η = log μ and a = t = 1; other data η = λ m f,
a = λ m and t = η. Genes of different curves have nothing but z in common, and cells nothing but
curves and genes. So the precision of curves and genes is one of blocks, less a term of as many
ranks as there are cells, and Woodbury's identity gives the marginal variances.

The likelihood leaves the unit of z open. A free z is measured in its own standard deviation over
the cells, and δ with it; so Σ_n (z_n - z̄) dz_n = 0, and what is open is no uncertainty of δ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .structure import STEP, CurveGrid, Predictor, SmoothPrior

# The prior of the curves, where the data say nothing of them.
_PRIOR = {"length": 0.8, "slope": 3.0, "level": 0.5}
# Precision of what is known: the size of a curve, the unit of z, and λ and δ of models without.
_KNOWN = 1e6


@dataclass(frozen=True)
class PlacedGenes:
    """The m genes of one curve.

    Attributes
    ----------
    curve
        Values of f on the support of the grid, shape ``(C,)``; logs for counts.
    size_gradient
        Derivative of the curve's conventional size by its values, shape ``(C,)``.
    shift, scale
        δ and λ, shape ``(m,)``.
    predictor
        What they predict.
    """

    curve: np.ndarray
    size_gradient: np.ndarray
    shift: np.ndarray
    scale: np.ndarray
    predictor: Predictor


class GeneVariances(NamedTuple):
    """Marginal variances of the genes of one curve, each ``(m,)``.

    Of δ relative to its mean over these genes.

    Attributes
    ----------
    shift, log_scale
        Of δ and log λ, were z and the curve known.
    added_shift, added_log_scale
        What z and the curve add.
    """

    shift: np.ndarray
    log_scale: np.ndarray
    added_shift: np.ndarray
    added_log_scale: np.ndarray


class _Information(NamedTuple):
    """Blocks of the joint precision: curve, genes (δ and log λ), and the cells' z.

    Attributes
    ----------
    curve, genes, cross
        Of curve and genes, priors included: ``(R, R)``, ``(m, 2, 2)`` and ``(m, 2, R)``.
    cells
        What these genes say about z, shape ``(N,)``.
    curve_z, genes_z
        Between curve or genes and z, ``(R, N)`` and ``(m, 2, N)``.
    """

    curve: np.ndarray
    genes: np.ndarray
    cross: np.ndarray
    cells: np.ndarray
    curve_z: np.ndarray
    genes_z: np.ndarray


def _binned(point: np.ndarray, values: np.ndarray, n_points: int) -> np.ndarray:
    """Sum every row of ``values`` by its points of the support, shape ``(rows, C)``."""
    rows = np.arange(len(point))[:, None] * n_points
    sums = np.bincount((rows + point).ravel(), values.ravel(), len(point) * n_points)
    return sums.reshape(len(point), n_points)


def _information(
    grid: CurveGrid, basis: np.ndarray, z: np.ndarray, placed: PlacedGenes, weight: float, free
) -> _Information:
    """Information of the genes of one curve; ``free`` tells whether δ and log λ are free."""
    amplitude, by_log_scale, information = placed.predictor
    position = z[:, None] + placed.shift
    slope = np.interp(position, grid.x, np.gradient(placed.curve, STEP)) * amplitude
    by_gene = np.stack([slope * free[0], by_log_scale * free[1]])  # (2, N, m)
    point = np.rint((position - grid.x[0]) / STEP).astype(int).clip(0, len(grid.x) - 1)
    by_curve = information * amplitude

    def over_cells(values: np.ndarray) -> np.ndarray:
        return _binned(point.T, values.T, len(grid.x))

    at_points = over_cells(by_curve * amplitude).sum(0)
    size = basis.T @ placed.size_gradient
    curve = weight * (basis.T * at_points) @ basis + np.eye(len(size))
    genes = weight * np.einsum("anj,nj,bnj->jab", by_gene, information, by_gene)
    genes[:, 0, 0] += 1.0 if free[0] else _KNOWN
    genes[:, 1, 1] += placed.scale if free[1] else _KNOWN
    return _Information(
        curve=curve + _KNOWN * np.outer(size, size),
        genes=genes,
        cross=weight * np.stack([over_cells(by_curve * by) @ basis for by in by_gene], axis=1),
        cells=(information * slope**2).sum(1),
        curve_z=(_binned(point, by_curve * slope, len(grid.x)) @ basis).T,
        genes_z=np.einsum("anj,nj->jan", by_gene, information * slope),
    )


class _Solved:
    """Inverse of one block, z held, and what it makes of z.

    Attributes
    ----------
    own
        Inverse of the genes' own blocks, ``(m, 2, 2)``.
    along_curve
        Square root of what the curve adds to their covariance, ``(m, 2, R)``.
    genes_z
        Rows of D⁻¹ V that belong to the genes, ``(m, 2, N)``.
    through
        Vᵀ D⁻¹ V, ``(N, N)``.
    """

    def __init__(self, of: _Information):
        self.own = np.linalg.inv(of.genes)
        to_curve = self.own @ of.cross
        rest = of.curve - np.einsum("jar,jas->rs", of.cross, to_curve)
        root = np.linalg.inv(np.linalg.cholesky(0.5 * (rest + rest.T)))
        self.along_curve = to_curve @ root.T
        unexplained = of.curve_z - np.einsum("jar,jan->rn", to_curve, of.genes_z)
        curve_z = root.T @ (root @ unexplained)
        self.genes_z = self.own @ of.genes_z - to_curve @ curve_z
        flat = (-1, of.genes_z.shape[2])
        self.through = of.curve_z.T @ curve_z
        self.through += of.genes_z.reshape(flat).T @ self.genes_z.reshape(flat)

    def variances(
        self, row: int, of_z: np.ndarray, *, centred: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Own and added variance of one row of the genes, each ``(m,)``.

        ``of_z`` is a square root of the covariance that z adds, ``(N, N)``.
        """
        own, curve = self.own[:, row, row], self.along_curve[:, row]
        cells = self.genes_z[:, row] @ of_z
        if centred:
            own = own * (1.0 - 2.0 / len(own)) + own.mean() / len(own)
            curve, cells = curve - curve.mean(0), cells - cells.mean(0)
        return own, (curve**2).sum(1) + (cells**2).sum(1)


def joint_variances(
    grid: CurveGrid,
    z: np.ndarray,
    z_precision: np.ndarray | None,
    placed: list[PlacedGenes],
    *,
    weight: float,
    free: tuple[bool, bool],
    has_unit: bool,
) -> list[GeneVariances]:
    """Marginal variances of δ and log λ, z and curves integrated out.

    Parameters
    ----------
    grid
        Grid of the curves.
    z
        Places of some cells, shape ``(N,)``.
    z_precision
        Precision of their priors, shape ``(N,)``; ``None`` for an observed z.
    placed
        The genes, one entry a curve.
    weight
        Number of cells that each of these stands for.
    free
        Whether the model has shifts, and scales.
    has_unit
        Whether z is measured in its own standard deviation.
    """
    basis = SmoothPrior.of(grid.x, **_PRIOR).basis
    parts = [_information(grid, basis, z, genes, weight, free) for genes in placed]
    solved = [_Solved(part) for part in parts]
    of_z = np.zeros((len(z), 0))
    if z_precision is not None:
        inner = np.diag((z_precision + sum(part.cells for part in parts)) / weight)
        inner -= sum(block.through for block in solved)
        if has_unit:
            from_mean = z - z.mean()
            inner += _KNOWN * np.outer(from_mean, from_mean)
        of_z = np.linalg.inv(np.linalg.cholesky(0.5 * (inner + inner.T))).T
    results = []
    for block in solved:
        shift, added_shift = block.variances(0, of_z, centred=True)
        log_scale, added_log_scale = block.variances(1, of_z, centred=False)
        results.append(GeneVariances(shift, log_scale, added_shift, added_log_scale))
    return results
