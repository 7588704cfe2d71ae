"""What the uncertainty of shift and scale leaves open of a gene's course."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import ndtri

from ._annotation import Annotation

# Places of the cells, as quantiles of z, over which the size of a course is held.
_N_PLACES = 100
_TINY = 1e-12
# δ has a normal prior of standard deviation 1: no posterior is wider.
_WIDEST_SHIFT = 1.0


def credible_band(
    annotation: Annotation, genes: pd.DataFrame, z: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the credible intervals of courses λ b(z + δ) exp ε(z), each of shape ``(G, J)``.

    Of genes with own courses, as far as the data tell these. Else to first order in δ and log λ,
    which are not independent: where δ changes, λ follows such that the size of the course over the
    cells stays (its mean for non-negative bases, else its mean square). What this does not explain
    of the variance of λ counts as its own.

    Parameters
    ----------
    annotation
        Results of one fit.
    genes
        Rows of ``annotation.genes``, J of them.
    z
        Points, shape (G,).
    level
        Probability of the intervals.

    Raises
    ------
    KeyError
        If standard deviations were not annotated.
    ValueError
        If ``level`` is not in (0, 1).

    Examples
    --------
    >>> import basisvae_scvi as bv
    >>> annotation = bv.get.Annotation.of(annotated)
    >>> z = annotation.points(50)
    >>> lower, upper = bv.get.credible_band(annotation, annotation.genes, z, 0.9)
    >>> lower.shape
    (50, 30)
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"level={level} must lie in (0, 1).")
    annotation.require("shift_sd", "scale_sd", what="Credible bands")
    is_positive = annotation.is_positive
    course = annotation.courses(genes, z)
    common, slope = (
        annotation.courses(genes, z, slope=s, own_course=False) for s in (False, True)
    )
    scale = np.maximum(np.abs(genes["scale"].to_numpy()), _TINY)
    shift_sd = np.nan_to_num(genes["shift_sd"].to_numpy(dtype=float)).clip(0.0, _WIDEST_SHIFT)
    shift_sd = np.where(genes["cluster"] == Annotation.FLAT, 0.0, shift_sd)
    scale_sd = np.nan_to_num(genes["scale_sd"].to_numpy(dtype=float)) / scale
    known = annotation.latent[np.isfinite(annotation.latent[:, 0]), 0]
    places = np.quantile(known, (np.arange(_N_PLACES) + 0.5) / _N_PLACES)
    at_cells, slope_at_cells = (
        annotation.courses(genes, places, slope=s, own_course=False) for s in (False, True)
    )
    weight = np.ones_like(at_cells) if is_positive else at_cells
    size = (weight * at_cells).sum(0)
    follow = np.divide(
        (weight * slope_at_cells).sum(0), size, out=np.zeros_like(size), where=size > _TINY
    )
    own = np.maximum(scale_sd**2 - (follow * shift_sd) ** 2, 0.0)
    width = ndtri(0.5 + 0.5 * level)
    known = annotation.course_sds(genes, z)  # of own courses, all in one
    if not is_positive:
        by_shift = shift_sd * (slope - follow * common)
        sd = np.where(np.isnan(known), np.sqrt(own * common**2 + by_shift**2), known)
        return course - width * sd, course + width * sd
    relative = np.divide(slope, common, out=np.zeros_like(slope), where=common > _TINY)
    log_sd = np.sqrt(own + (shift_sd * (relative - follow)) ** 2)
    log_sd = np.where(np.isnan(known), log_sd, known)
    return course * np.exp(-width * log_sd), course * np.exp(width * log_sd)
