"""How good a grouping is: against the truth, and against itself with other seeds."""

from __future__ import annotations

from itertools import combinations
from statistics import mean

import numpy as np
import pandas as pd
from sklearn.metrics import adjusted_rand_score, v_measure_score

MIN_GENES = 3


def shift_correlations(var: pd.DataFrame, labels: list[str], shifts: list[float]) -> dict:
    """Pearson correlation of shifts with their truth, by true shape.

    Shifts of different groups have different origins, so only the genes in the main group of a
    shape count. A shift of a flat gene has no truth.
    """
    genes = pd.DataFrame({"label": labels, "shift": shifts}, index=var.index)
    found = {}
    for shape, of_shape in var.groupby("true_shape", observed=True):
        own = genes.loc[of_shape.index]
        own = own[own["label"] == own["label"].mode()[0]]
        truth = of_shape.loc[own.index, "true_shift"]
        if shape == "flat" or len(own) < MIN_GENES or min(truth.std(), own["shift"].std()) == 0:
            continue
        r = float(np.corrcoef(own["shift"], truth)[0, 1])
        found[str(shape)] = {"pearson": r, "n_genes": len(own), "of": len(of_shape)}
    return found


def against_truth(var: pd.DataFrame, truth: str, has_shifts: bool, found: dict) -> dict:
    """ARI, V-measure and, where there are shifts, their correlations."""
    labels, shifts = found["labels"], found["shifts"]
    known = var[truth].astype(str)
    result = {
        "ari": float(adjusted_rand_score(known, labels)),
        "v_measure": float(v_measure_score(known, labels)),
    }
    if has_shifts and shifts is not None:
        by_shape = shift_correlations(var, labels, shifts)
        result["shifts"] = by_shape
        if by_shape:
            result["shift_pearson"] = mean(s["pearson"] for s in by_shape.values())
    return result


def agreement(groupings: list[list[str]]) -> float | None:
    """Mean ARI between the groupings of the same genes by different seeds."""
    pairs = [adjusted_rand_score(a, b) for a, b in combinations(groupings, 2)]
    return float(mean(pairs)) if pairs else None
