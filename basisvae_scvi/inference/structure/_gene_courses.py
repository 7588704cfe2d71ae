"""Courses of single genes, given their groups and δ: λ, own deviations, and how sure they are."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ._deviation import deviation_directions
from ._evidence import WorkingEvidence
from ._quadratic import Deviating

# Bases that a gene hardly follows have no part in its own course.
_NEGLIGIBLE_SHARE = 1e-3
_GENES_PER_BLOCK = 512


class OwnCourse(NamedTuple):
    """Own deviations ε = τ v u of genes, u ~ N(0, I) before there are data.

    Attributes
    ----------
    weight
        E[u], shape ``(P, R)``; R = 0 for τ = 0.
    course_sd
        Posterior standard deviation of the course, λ included and δ given, on the grid of z, shape
        ``(P, G)``; NaN for genes that are mostly flat.
    """

    weight: np.ndarray
    course_sd: np.ndarray


def _seen(evidence: WorkingEvidence, curve: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """A curve as genes of shifts ``(P',)`` follow it, in terms of the basis, ``(P', S)``."""
    grid = evidence.grid
    return np.interp(grid.z + shift[:, None], grid.x, curve) @ grid.basis


def best_scales(evidence: WorkingEvidence, curves: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """The most probable λ under curves at shifts, deviations integrated out, shape ``(P, K)``.

    Parameters
    ----------
    evidence
        What the cells, at their places, say of P genes.
    curves
        Shape ``(K, C)``.
    shift
        δ, shape ``(P, K)``.
    """
    if not evidence.scale_invariant:
        return np.ones_like(shift)
    found = [
        evidence.scales_of(_seen(evidence, curve, at))
        for curve, at in zip(curves, shift.T, strict=True)
    ]
    return np.stack(found, axis=1)


def own_course(
    evidence: WorkingEvidence,
    curves: np.ndarray,
    phi: np.ndarray,
    scale: np.ndarray,
    shift: np.ndarray,
) -> OwnCourse:
    """How genes deviate from their bases, λ and δ given; what is flat does not.

    Parameters
    ----------
    evidence
        What the cells, at their places, say of P genes.
    curves
        Shape ``(K, C)``.
    phi, scale, shift
        Responsibilities, λ and δ, each ``(P, K + 1)``; column 0 is the flat basis.
    """
    course = np.zeros((evidence.n_genes, evidence.grid.basis.shape[1]))
    share = np.zeros(evidence.n_genes)
    for k, curve in enumerate(curves, start=1):
        genes = np.flatnonzero(phi[:, k] > _NEGLIGIBLE_SHARE)
        seen = _seen(evidence, curve, shift[genes, k])
        course[genes] += phi[genes, k, None] * evidence.scaled(seen, scale[genes, k])
        share[genes] += phi[genes, k]
    given = Deviating(evidence.given, deviation_directions(evidence.deviation))
    return OwnCourse(given.coordinates(course, share), _course_sd(evidence, course, share))


def _course_sd(evidence: WorkingEvidence, course: np.ndarray, share: np.ndarray) -> np.ndarray:
    """sqrt diag Φ D T⁻¹ Dᵀ Φᵀ, T = I + Dᵀ A D, where courses change by D u; shape ``(P, G)``."""
    own, basis = deviation_directions(evidence.deviation), evidence.grid.basis
    sd = np.full((evidence.n_genes, len(basis)), np.nan)
    moving = np.flatnonzero(share >= 0.5)
    for start in range(0, len(moving), _GENES_PER_BLOCK):
        genes = moving[start : start + _GENES_PER_BLOCK]
        directions = np.broadcast_to(own, (len(genes), *own.shape))
        if evidence.scale_invariant:
            by_scale = evidence.by_scale(course[genes])[..., None]
            directions = np.concatenate([by_scale, directions], axis=2)
        turned = directions.transpose(0, 2, 1)
        precision = np.eye(turned.shape[1])
        precision = precision + turned @ (evidence.given.quadratic[genes] @ directions)
        seen = basis @ directions
        spread = np.linalg.solve(precision, seen.transpose(0, 2, 1)).transpose(0, 2, 1)
        sd[genes] = np.sqrt(np.maximum((seen * spread).sum(2), 0.0))
    return sd
