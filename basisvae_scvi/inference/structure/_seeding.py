"""Curves of single genes, and which of them a search begins with."""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

from ._curves import CurveSums
from ._evidence import ScaleMoments
from ._state import GroupedGenes, Structure

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
        one = ScaleMoments(np.ones_like(weight), np.ones_like(weight))
        sums = [genes.evidence.curve_sums(weight, one, which[[i]]) for i in range(len(which))]
        return genes.evidence.fit(CurveSums.stacked(sums)).curve

    def own_evidence(self) -> np.ndarray:
        """What genes reach with their own courses for curves, shape ``(P,)``."""
        genes = self.genes
        curves = genes.evidence.own_curves(genes.all_genes)
        evidence = np.empty(len(curves))
        for gene in range(len(curves)):
            table, _ = genes.evidence.table(curves[[gene]], np.array([gene]))
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
