"""What the scripts of this folder share: the command line, fits, scores, and how figures look."""

from __future__ import annotations

import argparse
import logging
import sys
import time
import warnings
from collections.abc import Iterable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import anndata as ad
import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.figure import Figure, SubFigure
from sklearn.metrics import v_measure_score

import basisvae_scvi as bv
from basisvae_scvi.pl._colors import FLAT_COLOR, cluster_colors, palette

sys.path.append(str(Path(__file__).resolve().parents[1]))

from _machine import write

FLAT = bv.get.Annotation.FLAT
STYLE = {
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "savefig.dpi": 200,
}
plt.rcParams.update(STYLE)
# Every fit would announce its device and its end.
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

__all__ = [
    "FLAT",
    "FLAT_COLOR",
    "cluster_colors",
    "colored_lines",
    "command_line",
    "fit",
    "letter",
    "mark_groups",
    "palette",
    "save",
    "score",
    "to_true_z",
    "truncated",
]


def command_line(doc: str, *, seed: int = 0) -> argparse.ArgumentParser:
    """A parser with what all scripts take: where to write, the seed and the length of training."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("paper_figures"), help="a folder")
    parser.add_argument("--seed", type=int, default=seed)
    parser.add_argument("--max-epochs", type=int, help="by default that of the package")
    return parser


def fit(
    adata: ad.AnnData,
    *,
    seed: int,
    max_epochs: int | None = None,
    init: str = "manifold",
    root: str | np.ndarray | None = None,
    setup: dict | None = None,
    **arguments,
) -> tuple[bv.BasisVAE, float]:
    """A model trained on a copy of the data, which it also annotates, and the seconds it took.

    With a simulation z starts where the true z does.
    """
    adata = adata.copy()
    bv.BasisVAE.setup_anndata(adata, **(setup or {}))
    began = time.perf_counter()
    model = bv.BasisVAE(adata, **arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.train(
            max_epochs=max_epochs,
            seed=seed,
            init=init,
            accelerator="cpu",
            enable_progress_bar=False,
        )
    seconds = time.perf_counter() - began
    if root is None and "true_z" in adata.obs:
        root = (adata.obs["true_z"] < adata.obs["true_z"].median()).to_numpy()
    model.annotate(root=root)
    return model, seconds


def score(var: pd.DataFrame, labels: Iterable) -> dict:
    """V-measure (Rosenberg & Hirschberg 2007) against the true groups and the true shapes."""
    labels = [str(label) for label in labels]
    return {
        "v_groups": float(v_measure_score(var["true_group"].astype(str), labels)),
        "v_shapes": float(v_measure_score(var["true_shape"].astype(str), labels)),
        "n_clusters": len(set(labels)),
    }


def to_true_z(model: bv.BasisVAE) -> float:
    """Units of the true z in one unit of the z that was found (slope of the regression)."""
    z = model.get_latent_representation()[:, 0]
    return float(np.polyfit(z, model.adata.obs["true_z"], 1)[0])


def colored_lines(
    ax: Axes,
    x: np.ndarray,
    curves: np.ndarray,
    values,
    cmap: str | Colormap | None = None,
    **kwargs,
) -> LineCollection:
    """Draw curves, (len(x), J), each in its colour: colours, or numbers for a colour map."""
    lines = LineCollection([np.column_stack([x, curve]) for curve in curves.T], **kwargs)
    if cmap is None:
        lines.set_color(values)
    else:
        lines.set(array=np.asarray(values), cmap=cmap)
    ax.add_collection(lines)
    ax.autoscale_view()
    ax.margins(x=0)
    return lines


def truncated(name: str, low: float, high: float) -> ListedColormap:
    """Part of a colour map, such as one without colours too pale for thin lines."""
    return ListedColormap(plt.get_cmap(name)(np.linspace(low, high, 256)))


def mark_groups(
    ax: Axes, groups: pd.Series, *, both: bool = True, color: str = "white", names: bool = True
) -> None:
    """Lines between neighbouring features of different groups on a matrix, and group names."""
    codes = groups.astype(str).to_numpy()
    edges = np.flatnonzero(codes[1:] != codes[:-1]) + 1
    for edge in edges - 0.5:
        ax.axhline(edge, color=color, linewidth=0.6)
        if both:
            ax.axvline(edge, color=color, linewidth=0.6)
    starts, ends = np.r_[0, edges], np.r_[edges, len(codes)]
    ax.set_yticks((starts + ends - 1) / 2, [codes[s] for s in starts] if names else [])
    ax.set_xticks([])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


def letter(
    ax: Axes | SubFigure, text: str, *, clear: bool = False, x: float = 0.0, y: float = 1.0
) -> None:
    """The bold letter of a panel, at its upper left corner.

    ``clear`` lifts it to the height of the first line of a title of two lines.
    """
    if isinstance(ax, Axes):
        ax.set_title(text + "\n" * clear, loc="left", fontweight="bold", fontsize=10)
    else:
        ax.text(x, y, text, fontweight="bold", fontsize=11, va="top", ha="left")


def _plain(value):
    """Arguments as JSON takes them; of files only their names."""
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    return value.name if isinstance(value, Path) else value


def save(figures: dict[str, Figure], results: dict, arguments: argparse.Namespace, name: str):
    """Write ``<stem>.png`` for every figure, and what was measured to ``<name>.json``."""
    folder = arguments.output
    folder.mkdir(parents=True, exist_ok=True)
    for stem, figure in figures.items():
        figure.savefig(folder / f"{stem}.png")
        plt.close(figure)
    kept = {key: _plain(value) for key, value in vars(arguments).items()}
    kept.pop("output")
    write({"arguments": kept, **results}, folder / f"{name}.json")
    print(f"Wrote {', '.join(f'{stem}.png' for stem in figures)} and {name}.json to {folder}")
