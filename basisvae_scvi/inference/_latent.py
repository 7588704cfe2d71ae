"""Starting values of z: the order of the cells along their manifold."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import scanpy as sc
from anndata import AnnData
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from sklearn.decomposition import PCA

from basisvae_scvi.data import read_rows, to_dense
from basisvae_scvi.likelihood import Likelihood

_N_NEIGHBORS = 15
_ROWS_PER_BLOCK = 1024
_N_COMPONENTS = 30
MIN_CELLS_FOR_GRAPH = 30
# Up to here exact neighbours take no longer than compiling and running the approximate search.
_MAX_CELLS_FOR_EXACT_NEIGHBORS = 30_000


@dataclass(frozen=True)
class LatentPrior:
    """What is known of z before the counts: N(mean, sd²) for every cell, each ``(N, Q)``.

    Attributes
    ----------
    mean, sd
        N(0, 1) where nothing is known.
    is_known
        Whether anything is.
    """

    mean: np.ndarray
    sd: np.ndarray
    is_known: np.ndarray

    def part(self, cells: np.ndarray) -> LatentPrior:
        """The prior of some cells."""
        return LatentPrior(self.mean[cells], self.sd[cells], self.is_known[cells])


def normalised(matrix, size_factor: np.ndarray | None) -> np.ndarray | sparse.csr_matrix:
    """log1p of size-normalised counts, or the data themselves."""
    values = read_rows(matrix, slice(None))
    if size_factor is None:
        return to_dense(values)
    # One copy of the counts, changed in place: this is where a fit needs most memory.
    normalised = sparse.csr_matrix(values, dtype=np.float64, copy=True)
    inverse = 1.0 / np.maximum(size_factor, 1e-6)
    for start in range(0, len(inverse), _ROWS_PER_BLOCK):
        ends = normalised.indptr[start : start + _ROWS_PER_BLOCK + 1]
        block = normalised.data[ends[0] : ends[-1]]
        block *= np.repeat(inverse[start : start + _ROWS_PER_BLOCK], np.diff(ends))
        np.log1p(block, out=block)
    return normalised


def quantiles(z: np.ndarray) -> np.ndarray:
    """Ranks of each coordinate as fractions of (0, 1)."""
    ranks = np.argsort(np.argsort(z, axis=0, kind="stable"), axis=0, kind="stable")
    return (ranks + 0.5) / len(z)


def standardised(z: np.ndarray) -> np.ndarray:
    """Each coordinate brought to mean 0 and variance 1, where it varies."""
    spread = z.std(axis=0)
    return (z - z.mean(axis=0)) / np.where(spread > 0, spread, 1.0)


def evenly_spread(z: np.ndarray) -> np.ndarray:
    """Ranks of each coordinate, spread evenly and scaled to unit variance."""
    return standardised(quantiles(z))


def unfitted_pca(values, n_components: int, seed: int) -> PCA:
    """Principal components of cells × genes, dense or sparse; as many as they can have."""
    solver = "arpack" if sparse.issparse(values) else "auto"
    return PCA(min(n_components, min(values.shape) - 1), svd_solver=solver, random_state=seed)


def diffusion(components: np.ndarray, n_latent: int, seed: int) -> np.ndarray | None:
    """Leading diffusion components, or ``None`` where the neighbour graph falls apart.

    So it does, too, where so many cells are the same that their neighbours have no distance.
    """
    cells = AnnData(components.astype(np.float32))
    n_neighbors = min(_N_NEIGHBORS, len(components) - 1)
    is_exact = len(components) <= _MAX_CELLS_FOR_EXACT_NEIGHBORS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sc.pp.neighbors(
            cells,
            n_neighbors=n_neighbors,
            use_rep="X",
            method="gauss",
            transformer="sklearn" if is_exact else "pynndescent",
            random_state=seed,
        )
        graph = cells.obsp["connectivities"]
        n_parts, _ = connected_components(graph, directed=False)
        if n_parts > 1 or not np.isfinite(graph.data).all():
            return None
        n_comps = max(3, n_latent + 1)
        sc.tl.diffmap(cells, n_comps=n_comps, random_state=seed)
    return np.asarray(cells.obsm["X_diffmap"], dtype=np.float64)[:, 1 : n_latent + 1]


def start_latent(
    matrix,
    size_factor: np.ndarray | None,
    likelihood: Likelihood,
    *,
    n_latent: int,
    init: str,
    seed: int,
) -> np.ndarray:
    """Find z⁰, each coordinate with mean 0 and variance 1.

    Parameters
    ----------
    matrix
        Cells × genes.
    size_factor
        Shape ``(N,)``, or ``None`` where they do not apply.
    likelihood
        Observation model; counts are log-normalised first.
    n_latent
        Number of coordinates Q.
    init
        ``"manifold"`` (diffusion components of the neighbour graph, evenly spread),
        ``"pca"`` or ``"random"``.
    seed
        Seed.

    Returns
    -------
    Shape ``(N, Q)``.
    """
    n_obs = matrix.shape[0]
    rng = np.random.default_rng(seed)
    if init == "random":
        return rng.standard_normal((n_obs, n_latent))
    values = normalised(matrix, size_factor if likelihood.is_count else None)
    n_wanted = max(_N_COMPONENTS, n_latent)
    if min(values.shape) <= max(2, n_latent):
        return rng.standard_normal((n_obs, n_latent))
    components = unfitted_pca(values, n_wanted, seed).fit_transform(values)
    if init == "pca":
        return evenly_spread(components[:, :n_latent])
    found = None
    if n_obs >= MIN_CELLS_FOR_GRAPH:
        found = diffusion(components, n_latent, seed)
        if found is None:
            warnings.warn(
                "The neighbour graph of the cells falls into separate parts, or many cells are "
                "the same, so z starts from principal components. Consider one lineage at a time, "
                "or give z a start of your own: train(init=<.obs or .obsm key>).",
                UserWarning,
                stacklevel=2,
            )
    return evenly_spread(components[:, :n_latent] if found is None else found)
