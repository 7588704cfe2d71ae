"""Two-stage rivals of `halves.py`: a curve for every gene first, groups of curves then."""

from __future__ import annotations

import sys
from pathlib import Path

import anndata as ad
import numpy as np
import scanpy as sc
from _halves_measures import Half, courses_agreement, groups_agreement
from _own_curves import at, gaussian_process, sums
from scipy.stats import norm
from sklearn.cluster import KMeans

sys.path.insert(0, str(Path(__file__).resolve().parent / "peers"))

from _choice import by_resolution
from _palantir import _trends
from _peer import Problem, Unavailable, need

_NEEDS = {
    "k-means of log courses": (),
    "Leiden": ("igraph", "leidenalg"),
    "Palantir": ("palantir", "igraph", "leidenalg"),
}
# Of Leiden's graph; Palantir has its own.
_N_NEIGHBORS, _N_COMPONENTS = 15, 10


def usable() -> list[str]:
    """Rivals that can run here; the others are named."""
    names = []
    for name, packages in _NEEDS.items():
        try:
            need(*packages)
        except Unavailable as reason:
            print(f"SKIPPED {name}: {reason}", flush=True)
        else:
            names.append(name)
    return names


def k_means(courses: np.ndarray, n_groups: int) -> np.ndarray:
    """k-means of log courses, each about its mean."""
    centred = courses - courses.mean(1, keepdims=True)
    return KMeans(n_groups, n_init=10, random_state=0).fit_predict(centred)


def leiden(courses: np.ndarray, n_groups: int) -> np.ndarray:
    """Leiden on principal components of standardised courses."""
    rates = np.exp(courses)
    rates = rates - rates.mean(1, keepdims=True)
    genes = ad.AnnData(rates / rates.std(1, keepdims=True))
    sc.pp.pca(genes, n_comps=_N_COMPONENTS, random_state=0)
    sc.pp.neighbors(genes, n_neighbors=_N_NEIGHBORS, random_state=0)

    def cut(resolution: float) -> np.ndarray:
        sc.tl.leiden(genes, resolution=resolution, flavor="igraph", n_iterations=2, random_state=0)
        return genes.obs["leiden"].to_numpy().astype(str)

    return by_resolution(cut, n_groups)


def palantir_groups(trends, n_groups: int) -> np.ndarray:
    """Palantir's clusters of its trends, a data frame genes × points."""
    from palantir.presults import cluster_gene_trends

    n_neighbors = min(150, len(trends) - 1)

    def cut(resolution: float) -> np.ndarray:
        found = cluster_gene_trends(
            trends, "lineage", n_neighbors=n_neighbors, resolution=resolution, random_state=0
        )
        return found.astype(str).to_numpy()

    return by_resolution(cut, n_groups)


class Rivals:
    """Curves of two halves, and groups of them in any number.

    Parameters
    ----------
    halves
        AnnData of either half.
    z
        Normal scores of the cells of either half along their order.
    points
        Normal scores at which courses are compared.
    names
        Rivals that can run.
    """

    def __init__(
        self, halves: list[ad.AnnData], z: list[np.ndarray], points: np.ndarray, names: list[str]
    ):
        self.names = names
        self.halves = {
            "Gaussian processes": [
                Half(None, _own_courses(half, of, points))
                for half, of in zip(halves, z, strict=True)
            ]
        }
        if "Palantir" in names:
            self.trends = [
                _trends(Problem(half, norm.cdf(of), "nb", False, 0))
                for half, of in zip(halves, z, strict=True)
            ]
            self.halves["Palantir"] = [Half(None, _log_rates(of, points)) for of in self.trends]
        self._known = {}

    def _groups_of(self, name: str, half: int, n_groups: int) -> np.ndarray:
        key = (name, half, n_groups)
        if key not in self._known:
            if name == "Palantir":
                self._known[key] = palantir_groups(self.trends[half], n_groups)
            else:
                method = leiden if name == "Leiden" else k_means
                courses = self.halves["Gaussian processes"][half].courses
                self._known[key] = method(courses, n_groups)
        return self._known[key]

    def groups(self, n_groups: list[int]) -> dict:
        """Agreement of the groups of the two halves, each told its number."""
        if min(n_groups) < 2:
            return {}
        return {
            name: groups_agreement(*(self._groups_of(name, i, n) for i, n in enumerate(n_groups)))
            for name in self.names
        }

    def courses(self, rises: np.ndarray) -> dict:
        """Agreement of log courses and half-rise times."""
        return {name: courses_agreement(*both, rises) for name, both in self.halves.items()}


def _own_courses(half: ad.AnnData, z: np.ndarray, points: np.ndarray) -> np.ndarray:
    data = sums(half.X.toarray(), half.obs["size_factor"].to_numpy(), z)
    return at(gaussian_process(data), points)


def _log_rates(trends, points: np.ndarray) -> np.ndarray:
    """Log rates at the points, from trends of log expression along ranks, which may be below 0."""
    where = trends.columns.to_numpy(dtype=float)
    values = np.array([np.interp(norm.cdf(points), where, of) for of in trends.to_numpy()])
    rates = np.expm1(values)
    return np.log(np.maximum(rates, 1e-3 * np.maximum(rates.mean(1, keepdims=True), 1e-6)))
