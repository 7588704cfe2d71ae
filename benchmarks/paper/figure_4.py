"""Figure 4 of the paper: three treatments of the mixing proportions, on the toy of figure 1.

Fits with fixed π, non-collapsed and collapsed inference at K = 20 and α = 0.1, without and with
shifts, from many seeds. The heatmap shows the assignments φ of the seed with the median V-measure,
the last column the V-measures of all seeds (supplementary figure 1). There is one figure for each
objective: that of the paper, in which a basis costs nothing, and that of the package.

    python benchmarks/paper/figure_4.py --seeds 10 --output paper_figures

z starts on a diffusion map; ``--init random`` starts it at random, as the paper did. Bases start
from the features along that z either way. The search behind the package's objective has a seed of
its own, so its restarts hardly differ.
"""

from __future__ import annotations

from statistics import mean

import numpy as np
from _figures import command_line, fit, letter, mark_groups, palette, save, score
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import spearmanr

import basisvae_scvi as bv

SCHEMES = {"fixed_pi": "fixed π", "non-collapsed": "non-collapsed", "collapsed": "collapsed"}
# Whether there are shifts: the title, and which truth the clusters should find.
SETTINGS = {False: ("Without shifts", "v_groups"), True: ("With shifts", "v_shapes")}
USED = 0.5  # a basis is in use if it holds half a feature


def fit_once(adata, arguments, objective: str, shift: bool, scheme: str, seed: int) -> dict:
    """Scores of one fit, and its φ."""
    model, seconds = fit(
        adata,
        seed=seed,
        max_epochs=arguments.max_epochs,
        init=arguments.init,
        gene_likelihood="gaussian",
        n_basis=arguments.n_basis,
        concentration=arguments.concentration,
        translation_invariant=shift,
        inference=scheme,
        objective=objective,
    )
    phi = model.get_assignments().to_numpy()
    found = score(adata.var, model.get_clusters()["cluster"])
    z = model.get_latent_representation()[:, 0]
    v = found["v_shapes"] if shift else found["v_groups"]
    print(
        f"{objective:8} shift={shift!s:5} {scheme:13} seed {seed:3} V {v:.3f} "
        f"clusters {found['n_clusters']:2} {seconds:.0f} s",
        flush=True,
    )
    return {
        "seed": seed,
        **found,
        "v": v,
        "bases_used": int((phi.sum(axis=0) > USED).sum()),
        "mean_confidence": float(phi.max(axis=1).mean()),
        "spearman": abs(float(spearmanr(z, adata.obs["true_z"]).statistic)),
        "seconds": seconds,
        "phi": phi,
    }


def draw_assignments(ax: Axes, adata, fits: list[dict], name: str, *, names: bool):
    """φ of the seed with the median V-measure."""
    by_score = sorted(fits, key=lambda fit: fit["v"])
    shown = by_score[len(by_score) // 2]
    image = ax.imshow(
        shown["phi"], aspect="auto", cmap="viridis", vmin=0.0, vmax=1.0, interpolation="nearest"
    )
    mark_groups(ax, adata.var["true_group"], both=False, names=names)
    ticks = range(0, shown["phi"].shape[1], 5)
    ax.set_xticks(list(ticks))
    ax.set_xlabel("basis (0 is flat)")
    ax.set_title(f"{name}\nV = {shown['v']:.2f}, {shown['bases_used']} bases used")
    return image


def draw_scores(ax: Axes, by_scheme: dict[str, list[dict]], truth: str) -> None:
    """V-measure of every seed, and the mean."""
    rng = np.random.default_rng(0)
    for i, (color, fits) in enumerate(zip(palette(3), by_scheme.values(), strict=True)):
        values = [fit["v"] for fit in fits]
        at = i + rng.uniform(-0.18, 0.18, len(values))
        ax.scatter(at, values, s=14, color=color, alpha=0.75, linewidths=0)
        ax.hlines(mean(values), i - 0.3, i + 0.3, color=color, linewidth=1.5)
    ax.set_xticks(range(3), SCHEMES.values())
    ax.set(xlim=(-0.5, 2.5), ylim=(0.0, 1.04), ylabel=f"V-measure ({truth})")
    ax.grid(axis="y", color="0.92", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.set_title(f"{len(values)} seed{'s' if len(values) > 1 else ''}, bar: mean")


def draw(adata, by_setting: dict) -> Figure:
    """Rows: without and with shifts; columns: three schemes, and scores."""
    figure, grid = plt.subplots(
        2, 4, figsize=(10.0, 6.4), layout="constrained", width_ratios=[1, 1, 1, 1.5]
    )
    for row, (shift, by_scheme) in zip(grid, by_setting.items(), strict=True):
        title, key = SETTINGS[shift]
        for ax, (scheme, fits) in zip(row, by_scheme.items(), strict=False):
            image = draw_assignments(ax, adata, fits, SCHEMES[scheme], names=ax is row[0])
        row[0].set_ylabel(f"{title}\nfeatures in their true groups")
        draw_scores(row[3], by_scheme, "five groups" if key == "v_groups" else "three shapes")
        letter(row[0], "AB"[int(shift)], clear=True)
    figure.colorbar(
        image, ax=grid[:, :3], location="bottom", shrink=0.4, aspect=35, label="probability φ"
    )
    return figure


def main() -> None:
    """Measure, draw, write."""
    parser = command_line(__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="number of restarts, from --seed on")
    parser.add_argument("--data-seed", type=int, default=0)
    parser.add_argument("--n-basis", type=int, default=20)
    parser.add_argument("--concentration", type=float, default=0.1)
    parser.add_argument("--init", choices=["manifold", "pca", "random"], default="manifold")
    parser.add_argument(
        "--objectives", nargs="+", choices=["paper", "evidence"], default=["paper", "evidence"]
    )
    arguments = parser.parse_args()
    adata = bv.datasets.toy_groups(seed=arguments.data_seed)
    figures, results = {}, {}
    for objective in arguments.objectives:
        by_setting = {
            shift: {
                scheme: [
                    fit_once(adata, arguments, objective, shift, scheme, seed)
                    for seed in range(arguments.seed, arguments.seed + arguments.seeds)
                ]
                for scheme in SCHEMES
            }
            for shift in SETTINGS
        }
        figures[f"figure_4_{objective}"] = draw(adata, by_setting)
        results[objective] = {
            SETTINGS[shift][0].lower(): {
                scheme: {
                    "mean_v": mean(fit["v"] for fit in fits),
                    "fits": [{k: v for k, v in fit.items() if k != "phi"} for fit in fits],
                }
                for scheme, fits in by_scheme.items()
            }
            for shift, by_scheme in by_setting.items()
        }
    save(figures, results, arguments, "figure_4")


if __name__ == "__main__":
    main()
