"""Gene trends of Palantir (Setty et al. 2019) and their Leiden clusters, at its defaults."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pandas as pd
from _choice import by_resolution
from _curves import expression
from _peer import Grouping, Problem, need, warm_neighbors

BRANCH = "lineage"

warm = warm_neighbors


def load() -> None:
    """Import what is needed."""
    need("palantir", "igraph", "leidenalg")


def _trends(problem: Problem) -> pd.DataFrame:
    """Trends of the genes along the only branch, genes × points."""
    from anndata import AnnData
    from palantir.presults import compute_gene_trends

    cells = AnnData(expression(problem), var=problem.adata.var[[]])
    cells.obs["palantir_pseudotime"] = problem.pseudotime
    cells.obsm["branch_masks"] = pd.DataFrame(
        {BRANCH: np.ones(cells.n_obs, dtype=bool)}, index=cells.obs_names
    )
    with contextlib.redirect_stdout(io.StringIO()):  # it prints the name of the branch
        return compute_gene_trends(cells)[BRANCH]["trends"]


def group(problem: Problem, n_groups: int | None, seed: int) -> Grouping:
    """Clusters at the default resolution, or at the one that gives ``n_groups``."""
    from palantir.presults import cluster_gene_trends

    trends = _trends(problem)
    # The default of 150 neighbours needs more genes than that.
    n_neighbors = min(150, len(trends) - 1)

    def cut(resolution: float = 1.0) -> np.ndarray:
        found = cluster_gene_trends(
            trends, BRANCH, n_neighbors=n_neighbors, resolution=resolution, random_state=seed
        )
        return found.astype(str).to_numpy()

    return Grouping(cut() if n_groups is None else by_resolution(cut, n_groups))
