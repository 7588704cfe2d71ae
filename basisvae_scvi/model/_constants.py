"""Data constants of the model, computed once from the training data."""

from __future__ import annotations

import numpy as np

from basisvae_scvi.data import feature_moments, row_sums
from basisvae_scvi.likelihood import Likelihood
from basisvae_scvi.module import FeatureConstants


def observed_library(matrix) -> tuple[np.ndarray, float]:
    """Library of every cell, and the median over the cells that are not empty."""
    library = row_sums(matrix)
    filled = library[library > 0]
    return library, float(np.median(filled)) if filled.size else 1.0


def feature_constants(
    matrix, likelihood: Likelihood, size_factor: np.ndarray | None, unit: float | None = None
) -> FeatureConstants:
    """Units, levels and starting dispersions of the features; see :class:`FeatureConstants`.

    Parameters
    ----------
    matrix
        Cells × genes.
    likelihood
        Observation model.
    size_factor
        The user's size factors, shape ``(N,)``, or ``None`` for observed library over median.
    unit
        For Gaussian data, the common unit of all features; ``None`` for their root mean square.
    """
    if likelihood.is_count:
        return _count_constants(matrix, size_factor)
    moments = feature_moments(matrix)
    if likelihood.name == "bernoulli":
        n_obs = matrix.shape[0]
        p = np.clip(moments.mean, 0.5 / n_obs, 1.0 - 0.5 / n_obs)
        ones = np.ones_like(p)
        return FeatureConstants(ones, np.log(p / (1.0 - p)), ones, library=1.0)
    size = float(np.sqrt(np.mean(moments.variance + moments.mean**2))) if unit is None else unit
    size = size if size > 0 else 1.0
    sd = np.maximum(np.sqrt(moments.variance), 1e-3 * size)
    return FeatureConstants(np.full_like(sd, size), moments.mean, sd, library=1.0)


def _count_constants(matrix, size_factor: np.ndarray | None) -> FeatureConstants:
    library, median = observed_library(matrix)
    s = library / median if size_factor is None else np.asarray(size_factor, dtype=np.float64)
    moments = feature_moments(matrix, s)
    # A gene that was never seen is given half a count in all cells together.
    mean = np.maximum(moments.mean, 0.5 / max(s.sum(), 1e-12))
    noise = mean * np.mean(1.0 / np.maximum(s[s > 0], 1e-6))
    theta = mean**2 / np.maximum(moments.variance - noise, 1e-3 * mean**2)
    return FeatureConstants(mean, mean, np.clip(theta, 0.1, 100.0), library=median)
