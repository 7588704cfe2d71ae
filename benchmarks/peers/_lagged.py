"""Correlation at the best lag of every pair of genes, and hierarchical clustering on it.

The score is that of LPWC (Chandereng & Gitter 2020): two genes at lag k have
exp(-C · mean Δ²) · ρ_w, where Δ are the differences between the times that the lag brings together
and ρ_w is the correlation of what overlaps, weighted with exp(-C Δ²). On the even grid used here
all Δ of one lag are alike, so the weights drop out and ρ_w is the plain correlation. C is the high
penalty of the paper: the factor is one half at the mean of Δ² over all lags. Here every pair keeps
the lag of its highest score; see ``_lpwc.py`` for the one lag per gene of the paper.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from _choice import by_silhouette
from _curves import standardised
from _peer import Grouping, Problem, need, warm_nothing
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

N_POINTS = 50
warm = warm_nothing


def load() -> None:
    """Import what is needed."""
    need("scipy.cluster.hierarchy")


def max_lag(curves: np.ndarray) -> int:
    """A quarter of the times, the most that the paper allows."""
    return curves.shape[1] // 4


def _unit(rows: np.ndarray) -> np.ndarray:
    rows = rows - rows.mean(axis=1, keepdims=True)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 1e-12, length, 1.0)


def scores(curves: np.ndarray, lag: int) -> np.ndarray:
    """Score of every gene (rows) with every other, which lies ``lag`` points behind it."""
    if lag < 0:
        return scores(curves, -lag).T
    mean_square = np.mean(np.arange(1, max_lag(curves) + 1) ** 2)
    penalty = np.exp(-np.log(2.0) * lag**2 / mean_square)
    ahead = curves[:, : curves.shape[1] - lag]
    return penalty * (_unit(ahead) @ _unit(curves[:, lag:]).T)


def best_scores(curves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Highest score of every pair over the lags, and the lag it has there."""
    widest = max_lag(curves)
    best, lags = scores(curves, 0), np.zeros((len(curves),) * 2, dtype=int)
    for lag in range(1, widest + 1):
        for signed in (lag, -lag):
            score = scores(curves, signed)
            is_better = score > best
            best[is_better], lags[is_better] = score[is_better], signed
    return best, lags


def cut_tree(similarity: np.ndarray) -> tuple[Callable[[int], np.ndarray], np.ndarray]:
    """A function that cuts the tree of complete linkage into groups, and the distances."""
    distances = np.clip(1.0 - 0.5 * (similarity + similarity.T), 0.0, None)
    np.fill_diagonal(distances, 0.0)
    tree = linkage(squareform(distances, checks=False), method="complete")
    return (lambda k: fcluster(tree, k, criterion="maxclust")), distances


def group(problem: Problem, n_groups: int | None, seed: int) -> Grouping:
    """Groups, and the mean lag to the others of the group; nothing random, so no seed."""
    similarity, lags = best_scores(standardised(problem, N_POINTS))
    cut, distances = cut_tree(similarity)
    labels = cut(n_groups) if n_groups is not None else by_silhouette(cut, distances)
    is_same = labels[:, None] == labels[None, :]
    return Grouping(labels, (lags * is_same).sum(axis=1) / is_same.sum(axis=1))
