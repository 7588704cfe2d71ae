"""Do restarts on real cells agree? Pairwise V-measures of gene clusters over seeds of training.

Fits each marrow lineage with default arguments (K = 50) and one seed after the other, and
compares the clusters of every pair of fits. `train` looks for the structure from a fixed seed, so
that users who differ in `seed=` get the same groups; `--search-seeds` gives that search a new
seed as well, and measures how far it would depend on one; `--order-seeds` has the cells put in
order with a new seed, too, before it begins. The searches of one fit (`--n-restarts`)
are compared as well. That search is the same in every fit of a lineage; `--search-once` runs it
for the first and hands it to the others, whose seconds then leave it out.

Would coarser groups agree? Groups of each pair of fits are also merged one pair after the other,
always the two, of either fit, whose merging makes the fits agree best. That takes to know the
other fit, which no rule for one fit does; but it is greedy, and other ways down can end higher.
Compares z with Slingshot's pseudotime as well.

    python benchmarks/stability.py marrow_cd34_palantir.h5ad --seeds 10 --output stability.json
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Iterator
from itertools import combinations
from statistics import median

import numpy as np
from _machine import write
from marrow_lineages import load_lineage
from scipy.special import entr
from scipy.stats import spearmanr
from sklearn.metrics import adjusted_rand_score, v_measure_score
from sklearn.metrics.cluster import contingency_matrix

from basisvae_scvi import BasisVAE
from basisvae_scvi.inference import StartSearch
from basisvae_scvi.model import _start, _start_latent, _training

_KINDS = ("sure", "searched", "search", "merged")


def fit(path: str, lineage: str, shift: bool, seed: int, arguments: argparse.Namespace) -> dict:
    """Fit once; the label of every gene and the order of the cells."""
    adata = load_lineage(path, lineage)
    reference = adata.obs[f"slingshot_pt_{lineage}"]
    BasisVAE.setup_anndata(adata, size_factor_key="size_factor")
    model = BasisVAE(
        adata,
        n_basis=arguments.n_basis,
        translation_invariant=shift,
        shape_deviation=arguments.shape_deviation,
    )
    if arguments.search_seeds:
        _start.SEARCH_SEED = _training.SEARCH_SEED = 1 + seed
    if arguments.order_seeds:
        _start_latent.SEARCH_SEED = 1 + seed
    began = time.perf_counter()
    model.train(
        max_epochs=arguments.max_epochs,
        n_restarts=arguments.n_restarts,
        seed=seed,
        accelerator="cpu",
        enable_progress_bar=False,
    )
    z = model.get_latent_representation()[:, 0]
    clusters = model.get_clusters()
    return {
        "seed": seed,
        "seconds": time.perf_counter() - began,
        "spearman": abs(float(spearmanr(z, reference).statistic)),
        "n_clusters": int(clusters["cluster"].nunique()),
        "n_dynamic": int(model.get_dynamic_genes(0.05).sum()),
        "confidence": float(clusters["confidence"].mean()),
        "restart_bounds": model.search_["bounds"].tolist(),
        "flat_bound": model.search_["flat_bound"],
        "restarts": agreement_of_restarts(model.search_["assignments"]),
        "searched": model.search_["genes"].tolist(),
        "search_labels": best_of(model.search_).tolist(),
        "labels": clusters["cluster"].astype(str).tolist(),
        "confidences": clusters["confidence"].round(4).tolist(),
    }


def search_once() -> None:
    """Have a search that was run before, from the very same orders, not run again."""
    run, known = StartSearch.run, {}

    def run_or_recall(self, orders, n_restarts):
        asked = (self.matrix.shape, self.seed, n_restarts, *(z.tobytes() for z in orders))
        asked += (self.module.genes.translation_invariant,)
        if asked not in known:
            known[asked] = run(self, orders, n_restarts)
        return copy.deepcopy(known[asked])

    StartSearch.run = run_or_recall


def best_of(search: dict) -> np.ndarray:
    """Group of every gene that the search looked at, as the best restart has left it."""
    return search["assignments"][int(search["bounds"].argmax())].argmax(1)


def agreement_of_restarts(assignments: list[np.ndarray]) -> dict:
    """V-measures of all pairs of searches of one fit, over the genes that they looked at."""
    labels = [phi.argmax(1) for phi in assignments]
    values = [v_measure_score(a, b) for a, b in combinations(labels, 2)]
    return {"median": median(values), "min": min(values)} if values else {}


def agreement(fits: list[dict]) -> dict:
    """Of all pairs of fits.

    Over all genes, over those that both are sure of, over those that the search looked at, and
    over these as the search has left them.
    """
    kinds = ("v_measure", "ari", *(f"v_measure_of_{of}" for of in _KINDS))
    measures = {kind: [] for kind in kinds}
    for a, b in combinations(fits, 2):
        first, second = np.array(a["labels"]), np.array(b["labels"])
        sure = np.minimum(a["confidences"], b["confidences"]) > 0.9
        measures["v_measure"].append(v_measure_score(first, second))
        measures["ari"].append(adjusted_rand_score(first, second))
        measures["v_measure_of_sure"].append(v_measure_score(first[sure], second[sure]))
        searched = np.intersect1d(a["searched"], b["searched"])
        measures["v_measure_of_searched"].append(
            v_measure_score(first[searched], second[searched])
        )
        left = [
            dict(zip(found["searched"], found["search_labels"], strict=True)) for found in (a, b)
        ]
        measures["v_measure_of_search"].append(
            v_measure_score(*([labels[gene] for gene in searched] for labels in left))
        )
        measures["v_measure_of_merged"].append(v_measure_of_merged(first, second))
    return {
        name: {"median": median(values), "min": min(values)} for name, values in measures.items()
    }


def v_measure_of_merged(first: np.ndarray, second: np.ndarray) -> float:
    """Largest V-measure on the way down to two groups each, merging what makes both agree best."""
    counts = contingency_matrix(first, second).astype(float)
    best = _v_measure(counts)
    while max(counts.shape) > 2:
        merged = [*_mergers(counts), *(table.T for table in _mergers(counts.T))]
        counts = max(merged, key=_v_measure)
        best = max(best, _v_measure(counts))
    return best


def _mergers(counts: np.ndarray) -> Iterator[np.ndarray]:
    """The table with every pair of its rows added up; two rows stay two."""
    if len(counts) <= 2:
        return
    for kept, gone in combinations(range(len(counts)), 2):
        table = counts.copy()
        table[kept] += table[gone]
        yield np.delete(table, gone, axis=0)


def _v_measure(counts: np.ndarray) -> float:
    """V-measure of two groupings from how many genes each pair of groups shares."""
    joint = counts / counts.sum()
    of_both = entr(joint.sum(1)).sum() + entr(joint.sum(0)).sum()
    return float(2 * (of_both - entr(joint).sum()) / of_both) if of_both > 0 else 1.0


def main() -> None:
    """Fit, compare, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("h5ad")
    parser.add_argument("--lineages", nargs="+", default=["ery", "mono"], choices=["ery", "mono"])
    parser.add_argument("--shift", nargs="+", choices=["no", "yes"], default=["no", "yes"])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--n-basis", type=int, default=50)
    parser.add_argument("--n-restarts", type=int, default=2)
    parser.add_argument("--max-epochs", type=int)
    parser.add_argument("--shape-deviation", type=float)
    parser.add_argument("--search-seeds", action="store_true")
    parser.add_argument("--order-seeds", action="store_true")
    parser.add_argument("--search-once", action="store_true")
    parser.add_argument("--output")
    arguments = parser.parse_args()
    kept = {**vars(arguments), "h5ad": "marrow_cd34_palantir.h5ad", "output": None}
    if arguments.search_once:
        search_once()
    runs = []
    for lineage in arguments.lineages:
        for shift in arguments.shift:
            fits = []
            for seed in range(arguments.seeds):
                found = fit(arguments.h5ad, lineage, shift == "yes", seed, arguments)
                fits.append(found)
                print(
                    f"{lineage:5} shift={shift:3} seed {seed:2} rho {found['spearman']:.3f} "
                    f"clusters {found['n_clusters']} {found['seconds']:.0f} s",
                    flush=True,
                )
            found = agreement(fits) if len(fits) > 1 else {}
            print(f"{lineage:5} shift={shift:3} {found}", flush=True)
            runs.append({"lineage": lineage, "shift": shift, "agreement": found, "fits": fits})
            write({"arguments": kept, "runs": runs}, arguments.output)


if __name__ == "__main__":
    main()
