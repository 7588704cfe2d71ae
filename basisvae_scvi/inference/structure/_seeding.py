"""Curves of single genes, and which of them a search begins with."""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

from ._evidence import WorkingEvidence, stacked
from ._grid import CurveGrid
from ._state import GroupedGenes, Structure

_BANDWIDTH = 0.25
_N_CANDIDATES = 8
_MIN_GAIN = 20.0


class Seeding:
    """Curves of single genes for cells that are pooled at some places.

    Parameters
    ----------
    genes
        The genes.
    rng
        Random generator.
    """

    def __init__(self, genes: GroupedGenes, rng: np.random.Generator):
        self.genes, self.rng = genes, rng

    def own_curves(self, which: np.ndarray) -> np.ndarray:
        """Smooth curve of each gene, unshifted, shape ``(n, C)``."""
        genes, grid = self.genes, self.genes.grid
        weight = np.zeros((1, len(grid.shifts)))
        weight[0, grid.no_shift] = 1.0
        if not len(which):
            return np.empty((0, len(grid.x)))
        sums = []
        for gene in which.tolist():
            index = np.array([gene])
            scale = genes.evidence.table(genes.evidence.level_curve[None], index)[1].at((0, [0]))
            sums.append(genes.evidence.curve_sums(weight, self._unit_scale(scale), index))
        return genes.evidence.fit(stacked(sums)).curve

    def _unit_scale(self, scale):
        """λ = 1 for signed curves: their level is not yet known."""
        if self.genes.evidence.positive:
            return scale
        return type(scale)(np.ones_like(scale.first), np.ones_like(scale.second))

    def own_evidence(self) -> np.ndarray:
        """What genes reach with kernel-smoothed curves of their own, shape ``(P,)``."""
        genes, grid = self.genes, self.genes.grid
        curves = _kernel_curves(genes.evidence, grid)
        evidence = np.empty(len(curves))
        for gene in range(len(curves)):
            index = np.array([gene])
            table, _ = genes.evidence.table(curves[[gene]], index)
            evidence[gene] = logsumexp(table[0, 0] + genes.log_shift_prior)
        return evidence

    def seeded(self, n_curves: int, own: np.ndarray) -> Structure:
        """Curves of up to ``n_curves`` genes that the others lack most (k-means++ on evidence)."""
        genes = self.genes
        curves = np.empty((0, len(genes.grid.x)))
        best = genes.evidence.flat_evidence
        while len(curves) < n_curves:
            missing = np.maximum(own - best, 0.0)
            if missing.sum() <= 0:
                break
            n_candidates = min(_N_CANDIDATES, int((missing > 0).sum()))
            share = missing / missing.sum()
            chosen = self.rng.choice(len(missing), n_candidates, replace=False, p=share)
            candidates = self.own_curves(chosen)
            evidence = genes.look(candidates, genes.all_genes)[0]
            gain = np.maximum(evidence - best[:, None], 0.0).sum(0)
            winner = int(gain.argmax())
            if gain[winner] < _MIN_GAIN:
                break
            curves = np.concatenate([curves, candidates[[winner]]])
            best = np.maximum(best, evidence[:, winner])
        return genes.structure(curves, np.zeros(len(curves)))


def _kernel_curves(evidence: WorkingEvidence, grid: CurveGrid) -> np.ndarray:
    """Kernel-smoothed curve of every gene at δ = 0 on the support, shape ``(P, C)``."""
    kernel = np.exp(-0.5 * ((grid.z[:, None] - grid.z) / _BANDWIDTH) ** 2)
    if evidence.positive:
        count = evidence.at_grid @ kernel
        expected = np.outer(evidence.unit, evidence.exposure @ kernel)
        scale = evidence.total / np.maximum(evidence.unit * evidence.exposure.sum(), 1e-12)
        pseudo = 0.5
        curves = np.log((count + pseudo) / (expected * scale[:, None].clip(1e-12) + pseudo))
    else:
        top = evidence.weighted @ kernel * evidence.unit[:, None]
        bottom = evidence.precision @ kernel * evidence.unit[:, None] ** 2
        curves = top / (bottom + 1e-3 * bottom.max(1, keepdims=True))
    pad = (len(grid.x) - len(grid.z)) // 2
    curves = np.pad(curves, ((0, 0), (pad, pad)), mode="edge")
    return np.stack([evidence.normalised(curve) for curve in curves])
