"""Figure 2 of the paper: scales λ and shifts δ that were found, against the true ones.

The toy of figure 1 (three positions of a bump, and two trends) and the toy of figure 5 with
lognormal scales (one bump at many positions), each fitted with shifts. Shifts count from the mean
of their cluster, scales in units of the mean of theirs: these are what a mixture can tell. Bars
are intervals of 90 %.

    python benchmarks/paper/figure_2.py --output paper_figures
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from _figures import (
    FLAT,
    cluster_colors,
    colored_lines,
    command_line,
    fit,
    letter,
    save,
    to_true_z,
    truncated,
)
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import basisvae_scvi as bv

LEVEL = 0.9
SHIFT_COLORS = truncated("plasma", 0.0, 0.88)
DATA = {
    "figure 1": lambda seed: bv.datasets.toy_groups(seed=seed),
    "figure 5, with scales": lambda seed: bv.datasets.toy_shifts(log_scale_sd=0.4, seed=seed),
}


def compare(model: bv.BasisVAE) -> pd.DataFrame:
    """λ and δ of every feature beside the truth, relative to the cluster, in units of true z."""
    table, var, unit = model.get_gene_intervals(LEVEL), model.adata.var, to_true_z(model)
    cluster = table["cluster"].astype(str).to_numpy()
    table = table[cluster != FLAT]
    cluster = cluster[cluster != FLAT]
    truth = var.loc[table.index]
    result = pd.DataFrame({"cluster": cluster, "shape": truth["true_shape"].astype(str)})
    centre = table["shift"].groupby(cluster).transform("mean")
    result["shift"] = abs(unit) * (table["shift"] - centre)
    for end in ("shift_lower", "shift_upper"):
        result[end] = abs(unit) * (table[end] - centre)
    result["shift_identified"] = table["shift_identified"].astype(bool)
    true_shift = truth["true_shift"].astype(float)
    result["true_shift"] = true_shift - true_shift.groupby(cluster).transform("mean")
    size = table["scale"].groupby(cluster).transform("mean")
    for name in ("scale", "scale_lower", "scale_upper"):
        result[name] = table[name] / size
    true_scale = truth["true_scale"].astype(float)
    result["true_scale"] = true_scale / true_scale.groupby(cluster).transform("mean")
    return result


def _agreement(rows: pd.DataFrame, name: str) -> dict:
    found, truth = rows[name], rows[f"true_{name}"]
    covered = (rows[f"{name}_lower"] <= truth) & (truth <= rows[f"{name}_upper"])
    varies = len(rows) > 2 and truth.std() > 0
    return {
        "pearson": float(np.corrcoef(found, truth)[0, 1]) if varies else None,
        "rms_error": float(np.sqrt(np.mean((found - truth) ** 2))),
        "coverage_90": float(covered.mean()),
        "n_features": len(rows),
    }


def summarise(table: pd.DataFrame) -> dict:
    """Agreement of λ and δ with the truth over all features, and by cluster."""
    parts = {"all": table} | {f"cluster {c}": rows for c, rows in table.groupby("cluster")}
    return {
        part: {name: _agreement(rows, name) for name in ("shift", "scale")}
        | {"shape": rows["shape"].mode()[0], "identified": float(rows["shift_identified"].mean())}
        for part, rows in parts.items()
    }


def draw_curves(ax: Axes, model: bv.BasisVAE, name: str, label: str, cmap) -> None:
    """Courses of all features, coloured by λ or δ."""
    table = bv.get.Annotation.of(model.adata).genes
    values = table[name].to_numpy()
    trends = model.get_gene_trends()
    lines = colored_lines(
        ax, trends.index.to_numpy(), trends.to_numpy(), values, cmap, linewidths=0.8
    )
    ax.figure.colorbar(lines, ax=ax, label=label, aspect=25)
    ax.set(xlabel="z", ylabel="value")


def draw_bases(ax: Axes, model: bv.BasisVAE) -> None:
    """Basis functions, each over the range of its features."""
    annotation = bv.get.Annotation.of(model.adata)
    colors = cluster_colors(model.adata, annotation.keys.cluster)
    z = annotation.points(200)
    for cluster in annotation.clusters:
        n = int((annotation.genes["cluster"] == cluster).sum())
        ax.plot(
            z,
            annotation.basis_at(cluster, z),
            color=colors[cluster],
            linewidth=2,
            label=f"{cluster}: {n} features",
        )
    ax.set(xlabel="z", ylabel="basis function")
    ax.margins(x=0)
    top = ax.get_ylim()[1]
    # Room for the legend above the curves.
    n_lines = len(annotation.clusters) + 1
    ax.set_ylim(top=top + (0.04 + 0.09 * n_lines) * (top - ax.get_ylim()[0]))
    ax.legend(title="cluster", loc="upper left", handlelength=1.2, borderaxespad=0.0)


def draw_agreement(ax: Axes, table: pd.DataFrame, name: str, labels: tuple, colors: dict) -> None:
    """Found against true, with intervals."""
    low = min(table[f"{name}_lower"].min(), table[f"true_{name}"].min())
    high = max(table[f"{name}_upper"].max(), table[f"true_{name}"].max())
    pad = 0.05 * (high - low)
    ax.plot([low - pad, high + pad], [low - pad, high + pad], color="0.7", linewidth=0.8, zorder=0)
    for cluster, rows in table.groupby("cluster"):
        bars = [rows[name] - rows[f"{name}_lower"], rows[f"{name}_upper"] - rows[name]]
        ax.errorbar(
            rows[f"true_{name}"],
            rows[name],
            yerr=np.clip(bars, 0.0, None),
            fmt="o",
            markersize=3,
            elinewidth=0.7,
            color=colors[cluster],
            markeredgewidth=0,
            alpha=0.8,
        )
    of = _agreement(table, name)
    ax.set_title(f"r = {of['pearson']:.4f}\n90 % intervals cover {of['coverage_90']:.0%}")
    ax.set(xlabel=labels[0], ylabel=labels[1])
    ax.set_xlim(low - pad, high + pad)
    ax.set_ylim(low - pad, high + pad)
    ax.set_aspect("equal")


def draw(models: dict, tables: dict) -> Figure:
    """One row for each data set."""
    figure = plt.figure(figsize=(13.0, 5.8), layout="constrained")
    rows = figure.subfigures(len(models), 1)
    for part, (name, model) in zip(rows, models.items(), strict=True):
        panels = part.subplots(1, 5)
        part.suptitle(f"Data of {name}", fontsize=9)
        colors = cluster_colors(model.adata, "basisvae_cluster")
        draw_bases(panels[0], model)
        draw_curves(panels[1], model, "scale", "scale λ found", "viridis")
        draw_curves(panels[2], model, "shift", "shift δ found", SHIFT_COLORS)
        draw_agreement(panels[3], tables[name], "scale", ("true λ", "λ found"), colors)
        draw_agreement(panels[4], tables[name], "shift", ("true δ", "δ found"), colors)
        if part is rows[0]:
            for ax, text in zip(panels, "ABCDE", strict=True):
                letter(ax, text, clear=text in "DE")
    return figure


def main() -> None:
    """Measure, draw, write."""
    parser = command_line(__doc__)
    parser.add_argument("--n-basis", type=int, default=20)
    arguments = parser.parse_args()
    models, tables, results = {}, {}, {}
    for name, simulate in DATA.items():
        models[name], seconds = fit(
            simulate(arguments.seed),
            seed=arguments.seed,
            max_epochs=arguments.max_epochs,
            gene_likelihood="gaussian",
            n_basis=arguments.n_basis,
            translation_invariant=True,
        )
        tables[name] = compare(models[name])
        results[name] = {"seconds": seconds, **summarise(tables[name])}
        for part, of in results[name].items():
            if part != "seconds":
                shift, scale = of["shift"], of["scale"]
                print(
                    f"{name:22} {part:10} ({of['shape']}, {shift['n_features']} features) "
                    f"shift r {shift['pearson']} cover {shift['coverage_90']:.2f} "
                    f"scale r {scale['pearson']} cover {scale['coverage_90']:.2f}",
                    flush=True,
                )
    save({"figure_2": draw(models, tables)}, results, arguments, "figure_2")


if __name__ == "__main__":
    main()
