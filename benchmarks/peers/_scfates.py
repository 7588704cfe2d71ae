"""Leiden clusters of fitted genes by scFates (Faure et al. 2023), at its defaults.

scFates fits curves on a tree of its own, through R. Here it is given curves on the pseudotime that
all rivals share, in the layer where it looks for them, and clusters these.
"""

from __future__ import annotations

import numpy as np
from _choice import by_resolution
from _curves import expression, smooth
from _peer import Grouping, Problem, need, warm_neighbors

warm = warm_neighbors


def load() -> None:
    """Import what is needed."""
    need("scFates", "igraph", "leidenalg")


def group(problem: Problem, n_groups: int | None, seed: int) -> Grouping:
    """Clusters at the default resolution, or at the one that gives ``n_groups``."""
    import scFates
    from anndata import AnnData

    # As after scFates' own fit: the fitted level of every gene at every cell.
    fitted = smooth(expression(problem), problem.pseudotime, problem.pseudotime).T
    cells = AnnData(fitted, var=problem.adata.var[[]], layers={"fitted": fitted})
    n_pcs = min(50, cells.n_vars - 1)
    scFates.settings.verbosity = 0

    def cut(resolution: float = 1.0) -> np.ndarray:
        scFates.tl.cluster(cells, n_pcs=n_pcs, resolution=resolution)
        return cells.var["clusters"].astype(str).to_numpy()

    return Grouping(cut() if n_groups is None else by_resolution(cut, n_groups))
