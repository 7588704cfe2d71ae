"""Figure 1 of the paper: groups and similarities of the toy's features, by BasisVAE and others.

Draws five groups of ten features, fits BasisVAE without and with shifts, and sets it beside
Euclidean distance, Pearson correlation, k-means, principal components and linear bases. These are
told the number of groups; BasisVAE is not.

    python benchmarks/paper/figure_1.py --output paper_figures

With ``--draws 10`` the V-measures are measured on ten draws of the data; the figure is the first.
"""

from __future__ import annotations

import numpy as np
from _figures import command_line, fit, letter, mark_groups, save, score
from _rivals import Rival, euclidean, k_means, linear_bases, pearson, principal_components
from matplotlib import pyplot as plt
from matplotlib.figure import Figure, SubFigure

import basisvae_scvi as bv

MODELS = {"BasisVAE": False, "BasisVAE, shifts": True}
LOOKS = {
    "distance": ("viridis_r", None),
    "correlation": ("RdBu_r", (-1.0, 1.0)),
    "cosine": ("RdBu_r", (-1.0, 1.0)),
    "share of restarts": ("viridis", (0.0, 1.0)),
    "probability": ("viridis", (0.0, 1.0)),
}


def rivals(y: np.ndarray, n_groups: int, seed: int) -> dict[str, Rival]:
    """All rivals on cells × features."""
    return {
        "Euclidean distance": euclidean(y, n_groups),
        "Pearson correlation": pearson(y, n_groups),
        "k-means": k_means(y, n_groups, seed),
        "Principal components, Q = 2": principal_components(y, n_groups, 2, seed),
        "Linear bases, Q = 1": linear_bases(y, n_groups, 1, seed),
        "Linear bases, Q = 4": linear_bases(y, n_groups, 4, seed),
    }


def measure(adata, arguments, seed: int) -> tuple[dict, dict[str, Rival], dict]:
    """Scores, matrices with groups, and the fitted models of one draw."""
    n_groups = adata.var["true_group"].nunique()
    found = rivals(np.asarray(adata.X, dtype=np.float64), n_groups, seed)
    scores = {name: score(adata.var, rival.labels) for name, rival in found.items()}
    models = {}
    for name, has_shifts in MODELS.items():
        model, seconds = fit(
            adata,
            seed=seed,
            max_epochs=arguments.max_epochs,
            gene_likelihood="gaussian",
            n_basis=arguments.n_basis,
            translation_invariant=has_shifts,
            objective=arguments.objective,
        )
        labels = model.get_clusters()["cluster"].astype(str).to_numpy()
        found[name] = Rival(model.get_coclustering().to_numpy(), labels, "probability")
        scores[name] = score(adata.var, labels) | {"seconds": seconds}
        models[name] = model
    for name, of_rival in scores.items():
        print(
            f"{name:28} V groups {of_rival['v_groups']:.3f} shapes {of_rival['v_shapes']:.3f} "
            f"clusters {of_rival['n_clusters']}",
            flush=True,
        )
    return scores, found, models


def draw_data(figure: SubFigure, model: bv.BasisVAE) -> None:
    """A: the data, cells in the order of z."""
    adata = model.adata
    ax = figure.subplots()
    order = np.argsort(model.get_latent_representation()[:, 0])
    limit = np.quantile(np.abs(adata.X), 0.995)
    image = ax.imshow(
        adata.X[order].T, aspect="auto", cmap="RdBu_r", vmin=-limit, vmax=limit, rasterized=True
    )
    mark_groups(ax, adata.var["true_group"], both=False, color="black")
    ax.set_xlabel(f"{adata.n_obs} observations in the order of z")
    ax.set_ylabel(f"{adata.n_vars} features in their true groups")
    figure.colorbar(image, ax=ax, location="bottom", shrink=0.6, aspect=25, label="value")
    letter(ax, "A")
    ax.set_title("Data")


def draw_clusters(figure: SubFigure, model: bv.BasisVAE, title: str, n_columns: int) -> None:
    """B and C: courses of the features in every cluster."""
    clusters = bv.get.clusters(model.adata)
    grid = figure.subplots(1, max(n_columns, len(clusters)), sharey=True)
    for unused in grid[len(clusters) :]:
        unused.set_visible(False)
    panels = bv.pl.basis_functions(model.adata, ax=grid[: len(clusters)], show=False)
    for panel in panels:
        name, shape, count = panel.get_title().replace(" · ", "\n").split("\n")
        panel.set_title(f"{name}: {shape}\n{count.replace('gene', 'feature')}", fontsize=7.5)
        panel.tick_params(labelleft=panel is panels[0])
    low, high = np.min([p.dataLim.y0 for p in panels]), np.max([p.dataLim.y1 for p in panels])
    pad = 0.06 * (high - low)
    panels[0].set_ylim(low - pad, high + pad)
    panels[0].set_ylabel("value / r.m.s.")
    figure.suptitle(title, fontsize=9)


def draw_matrices(figure: SubFigure, var, found: dict[str, Rival], scores: dict) -> None:
    """D: similarities of features, with V-measures below."""
    for ax, (name, rival) in zip(figure.subplots(2, 4).ravel(), found.items(), strict=True):
        cmap, limits = LOOKS[rival.measure]
        low, high = limits or (0.0, rival.matrix.max())
        image = ax.imshow(rival.matrix, cmap=cmap, vmin=low, vmax=high)
        is_first = ax.get_subplotspec().is_first_col()
        color = "black" if cmap == "RdBu_r" else "white"
        mark_groups(ax, var["true_group"], color=color, names=is_first)
        ax.set_title(name)
        own = scores[name]
        ax.set_xlabel(
            f"V: {own['v_groups']:.2f} five groups, {own['v_shapes']:.2f} three shapes",
            fontsize=7,
        )
        bar = figure.colorbar(image, ax=ax, shrink=0.8, aspect=18, pad=0.02)
        bar.set_label(rival.measure, fontsize=7)


def draw(var, found: dict[str, Rival], scores: dict, models: dict) -> Figure:
    """The whole figure."""
    figure = plt.figure(figsize=(11.0, 9.6), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=[1.0, 1.15])
    left, right = top.subfigures(1, 2, width_ratios=[1.0, 2.3])
    upper, lower = right.subfigures(2, 1)
    plain, shifted = models.values()
    draw_data(left, plain)
    draw_clusters(upper, plain, "Scale-invariant clusters", 5)
    draw_clusters(lower, shifted, "Scale- and translation-invariant clusters", 5)
    draw_matrices(bottom, var, found, scores)
    for part, text in ((upper, "B"), (lower, "C"), (bottom, "D")):
        letter(part, text, x=0.005, y=0.99)
    return figure


def main() -> None:
    """Measure, draw, write."""
    parser = command_line(__doc__)
    parser.add_argument("--n-basis", type=int, default=20)
    parser.add_argument("--objective", choices=["evidence", "paper"], default="evidence")
    parser.add_argument("--draws", type=int, default=1)
    arguments = parser.parse_args()
    all_scores, figure = [], None
    for seed in range(arguments.seed, arguments.seed + arguments.draws):
        adata = bv.datasets.toy_groups(seed=seed)
        scores, found, models = measure(adata, arguments, seed)
        all_scores.append({"seed": seed, "scores": scores})
        if figure is None:
            figure = draw(adata.var, found, scores, models)
    save({"figure_1": figure}, {"draws": all_scores}, arguments, "figure_1")


if __name__ == "__main__":
    main()
