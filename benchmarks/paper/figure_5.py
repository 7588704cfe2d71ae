"""Figure 5 of the paper: how many bases a family of shifted curves takes, without and with shifts.

One bump at 60 positions. Models without shifts get K = 3, 5 and 12 basis functions beside the flat
one, the model with shifts 20. The share of the variance of the noise-free data that a fit leaves
unexplained says how well its curves stand for the true ones.

    python benchmarks/paper/figure_5.py --output paper_figures
"""

from __future__ import annotations

import numpy as np
from _figures import (
    cluster_colors,
    colored_lines,
    command_line,
    fit,
    letter,
    palette,
    save,
    to_true_z,
)
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import basisvae_scvi as bv

N_BASES = (3, 5, 12)
N_BASES_WITH_SHIFTS = 20


def true_signal(adata) -> np.ndarray:
    """The data without their noise, cells × features."""
    var, z = adata.var, adata.obs["true_z"].to_numpy()
    x = z[:, None] + var["true_shift"].to_numpy()
    shape = adata.uns["simulation"]["shape"]
    return var["true_scale"].to_numpy() * bv.datasets.basis_values(shape, x, normalized=False)


def unexplained(model: bv.BasisVAE) -> float:
    """Share of the variance of the signal, over the cells, that the fit misses."""
    signal = true_signal(model.adata)
    z = model.get_latent_representation()[:, 0].astype(np.float64)
    fitted = model.get_gene_trends(z=z).to_numpy()
    missed = ((signal - fitted) ** 2).sum()
    return float(missed / ((signal - signal.mean(axis=0)) ** 2).sum())


def shift_error(model: bv.BasisVAE) -> dict:
    """Correlation and error of δ, in units of the true z, from the mean of the cluster."""
    clusters, truth = model.get_clusters(), model.adata.var["true_shift"]
    cluster = clusters["cluster"].astype(str).to_numpy()
    found = abs(to_true_z(model)) * clusters["shift"]
    truth = truth - truth.groupby(cluster).transform("mean")
    found = found - found.groupby(cluster).transform("mean")
    return {
        "pearson": float(np.corrcoef(found, truth)[0, 1]),
        "rms_error": float(np.sqrt(np.mean((found - truth) ** 2))),
        "found": found.tolist(),
        "true": truth.tolist(),
    }


def measure(adata, arguments) -> tuple[dict, dict]:
    """Fit and score all models."""
    settings = {f"K = {k}": (k + 1, False) for k in N_BASES}
    settings["with shifts"] = (N_BASES_WITH_SHIFTS, True)
    models, results = {}, {}
    for name, (n_basis, has_shifts) in settings.items():
        model, seconds = fit(
            adata,
            seed=arguments.seed,
            max_epochs=arguments.max_epochs,
            gene_likelihood="gaussian",
            n_basis=n_basis,
            translation_invariant=has_shifts,
            objective=arguments.objective,
        )
        models[name] = model
        results[name] = {
            "n_clusters": int(model.get_clusters()["cluster"].nunique()),
            "unexplained": unexplained(model),
            "seconds": seconds,
        }
        print(
            f"{name:12} clusters {results[name]['n_clusters']:2} "
            f"unexplained {results[name]['unexplained']:.3f} {seconds:.0f} s",
            flush=True,
        )
    results["with shifts"]["shift"] = shift_error(models["with shifts"])
    return models, results


def draw_clusters(ax: Axes, model: bv.BasisVAE, title: str, of: dict) -> None:
    """Fitted courses of all features, coloured by cluster."""
    trends, clusters = model.get_gene_trends(), model.get_clusters()["cluster"].astype(str)
    colors = cluster_colors(model.adata, "basisvae_cluster")
    used = [c for c in colors if (clusters == c).any()]
    if len(used) > len(palette(8)):
        # More clusters than colours that one can tell apart: their order is what shows.
        shades = plt.get_cmap("viridis")(np.linspace(0.0, 0.95, len(used)))
        colors = dict(zip(used, shades, strict=True))
    colored_lines(
        ax,
        trends.index.to_numpy(),
        trends.to_numpy(),
        [colors[c] for c in clusters],
        linewidths=0.9,
        alpha=0.85,
    )
    n = of["n_clusters"]
    ax.set_title(
        f"{title}\n{n} cluster{'s' if n > 1 else ''} used, {of['unexplained']:.1%} unexplained"
    )
    ax.set(xlabel="z")


def draw_shifts(ax: Axes, shift: dict) -> None:
    """Found against true δ."""
    limit = 1.08 * max(map(abs, shift["true"] + shift["found"]))
    ax.plot([-limit, limit], [-limit, limit], color="0.7", linewidth=0.8, zorder=0)
    ax.scatter(shift["true"], shift["found"], s=12, color=palette(1)[0], linewidths=0)
    ax.set(xlim=(-limit, limit), ylim=(-limit, limit), xlabel="true δ", ylabel="δ found")
    ax.set_aspect("equal")
    ax.set_title(f"Shifts of D\nr = {shift['pearson']:.4f}")


def draw(models: dict, results: dict) -> Figure:
    """Four panels of curves, and the shifts."""
    figure, panels = plt.subplots(
        1, 5, figsize=(13.0, 2.9), layout="constrained", width_ratios=[1, 1, 1, 1, 0.95]
    )
    for ax, (name, model) in zip(panels, models.items(), strict=False):
        title = f"Without shifts, {name}" if name.startswith("K") else "With shifts"
        draw_clusters(ax, model, title, results[name])
        ax.tick_params(labelleft=ax is panels[0])
    low, high = zip(*(ax.get_ylim() for ax in panels[:4]), strict=True)
    for ax in panels[:4]:
        ax.set_ylim(min(low), max(high))
    panels[0].set_ylabel("value")
    draw_shifts(panels[4], results["with shifts"]["shift"])
    for ax, text in zip(panels, "ABCDE", strict=True):
        letter(ax, text, clear=True)
    return figure


def main() -> None:
    """Measure, draw, write."""
    parser = command_line(__doc__)
    parser.add_argument("--objective", choices=["evidence", "paper"], default="evidence")
    arguments = parser.parse_args()
    adata = bv.datasets.toy_shifts(seed=arguments.seed)
    models, results = measure(adata, arguments)
    save({"figure_5": draw(models, results)}, {"fits": results}, arguments, "figure_5")


if __name__ == "__main__":
    main()
