"""Counts like those of a marrow lineage, but of known groups: do restarts agree, and on the truth?

A search is run on the lineage, and counts are drawn from what it has found: its groups of genes
with their curves, its order of the cells, each gene's own level and dispersion. Genes leave the
curve of their group by a smooth random factor of ``--deviation`` (standard deviation of its log),
as genes of real cells do. Then `train` searches those counts with ``--n-restarts``, and the
restarts are compared with one another and with the groups they were drawn from.

    python benchmarks/drawn_lineage.py marrow_cd34_palantir.h5ad --output drawn_lineage.json
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from itertools import product
from statistics import median

import anndata as ad
import numpy as np
from _machine import write
from marrow_lineages import load_lineage
from scipy import sparse
from scipy.stats import spearmanr
from sklearn.metrics import v_measure_score
from stability import agreement_of_restarts, best_of

from basisvae_scvi import BasisVAE
from basisvae_scvi.inference import Start, StartSearch

_DEVIATION_SCALE = 1.0  # of the random factor along standardised z
_DISPERSION_RANGE = 0.3, 100.0


def search(adata: ad.AnnData, arguments: argparse.Namespace) -> tuple[BasisVAE, Start]:
    """Search with default arguments; the model after one epoch, and what the search found."""
    found, run = [], StartSearch.run

    def run_and_keep(self, orders, n_restarts):
        found.append(run(self, orders, n_restarts))
        return found[-1]

    StartSearch.run = run_and_keep
    try:
        BasisVAE.setup_anndata(adata, size_factor_key="size_factor")
        model = BasisVAE(adata, n_basis=arguments.n_basis)
        model.train(
            max_epochs=1,
            n_restarts=arguments.n_restarts,
            seed=0,
            accelerator="cpu",
            enable_progress_bar=False,
        )
    finally:
        StartSearch.run = run
    return model, found[0]


def deviations(z: np.ndarray, n_genes: int, size: float, rng: np.random.Generator) -> np.ndarray:
    """Log factors of genes at the cells, draws of a Gaussian process along z, ``(N, P)``."""
    knots = np.linspace(-3.0, 3.0, 60)
    covariance = np.exp(-0.5 * ((knots[:, None] - knots) / _DEVIATION_SCALE) ** 2)
    factor = np.linalg.cholesky(covariance + 1e-8 * np.eye(len(knots)))
    draws = (factor @ rng.standard_normal((len(knots), n_genes))).T
    return size * np.stack([np.interp(z, knots, draw) for draw in draws], axis=1)


def drawn(adata: ad.AnnData, start: Start, deviation: float, seed: int) -> ad.AnnData:
    """Counts of the groups that a search has found, with them in ``.var["true_group"]``."""
    rng = np.random.default_rng(seed)
    counts = adata.X.toarray() if sparse.issparse(adata.X) else np.asarray(adata.X)
    counts = counts.astype(np.float64)
    group = start.evidence.argmax(1)
    curves = np.vstack([np.ones_like(start.points), start.curves])
    course = np.stack([np.interp(start.z, start.points, curve) for curve in curves], axis=1)
    z = (start.z - start.z.mean()) / start.z.std()
    shape = course[:, group] * np.exp(deviations(z, len(group), deviation, rng))
    mean = shape * adata.obs["size_factor"].to_numpy(np.float64)[:, None]
    mean *= counts.sum(0) / mean.sum(0)
    excess = ((counts - mean) ** 2 - mean).sum(0)
    theta = np.clip((mean**2).sum(0) / np.maximum(excess, 1e-9), *_DISPERSION_RANGE)
    sample = rng.negative_binomial(theta, theta / (theta + mean)).astype(np.float32)
    result = ad.AnnData(sparse.csr_matrix(sample), obs=adata.obs.copy(), var=adata.var.copy())
    result.obs["true_z"], result.var["true_group"] = z, group.astype(str)
    return result


def compare(search: dict, start: Start, truth: ad.AnnData) -> dict:
    """Restarts with one another and with the truth, on the genes that the search looked at."""
    group = truth.var["true_group"].to_numpy()[search["genes"]]
    best = best_of(search)
    with_truth = [v_measure_score(group, phi.argmax(1)) for phi in search["assignments"]]
    return {
        "bounds": search["bounds"].tolist(),
        "between_restarts": agreement_of_restarts(search["assignments"]),
        "best_restart_with_truth": v_measure_score(group, best),
        "restarts_with_truth": {"median": median(with_truth), "min": min(with_truth)},
        "z_with_truth": abs(float(spearmanr(start.z, truth.obs["true_z"]).statistic)),
        "n_true_groups": len(np.unique(group)),
        "n_groups": len(np.unique(best)),
    }


def draws_from_posterior(start: Start, n_draws: int = 10) -> dict:
    """V-measures between groupings drawn from q(w) of the one structure that was found."""
    phi = start.found.structure.phi
    rng = np.random.default_rng(0)
    groupings = [
        (phi.cumsum(axis=1) > rng.random((len(phi), 1))).argmax(axis=1) for _ in range(n_draws)
    ]
    return agreement_of_restarts([np.eye(phi.shape[1])[grouping] for grouping in groupings])


def on_lineage(lineage: str, arguments: argparse.Namespace) -> Iterator[dict]:
    """Search the lineage, then counts drawn from it; what is known after each draw."""
    adata = load_lineage(arguments.h5ad, lineage)
    model, start = search(adata, arguments)
    of_lineage = {
        "lineage": lineage,
        "between_restarts": agreement_of_restarts(model.search_["assignments"]),
        "between_draws_from_posterior": draws_from_posterior(start),
        "drawn": [],
    }
    print(f"{lineage:5} the lineage itself {of_lineage}", flush=True)
    for deviation, seed in product(arguments.deviation, range(arguments.draws)):
        truth = drawn(adata, start, deviation, seed)
        began = time.perf_counter()
        model, again = search(truth.copy(), arguments)
        found = {"deviation": deviation, "draw": seed, "seconds": time.perf_counter() - began}
        found |= compare(model.search_, again, truth)
        of_lineage["drawn"].append(found)
        print(f"{lineage:5} {found}", flush=True)
        yield of_lineage


def main() -> None:
    """Search, draw, search again, compare, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("h5ad")
    parser.add_argument("--lineages", nargs="+", default=["ery", "mono"], choices=["ery", "mono"])
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--deviation", type=float, nargs="+", default=[0.1])
    parser.add_argument("--n-basis", type=int, default=50)
    parser.add_argument("--n-restarts", type=int, default=10)
    parser.add_argument("--output")
    arguments = parser.parse_args()
    kept = {**vars(arguments), "h5ad": "marrow_cd34_palantir.h5ad", "output": None}
    done = []
    for lineage in arguments.lineages:
        for found in on_lineage(lineage, arguments):
            write({"arguments": kept, "runs": [*done, found]}, arguments.output)
        done.append(found)


if __name__ == "__main__":
    main()
