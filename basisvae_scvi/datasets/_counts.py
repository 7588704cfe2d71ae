"""Count data drawn from the generative model itself, with every latent quantity kept."""

from collections.abc import Sequence

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray

from ._shapes import SHAPES, basis_values
from ._truth import (
    Z_DISTRIBUTIONS,
    assemble,
    check_choice,
    check_integer,
    check_number,
    check_per_gene,
    draw_z,
    labels,
)

LIKELIHOODS = ("nb", "zinb", "poisson")
HALF_WIDTH = 2.0  # uniform z covers what N(0, 1) covers to 95 %
# Own deviations are smooth: Gaussian processes of this length, given at these points.
DEVIATION_LENGTH, DEVIATION_POINTS = 1.0, np.linspace(-4.0, 4.0, 161)
BLOCK = 2**22  # elements drawn at a time: bounds memory, 32 MB per dense float64 array


def simulate_counts(
    *,
    n_obs: int = 1000,
    n_vars: int = 300,
    shapes: Sequence[str] = ("peak", "up", "down", "flat"),
    proportions: ArrayLike | None = None,
    mean_count: ArrayLike = 0.6,
    log_mean_sd: float = 0.5,
    max_shift: float = 1.5,
    log_scale_sd: float = 0.3,
    shape_deviation: float = 0.0,
    dispersion: ArrayLike = 2.0,
    likelihood: str = "nb",
    dropout: ArrayLike = 0.0,
    library_sd: float = 0.3,
    n_batches: int = 1,
    batch_sd: float = 0.3,
    z_distribution: str = "uniform",
    seed: int = 0,
) -> ad.AnnData:
    """Draw counts from the model: size factor, gene mean, batch, scale and shifted shape.

    μ_nj = s_n · m_j · exp(c_bj) · λ_j · b(z_n + δ_j) · exp(ε_j(z_n)), with b normalised to mean 1
    under N(0, 1), ε_j a smooth deviation of the gene's own, and y_nj ~ NB(μ, θ_j), ZINB or Poisson
    (Märtens & Yau 2020, eq. 3, with the size factor, gene mean, batch offset and deviation that
    this package adds).

    Parameters
    ----------
    n_obs, n_vars
        Cells and genes.
    shapes
        Keys of ``SHAPES``, one per group of genes. Genes of a group lie at random positions.
    proportions
        Share of the genes in each group, (len(shapes),), any positive sum. Default: equal.
    mean_count
        Mean of m_j over genes, counts per cell, drawn lognormal; or m_j itself, (n_vars,).
    log_mean_sd
        Standard deviation of log m_j; unused where ``mean_count`` is an array.
    max_shift
        δ is uniform on ±max_shift, units of z, on top of the offset of the shape; 0 for none.
    log_scale_sd
        Standard deviation of log λ; λ has mean 1.
    shape_deviation
        Standard deviation of ε_j, a Gaussian process of length 1 and of mean 0 under N(0, 1); 0
        for none. Flat genes have none.
    dispersion
        Inverse dispersion θ, one number or (n_vars,): variance μ + μ²/θ. Unused for Poisson.
    likelihood
        "nb", "zinb" or "poisson".
    dropout
        Probability of a structural zero, one number or (n_vars,), in [0, 1). "zinb" only.
    library_sd
        Standard deviation of log s_n; s has median 1.
    n_batches
        Batches; cells are dealt to them at random in near-equal numbers.
    batch_sd
        Standard deviation of c_bj before its mean over batches is removed from each gene.
    z_distribution
        "uniform" on (-2, 2), "normal" for N(0, 1), or "uneven": most cells in an early pool.
    seed
        Seed of ``numpy.random.default_rng``.

    Returns
    -------
    AnnData of n_obs × n_vars, X CSR float32 of whole numbers. ``obs``: "true_z",
    "true_size_factor" s, and "batch" if n_batches > 1. ``var``: "true_group" (the entry of
    ``shapes``), "true_shape" (the basis function, which a shift cannot change), "true_shift" δ
    with the offset of the shape included (0 for flat genes), "true_scale" λ, "true_mean" m,
    "true_dispersion" θ (inf for Poisson), "true_dropout". ``varm["true_batch_offset"]``: c,
    n_vars × n_batches, if n_batches > 1. ``varm["true_deviation"]``: ε at 161 even points of z
    from -4 to 4, if ``shape_deviation`` > 0. ``uns["simulation"]``: the arguments.

    Raises
    ------
    ValueError
        A size is below 1, a spread is negative, a name is unknown, an array has the wrong
        length, or ``dropout`` is not 0 without "zinb".

    Examples
    --------
    >>> adata = simulate_counts(n_obs=200, n_vars=40, shapes=("peak", "up"), seed=1)
    >>> adata.shape, adata.var["true_group"].value_counts().to_dict()
    ((200, 40), {'peak': 20, 'up': 20})
    """
    arguments = dict(locals())
    n_obs, n_vars = check_integer("n_obs", n_obs), check_integer("n_vars", n_vars)
    n_batches = check_integer("n_batches", n_batches)
    check_choice("likelihood", likelihood, LIKELIHOODS)
    check_choice("z_distribution", z_distribution, Z_DISTRIBUTIONS)
    library_sd = check_number("library_sd", library_sd)
    rng = np.random.default_rng(seed)
    var = _draw_shapes(rng, n_vars, shapes, proportions, max_shift, log_scale_sd)
    var["true_mean"] = _draw_means(rng, n_vars, mean_count, log_mean_sd)
    var["true_dispersion"] = check_per_gene("dispersion", dispersion, n_vars, positive=True)
    if likelihood == "poisson":
        var["true_dispersion"] = np.full(n_vars, np.inf)
    var["true_dropout"] = _check_dropout(dropout, n_vars, likelihood)
    obs = {
        "true_z": draw_z(rng, n_obs, z_distribution, half_width=HALF_WIDTH),
        "true_size_factor": np.exp(library_sd * rng.standard_normal(n_obs)),
    }
    batch = rng.permutation(np.arange(n_obs) % n_batches)
    offset = _draw_offsets(rng, n_vars, n_batches, batch_sd)
    own = _draw_deviations(rng, var["true_shape"], shape_deviation)
    x = _draw_counts(rng, pd.DataFrame(obs), pd.DataFrame(var), offset, batch, own)
    if n_batches > 1:
        names = [f"batch{b}" for b in range(n_batches)]
        obs["batch"] = pd.Categorical.from_codes(batch, categories=names)
    parameters = {"generator": "simulate_counts", **arguments}
    adata = assemble(x, prefix="gene", obs=obs, var=var, parameters=parameters)
    if n_batches > 1:
        adata.varm["true_batch_offset"] = offset
    if own is not None:
        adata.varm["true_deviation"] = own
    return adata


def expected_counts(adata: ad.AnnData) -> NDArray[np.float64]:
    """Recompute μ, before dropout, from the truth that :func:`simulate_counts` stored.

    μ_nj = s_n · m_j · exp(c_bj) · λ_j · b(z_n + δ_j) · exp(ε_j(z_n)) (Märtens & Yau 2020, eq. 3,
    extended): the level that an estimate is compared with.

    Parameters
    ----------
    adata
        Simulated counts. Cells and genes may have been subset or put in another order.

    Returns
    -------
    Dense (n_obs, n_vars), counts per cell.

    Raises
    ------
    ValueError
        A column of the truth is missing.

    Examples
    --------
    >>> adata = simulate_counts(n_obs=400, n_vars=10, seed=2)
    >>> bool(abs(adata.X.mean() / expected_counts(adata).mean() - 1) < 0.1)
    True
    """
    missing = {"true_z", "true_size_factor"} - set(adata.obs)
    missing |= {"true_shape", "true_shift", "true_scale", "true_mean"} - set(adata.var)
    if missing:
        raise ValueError(f"adata lacks the simulated truth: {', '.join(sorted(missing))}")
    offset, batch = np.zeros((adata.n_vars, 1)), np.zeros(adata.n_obs, dtype=int)
    if "true_batch_offset" in adata.varm:
        # Subsetting drops unused categories, so columns are found by name and not by code.
        offset = np.asarray(adata.varm["true_batch_offset"])
        batch = np.array([int(name.removeprefix("batch")) for name in adata.obs["batch"]])
    own = adata.varm.get("true_deviation")
    own = None if own is None else np.asarray(own)
    return _mean(adata.obs, adata.var, offset, batch, own)


def _mean(
    obs: pd.DataFrame,
    var: pd.DataFrame,
    offset: NDArray,
    batch: NDArray,
    own: NDArray | None,
) -> NDArray[np.float64]:
    """Evaluate μ, (n_obs, n_vars), with c (n_vars, n_batches), batches, and ε at its points."""
    z = obs["true_z"].to_numpy()
    level = (var["true_mean"] * var["true_scale"]).to_numpy()
    mean = np.empty((len(obs), len(var)))
    for j, (name, shift) in enumerate(zip(var["true_shape"], var["true_shift"], strict=True)):
        mean[:, j] = level[j] * np.exp(offset[j, batch]) * basis_values(name, z + shift)
        if own is not None:
            mean[:, j] *= np.exp(np.interp(z, DEVIATION_POINTS, own[j]))
    return mean * obs["true_size_factor"].to_numpy()[:, None]


def _draw_shapes(
    rng: np.random.Generator,
    n_vars: int,
    shapes: Sequence[str],
    proportions: ArrayLike | None,
    max_shift: float,
    log_scale_sd: float,
) -> dict:
    """Give every gene a group, a basis, a shift and a scale."""
    max_shift = check_number("max_shift", max_shift)
    log_scale_sd = check_number("log_scale_sd", log_scale_sd)
    if isinstance(shapes, str) or len(shapes) == 0:
        raise ValueError(f"shapes must be a non-empty sequence of names, not {shapes!r}")
    for name in shapes:
        check_choice("shapes", name, tuple(SHAPES))
    sizes = _group_sizes(n_vars, proportions, len(shapes))
    group = rng.permutation(np.repeat(np.arange(len(shapes)), sizes))
    bases = [SHAPES[name].basis for name in shapes]
    basis = np.array(bases)[group]
    shift = np.array([SHAPES[name].offset for name in shapes])[group]
    shift = shift + rng.uniform(-max_shift, max_shift, n_vars)
    # A shift does nothing to a flat gene: 0 says so, a random number would look like truth.
    shift[basis == "flat"] = 0.0
    return {
        "true_group": labels(np.array(shapes)[group], order=shapes),
        "true_shape": labels(basis, order=bases),
        "true_shift": shift,
        "true_scale": np.exp(rng.normal(-0.5 * log_scale_sd**2, log_scale_sd, n_vars)),
    }


def _group_sizes(n_vars: int, proportions: ArrayLike | None, n_groups: int) -> NDArray:
    """Split ``n_vars`` by ``proportions``; what rounding leaves goes to the largest parts."""
    share = np.ones(n_groups) if proportions is None else np.asarray(proportions, dtype=float)
    if share.shape != (n_groups,):
        raise ValueError(f"proportions must have one entry per shape: {share.shape}")
    if not np.isfinite(share).all() or (share < 0).any() or share.sum() == 0:
        raise ValueError("proportions must be finite, non-negative and not all zero")
    exact = n_vars * share / share.sum()
    sizes = np.floor(exact).astype(int)
    order = np.argsort(sizes - exact, kind="stable")
    sizes[order[: n_vars - sizes.sum()]] += 1
    return sizes


def _draw_means(
    rng: np.random.Generator, n_vars: int, mean_count: ArrayLike, log_mean_sd: float
) -> NDArray:
    """Draw m, (n_vars,), lognormal with mean ``mean_count``; or take the array as it is."""
    level = check_per_gene("mean_count", mean_count, n_vars, positive=True)
    sd = check_number("log_mean_sd", log_mean_sd)
    if np.ndim(mean_count) > 0:
        return level
    return level * np.exp(rng.normal(-0.5 * sd**2, sd, n_vars))


def _draw_offsets(
    rng: np.random.Generator, n_vars: int, n_batches: int, batch_sd: float
) -> NDArray:
    """Draw c, (n_vars, n_batches), with mean 0 over the batches of each gene."""
    batch_sd = check_number("batch_sd", batch_sd)
    if n_batches == 1:
        return np.zeros((n_vars, 1))
    offset = batch_sd * rng.standard_normal((n_vars, n_batches))
    return offset - offset.mean(axis=1, keepdims=True)


def _draw_deviations(rng: np.random.Generator, shape: Sequence, sd: float) -> NDArray | None:
    """Draw ε at its points, (n_vars, 161); ``None`` for a standard deviation of 0."""
    sd = check_number("shape_deviation", sd)
    if sd == 0:
        return None
    z = DEVIATION_POINTS
    weight = np.exp(-0.5 * z**2)
    centred = np.eye(len(z)) - weight / weight.sum()
    kernel = np.exp(-0.5 * ((z[:, None] - z) / DEVIATION_LENGTH) ** 2)
    variance, direction = np.linalg.eigh(centred @ kernel @ centred.T)
    root = direction * np.sqrt(np.maximum(variance, 0.0))
    own = sd * rng.standard_normal((len(shape), len(z))) @ root.T
    own[np.asarray(shape) == "flat"] = 0.0
    return own


def _check_dropout(dropout: ArrayLike, n_vars: int, likelihood: str) -> NDArray:
    """Return the dropout probabilities, (n_vars,); only a ZINB may have any above 0."""
    probability = check_per_gene("dropout", dropout, n_vars, positive=False)
    if (probability >= 1).any():
        raise ValueError("dropout must be below 1")
    if likelihood != "zinb" and (probability > 0).any():
        raise ValueError(f"dropout needs likelihood='zinb', not {likelihood!r}")
    return probability


def _draw_counts(
    rng: np.random.Generator,
    obs: pd.DataFrame,
    var: pd.DataFrame,
    offset: NDArray,
    batch: NDArray,
    own: NDArray | None,
) -> sp.csr_matrix:
    """Draw the counts, (n_obs, n_vars), a block of genes at a time."""
    width = max(1, BLOCK // len(obs))
    blocks = []
    for start in range(0, len(var), width):
        genes = var.iloc[start : start + width]
        part = slice(start, start + width)
        own_part = None if own is None else own[part]
        rate = _mean(obs, genes, offset[part], batch, own_part)
        theta = genes["true_dispersion"].to_numpy()
        if np.isfinite(theta).all():  # a gamma mixture of Poissons is the NB
            rate = rng.gamma(theta, rate / theta)
        counts = rng.poisson(rate).astype(np.float32)
        probability = genes["true_dropout"].to_numpy()
        if (probability > 0).any():
            counts[rng.random(counts.shape) < probability] = 0.0
        blocks.append(sp.csc_matrix(counts))
    return sp.csr_matrix(sp.hstack(blocks, format="csr"))
