"""The two Gaussian toy data sets of the paper (Märtens & Yau 2020, section 5.1)."""

import anndata as ad
import numpy as np
from numpy.typing import NDArray

from ._shapes import BASES, SHAPES, basis_values
from ._truth import assemble, check_choice, check_integer, check_number, draw_z, labels

VARIANTS = {
    "paper": ("early", "peak", "late", "up", "down"),
    "authors": ("early", "peak", "late", "up"),
}
HALF_WIDTH = 3.0  # z of the toy data is uniform on (-3, 3)
SCALE_RANGE = (0.4, 1.6)


def _toy(
    *,
    z: NDArray,
    basis: list[str],
    group: list[str],
    shift: NDArray,
    scale: NDArray,
    noise_sd: float,
    rng: np.random.Generator,
    parameters: dict,
) -> ad.AnnData:
    """Draw λ_j f_j(z_n + δ_j) + noise from per-feature truth and keep that truth."""
    mean = np.empty((len(z), len(basis)))
    for j, name in enumerate(basis):
        mean[:, j] = scale[j] * basis_values(name, z + shift[j], normalized=False)
    noise = noise_sd * rng.standard_normal(mean.shape)
    var = {
        "true_group": labels(group),
        "true_shape": labels(basis),
        "true_shift": shift,
        "true_scale": scale,
        "true_mean": np.ones(len(basis)),
        "true_dispersion": np.full(len(basis), noise_sd),
    }
    return assemble(
        (mean + noise).astype(np.float32),
        prefix="feature",
        obs={"true_z": z, "true_size_factor": np.ones(len(z))},
        var=var,
        parameters={**parameters, "noise_sd": noise_sd, "likelihood": "gaussian"},
    )


def toy_groups(
    *,
    n_obs: int = 500,
    n_per_group: int = 10,
    variant: str = "paper",
    noise_sd: float = 0.2,
    z_distribution: str = "uniform",
    seed: int = 0,
) -> ad.AnnData:
    """Draw the grouped toy data of figure 1: three bumps, one rising and one falling trend.

    y_nj = λ_j f(z_n + δ_j) + ε, ε ~ N(0, noise_sd²) (Märtens & Yau 2020, section 5.1). The bumps
    are f(x) = exp(-x²/2) centred at -1.5, 0 and 1.5; the trends 0.4 log(1 + exp(±x)). Values are
    real, and may be negative: use a Gaussian likelihood.

    Parameters
    ----------
    n_obs
        Cells.
    n_per_group
        Features in each group; their λ are evenly spaced from 0.4 to 1.6.
    variant
        "paper": five groups. "authors": four, without the falling trend, as in the toy
        generator that the authors released.
    noise_sd
        Standard deviation of the noise, in the unit of the data.
    z_distribution
        "uniform" on (-3, 3), "normal" for N(0, 1), or "uneven": most cells in an early pool.
    seed
        Seed of ``numpy.random.default_rng``.

    Returns
    -------
    AnnData of n_obs × (groups · n_per_group), X dense float32. ``obs``: "true_z",
    "true_size_factor" (1). ``var``: "true_group" (which of the five), "true_shape" (what a shift
    cannot change: the bumps share "transient"), "true_shift" δ in units of z (a bump peaks at
    -δ), "true_scale" λ, "true_mean" (1: data without a gene mean), "true_dispersion" (σ of the
    noise). ``uns["simulation"]``: the arguments.

    Raises
    ------
    ValueError
        A size is below 1, ``noise_sd`` is negative, or a name is unknown.

    Examples
    --------
    >>> adata = toy_groups(n_obs=100, n_per_group=4)
    >>> adata.shape, adata.var["true_group"].nunique(), adata.var["true_shape"].nunique()
    ((100, 20), 5, 3)
    """
    n_obs = check_integer("n_obs", n_obs)
    n_per_group = check_integer("n_per_group", n_per_group)
    names = VARIANTS[check_choice("variant", variant, tuple(VARIANTS))]
    noise_sd = check_number("noise_sd", noise_sd)
    check_choice("z_distribution", z_distribution, ("uniform", "normal", "uneven"))
    rng = np.random.default_rng(seed)
    return _toy(
        z=draw_z(rng, n_obs, z_distribution, half_width=HALF_WIDTH),
        basis=[SHAPES[name].basis for name in names for _ in range(n_per_group)],
        group=[name for name in names for _ in range(n_per_group)],
        shift=np.repeat([SHAPES[name].offset for name in names], n_per_group),
        scale=np.tile(np.linspace(*SCALE_RANGE, n_per_group), len(names)),
        noise_sd=noise_sd,
        rng=rng,
        parameters={
            "generator": "toy_groups",
            "variant": variant,
            "n_per_group": n_per_group,
            "z_distribution": z_distribution,
            "seed": seed,
        },
    )


def toy_shifts(
    *,
    n_obs: int = 500,
    n_vars: int = 60,
    max_shift: float = 2.5,
    noise_sd: float = 0.2,
    shape: str = "transient",
    log_scale_sd: float = 0.0,
    seed: int = 0,
) -> ad.AnnData:
    """Draw the shifted toy data of figure 5: one shape at many positions.

    y_nj = λ_j f(z_n + δ_j) + ε with δ evenly spaced on ±max_shift and z uniform on (-3, 3)
    (Märtens & Yau 2020, section 5.1). A translation-invariant model needs one basis function;
    without shifts, over the default range, the best 3 fixed curves leave 20 % of the variance of
    the signal unexplained, 5 leave 8 % and 12 leave 1.4 %.

    Parameters
    ----------
    n_obs, n_vars
        Cells and features.
    max_shift
        Largest size of δ, in units of z.
    noise_sd
        Standard deviation of the noise, in the unit of the data.
    shape
        Basis function f, a key of ``BASES`` other than "flat".
    log_scale_sd
        Standard deviation of log λ; 0 leaves every λ at 1, as in the figure.
    seed
        Seed of ``numpy.random.default_rng``.

    Returns
    -------
    AnnData of n_obs × n_vars as from :func:`toy_groups`, features in order of "true_shift".

    Raises
    ------
    ValueError
        A size is below 1, a spread is negative, or ``shape`` is unknown or flat.

    Examples
    --------
    >>> adata = toy_shifts(n_obs=100, n_vars=5, max_shift=2.0)
    >>> adata.var["true_shift"].tolist()
    [-2.0, -1.0, 0.0, 1.0, 2.0]
    """
    n_obs, n_vars = check_integer("n_obs", n_obs), check_integer("n_vars", n_vars)
    max_shift = check_number("max_shift", max_shift)
    noise_sd = check_number("noise_sd", noise_sd)
    log_scale_sd = check_number("log_scale_sd", log_scale_sd)
    check_choice("shape", shape, tuple(name for name in BASES if name != "flat"))
    rng = np.random.default_rng(seed)
    return _toy(
        z=draw_z(rng, n_obs, "uniform", half_width=HALF_WIDTH),
        basis=[shape] * n_vars,
        group=[shape] * n_vars,
        shift=np.linspace(-max_shift, max_shift, n_vars),
        scale=np.exp(log_scale_sd * rng.standard_normal(n_vars)),
        noise_sd=noise_sd,
        rng=rng,
        parameters={
            "generator": "toy_shifts",
            "shape": shape,
            "max_shift": max_shift,
            "log_scale_sd": log_scale_sd,
            "seed": seed,
        },
    )
