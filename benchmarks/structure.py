"""Does a fit find what was planted? Simulations with known truth, default arguments, many seeds.

Every family is drawn and fitted anew with every seed: the toys of figures 1 and 5 of the paper
(Märtens & Yau 2020), negative binomial counts with shifts and flat genes, and counts without any
trajectory. Prints one line a fit and writes all of them.

    python benchmarks/structure.py --seeds 20 --output benchmarks/results/structure.json
"""

from __future__ import annotations

import argparse
import time
import warnings
from statistics import mean

import numpy as np
from _machine import write
from scipy.stats import spearmanr
from sklearn.metrics import adjusted_rand_score, v_measure_score

from basisvae_scvi import BasisVAE, datasets

GAUSSIAN = {"gene_likelihood": "gaussian", "n_basis": 20}
COUNTS = {"gene_likelihood": "nb", "n_basis": 20, "translation_invariant": True}
SHIFTED = {**GAUSSIAN, "translation_invariant": True}


def _flat_majority(seed: int):
    return datasets.simulate_counts(seed=seed, proportions=[0.4, 0.4, 0.4, 1.8])


def _nothing(seed: int):
    return datasets.simulate_counts(seed=seed, shapes=("flat",))


# Name: how to draw, how to fit, and the column of the truth.
FAMILIES = {
    "figure 1": (lambda seed: datasets.toy_groups(seed=seed), GAUSSIAN, "true_group"),
    "figure 1, shifts": (lambda seed: datasets.toy_groups(seed=seed), SHIFTED, "true_shape"),
    "figure 5, shifts": (lambda seed: datasets.toy_shifts(seed=seed), SHIFTED, "true_shape"),
    "counts": (lambda seed: datasets.simulate_counts(seed=seed), COUNTS, "true_group"),
    "counts, 60 % flat": (_flat_majority, COUNTS, "true_group"),
    "no trajectory": (_nothing, COUNTS, "true_group"),
}


def _shifts(table, adata, z: np.ndarray) -> list[dict]:
    """Correlation and coverage of δ in every true shape, over the genes of its main cluster.

    Shifts are in standard deviations of z over the cells.
    """
    found = []
    true_z = adata.obs["true_z"]
    unit = np.sign(np.corrcoef(true_z, z)[0, 1]) / true_z.std()
    for shape, var in adata.var.groupby("true_shape", observed=True):
        own = table.loc[var.index]
        main = own["cluster"].astype(str).mode()[0]
        own = own[own["cluster"].astype(str) == main]
        truth = unit * var.loc[own.index, "true_shift"]
        if len(own) < 3 or truth.std() == 0 or main == "0":
            continue
        # Intervals are relative to the mean over the cluster.
        truth = truth - truth.mean()
        is_covered = truth.between(own["shift_lower"], own["shift_upper"])
        identified = own["shift_identified"]
        found.append(
            {
                "shape": str(shape),
                "n_genes": len(own),
                "pearson": float(np.corrcoef(own["shift"], truth)[0, 1]),
                "coverage": float(is_covered.mean()),
                "identified": float(identified.mean()),
                "coverage_of_identified": float(is_covered[identified].mean()),
            }
        )
    return found


def _calibration(table, truth) -> dict:
    """Mean probability of the chosen cluster, and share of genes with the main truth of theirs."""
    cluster = table["cluster"].astype(str)
    main = truth.groupby(cluster.to_numpy()).agg(lambda of: of.mode()[0])
    is_right = main.loc[cluster].to_numpy() == truth.to_numpy()
    return {"confidence": float(table["confidence"].mean()), "accuracy": float(is_right.mean())}


def fit(name: str, seed: int, init: str = "manifold") -> dict:
    """Draw, fit and compare."""
    draw, arguments, key = FAMILIES[name]
    return compare(draw(seed), arguments, key, seed, init)


def compare(adata, arguments: dict, key: str, seed: int, init: str = "manifold") -> dict:
    """Fit with these arguments of the model, and compare with the truth in ``var[key]``."""
    truth = adata.var[key].astype(str)
    BasisVAE.setup_anndata(adata)
    began = time.perf_counter()
    model = BasisVAE(adata, **arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.train(seed=seed, init=init, accelerator="cpu", enable_progress_bar=False)
    seconds = time.perf_counter() - began
    cluster = model.get_clusters()["cluster"].astype(str)
    z, true_z = model.get_latent_representation()[:, 0], adata.obs["true_z"]
    called = model.get_dynamic_genes(0.05).to_numpy()
    is_flat = (adata.var["true_shape"] == "flat").to_numpy()
    result = {
        "seed": seed,
        "v_measure": float(v_measure_score(truth, cluster)),
        "ari": float(adjusted_rand_score(truth, cluster)),
        "spearman": abs(float(spearmanr(z, true_z).statistic)),
        "bases_used": len(set(cluster) - {"0"}),
        "flat_among_called": float(is_flat[called].mean()) if called.any() else 0.0,
        "dynamic_called": float(called[~is_flat].mean()) if (~is_flat).any() else None,
        "seconds": seconds,
    }
    result["calibration"] = _calibration(model.get_clusters(), truth)
    if arguments.get("translation_invariant") and called.any():
        result["shifts"] = _shifts(model.get_gene_intervals(0.9), adata, z)
    return result


def main() -> None:
    """Run all families, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=1000)
    parser.add_argument("--families", nargs="+", choices=[*FAMILIES], default=[*FAMILIES])
    parser.add_argument("--init", default="manifold", help="manifold, pca, random or true_z")
    parser.add_argument("--output")
    arguments = parser.parse_args()
    results = {}
    for name in arguments.families:
        results[name] = fits = []
        for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
            found = fit(name, seed, arguments.init)
            fits.append(found)
            shifts = " ".join(
                f"{s['shape']} r {s['pearson']:.3f} cover {s['coverage']:.2f}"
                for s in found.get("shifts", [])
            )
            print(
                f"{name:18} {seed:5} V {found['v_measure']:.3f} ARI {found['ari']:.3f} "
                f"rho {found['spearman']:.4f} bases {found['bases_used']} "
                f"flat/called {found['flat_among_called']:.3f} {found['seconds']:.0f} s {shifts}",
                flush=True,
            )
        exact, ari = sum(f["v_measure"] >= 0.99 for f in fits), mean(f["ari"] for f in fits)
        print(f"{name:18} V >= 0.99 in {exact} of {len(fits)}, mean ARI {ari:.3f}")
        kept = {**vars(arguments), "output": None}
        write({"arguments": kept, "families": results}, arguments.output)


if __name__ == "__main__":
    main()
