"""Other orders of the cells than the first guess, for the search to choose from.

The first guess follows the neighbours of the cells. Where one stretch of the process looks much
like another, neighbours take a short cut, and the two stretches are laid over one another. A path
that has to visit all parts of the cells takes no short cuts: it leads through the centres of a
few clusters, in the principal components that stand out from noise, with the genes as they are or
brought to one variance. A smooth curve through the cells near that path depends less on where the
centres have come to lie. Which order is right is seen only by what the genes then say, so all are
offered.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.spatial.distance import cdist
from scipy.stats import rankdata, spearmanr
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.utils.sparsefuncs import inplace_column_scale, mean_variance_axis

from basisvae_scvi.data import iter_rows, read_rows
from basisvae_scvi.likelihood import Likelihood

from ._latent import (
    MIN_CELLS_FOR_GRAPH,
    diffusion,
    evenly_spread,
    normalised,
    unfitted_pca,
)

# Paths are found on so many cells at most; all others are put where the path passes them.
_MAX_CELLS = 20_000
_MAX_CELLS_FOR_NOISE = 2_000
_MAX_COMPONENTS = 30
_MIN_COMPONENTS = 2
# Centres of a path. On 60 random simulations 8 to 12 were equally good.
_N_CENTRES = 10
_N_CLUSTERINGS = 4
# Of the smooth curve: standard deviation of its kernel as a share of the cells, points, rounds.
# Of three widths, on paths from five seeds through two lineages: at 0.05 the curves depend on the
# seed as much as the paths do. On 60 simulations neither is better.
_SMOOTH_WIDTH, _SMOOTH_POINTS = 0.1, 50
_MAX_SMOOTH_ROUNDS, _SAME_ORDER = 20, 0.9999
# Orders whose rank correlation is above this are one.
_ALIKE = 0.95
# Share of the variance of all cells below which those of one batch are the same.
_SAME = 1e-9


def _scattered(values, rng: np.random.Generator):
    """Every column shuffled on its own, dense or sparse.

    Rows are shuffled together and columns then turned by random offsets, which takes no more than
    the entries of a sparse matrix.
    """
    n_rows, n_columns = values.shape
    values = values[rng.permutation(n_rows)]
    offset = rng.integers(n_rows, size=n_columns)
    if not sparse.issparse(values):
        turned = (np.arange(n_rows)[:, None] - offset) % n_rows
        return np.take_along_axis(values, turned, axis=0)
    entries = values.tocoo()
    row = (entries.row + offset[entries.col]) % n_rows
    return sparse.csr_matrix((entries.data, (row, entries.col)), shape=values.shape)


def n_significant_components(values, *, seed: int) -> int:
    """Number of principal components that vary more than any of shuffled genes.

    Parallel analysis (Horn 1965, Psychometrika 30, 179), on up to 2,000 of the cells.

    Parameters
    ----------
    values
        Cells × genes, dense or sparse.
    seed
        Seed.

    Returns
    -------
    2 to 30.
    """
    rng = np.random.default_rng(seed)
    n_obs = values.shape[0]
    if n_obs > _MAX_CELLS_FOR_NOISE:
        values = values[np.sort(rng.choice(n_obs, _MAX_CELLS_FOR_NOISE, replace=False))]
    variance = unfitted_pca(values, _MAX_COMPONENTS, seed).fit(values).explained_variance_
    noise = _scattered(values, rng)
    of_noise = unfitted_pca(noise, 1, seed).fit(noise).explained_variance_[0]
    return max(int((variance > of_noise).sum()), _MIN_COMPONENTS)


def shortest_path(distance: np.ndarray) -> np.ndarray:
    """Order in which to visit all points once on the shortest way, from any one to any other.

    Exact, by dynamic programming over sets of points (Held & Karp 1962, J. SIAM 10, 196).

    Parameters
    ----------
    distance
        Between all pairs of points, shape ``(n, n)``; n is 1 to about 15.

    Returns
    -------
    Indices of the points, shape ``(n,)``.
    """
    n = len(distance)
    points, everything = np.arange(n), (1 << n) - 1
    # Of the shortest way through a set of points to one of them, and the point before that one.
    length = np.full((1 << n, n), np.inf)
    before = np.zeros((1 << n, n), dtype=np.intp)
    length[1 << points, points] = 0.0
    for visited in range(1, everything):
        further = points[visited >> points & 1 == 0]
        steps = length[visited][:, None] + distance[:, further]
        reached = visited | 1 << further
        before[reached, further] = steps.argmin(axis=0)
        length[reached, further] = steps.min(axis=0)
    path, visited = [int(length[everything].argmin())], everything
    while len(path) < n:
        here = path[-1]
        path.append(int(before[visited, here]))
        visited ^= 1 << here
    return np.array(path)


def _along(line: np.ndarray, places: np.ndarray) -> np.ndarray:
    """How far along a line of points ``(n, C)`` its nearest point to each place ``(N, C)`` is."""
    steps = np.diff(line, axis=0)
    length = np.linalg.norm(steps, axis=1)
    nearest, so_far = np.full(len(places), np.inf), np.zeros(len(places))
    begins, passed_before = line[:-1], np.cumsum(length) - length
    for begin, step, size, passed in zip(begins, steps, length, passed_before, strict=True):
        part = np.clip((places - begin) @ step / max(size**2, 1e-12), 0.0, 1.0)
        away = ((places - begin - part[:, None] * step) ** 2).sum(1)
        closer = away < nearest
        nearest[closer], so_far[closer] = away[closer], passed + part[closer] * size
    return so_far


def principal_curve(line: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Smooth curve through the middle of the cells that are near a line.

    Cells are put on the line and the line is put through local means of the cells, in turns, until
    their order stands still (Hastie & Stuetzle 1989, J. Am. Stat. Assoc. 84, 502; local linear
    means over the ranks of the cells).

    Parameters
    ----------
    line
        Where to begin, shape ``(n, C)``; two points or more.
    places
        Cells, shape ``(N, C)``.

    Returns
    -------
    Shape ``(50, C)``.
    """
    at = np.linspace(0.0, 1.0, _SMOOTH_POINTS)
    along = _along(line, places)
    for _ in range(_MAX_SMOOTH_ROUNDS):
        away = rankdata(along) / len(along) - at[:, None]
        kernel = np.exp(-0.5 * (away / _SMOOTH_WIDTH) ** 2)
        first, second = (kernel * away).sum(1), (kernel * away**2).sum(1)
        weight = kernel * (second[:, None] - first[:, None] * away)
        line = weight @ places / weight.sum(1, keepdims=True)
        before, along = along, _along(line, places)
        if abs(spearmanr(before, along).statistic) > _SAME_ORDER:
            break
    return line


def _scaled(values, sd: np.ndarray):
    """Columns divided by their standard deviations, those of sparse values in place."""
    if sparse.issparse(values):
        inplace_column_scale(values, 1.0 / sd)
        return values
    return values / sd


def _spread(values) -> np.ndarray:
    """Standard deviation of every column, 1 for those that do not vary."""
    is_sparse = sparse.issparse(values)
    sd = np.sqrt(mean_variance_axis(values, axis=0)[1]) if is_sparse else values.std(axis=0)
    return np.where(sd > 0, sd, 1.0)


@dataclass(frozen=True)
class _CellPath:
    """Lines through cells in their principal components: a smooth curve and the path it is of."""

    pca: PCA
    lines: tuple[np.ndarray, np.ndarray]

    @classmethod
    def through(cls, values, seed: int) -> _CellPath:
        pca = unfitted_pca(values, n_significant_components(values, seed=seed), seed)
        places = pca.fit_transform(values)
        n_centres = min(_N_CENTRES, len(places))
        clusters = KMeans(n_centres, n_init=_N_CLUSTERINGS, random_state=seed).fit(places)
        centres = clusters.cluster_centers_
        path = centres[shortest_path(cdist(centres, centres))]
        return cls(pca, (principal_curve(path, places), path))

    def along(self, values) -> np.ndarray:
        """How far along each line and the first component cells are, shape ``(N, 3)``."""
        places = self.pca.transform(values)
        return np.column_stack([*(_along(line, places) for line in self.lines), places[:, 0]])


def further_orders(
    matrix,
    size_factor: np.ndarray | None,
    likelihood: Likelihood,
    first: np.ndarray,
    *,
    batch: np.ndarray | None = None,
    seed: int,
) -> list[np.ndarray]:
    """Orders of the cells that differ from the first one: plain ones, and along paths.

    Parameters
    ----------
    matrix
        Cells × genes.
    size_factor
        Shape ``(N,)``, or ``None`` where they do not apply.
    likelihood
        Observation model; counts are log-normalised.
    first
        z⁰ of the first guess, shape ``(N,)``.
    batch
        Batch of each cell, shape ``(N,)``. Of several, orders with every batch centred are offered
        too: right where batches hold the same stages, and wrong where they are the stages.
    seed
        Seed.

    Returns
    -------
    Up to six, with several batches up to ten, each ``(N,)`` with mean 0 and variance 1; none for
    less than 30 cells.
    """
    n_obs, n_vars = matrix.shape
    if n_obs < MIN_CELLS_FOR_GRAPH or n_vars <= _MIN_COMPONENTS:
        return []
    size = size_factor if likelihood.is_count else None

    def log_counts(block, rows):
        return normalised(block, None if size is None else size[rows])

    rng = np.random.default_rng(seed)
    some = np.sort(rng.choice(n_obs, min(n_obs, _MAX_CELLS), replace=False))
    values = log_counts(read_rows(matrix, some), some)
    as_they_are = _CellPath.through(values, seed)
    sd = _spread(values)
    of_one_variance = _CellPath.through(_scaled(values, sd), seed)
    del values
    places = np.empty((n_obs, 6))
    for rows, counts in iter_rows(matrix):
        block = log_counts(counts, rows)
        places[rows, 0::2] = as_they_are.along(block)
        places[rows, 1::2] = of_one_variance.along(_scaled(block, sd))
    if batch is not None and batch.max(initial=0) > 0:
        places = np.column_stack([places, _across_batches(matrix, log_counts, batch, some, seed)])
    orders = [first]
    for order in evenly_spread(places).T:
        if all(abs(spearmanr(order, other).statistic) < _ALIKE for other in orders):
            orders.append(order)
    return orders[1:]


def _across_batches(matrix, log_counts, batch: np.ndarray, some: np.ndarray, seed: int):
    """Orders with every batch centred, shape ``(N, 4)`` or ``(N, 3)``; ``(N, 0)`` for none.

    Along the paths and the first component as above, and the first diffusion component. There are
    none where cells of one batch do not differ, as where each is a batch of its own.
    """
    n_batch, n_obs = int(batch.max()) + 1, len(batch)
    sums = np.zeros((n_batch, matrix.shape[1]))
    for rows, counts in iter_rows(matrix):
        membership = sparse.csr_matrix(
            (np.ones(len(batch[rows])), (batch[rows], np.arange(len(batch[rows])))),
            shape=(n_batch, len(batch[rows])),
        )
        sums += np.asarray(membership @ _dense(log_counts(counts, rows)))
    means = sums / np.maximum(np.bincount(batch, minlength=n_batch), 1)[:, None]

    def centred(block, rows):
        return _dense(block) - means[batch[rows]]

    plain = log_counts(matrix[some], some)
    values = centred(plain, some)
    if values.var(axis=0).sum() <= _SAME * (_spread(plain) ** 2).sum():
        return np.empty((n_obs, 0))
    path = _CellPath.through(values, seed)
    places = np.empty((n_obs, 3))
    components = np.empty((n_obs, path.pca.n_components_))
    for rows, counts in iter_rows(matrix):
        block = centred(log_counts(counts, rows), rows)
        places[rows] = path.along(block)
        components[rows] = path.pca.transform(block)
    found = diffusion(components, 1, seed)
    return places if found is None else np.column_stack([places, found])


def _dense(values) -> np.ndarray:
    return values.toarray() if sparse.issparse(values) else np.asarray(values)
