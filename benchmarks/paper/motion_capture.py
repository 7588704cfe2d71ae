"""Figures 6 and 7 of the paper: which joint angles move alike, and how trials lie in time.

Every channel of every trial is a feature; time is observed, so z is known. The paper has ten golf
swings of the CMU database, which come as AMC files:

    python benchmarks/paper/motion_capture.py 64_*.amc --skeleton 64.asf --output paper_figures

The walking trials, in one file of arrays:

    python benchmarks/paper/motion_capture.py cmu_mocap_subject07_walk.npz --output paper_figures

BVH files serve as well. No truth is known. Three figures say whether the shifts mean something:
trials of a channel should correlate more once they are moved by δ, nearly as much as at the best
of all lags, and one trial should be early or late in all its channels. A gait repeats itself, so
that shifts by whole periods do as well: there the distance to the nearest lag that is as good
counts, and the last figure says little.
"""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from _figures import FLAT, FLAT_COLOR, command_line, fit, palette, save, truncated
from _trials import load, table
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import basisvae_scvi as bv

MAX_ROWS = 12
MIN_OVERLAP = 0.5  # of the frames, when two curves are compared at a lag
TOLERANCE = 0.02  # of a correlation, within which a lag is as good as the best


def found_features(model: bv.BasisVAE) -> pd.DataFrame:
    """Trial, channel, cluster and shift in seconds of every feature."""
    features = model.adata.var[["trial", "channel", "sd"]].copy()
    clusters = model.get_clusters()
    features["cluster"] = clusters["cluster"].astype(str)
    features["shift"] = clusters["shift"] * model.adata.obs["time"].std(ddof=0)
    return features


def same_cluster_pairs(features: pd.DataFrame) -> list[tuple[str, str]]:
    """Pairs of trials of one channel that share a cluster."""
    moving = features[features["cluster"] != FLAT]
    groups = moving.groupby(["channel", "cluster"], sort=False)
    return [pair for _, rows in groups for pair in combinations(rows.index, 2)]


def correlation_at(a: np.ndarray, b: np.ndarray, time: np.ndarray, lag: float) -> float:
    """Correlation of a(t) with b(t - lag) where both are known; NaN if that is too little."""
    moved = np.interp(time - lag, time, b, left=np.nan, right=np.nan)
    known = np.isfinite(moved)
    if known.mean() < MIN_OVERLAP:
        return np.nan
    return float(np.corrcoef(a[known], moved[known])[0, 1])


def check_shifts(adata: ad.AnnData, features: pd.DataFrame) -> dict:
    """Correlation of trials before and after alignment, and at the best of all lags."""
    curves = dict(zip(adata.var_names, np.asarray(adata.X, dtype=np.float64).T, strict=True))
    time, shift = adata.obs["time"].to_numpy(), features["shift"]
    lags = np.arange(-len(time) // 2, len(time) // 2 + 1) * (time[1] - time[0])
    rows = []
    for first, second in same_cluster_pairs(features):
        a, b = curves[first], curves[second]
        at_lags = np.array([correlation_at(a, b, time, lag) for lag in lags])
        # b(t - δ_b) runs like a(t - δ_a): b has to move by its lead over a.
        lead = shift[second] - shift[first]
        at_lead = correlation_at(a, b, time, lead)
        best = np.nanmax(at_lags)
        as_good = lags[at_lags >= best - TOLERANCE]
        distance = np.abs(as_good - lead).min()
        rows.append((correlation_at(a, b, time, 0.0), at_lead, best, distance))
    before, after, best, distance = np.array(rows).T
    comparable = np.isfinite(after)
    return {
        "pairs_of_trials": len(rows),
        "pairs_that_overlap_when_aligned": int(comparable.sum()),
        "mean_correlation_before": float(before[comparable].mean()),
        "mean_correlation_aligned": float(after[comparable].mean()),
        "mean_correlation_at_best_lag": float(best[comparable].mean()),
        "median_distance_to_best_lag": float(np.median(distance)),
        "of_shift_by_trial": share_of_trials(features),
    }


def share_of_trials(features: pd.DataFrame) -> float:
    """Share of the variance of δ within channels and clusters that the trial accounts for."""
    moving = features[features["cluster"] != FLAT]
    part = moving.groupby(["channel", "cluster"], sort=False).ngroup().to_numpy()
    trial = pd.get_dummies(moving["trial"]).to_numpy(dtype=float)
    within = pd.DataFrame(np.column_stack([moving["shift"], trial]))
    within = (within - within.groupby(part).transform("mean")).to_numpy()
    y, x = within[:, 0], within[:, 1:]
    residual = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
    return float(1.0 - (residual**2).sum() / (y**2).sum())


def unexplained(model: bv.BasisVAE) -> float:
    """Share of the variance of the features that the fitted curves miss."""
    z = model.get_latent_representation()[:, 0].astype(np.float64)
    x = np.asarray(model.adata.X, dtype=np.float64)
    return float(((x - model.get_gene_trends(z=z).to_numpy()) ** 2).sum() / (x**2).sum())


def agreement(features: pd.DataFrame) -> float:
    """Mean share of the trials of a channel that are in its main cluster."""
    shares = features.groupby("channel")["cluster"].agg(
        lambda labels: labels.value_counts().iloc[0] / len(labels)
    )
    return float(shares.mean())


def choose_channels(features: pd.DataFrame, n_channels: int) -> list[str]:
    """Channels that move most, no two of one joint, in the order of the data."""
    sd = features.groupby("channel", sort=False)["sd"].mean().sort_values(ascending=False)
    joints, chosen = set(), []
    for channel in sd.index:
        joint = channel.replace(".", "_").rsplit("_", 1)[0]
        if joint not in joints and len(chosen) < n_channels:
            chosen.append(channel)
            joints.add(joint)
    return [channel for channel in features["channel"].unique() if channel in chosen]


def shown_colors(features: pd.DataFrame, channels: list[str]) -> dict[str, str]:
    """Colours of the clusters of some channels, the most frequent ones first."""
    shown = features.loc[features["channel"].isin(channels), "cluster"].value_counts()
    moving = [cluster for cluster in shown.index if cluster != FLAT]
    return dict(zip(moving, palette(len(moving)), strict=True)) | {FLAT: FLAT_COLOR}


def draw_clusters(model: bv.BasisVAE, features: pd.DataFrame, channels: list[str]) -> Figure:
    """Figure 6: trials in rows, channels in columns, curves in the colour of their cluster."""
    adata, trials = model.adata, list(features["trial"].unique())[:MAX_ROWS]
    colors, time = shown_colors(features, channels), adata.obs["time"].to_numpy()
    z = model.get_latent_representation()[:, 0].astype(np.float64)
    size = (1.25 * len(channels) + 0.6, 0.62 * len(trials) + 1.1)
    figure, grid = plt.subplots(
        len(trials), len(channels), figsize=size, sharex=True, sharey=True, layout="constrained"
    )
    for row, trial in zip(grid, trials, strict=True):
        for ax, channel in zip(row, channels, strict=True):
            feature = f"{trial}:{channel}"
            ax.plot(time, adata[:, feature].X.ravel(), ".", color="0.72", markersize=1.5)
            fitted = model.get_gene_trends(feature, z=z).to_numpy()
            ax.plot(time, fitted, color=colors[features.at[feature, "cluster"]], linewidth=1.5)
            ax.set_yticks([])
        row[0].set_ylabel(trial, rotation=0, ha="right", va="center")
    for ax, channel in zip(grid[0], channels, strict=True):
        ax.set_title(channel.replace("_", "\n"), fontsize=7.5)
    for ax in grid[-1]:
        ax.set_xlabel("time, s")
    shown = features.loc[features["channel"].isin(channels), "cluster"].value_counts()
    handles = [
        Line2D([], [], color=colors[c], linewidth=2, label=f"cluster {c}") for c in shown.index
    ]
    handles.append(Line2D([], [], color="0.72", marker=".", linewidth=0, label="data"))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 7))
    return figure


def draw_alignment(model: bv.BasisVAE, features: pd.DataFrame, channels: list[str]) -> Figure:
    """Figure 7: trials of a channel as recorded, and moved by δ; colours are δ."""
    adata, time = model.adata, model.adata.obs["time"].to_numpy()
    figure, grid = plt.subplots(
        2,
        len(channels),
        figsize=(2.3 * len(channels) + 0.8, 4.0),
        sharey=True,
        layout="constrained",
        squeeze=False,
    )
    parts = {}
    for channel in channels:
        own = features[features["channel"] == channel]
        parts[channel] = own[own["cluster"] == own["cluster"].mode()[0]], len(own)
    limit = max(main["shift"].abs().max() for main, _ in parts.values())
    colors = truncated("plasma", 0.0, 0.88)
    scale = plt.cm.ScalarMappable(plt.Normalize(-limit, limit), colors)
    for column, (channel, (main, n_trials)) in zip(grid.T, parts.items(), strict=True):
        for ax, is_aligned in zip(column, (False, True), strict=True):
            for feature, row in main.iterrows():
                at = time + is_aligned * row["shift"]
                ax.plot(at, adata[:, feature].X.ravel(), color=scale.to_rgba(row["shift"]))
            ax.set_xlabel("time + δ, s" if is_aligned else "time, s")
        column[0].set_title(f"{channel}\n{len(main)} of {n_trials} trials (main cluster)")
    for ax, label in zip(grid[:, 0], ("as recorded", "moved by δ"), strict=True):
        ax.set_ylabel(f"{label}\nstandardised angle")
    figure.colorbar(scale, ax=grid, label="shift δ, s (early trials are above 0)", aspect=35)
    return figure


def command():
    """The command line."""
    parser = command_line(__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--skeleton", type=Path, help="ASF file that names the channels of AMC")
    parser.add_argument("--frames", type=int, help="by default those of the shortest trial")
    parser.add_argument("--stretch", action="store_true", help="bring trials to one length")
    parser.add_argument("--min-sd", type=float, default=1.0, help="degrees")
    parser.add_argument("--max-jump", type=float, default=20.0, help="degrees between frames")
    parser.add_argument("--max-copy", type=float, default=0.98, help="correlation of channels")
    parser.add_argument("--channels", nargs="+", help="keep only these")
    parser.add_argument("--show", nargs="+", help="channels in the figures")
    parser.add_argument("--n-basis", type=int, default=20)
    parser.add_argument("--objective", choices=["evidence", "paper"], default="evidence")
    return parser.parse_args()


def main() -> None:
    """Measure, draw, write."""
    arguments = command()
    trials, frame_time = load(arguments.files, arguments.skeleton)
    adata = table(
        trials,
        frame_time,
        n_frames=arguments.frames,
        stretch=arguments.stretch,
        min_sd=arguments.min_sd,
        max_jump=arguments.max_jump,
        max_copy=arguments.max_copy,
    )
    if arguments.channels:
        adata = adata[:, adata.var["channel"].isin(arguments.channels)].copy()
    channels = list(adata.var["channel"].unique())
    print(f"{adata.n_obs} frames, {len(trials)} trials of {len(channels)} channels", flush=True)
    results = {"n_frames": adata.n_obs, "trials": list(trials), "channels": channels}
    for has_shifts in (False, True):
        model, seconds = fit(
            adata,
            seed=arguments.seed,
            max_epochs=arguments.max_epochs,
            setup={"latent_key": "time"},
            root="frame0",
            gene_likelihood="gaussian",
            n_basis=arguments.n_basis,
            translation_invariant=has_shifts,
            objective=arguments.objective,
        )
        features = found_features(model)
        of = {
            "n_clusters": int(features["cluster"].nunique()),
            "trials_in_main_cluster": agreement(features),
            "unexplained": unexplained(model),
            "seconds": seconds,
        }
        if has_shifts:
            of |= check_shifts(adata, features)
        results["with shifts" if has_shifts else "without shifts"] = of
        print(f"shifts={has_shifts!s:5}", {k: round(v, 3) for k, v in of.items()}, flush=True)
    results["features"] = features.reset_index(names="feature").to_dict("list")
    shown = arguments.show or choose_channels(features, 8)
    figures = {
        "motion_capture_clusters": draw_clusters(model, features, shown),
        "motion_capture_aligned": draw_alignment(model, features, shown[:4]),
    }
    save(figures, results, arguments, "motion_capture")


if __name__ == "__main__":
    main()
