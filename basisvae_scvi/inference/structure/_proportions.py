"""What groups of genes cost: the part of the bound that the mixing proportions π have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import digamma, gammaln

from basisvae_scvi.module import InferenceScheme


@dataclass(frozen=True)
class GroupPrior:
    """q(w) under π, at the optimum of whatever else the scheme has.

    With ``"collapsed"`` π is integrated out. With ``"non-collapsed"`` q(π) is at its optimum,
    Dirichlet(α + n), where E log p(w | π) − KL(q(π) ‖ p(π)) is the same number, and for φ only the
    constant ψ(Σ(α + n)) differs. With ``"fixed_pi"`` all π_k are 1 / K.

    Attributes
    ----------
    n_basis
        Number of bases K of the model, the flat one included.
    concentration
        Dirichlet concentration α.
    scheme
        Treatment of π.
    weight
        β_w, by which all of this counts.
    """

    n_basis: int
    concentration: float
    scheme: InferenceScheme = "collapsed"
    weight: float = 1.0

    def log_weights(self, members: np.ndarray) -> np.ndarray:
        """E log π_k up to a constant, for expected numbers of genes ``(K',)``."""
        if self.scheme == "fixed_pi":
            return np.zeros_like(members)
        return digamma(self.concentration + members)

    def log_partition(self, members: np.ndarray) -> float:
        """β_w log p(w), in nats up to a constant, for expected numbers of genes ``(K',)``."""
        if self.scheme == "fixed_pi":
            return -self.weight * float(members.sum()) * np.log(self.n_basis)
        a = self.concentration
        terms = gammaln(a + members) - gammaln(a)
        return self.weight * float(terms.sum() - gammaln(self.n_basis * a + members.sum()))

    def gene_terms(self, evidence: np.ndarray, phi: np.ndarray) -> float:
        """Σ_jk φ (evidence − β_w log φ), in nats."""
        entropy = phi * np.log(np.maximum(phi, 1e-300))
        return float((phi * evidence - self.weight * entropy).sum())
