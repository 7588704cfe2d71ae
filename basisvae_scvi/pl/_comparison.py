"""Held-out log likelihood of settings that were compared."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ._colors import palette
from ._figure import finish, single_axes, tidy

_FOUND = ("log_likelihood", "difference", "difference_se", "n_used_bases", "seconds")
_DODGE = 0.25


def comparison(
    table: pd.DataFrame,
    *,
    ax: Axes | None = None,
    show: bool | None = None,
) -> Axes:
    """Draw what :func:`basisvae_scvi.tl.compare` has found.

    The held-out log likelihood of each setting, relative to the best, with two standard errors:
    the first varied argument along the x axis, combinations of the others in colour. A setting
    whose bar reaches 0 predicts unseen cells as well as the best.

    Parameters
    ----------
    table
        Result of :func:`basisvae_scvi.tl.compare`.
    ax
        Axes to draw into.
    show
        Whether to show the figure; by default scanpy's setting for own figures.

    Returns
    -------
    The Axes.

    Raises
    ------
    ValueError
        If the table is another.

    Examples
    --------
    >>> import pandas as pd
    >>> import basisvae_scvi as bv
    >>> table = pd.DataFrame(
    ...     {
    ...         "n_basis": [5, 10],
    ...         "log_likelihood": [-200.0, -203.0],
    ...         "difference": [0.0, -3.0],
    ...         "difference_se": [0.0, 0.5],
    ...         "n_used_bases": [4.0, 5.0],
    ...         "seconds": [1.0, 1.0],
    ...     }
    ... )
    >>> ax = bv.pl.comparison(table, show=False)
    """
    varied = [column for column in table.columns if column not in _FOUND]
    if not varied or not set(_FOUND) <= set(table.columns):
        raise ValueError("table must come from basisvae_scvi.tl.compare.")
    first, *others = varied
    levels = sorted(table[first].unique(), key=lambda value: (str(type(value)), value))
    place = {level: index for index, level in enumerate(levels)}
    groups = list(table.groupby(others, sort=True)) if others else [((), table)]
    is_own_figure = ax is None
    ax = single_axes(ax, (3.2 + 0.9 * max(3, len(levels)), 3.0 + 0.1 * len(groups)))
    ax.axhline(0.0, color="0.8", linewidth=1.0, zorder=0)
    for index, ((key, rows), color) in enumerate(zip(groups, palette(len(groups)), strict=True)):
        rows = rows.sort_values(first, key=lambda values: values.map(place))
        offset = _DODGE * (index - 0.5 * (len(groups) - 1)) / max(1, len(groups) - 1)
        keys = key if isinstance(key, tuple) else (key,)
        ax.errorbar(
            np.array([place[value] for value in rows[first]]) + offset,
            rows["difference"].to_numpy(dtype=float),
            yerr=2.0 * rows["difference_se"].to_numpy(dtype=float),
            fmt="o-",
            color=color,
            markersize=5,
            linewidth=1.2,
            capsize=3,
            label=", ".join(map(str, keys)),
        )
    ax.set_xticks(range(len(levels)), [str(level) for level in levels])
    ax.set_xlabel(first)
    ax.set_ylabel("held-out log likelihood\nbelow the best (nats per cell)")
    if others:
        ax.legend(
            title=",\n".join(others),
            alignment="left",
            frameon=False,
            loc="upper left",
            bbox_to_anchor=(1.0, 1.0),
        )
    tidy(ax)
    finish(show, is_own_figure=is_own_figure)
    return ax
