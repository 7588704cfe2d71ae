"""How far two fits of the same genes agree."""

from __future__ import annotations

from itertools import combinations
from statistics import median
from typing import NamedTuple

import numpy as np
from scipy.stats import spearmanr
from sklearn.metrics import adjusted_rand_score, v_measure_score

# A gene rises, if its rate does so by half at least, or twice that in all cells.
_LEAST_RISE, _LEAST_RISE_OF_ALL = np.log(1.5), np.log(2.0)
_MIN_PAIR = 5


class Half(NamedTuple):
    """What a method says of the genes on some cells.

    Attributes
    ----------
    labels
        Group of every gene ``(P,)``, where the method has groups.
    courses
        Log rates ``(P, T)`` at shares of the cells, earliest cells first.
    shifts
        Shift of every gene under its group ``(P,)``, in a model with shifts.
    z, rho, seconds, total
        Of a model: z of the cells, its rank correlation with the known order, the time of the
        fit, and the bound that its search ends at.
    """

    labels: np.ndarray | None
    courses: np.ndarray
    shifts: np.ndarray | None = None
    z: np.ndarray | None = None
    rho: float | None = None
    seconds: float | None = None
    total: float | None = None


def half_rise(courses: np.ndarray, least: float = _LEAST_RISE) -> np.ndarray:
    """When each gene is halfway up from its lowest rate before the peak to the peak, ``(P,)``.

    In positions along the course; NaN for a gene that does not rise.
    """
    found = np.full(len(courses), np.nan)
    for j, course in enumerate(courses):
        top = int(course.argmax())
        bottom = int(course[: top + 1].argmin())
        if course[top] - course[bottom] < least:
            continue
        rate = np.exp(course[bottom : top + 1])
        half = 0.5 * (rate[0] + rate[-1])
        after = int((rate >= half).argmax())
        found[j] = bottom + after - (rate[after] - half) / (rate[after] - rate[after - 1])
    return found


def rises_of(courses: np.ndarray) -> np.ndarray:
    """Genes that at least double."""
    return np.isfinite(half_rise(courses, _LEAST_RISE_OF_ALL))


def groups_agreement(first: np.ndarray, second: np.ndarray) -> dict:
    """Adjusted Rand index, V-measure and numbers of groups."""
    return {
        "ari": float(adjusted_rand_score(first, second)),
        "v_measure": float(v_measure_score(first, second)),
        "n_groups": [len(np.unique(first)), len(np.unique(second))],
    }


def courses_agreement(first: Half, second: Half, rises: np.ndarray) -> dict:
    """Correlation of log courses, each about its mean, and of half-rise times."""
    a, b = (half.courses - half.courses.mean(1, keepdims=True) for half in (first, second))
    times = np.array([half_rise(half.courses) for half in (first, second)])
    known = rises & np.isfinite(times).all(0)
    pearson = spearman = None
    if known.sum() >= 3:
        pearson = float(np.corrcoef(times[:, known])[0, 1])
        spearman = float(spearmanr(*times[:, known]).statistic)
    return {
        "courses": float((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum())),
        "half_rise": {"n_genes": int(known.sum()), "pearson": pearson, "spearman": spearman},
    }


def shifts_agreement(first: Half, second: Half) -> dict | None:
    """Correlation of shifts over genes that share both groups.

    Shifts are relative to a group, which differs between fits, so every pair of groups that
    shares at least five genes has its own origin. ``None`` without shifts.
    """
    if first.shifts is None:
        return None
    pairs = np.char.add(np.char.add(first.labels.astype(str), "|"), second.labels.astype(str))
    a, b = [], []
    for pair in np.unique(pairs):
        own = pairs == pair
        if own.sum() >= _MIN_PAIR and "0" not in pair.split("|"):
            a.append(first.shifts[own] - first.shifts[own].mean())
            b.append(second.shifts[own] - second.shifts[own].mean())
    n_genes = sum(map(len, a))
    if n_genes == 0:
        return {"n_genes": 0, "pearson": None}
    a, b = np.concatenate(a), np.concatenate(b)
    return {"n_genes": n_genes, "pearson": float((a @ b) / np.sqrt((a @ a) * (b @ b)))}


def agreement(first: Half, second: Half, rises: np.ndarray) -> dict:
    """Of groups, shifts, courses and half-rise times."""
    return {
        **groups_agreement(first.labels, second.labels),
        "shifts": shifts_agreement(first, second),
        **courses_agreement(first, second, rises),
    }


def of_seeds(fits: list[Half]) -> dict:
    """Agreement of all pairs of fits, numbers of groups, and bounds."""
    pairs = [groups_agreement(a.labels, b.labels) for a, b in combinations(fits, 2)]
    measures = {}
    for kind in ("ari", "v_measure"):
        values = [pair[kind] for pair in pairs]
        measures[kind] = {"median": median(values), "min": min(values)}
    return {
        **measures,
        "n_groups": [len(set(fit.labels)) for fit in fits],
        "totals": [fit.total for fit in fits],
        "rho": [fit.rho for fit in fits],
        "seconds": [fit.seconds for fit in fits],
    }
