"""Soft-DTW k-means (Cuturi & Blondel 2017) of tslearn on smoothed, standardised curves."""

from __future__ import annotations

import warnings

import numpy as np
from _choice import by_silhouette
from _curves import standardised
from _peer import Grouping, Problem, need

GAMMA = 0.1
N_POINTS = 30  # the cost of every distance and gradient grows with the square
N_STARTS = 2
N_SAMPLE = 400  # genes between which the silhouette is taken


def load() -> None:
    """Import what is needed."""
    need("tslearn.clustering", "tslearn.metrics")


def warm() -> None:
    """Compile the distance and its gradient."""
    from tslearn.clustering import TimeSeriesKMeans
    from tslearn.metrics import cdist_soft_dtw_normalized

    few = np.random.default_rng(0).standard_normal((6, 8, 1))
    TimeSeriesKMeans(2, metric="softdtw", max_iter=2, random_state=0).fit(few)
    cdist_soft_dtw_normalized(few)


def group(problem: Problem, n_groups: int | None, seed: int) -> Grouping:
    """``n_groups`` clusters, or as many as the silhouette prefers."""
    from tslearn.clustering import TimeSeriesKMeans
    from tslearn.metrics import cdist_soft_dtw_normalized

    curves = standardised(problem, N_POINTS)[:, :, None]

    def cut(k: int) -> np.ndarray:
        model = TimeSeriesKMeans(
            k,
            metric="softdtw",
            metric_params={"gamma": GAMMA},
            n_init=N_STARTS,
            random_state=seed,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return model.fit_predict(curves)

    if n_groups is not None:
        return Grouping(cut(n_groups))
    rng = np.random.default_rng(seed)
    sample = rng.permutation(len(curves))[:N_SAMPLE]
    distances = np.clip(cdist_soft_dtw_normalized(curves[sample], gamma=GAMMA), 0.0, None)
    np.fill_diagonal(distances, 0.0)
    return Grouping(by_silhouette(cut, distances, sample))
