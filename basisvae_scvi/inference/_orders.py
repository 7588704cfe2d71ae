"""Other orders of the cells than the first guess, for the search to choose from.

The first guess sees the manifold in a fixed number of principal components. Where few of them
carry signal, the others blur the neighbours, and the diffusion map may take a short cut from one
stretch of the process to another and fold it. Seen in the components that stand out from noise
alone, with or without the genes brought to one variance, the same cells often unfold; which view
does is seen only by what the genes then say, so all are offered.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.stats import spearmanr
from sklearn.utils.sparsefuncs import inplace_column_scale, mean_variance_axis

from basisvae_scvi.likelihood import Likelihood

from ._latent import MIN_CELLS_FOR_GRAPH, diffusion, evenly_spread, normalised, unfitted_pca

# More cells fold less easily, and every further graph takes as long as the first. Chosen.
_MAX_CELLS = 20_000
_MAX_CELLS_FOR_NOISE = 2_000
_MAX_COMPONENTS = 30
_MIN_COMPONENTS = 2
# Orders whose rank correlation is above this are one.
_ALIKE = 0.95


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


def _bring_to_one_variance(values):
    """Scale the columns, of sparse values in place."""
    if sparse.issparse(values):
        sd = np.sqrt(mean_variance_axis(values, axis=0)[1])
        inplace_column_scale(values, 1.0 / np.where(sd > 0, sd, 1.0))
        return values
    sd = values.std(axis=0)
    return values / np.where(sd > 0, sd, 1.0)


def further_orders(
    matrix,
    size_factor: np.ndarray | None,
    likelihood: Likelihood,
    first: np.ndarray,
    *,
    seed: int,
) -> list[np.ndarray]:
    """Orders of the cells on other views of their manifold that differ from the first one.

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
    seed
        Seed.

    Returns
    -------
    Up to two, each ``(N,)`` with mean 0 and variance 1; none for less than 30 or more than 20,000
    cells.
    """
    n_obs, n_vars = matrix.shape
    if not MIN_CELLS_FOR_GRAPH <= n_obs <= _MAX_CELLS or n_vars <= _MIN_COMPONENTS:
        return []
    values = normalised(matrix, size_factor if likelihood.is_count else None)
    orders = [first]
    for scale in (lambda same: same, _bring_to_one_variance):
        values = scale(values)
        n_components = n_significant_components(values, seed=seed)
        components = unfitted_pca(values, n_components, seed).fit_transform(values)
        found = diffusion(components, 1, seed)
        if found is None:
            continue
        order = evenly_spread(found)[:, 0]
        if all(abs(spearmanr(order, other).statistic) < _ALIKE for other in orders):
            orders.append(order)
    return orders[1:]
