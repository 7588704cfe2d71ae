"""k-means on smoothed, standardised curves."""

from __future__ import annotations

import numpy as np
from _choice import by_silhouette
from _curves import standardised
from _peer import Grouping, Problem, need, warm_nothing

warm = warm_nothing


def load() -> None:
    """Import what is needed."""
    need("sklearn.cluster")


def group(problem: Problem, n_groups: int | None, seed: int) -> Grouping:
    """``n_groups`` clusters, or as many as the silhouette prefers."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import pairwise_distances

    curves = standardised(problem)

    def cut(k: int) -> np.ndarray:
        return KMeans(k, n_init=10, random_state=seed).fit_predict(curves)

    if n_groups is not None:
        return Grouping(cut(n_groups))
    return Grouping(by_silhouette(cut, pairwise_distances(curves)))
