"""LPWC, lag-penalised weighted correlation (Chandereng & Gitter 2020): one lag per gene.

Every pair of genes votes with its best score for its best lag, and a gene takes the lag with the
largest sum of votes. The similarity of two genes is their score at the difference of their lags.
The method is meant for series of few times: on a fine grid the votes scatter over the lags.
"""

from __future__ import annotations

import numpy as np
from _choice import by_silhouette
from _curves import standardised
from _lagged import best_scores, cut_tree, load, max_lag, scores, warm
from _peer import Grouping, Problem

__all__ = ["group", "load", "warm"]

N_POINTS = 10


def gene_lags(curves: np.ndarray) -> np.ndarray:
    """Lag of every gene: how many points it runs ahead of the others."""
    best, lags = best_scores(curves)
    np.fill_diagonal(best, 0.0)
    choices = np.arange(-max_lag(curves), max_lag(curves) + 1)
    votes = [np.where(lags == lag, best, 0.0).sum(axis=1) for lag in choices]
    return choices[np.argmax(votes, axis=0)]


def similarity(curves: np.ndarray, lags: np.ndarray) -> np.ndarray:
    """Score of every pair of genes at the difference of their lags."""
    difference = lags[:, None] - lags[None, :]
    result = np.empty(difference.shape)
    for lag in np.unique(difference):
        at = difference == lag
        result[at] = scores(curves, int(lag))[at]
    return result


def group(problem: Problem, n_groups: int | None, seed: int) -> Grouping:
    """Groups and lags; nothing random, so no seed."""
    curves = standardised(problem, N_POINTS)
    lags = gene_lags(curves)
    cut, distances = cut_tree(similarity(curves, lags))
    labels = cut(n_groups) if n_groups is not None else by_silhouette(cut, distances)
    return Grouping(labels, lags.astype(float))
