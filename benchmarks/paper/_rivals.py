"""Other ways to group features: distances, k-means, principal components, a linear-basis mixture.

Every rival is told the number of groups, which BasisVAE is not.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from sklearn.cluster import KMeans

N_RESTARTS = 20


class Rival(NamedTuple):
    """A similarity or distance of features, and groups of them."""

    matrix: np.ndarray
    labels: np.ndarray
    measure: str


def _cut(distance: np.ndarray, n_groups: int) -> np.ndarray:
    """Average linkage, cut into ``n_groups``."""
    tree = linkage(squareform(distance, checks=False), method="average")
    return fcluster(tree, n_groups, criterion="maxclust")


def euclidean(y: np.ndarray, n_groups: int) -> Rival:
    """Euclidean distances of features (columns of ``y``)."""
    squares = (y**2).sum(axis=0)
    squared = squares[:, None] + squares - 2.0 * y.T @ y
    distance = np.sqrt(np.clip(squared, 0.0, None))
    np.fill_diagonal(distance, 0.0)
    return Rival(distance, _cut(distance, n_groups), "distance")


def pearson(y: np.ndarray, n_groups: int) -> Rival:
    """Correlations of features; groups from the distance 1 - r."""
    correlation = np.corrcoef(y.T)
    distance = np.clip(1.0 - correlation, 0.0, None)
    np.fill_diagonal(distance, 0.0)
    return Rival(correlation, _cut(distance, n_groups), "correlation")


def k_means(y: np.ndarray, n_groups: int, seed: int) -> Rival:
    """k-means on the features: how often restarts join two, and the best restart."""
    fits = [KMeans(n_groups, n_init=1, random_state=seed + i).fit(y.T) for i in range(N_RESTARTS)]
    best = min(fits, key=lambda fit: fit.inertia_)
    return Rival(_joined([fit.labels_ for fit in fits]), best.labels_, "share of restarts")


def components(y: np.ndarray, n_components: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores of the cells on the first principal components, orthonormal, and loadings."""
    u, size, v = np.linalg.svd(y - y.mean(axis=0), full_matrices=False)
    return u[:, :n_components], size[:n_components, None] * v[:n_components]


def principal_components(y: np.ndarray, n_groups: int, n_components: int, seed: int) -> Rival:
    """Cosines between the loadings of features, and k-means on the loadings."""
    loadings = components(y, n_components)[1].T
    length = np.linalg.norm(loadings, axis=1, keepdims=True)
    unit = loadings / np.where(length > 0, length, 1.0)
    labels = KMeans(n_groups, n_init=N_RESTARTS, random_state=seed).fit_predict(loadings)
    return Rival(unit @ unit.T, labels, "cosine")


def linear_bases(y: np.ndarray, n_groups: int, n_components: int, seed: int) -> Rival:
    """A mixture of basis functions that are linear in z, with scales λ ≥ 0.

    y_j = λ_j (a_k + B_k z) + noise with z the first principal components, which is the linear
    BasisVAE of the paper (after Palla et al. 2012) for a given z. Coordinate ascent on hard
    assignments from many random starts; the best one gives the groups.
    """
    z = components(y, n_components)[0]
    frame = np.linalg.qr(np.column_stack([np.ones(len(y)), z]))[0]
    coordinates = (frame.T @ y).T
    rng = np.random.default_rng(seed)
    fits = [_half_lines(coordinates, n_groups, rng) for _ in range(N_RESTARTS)]
    best = max(fits, key=lambda fit: fit[1])
    return Rival(_joined([labels for labels, _ in fits]), best[0], "share of restarts")


def _half_lines(
    points: np.ndarray, n_groups: int, rng: np.random.Generator, max_rounds: int = 200
) -> tuple[np.ndarray, float]:
    """Half-lines from the origin through points, shape (P, D): labels and explained squares."""
    start = points[rng.choice(len(points), n_groups, replace=False)]
    directions = start / np.linalg.norm(start, axis=1, keepdims=True)
    labels = np.full(len(points), -1)
    for _ in range(max_rounds):
        along = np.clip(points @ directions.T, 0.0, None)  # λ under every direction
        new = along.argmax(axis=1)
        if np.array_equal(new, labels):
            break
        labels = new
        for k in range(n_groups):
            own = points[(labels == k) & (along[:, k] > 0)]
            if len(own):
                leading = np.linalg.svd(own, full_matrices=False)[2][0]
                directions[k] = leading * np.sign((own @ leading).sum() or 1.0)
    return labels, float((np.clip(points @ directions.T, 0.0, None).max(axis=1) ** 2).sum())


def _joined(partitions: list[np.ndarray]) -> np.ndarray:
    """Share of the partitions that put two features together, shape (P, P)."""
    return np.mean([labels[:, None] == labels for labels in partitions], axis=0)
