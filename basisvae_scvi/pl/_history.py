"""How the fit came about: the bound over epochs and over the moves of the search."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from basisvae_scvi.data import DEFAULT_KEY
from basisvae_scvi.get import Annotation

from ._colors import palette
from ._figure import finish, panel_axes, say, tidy

_PANEL_SIZE = (3.6, 2.8)
_NAMES = ("elbo", "bound", "bases")
_NO_SEARCH = (
    "no search for the structure:\nit takes objective='evidence',\nn_latent=1 and annotate()"
)
_NO_EPOCHS = "no epochs recorded:\nrun model.annotate(adata)"
_CURVES = {"elbo_train": "training cells", "elbo_validation": "validation cells"}
_MARKERS = {
    "start": "o",
    "delete": "v",
    "merge": "D",
    "split": "^",
    "recombine": "P",
    "compose": "X",
    "spread": "<",
    "turn": ">",
    "settle": "s",
}
_OTHER_MARKER = "*"


def history(
    adata: AnnData,
    *,
    key: str = DEFAULT_KEY,
    ax: Axes | Sequence[Axes] | None = None,
    show: bool | None = None,
) -> dict[str, Axes]:
    """Draw the training: bound per epoch, bound per move of the search, bases in use.

    The search has one line per restart, the best one thick; symbols tell the moves that were
    accepted, each of which raised the bound. A bound that still rises at the last epoch asks for
    more epochs; restarts that end far apart ask for more restarts.

    Parameters
    ----------
    adata
        Data annotated by ``model.annotate(adata)``.
    key
        The ``key_added`` of the annotation.
    ax
        Three Axes to draw into.
    show
        Whether to show the figure; by default scanpy's setting for own figures.

    Returns
    -------
    Axes ``"elbo"``, ``"bound"`` and ``"bases"``. Where something was not recorded, the panel says
    so.

    Raises
    ------
    KeyError
        If the annotation is missing.
    ValueError
        If ``ax`` does not fit.

    Examples
    --------
    >>> import basisvae_scvi as bv
    >>> sorted(bv.pl.history(annotated, show=False))
    ['bases', 'bound', 'elbo']
    """
    annotation = Annotation.of(adata, key=key)
    run = adata.uns[annotation.keys.uns]
    panels = panel_axes(len(_NAMES), ax=ax, ncols=3, size=_PANEL_SIZE)
    axes = dict(zip(_NAMES, panels, strict=True))
    _draw_epochs(axes["elbo"], run.get("history", {}))
    search = run.get("search")
    if search is None or not len(search):
        for name in ("bound", "bases"):
            say(axes[name], _NO_SEARCH)
    else:
        _draw_moves(axes, search, str(run.get("best_restart", "0")))
    finish(show, is_own_figure=ax is None)
    return axes


def _draw_epochs(ax: Axes, recorded) -> None:
    curves = {label: recorded[name] for name, label in _CURVES.items() if name in recorded}
    if not curves:
        say(ax, _NO_EPOCHS)
        return
    for (label, values), style in zip(curves.items(), ("-", "--"), strict=False):
        # scvi-tools records the negative bound.
        bound = -np.asarray(values, dtype=float)
        epochs = np.arange(1, len(bound) + 1)
        marker = "o" if len(bound) == 1 else None
        ax.plot(epochs, bound, style, marker=marker, color="#4477AA", linewidth=1.6, label=label)
    ax.set(xlabel="epoch", ylabel="bound (nats per cell)")
    ax.set_title("training", fontsize="medium")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(curves) > 1:
        ax.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(0.0, -0.2))
    tidy(ax)


def _draw_moves(axes: dict[str, Axes], search: pd.DataFrame, best: str) -> None:
    restarts = list(pd.unique(search["restart"]))
    for restart, color in zip(restarts, palette(len(restarts)), strict=True):
        rows = search[search["restart"] == restart]
        step, is_best = np.arange(len(rows)), str(restart) == best
        style = {"color": color, "linewidth": 2.2 if is_best else 1.0}
        label = f"restart {restart}" + (" (best)" if is_best else "")
        axes["bound"].plot(step, rows["bound"], label=label, **style)
        axes["bases"].step(step, rows["n_used_bases"], where="post", label=label, **style)
        kinds = rows["move"].map(_kind).to_numpy()
        for kind in pd.unique(kinds):
            own = kinds == kind
            axes["bound"].plot(
                step[own],
                rows["bound"].to_numpy()[own],
                linestyle="none",
                marker=_MARKERS.get(kind, _OTHER_MARKER),
                markersize=5,
                color=color,
                markeredgecolor="white",
                markeredgewidth=0.4,
            )
    axes["bound"].set(xlabel="accepted move", ylabel="bound (nats)")
    axes["bases"].set(xlabel="accepted move", ylabel="bases in use")
    axes["bound"].set_title("search", fontsize="medium")
    axes["bases"].set_title("bases", fontsize="medium")
    _label_moves(axes["bases"], search["move"].map(_kind))
    for name in ("bound", "bases"):
        axes[name].xaxis.set_major_locator(MaxNLocator(integer=True))
        tidy(axes[name])
    axes["bases"].yaxis.set_major_locator(MaxNLocator(integer=True))


def _label_moves(ax: Axes, kinds: pd.Series) -> None:
    """Restarts and symbols, beside the last panel."""
    found = set(kinds)
    handles, labels = ax.get_legend_handles_labels()
    for kind in [*_MARKERS, *sorted(found - set(_MARKERS))]:
        if kind in found:
            marker = _MARKERS.get(kind, _OTHER_MARKER)
            dot = ax.plot([], [], linestyle="none", marker=marker, color="0.3", markersize=5)[0]
            handles.append(dot)
            labels.append(kind)
    legend = {"frameon": False, "fontsize": "small", "loc": "upper left"}
    ax.legend(handles, labels, bbox_to_anchor=(1.0, 1.0), **legend)


def _kind(move: str) -> str:
    """Of several moves accepted at once, the kind of the first."""
    return str(move).split("+")[0]
