"""How rivals that need a number of groups, or a resolution instead of one, come by it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn.metrics import silhouette_score

CANDIDATES = range(2, 9)


def by_silhouette(
    cut: Callable[[int], np.ndarray],
    distances: np.ndarray,
    genes: np.ndarray | slice = slice(None),
) -> np.ndarray:
    """Labels of the number of groups with the highest silhouette.

    ``distances`` lie between ``genes``, which may be a sample of those that ``cut`` labels.
    """
    best, labels = -np.inf, None
    for n_groups in CANDIDATES:
        found = cut(n_groups)
        if not 1 < len(np.unique(found[genes])) < len(distances):
            continue
        score = silhouette_score(distances, found[genes], metric="precomputed")
        if score > best:
            best, labels = score, found
    return cut(CANDIDATES[0]) if labels is None else labels


def by_resolution(
    cut: Callable[[float], np.ndarray], n_groups: int, n_steps: int = 20
) -> np.ndarray:
    """Labels at the resolution whose number of groups comes closest to the one asked for.

    The number rises with the resolution, though not strictly, so this bisects its logarithm.
    """
    low, high = np.log(1e-3), np.log(10.0)
    best, labels = np.inf, None
    for _ in range(n_steps):
        middle = 0.5 * (low + high)
        found = cut(float(np.exp(middle)))
        excess = len(np.unique(found)) - n_groups
        if abs(excess) < best:
            best, labels = abs(excess), found
        if excess == 0:
            break
        low, high = (low, middle) if excess > 0 else (middle, high)
    return labels
