"""Do batches leave the order and the groups alone?

Negative binomial counts with a truth, three batches whose effects on the log mean are independent
of z, and `batch_key`: how well z follows the truth and how well groups are found, beside the same
draw without effects. Then batches that are stages, in part: each covers two thirds of z, the first
the early, the last the late ones, so that taking batches out by centring takes the process along.
Draws have 1.5 counts a gene and cell: with 0.6, the default of `simulate_counts`, 300 cells of 80
genes do not tell their order to 0.97 without any batches.

    python benchmarks/batches.py --output batches.json
    python benchmarks/batches.py --shift no --sd 0 0.6 --seeds 2
"""

from __future__ import annotations

import argparse
import time
import warnings
from statistics import mean

import anndata as ad
import numpy as np
from _machine import write
from scipy.stats import spearmanr
from sklearn.metrics import adjusted_rand_score

from basisvae_scvi import BasisVAE, datasets

N_BATCHES = 3
# What every batch covers, in shares of the range of z.
WINDOWS = ((0.0, 2 / 3), (1 / 6, 5 / 6), (1 / 3, 1.0))


def draw(n_obs: int, **arguments) -> ad.AnnData:
    """Counts in batches that are independent of z; draws of one seed differ in their sd alone."""
    return datasets.simulate_counts(n_obs=n_obs, n_batches=N_BATCHES, **arguments)


def draw_overlapping(n_obs: int, **arguments) -> ad.AnnData:
    """Counts in batches that cover overlapping two thirds of z, about ``n_obs`` cells."""
    adata = draw(round(1.5 * n_obs), **arguments)
    z = adata.obs["true_z"].to_numpy()
    share = (z - z.min()) / np.ptp(z)
    low, high = np.array(WINDOWS)[adata.obs["batch"].cat.codes.to_numpy()].T
    return adata[(share >= low) & (share <= high)].copy()


def fit(adata: ad.AnnData, shift: bool, arguments: argparse.Namespace) -> dict:
    """Fit with ``batch_key`` and compare with the truth."""
    BasisVAE.setup_anndata(adata, batch_key="batch")
    began = time.perf_counter()
    model = BasisVAE(
        adata,
        n_basis=arguments.n_basis,
        gene_likelihood="nb",
        translation_invariant=shift,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.train(
            max_epochs=arguments.max_epochs, seed=0, accelerator="cpu", enable_progress_bar=False
        )
    seconds = time.perf_counter() - began
    z, groups = model.get_latent_representation()[:, 0], model.get_clusters()["cluster"]
    truth = adata.var["true_group"].astype(str)
    codes = adata.obs["batch"].cat.codes.to_numpy()
    between = sum(z[codes == b].mean() ** 2 * (codes == b).mean() for b in range(N_BATCHES))
    return {
        "n_obs": adata.n_obs,
        "spearman": abs(float(spearmanr(z, adata.obs["true_z"]).statistic)),
        "ari": float(adjusted_rand_score(truth, groups.astype(str))),
        "n_groups": int(groups.nunique()),
        # Of the variance of z.
        "share_between_batches": float((between - z.mean() ** 2) / z.var()),
        "seconds": seconds,
    }


def summary(fits: list[dict], without: list[dict | None]) -> dict:
    """Over seeds; ARI also as a share of that of the same draws without effects."""
    found = {
        "least_spearman": min(f["spearman"] for f in fits),
        "mean_spearman": mean(f["spearman"] for f in fits),
        "mean_ari": mean(f["ari"] for f in fits),
    }
    if all(without):
        found["ari_of_that_without"] = found["mean_ari"] / mean(f["ari"] for f in without)
    return found


def main() -> None:
    """Run what was asked for, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=300)
    parser.add_argument("--genes", type=int, default=80)
    parser.add_argument("--mean-count", type=float, default=1.5, help="counts a gene and cell")
    parser.add_argument("--sd", nargs="*", type=float, default=[0.0, 0.3, 0.6, 0.9])
    parser.add_argument("--overlapping-sd", nargs="*", type=float, default=[0.0, 0.6])
    parser.add_argument("--shift", nargs="+", choices=["no", "yes"], default=["no", "yes"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=7000)
    parser.add_argument("--n-basis", type=int, default=20)
    parser.add_argument("--max-epochs", type=int)
    parser.add_argument("--output")
    arguments = parser.parse_args()
    kept = {**vars(arguments), "output": None}
    kinds = [("independent", draw, sd) for sd in sorted(arguments.sd)]
    kinds += [("overlapping", draw_overlapping, sd) for sd in sorted(arguments.overlapping_sd)]
    runs = []
    for shift in arguments.shift:
        without = {}
        for name, drawn, sd in kinds:
            fits = []
            for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
                adata = drawn(
                    arguments.cells,
                    n_vars=arguments.genes,
                    mean_count=arguments.mean_count,
                    max_shift=1.5 if shift == "yes" else 0.0,
                    batch_sd=sd,
                    seed=seed,
                )
                fits.append({"seed": seed, **fit(adata, shift == "yes", arguments)})
                found = fits[-1]
                print(
                    f"{name} sd {sd:.1f} shift={shift:3} {seed} rho {found['spearman']:.3f} "
                    f"ARI {found['ari']:.3f} groups {found['n_groups']} of z between batches "
                    f"{found['share_between_batches']:.2f} {found['seconds']:.0f} s",
                    flush=True,
                )
                if sd == 0.0:
                    without[name, seed] = found
            of_all = summary(fits, [without.get((name, f["seed"])) for f in fits])
            print(f"{name} sd {sd:.1f} shift={shift:3} {of_all}", flush=True)
            runs.append(
                {"batches": name, "sd": sd, "shift": shift == "yes", **of_all, "fits": fits}
            )
            write({"arguments": kept, "runs": runs}, arguments.output)


if __name__ == "__main__":
    main()
