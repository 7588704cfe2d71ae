"""Start the bases from the genes: seed on profile distance, then alternate fit and assignment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp, softmax

from ._profile import ProfileTable, WorkingModel

_BANDWIDTH = 0.25
_N_GRID = 121
_MAX_SHIFT = 2.0
_SHIFT_STEP = 0.2
_CANDIDATES_PER_SEED = 8
_N_SWEEPS = 15
_N_WEIGHT_STEPS = 20
# Degrees of freedom that a smooth curve is charged with when it asks to be a basis of its own.
_CURVE_FREEDOM = 6.0


def shift_grid(translation_invariant: bool) -> np.ndarray | None:
    """Shifts δ over which the profile table searches, in units of z."""
    if not translation_invariant:
        return None
    n_steps = round(_MAX_SHIFT / _SHIFT_STEP)
    return _SHIFT_STEP * np.arange(-n_steps, n_steps + 1)


@dataclass(frozen=True)
class CurveSpace:
    """Curves over z given by their values at G support points.

    Attributes
    ----------
    points
        Support points, shape ``(G, Q)``.
    smooth
        For each shift, the kernel from pools to support points, shape ``(D, G, B)``.
    evaluate
        For each shift, interpolation from support points to the shifted pools, ``(D, B, G)``.
    shifts
        The D shifts, or ``None``.
    """

    points: np.ndarray
    smooth: np.ndarray
    evaluate: np.ndarray
    shifts: np.ndarray | None

    @classmethod
    def over(cls, z: np.ndarray, shifts: np.ndarray | None) -> CurveSpace:
        """Space for pools at ``z``: an even grid for one latent dimension, else the pools."""
        deltas = np.zeros(1) if shifts is None else shifts
        if z.shape[1] == 1:
            low, high = z.min() + deltas.min(), z.max() + deltas.max()
            grid = np.linspace(low, max(high, low + 1e-3), _N_GRID)
            moved = z[:, 0] + deltas[:, None]
            evaluate = np.stack([_linear_interpolation(grid, points) for points in moved])
            distance = grid[None, :, None] - moved[:, None, :]
            smooth = np.exp(-0.5 * (distance / _BANDWIDTH) ** 2)
            return cls(grid[:, None], smooth, evaluate, shifts)
        squared = ((z[:, None, :] - z[None, :, :]) ** 2).sum(-1)
        kernel = np.exp(-0.5 * squared / (2 * _BANDWIDTH) ** 2)
        moved_kernels = []
        for delta in deltas:
            moved = ((z[:, None, :] - z[None, :, :] - delta) ** 2).sum(-1)
            moved_kernels.append(np.exp(-0.5 * moved / (2 * _BANDWIDTH) ** 2))
        smooth = np.stack(moved_kernels)
        rows = smooth.transpose(0, 2, 1)
        evaluate = rows / np.maximum(rows.sum(-1, keepdims=True), 1e-12)
        if shifts is None:
            evaluate = np.eye(len(z))[None]
            smooth = kernel[None]
        return cls(z, smooth, evaluate, shifts)

    def values(self, curves: np.ndarray) -> np.ndarray:
        """Curves ``(K, G)`` at the shifted pools, shape ``(D, K, B)``."""
        return np.einsum("dbg,kg->dkb", self.evaluate, curves)


def _linear_interpolation(grid: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Matrix (points × grid) of linear interpolation, constant beyond the ends."""
    step = grid[1] - grid[0]
    position = np.clip((points - grid[0]) / step, 0, len(grid) - 1)
    left = np.minimum(position.astype(int), len(grid) - 2)
    fraction = position - left
    matrix = np.zeros((len(points), len(grid)))
    rows = np.arange(len(points))
    matrix[rows, left], matrix[rows, left + 1] = 1.0 - fraction, fraction
    return matrix


def _ratio(numerator: np.ndarray, denominator: np.ndarray, positive: bool) -> np.ndarray:
    """Smoothed curves; where there are next to no data, the nearest supported value."""
    enough = denominator > 1e-3 * denominator.max(axis=1, keepdims=True)
    curves = np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)
    index = np.arange(curves.shape[1])
    for curve, known in zip(curves, enough, strict=True):
        if known.any() and not known.all():
            nearest = np.abs(index[~known, None] - index[None, known]).argmin(1)
            curve[~known] = curve[known][nearest]
    return np.maximum(curves, 1e-4) if positive else curves


def _mixture_evidence(evidence: np.ndarray) -> float:
    """Log evidence of all genes, Σ_j log Σ_k π_k exp(evidence_jk), at the best π.

    Unlike the sum of the best entries it gives no credit for choosing among columns that fit
    equally well.
    """
    log_weight = np.full(evidence.shape[1], -np.log(evidence.shape[1]))
    for _ in range(_N_WEIGHT_STEPS):
        log_joint = evidence + log_weight
        share = softmax(log_joint, axis=1).mean(0)
        log_weight = np.log(np.maximum(share, 1e-300))
    return float(logsumexp(evidence + log_weight, axis=1).sum())


class ShapeSearch:
    """k-means-like search for the curves that explain the genes, in nats of the working model.

    Parameters
    ----------
    model
        Working model of the pooled data.
    space
        Curve space over the same pools.
    positive
        Whether curves must be ≥ 0.
    n_obs
        Number of cells, for the price of a curve.
    rng
        Random generator of the seeding.
    """

    def __init__(
        self,
        model: WorkingModel,
        space: CurveSpace,
        *,
        positive: bool,
        n_obs: int,
        rng: np.random.Generator,
    ):
        self.model, self.space, self.positive, self.rng = model, space, positive, rng
        # Large groups attract and weak curves go, but only where no shift can stand in for them.
        self.is_frugal = space.shifts is None
        self.price = 0.5 * _CURVE_FREEDOM * np.log(max(n_obs, 2))

    def _gene_curves(self, genes: np.ndarray) -> np.ndarray:
        """Smoothed curve of each gene on its own, unshifted, shape ``(len(genes), G)``."""
        zero = 0 if self.space.shifts is None else int(np.abs(self.space.shifts).argmin())
        numerator, denominator = self.model.curve_sums(np.ones(len(self.model.unit)))
        kernel = self.space.smooth[zero].T
        smoothed = numerator[genes] @ kernel, denominator[genes] @ kernel
        return _ratio(*smoothed, self.positive)

    def _table(self, curves: np.ndarray) -> ProfileTable:
        """Profile table of the flat curve (column 0) and the given ones."""
        flat = np.ones((1, curves.shape[1]))
        values = self.space.values(np.concatenate([flat, curves]))
        return self.model.table(values, self.space.shifts)

    def _own_evidence(self) -> np.ndarray:
        """What each gene would reach with a curve of its own, shape ``(P,)``."""
        curves = self._gene_curves(np.arange(len(self.model.unit)))
        zero = 0 if self.space.shifts is None else int(np.abs(self.space.shifts).argmin())
        values = curves @ self.space.evaluate[zero].T
        own = [
            self.model.fit(values[block], self.model.unit, block)[0].diagonal()
            for block in np.array_split(np.arange(len(values)), max(1, len(values) // 500))
        ]
        return np.concatenate(own)

    def seed(self, n_curves: int) -> np.ndarray:
        """Choose up to ``n_curves`` genes whose curves the others lack most; ``(K, G)``.

        Candidates are drawn with probability proportional to the nats their gene still misses
        (k-means++ on the profile distance); the one that helps all genes most is taken, as long
        as it earns its price.
        """
        n_support = self.space.points.shape[0]
        curves = np.empty((0, n_support))
        best = self._table(curves).evidence[:, 0]
        own = self._own_evidence()
        while len(curves) < n_curves:
            missing = np.maximum(own - best, 0.0)
            if missing.sum() <= 0:
                break
            n_candidates = min(_CANDIDATES_PER_SEED, int((missing > 0).sum()))
            genes = self.rng.choice(
                len(missing), n_candidates, replace=False, p=missing / missing.sum()
            )
            candidates = self._gene_curves(genes)
            evidence = self._table(candidates).evidence[:, 1:]
            gain = np.maximum(evidence - best[:, None], 0.0).sum(0)
            winner = int(gain.argmax())
            if gain[winner] < self.price:
                break
            curves = np.concatenate([curves, candidates[winner : winner + 1]])
            best = np.maximum(best, evidence[:, winner])
        return curves

    def refine(self, curves: np.ndarray) -> np.ndarray:
        """Alternate assignment and smoothing until no gene moves; empty curves are dropped."""
        previous = None
        for _ in range(_N_SWEEPS):
            table = self._table(curves)
            weight = np.zeros(len(curves) + 1)
            if previous is not None and self.is_frugal:
                weight = np.log(np.bincount(previous, minlength=len(weight)) + 1.0)
            label = (table.evidence + weight).argmax(1)
            used = np.unique(label[label > 0])
            if previous is not None and np.array_equal(label, previous):
                break
            if len(used) == 0:
                return np.empty((0, curves.shape[1]))
            previous = label if len(used) == len(curves) else None
            curves = self._smooth(table, label, used)
        return curves

    def _smooth(self, table: ProfileTable, label: np.ndarray, used: np.ndarray) -> np.ndarray:
        rows = np.arange(len(label))
        scale, shift = table.scale[rows, label], table.shift_index[rows, label]
        numerator, denominator = self.model.curve_sums(scale)
        n_shifts, _, n_pools = self.space.smooth.shape
        slot = np.searchsorted(used, label)
        is_used = label > 0
        sums = np.zeros((2, len(used), n_shifts, n_pools))
        for i, values in enumerate((numerator, denominator)):
            np.add.at(sums[i], (slot[is_used], shift[is_used]), values[is_used])
        smoothed = np.einsum("dgb,ikdb->ikg", self.space.smooth, sums)
        return _ratio(smoothed[0], smoothed[1], self.positive)

    def prune(self, curves: np.ndarray) -> np.ndarray:
        """Delete the curve that is missed least, as long as that is by less than its price.

        A curve that only follows the noise of a few genes, or the twin of another one, earns
        less than what it costs; its genes go elsewhere, perhaps to the flat curve.
        """
        while len(curves):
            evidence = self._table(curves).evidence
            with_all = _mixture_evidence(evidence)
            without = [
                _mixture_evidence(np.delete(evidence, k + 1, axis=1)) for k in range(len(curves))
            ]
            weakest = int(np.argmax(without))
            if with_all - without[weakest] >= self.price:
                break
            curves = self.refine(np.delete(curves, weakest, axis=0))
        return curves

    def run(self, n_curves: int) -> np.ndarray:
        """Seed, refine and, without shifts, prune; at most ``n_curves`` curves, ``(K, G)``.

        With shifts a deleted curve's genes follow another one through large shifts, and the
        order of real cells was found to suffer; there all curves go into the joint training.
        """
        curves = self.refine(self.seed(n_curves))
        return self.prune(curves) if self.is_frugal else curves
