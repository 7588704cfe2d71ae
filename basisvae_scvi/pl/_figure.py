"""What all figures share: panels, and whether to show them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes


def single_axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    """The given Axes, or those of a new figure of ``size`` inches."""
    return plt.subplots(figsize=size, layout="constrained")[1] if ax is None else ax


def panel_axes(
    n_panels: int,
    *,
    ax: Axes | Sequence[Axes] | None,
    ncols: int,
    size: tuple[float, float],
) -> np.ndarray:
    """One Axes per panel, shape ``(n_panels,)``: the given ones, or those of a new figure.

    Raises
    ------
    ValueError
        If the number of given Axes is another, or ``ncols`` is below 1.
    """
    if ax is not None:
        given = np.atleast_1d(np.asarray(ax, dtype=object)).ravel()
        if len(given) != n_panels:
            raise ValueError(f"ax has {len(given)} Axes for {n_panels} panel(s); pass as many.")
        return given
    if ncols < 1:
        raise ValueError(f"ncols={ncols} must be at least 1.")
    ncols = min(ncols, n_panels)
    nrows = -(-n_panels // ncols)
    figure, grid = plt.subplots(
        nrows,
        ncols,
        figsize=(size[0] * ncols, size[1] * nrows),
        layout="constrained",
        squeeze=False,
    )
    for unused in grid.ravel()[n_panels:]:
        figure.delaxes(unused)
    return grid.ravel()[:n_panels]


def label_axes(panels: np.ndarray, *, xlabel: str, ylabel: str) -> None:
    """Label the z axis of all panels, and the other axis of those in a first column."""
    for panel in panels:
        panel.set_xlabel(xlabel)
        place = panel.get_subplotspec()
        if place is None or place.is_first_col():
            panel.set_ylabel(ylabel)


def outside_legend(panels: np.ndarray, handles: Sequence, *, is_own_figure: bool) -> None:
    """One legend for all panels where it covers no data: below an own figure, else beside them."""
    if is_own_figure:
        panels[0].figure.legend(
            handles=handles,
            loc="outside lower center",
            ncols=len(handles),
            frameon=False,
            fontsize="small",
        )
    else:
        panels[-1].legend(
            handles=handles,
            loc="upper left",
            bbox_to_anchor=(1.0, 1.0),
            frameon=False,
            fontsize="small",
        )


def say(ax: Axes, text: str) -> None:
    """Write what is missing where a figure would have been."""
    ax.text(0.5, 0.5, text, ha="center", va="center", transform=ax.transAxes, fontsize="small")
    ax.set_axis_off()


def tidy(ax: Axes) -> None:
    """Remove the frame's upper and right line."""
    ax.spines[["top", "right"]].set_visible(False)


def finish(show: bool | None, *, is_own_figure: bool) -> None:
    """Show the figure if asked to, or by scanpy's setting; never one that the caller made."""
    if show is None:
        from scanpy import settings

        show = is_own_figure and settings.autoshow
    if show:
        plt.show()
