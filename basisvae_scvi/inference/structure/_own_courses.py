"""Counts of every gene by themselves: a smooth course and batch offsets of its own, or a level."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ._quadratic import Quadratics, packed, unpacked

_MAX_STEPS = 50
_MAX_OFFSET_STEPS = 20
# Largest change of a log mean in one step of Newton's method, and that at which it ends.
_REACH, _CONVERGED = 1.0, 1e-3
_LOG_RANGE = 30.0


@dataclass(frozen=True)
class CountSums:
    """Counts over the grid of z, divided by the genes' dispersions.

    Attributes
    ----------
    count
        Of every batch, shape ``(B, P, G)``.
    exposure
        Sums of size factors, shape ``(B, G)``.
    unit
        What a size factor of 1 expects at a log mean of 0, m_j / ψ_j, shape ``(P,)``.
    """

    count: np.ndarray
    exposure: np.ndarray
    unit: np.ndarray


def batch_offsets(count: np.ndarray, expected: np.ndarray, near: np.ndarray) -> np.ndarray:
    """The most probable log offsets c ~ N(0, 1) of batches, shape ``(B, P)``.

    Parameters
    ----------
    count, expected
        Counts, and what they would be without an offset, each ``(B, P)``.
    near
        Where to start, of the same shape.
    """
    offset = near
    for _ in range(_MAX_OFFSET_STEPS):
        mean = expected * np.exp(offset)
        step = (count - mean - offset) / (mean + 1.0)
        offset = offset + np.clip(step, -_REACH, _REACH)
        if np.abs(step).max(initial=0.0) < _CONVERGED:
            break
    return offset


@dataclass(frozen=True)
class OwnCourses:
    """The most probable courses, and log likelihoods as quadratic functions about them.

    Attributes
    ----------
    weight
        Of the courses, in terms of their prior, shape ``(P, R)``.
    course
        In terms of the grid's basis, shape ``(P, S)``.
    offset
        Of the batches, shape ``(B, P)``; 0 for a single one.
    quadratics
        Log likelihoods of all courses, offsets held.
    evidence
        Log evidence by Laplace's method, shape ``(P,)``.
    """

    weight: np.ndarray
    course: np.ndarray
    offset: np.ndarray
    quadratics: Quadratics
    evidence: np.ndarray

    @classmethod
    def fitted(
        cls, sums: CountSums, basis: np.ndarray, prior: np.ndarray, near: OwnCourses | None
    ) -> OwnCourses:
        """Fit by Newton's method, in turn with the offsets.

        Parameters
        ----------
        sums
            The counts.
        basis
            Of the grid, shape ``(G, S)``.
        prior
            Square root of the prior covariance of courses, shape ``(S, R)``.
        near
            Courses to start from, where some are known.
        """
        functions = basis @ prior
        n_batch, n_genes, _ = sums.count.shape
        count = sums.count.sum(0)
        weight = np.zeros((n_genes, prior.shape[1])) if near is None else near.weight.copy()
        offset = np.zeros((n_batch, n_genes)) if near is None else near.offset.copy()
        products = squares_of_rows(functions)
        open_ = np.arange(n_genes)
        for _ in range(_MAX_STEPS):
            course = weight[open_] @ functions.T
            if n_batch > 1:
                offset[:, open_] = _offsets_along(sums, course, open_, offset[:, open_])
            mean = _exposure(sums, offset, open_) * np.exp(course)
            precision = np.eye(prior.shape[1]) + unpacked(mean @ products)
            pull = (count[open_] - mean) @ functions - weight[open_]
            step = np.linalg.solve(precision, pull[..., None])[..., 0]
            change = np.abs(step @ functions.T).max(1)
            weight[open_] += step * np.minimum(1.0, _REACH / np.maximum(change, 1e-12))[:, None]
            open_ = open_[change > _CONVERGED]
            if not len(open_):
                break
        return cls._at(sums, basis, prior, weight, offset)

    @classmethod
    def _at(cls, sums: CountSums, basis, prior, weight, offset) -> OwnCourses:
        course = weight @ prior.T
        values, genes = course @ basis.T, np.arange(len(weight))
        mean = _exposure(sums, offset, genes) * np.exp(values)
        count = sums.count.sum(0)
        curvature = unpacked(mean @ squares_of_rows(basis))
        slope = (count - mean) @ basis
        log_likelihood = (count * values - mean).sum(1)
        if len(offset) > 1:
            by_batch = np.stack([e * np.exp(values) * sums.unit[:, None] for e in sums.exposure])
            by_batch = by_batch.sum(2) * np.exp(offset)
            log_likelihood += (sums.count.sum(2) * offset - 0.5 * offset**2).sum(0)
            log_likelihood -= 0.5 * np.log1p(by_batch).sum(0)
        bent = (curvature @ course[..., None])[..., 0]
        constant = log_likelihood - (slope * course).sum(1) - 0.5 * (bent * course).sum(1)
        precision = np.eye(prior.shape[1]) + prior.T @ curvature @ prior
        evidence = log_likelihood - 0.5 * np.square(weight).sum(1)
        evidence -= 0.5 * np.linalg.slogdet(precision)[1]
        return cls(weight, course, offset, Quadratics(constant, slope + bent, curvature), evidence)


def squares_of_rows(functions: np.ndarray) -> np.ndarray:
    """Triangles of the outer products of the rows of ``(G, R)``, ``(G, R (R + 1) / 2)``."""
    return packed(functions[:, :, None] * functions[:, None, :])


def _exposure(sums: CountSums, offset: np.ndarray, genes: np.ndarray) -> np.ndarray:
    """Counts to expect of genes at a log mean of 0, batches together, ``(P', G)``."""
    if len(offset) == 1:
        return np.outer(sums.unit[genes], sums.exposure[0])
    return sums.unit[genes, None] * (np.exp(offset[:, genes]).T @ sums.exposure)


def _offsets_along(sums: CountSums, course, genes, near) -> np.ndarray:
    """Offsets for courses ``(P', G)``, shape ``(B, P')``."""
    expected = (sums.exposure @ np.exp(course).T) * sums.unit[genes]
    return batch_offsets(sums.count[:, genes].sum(2), expected, near)


@dataclass(frozen=True)
class Level:
    """Counts of genes that do not change along z, each of shape ``(P,)``.

    Attributes
    ----------
    log_scale
        Most probable log λ ~ N(0, 1).
    variance
        Of log λ, offsets held as for the courses.
    evidence
        Log evidence, by Laplace's method.
    """

    log_scale: np.ndarray
    variance: np.ndarray
    evidence: np.ndarray

    @classmethod
    def fitted(cls, count: np.ndarray, expected: np.ndarray, *, scales: bool) -> Level:
        """Fit to counts and to what they would be at λ = 1 and without offsets, each ``(B, P)``.

        With several batches the offsets of the batches are fitted, too.
        """
        n_batch, n_genes = count.shape
        log_scale, offset = np.zeros(n_genes), np.zeros((n_batch, n_genes))
        for _ in range(_MAX_STEPS):
            if n_batch > 1:
                offset = batch_offsets(count, expected * np.exp(log_scale), offset)
            mean = (expected * np.exp(offset + log_scale)).sum(0)
            if not scales:
                if n_batch == 1:
                    break
                step = np.zeros(n_genes)
            else:
                step = (count.sum(0) - mean - log_scale) / (mean + 1.0)
                log_scale = log_scale + np.clip(step, -_REACH, _REACH)
            if np.abs(step).max(initial=0.0) < _CONVERGED:
                break
        by_batch = expected * np.exp(offset + log_scale)
        evidence = (count * (offset + log_scale) - by_batch).sum(0)
        curvature = np.ones(n_genes)
        if scales:
            curvature = by_batch.sum(0) + 1.0
            evidence -= 0.5 * log_scale**2
        if n_batch > 1:
            evidence -= 0.5 * (offset**2).sum(0) + 0.5 * np.log1p(by_batch).sum(0)
        evidence -= 0.5 * np.log(curvature)
        variance = 1.0 / curvature if scales else np.zeros(n_genes)
        return cls(log_scale, variance, evidence)
