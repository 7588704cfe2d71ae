"""Which working evidence goes with which likelihood."""

from __future__ import annotations

import numpy as np

from basisvae_scvi.likelihood import Likelihood
from basisvae_scvi.module import FeatureConstants

from ._counts import CountEvidence
from ._evidence import WorkingEvidence
from ._gaussian import BinaryEvidence, GaussianEvidence
from ._grid import CurveGrid


def working_evidence(
    likelihood: Likelihood,
    values,
    size: np.ndarray,
    variance: np.ndarray,
    grid: CurveGrid,
    constants: FeatureConstants,
    scale_invariant: bool,
    *,
    batch: np.ndarray | None = None,
    deviation: float = 0.0,
) -> WorkingEvidence:
    """Working evidence that goes with a likelihood.

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
    batch
        Batch of each cell, integers from 0, shape ``(N,)``; by default one batch.
    deviation
        Standard deviation τ of the genes' own deviations from the course of their group.
    """
    batch = np.zeros(values.shape[0], dtype=int) if batch is None else batch
    arguments = values, size, batch, grid, constants, scale_invariant, deviation
    if likelihood.is_count:
        mean = np.asarray(constants.scale, dtype=np.float64)
        dispersion = np.maximum(1.0, variance / np.maximum(mean, 1e-12))
        return CountEvidence(*arguments, dispersion=dispersion)
    if likelihood.name == "bernoulli":
        return BinaryEvidence(*arguments)
    floor = 1e-6 * max(float(variance.max()), 1e-12)
    return GaussianEvidence(*arguments, variance=np.maximum(variance, floor))
