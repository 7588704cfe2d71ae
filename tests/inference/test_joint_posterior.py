"""Marginal standard deviations against the inverse of the whole precision matrix."""

import numpy as np
import pytest

from basisvae_scvi.inference._joint_posterior import (
    _KNOWN,
    _PRIOR,
    PlacedGenes,
    joint_variances,
)
from basisvae_scvi.inference.structure import STEP, CurveGrid, Predictor, SmoothPrior

N, SIZES = 25, (4, 3)


def place(rng, grid, z, n_genes, kind):
    """Genes of a random smooth curve, as counts or as Gaussian data have them."""
    # On points of the grid nothing is interpolated, so that the reference can be exact.
    shift = STEP * rng.integers(-20, 21, n_genes)
    scale = rng.uniform(0.5, 2.0, n_genes)
    curve = np.sin(grid.x + rng.uniform(0, 3)) + 1.5
    signal = np.interp(z[:, None] + shift, grid.x, curve)
    if kind == "counts":
        one = np.ones_like(signal)
        predictor = Predictor(one, one, scale * np.exp(signal) / 1.3)
    else:
        amplitude = np.broadcast_to(0.7 * scale, signal.shape)
        precision = np.broadcast_to(rng.uniform(4.0, 25.0, n_genes), signal.shape)
        predictor = Predictor(amplitude, amplitude * signal, precision)
    return PlacedGenes(curve, grid.weights * np.exp(0.1 * curve), shift, scale, predictor)


def dense(grid, z, z_precision, placed, weight, free, has_unit):
    """Covariance by inversion: z of every copy of a cell, then curves with their genes."""
    basis = SmoothPrior.of(grid.x, **_PRIOR).basis
    n_z = 0 if z_precision is None else N * weight
    n_own = [basis.shape[1] + 2 * len(genes.shift) for genes in placed]
    precision = np.zeros((n_z + sum(n_own),) * 2)
    if n_z:
        precision[np.arange(n_z), np.arange(n_z)] = np.tile(z_precision, weight)
        if has_unit:
            from_mean = np.tile(z - z.mean(), weight)
            precision[:n_z, :n_z] += _KNOWN * np.outer(from_mean, from_mean)
    first, places = n_z, []
    for genes, size in zip(placed, n_own, strict=True):
        r, m = basis.shape[1], len(genes.shift)
        curve = slice(first, first + r)
        places.append((first + r + np.arange(m), first + r + m + np.arange(m)))
        known = basis.T @ genes.size_gradient
        precision[curve, curve] += np.eye(r) + _KNOWN * np.outer(known, known)
        slope = np.gradient(genes.curve, STEP)
        for j in range(m):
            d, s = (place[j] for place in places[-1])
            precision[d, d] += 1.0 if free[0] else _KNOWN
            precision[s, s] += genes.scale[j] if free[1] else _KNOWN
            for copy in range(weight):
                for n in range(N):
                    at = round((z[n] + genes.shift[j] - grid.x[0]) / STEP)
                    by = np.zeros(len(precision))
                    amplitude = genes.predictor.amplitude[n, j]
                    by[curve] = amplitude * basis[at]
                    by[d] = amplitude * slope[at] * free[0]
                    by[s] = genes.predictor.by_log_scale[n, j] * free[1]
                    if n_z:
                        by[copy * N + n] = amplitude * slope[at]
                    precision += genes.predictor.information[n, j] * np.outer(by, by)
        first += size
    covariance = np.linalg.inv(precision)
    results = []
    for of_shift, of_scale in places:
        centre = np.eye(len(of_shift)) - 1.0 / len(of_shift)
        shift = centre @ covariance[np.ix_(of_shift, of_shift)] @ centre
        scale = covariance[of_scale, of_scale]
        results.append((np.sqrt(np.diag(shift)), np.sqrt(scale)))
    return results


@pytest.mark.parametrize("kind", ["counts", "gaussian"])
@pytest.mark.parametrize("weight", [1, 3])
@pytest.mark.parametrize("free", [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("of_z", ["free", "anchored", "observed"])
def test_deviations_are_those_of_the_whole_inverse(kind, weight, free, of_z):
    rng, grid = np.random.default_rng(weight), CurveGrid(True)
    z = STEP * rng.integers(-30, 31, N)
    precision = None if of_z == "observed" else rng.uniform(0.5, 4.0, N)
    placed = [place(rng, grid, z, m, kind) for m in SIZES]
    has_unit = of_z == "free"
    found = joint_variances(
        grid, z, precision, placed, weight=weight, free=free, has_unit=has_unit
    )
    expected = dense(grid, z, precision, placed, weight, free, has_unit)
    for ours, (shift, scale) in zip(found, expected, strict=True):
        if free[0]:
            sd = np.sqrt(ours.shift + ours.added_shift)
            np.testing.assert_allclose(sd, shift, rtol=1e-4)
        if free[1]:
            sd = np.sqrt(ours.log_scale + ours.added_log_scale)
            np.testing.assert_allclose(sd, scale, rtol=1e-4)


def test_what_z_adds_is_more_than_nothing_and_gone_where_z_is_observed():
    rng, grid = np.random.default_rng(0), CurveGrid(True)
    z = STEP * rng.integers(-30, 31, N)
    placed = [place(rng, grid, z, m, "gaussian") for m in SIZES]
    of_all = joint_variances(
        grid, z, np.ones(N), placed, weight=1, free=(True, True), has_unit=False
    )
    observed = joint_variances(grid, z, None, placed, weight=1, free=(True, True), has_unit=False)
    known = joint_variances(
        grid, z, np.full(N, 1e9), placed, weight=1, free=(True, True), has_unit=False
    )
    for free, fixed, held in zip(of_all, observed, known, strict=True):
        assert (free.added_shift > 1.2 * fixed.added_shift).all()
        np.testing.assert_allclose(free.shift, fixed.shift)
        np.testing.assert_allclose(held.added_shift, fixed.added_shift, rtol=1e-3)
