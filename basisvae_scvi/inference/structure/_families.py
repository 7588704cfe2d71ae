"""Which working evidence goes with which likelihood."""

from __future__ import annotations

import numpy as np

from basisvae_scvi.likelihood import Likelihood
from basisvae_scvi.module import FeatureConstants

from ._counts import CountEvidence
from ._evidence import WorkingEvidence
from ._gaussian import BinaryEvidence, GaussianEvidence
from ._grid import CurveGrid

# In how many stretches of z a smooth course errs independently: chosen, not measured.
_N_STRETCHES = 6


def working_evidence(
    likelihood: Likelihood,
    values,
    size: np.ndarray,
    variance: np.ndarray,
    grid: CurveGrid,
    constants: FeatureConstants,
    scale_invariant: bool,
    *,
    tolerance: float = 0.0,
    weight: float = 1.0,
) -> WorkingEvidence:
    """Working evidence that goes with a likelihood.

    A gene of many counts tells its own course from any other, however alike. With a tolerance τ,
    the log course of a gene of counts may differ from its basis by an error of standard deviation
    τ, independent in about six stretches of z. In a stretch with X_j / 6 counts this adds
    (τ X_j / 6)² to their variance, so that the dispersion becomes ψ_j + τ² X_j / 6 (to first
    order, evidence to a power, as in Miller & Dunson 2019, J. Am. Stat. Assoc. 114, 1113).

    Parameters
    ----------
    likelihood
        Observation model.
    values
        Cells × genes, dense or sparse.
    size
        Size factors, shape ``(N,)``.
    variance
        Variance of the size-normalised values among cells of equal z, shape ``(P,)``.
    grid
        The grid.
    constants
        Data constants of the features.
    scale_invariant
        Whether λ is free.
    tolerance
        τ; of counts only.
    weight
        Number of cells that each row of ``values`` stands for.
    """
    if likelihood.is_count:
        mean = np.asarray(constants.scale, dtype=np.float64)
        dispersion = np.maximum(1.0, variance / np.maximum(mean, 1e-12))
        total = weight * np.asarray(values.sum(axis=0), dtype=np.float64).ravel()
        coarseness = 1.0 + tolerance**2 * total / (_N_STRETCHES * dispersion)
        dispersion = dispersion * coarseness
        evidence = CountEvidence(values, size, dispersion, grid, constants, scale_invariant)
        evidence.coarseness = coarseness
        return evidence
    if likelihood.name == "bernoulli":
        return BinaryEvidence(values, grid, constants, scale_invariant)
    floor = 1e-6 * max(float(variance.max()), 1e-12)
    return GaussianEvidence(values, np.maximum(variance, floor), grid, constants, scale_invariant)
