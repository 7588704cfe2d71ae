"""Do two random halves of the cells of a real line tell the same of its genes?

Fits each half of the cells, with z given (Slingshot's pseudotime, or minutes of the embryo) and
with z learned, without and with shifts, with the default number of bases and with few; compares
the groups of genes (adjusted Rand index, V-measure), their shifts, their log courses and when
they are halfway up. More groups agree less, so rivals are compared at equal numbers of groups:
k-means of log courses and Leiden on standardised courses, both of Gaussian processes that are
fitted to every gene by evidence, and Palantir's trends with its clusters. They get the same cells
and the same z, which is ours of either half where z is learned. Leiden and Palantir need
`benchmarks/peers/requirements.txt`, and are left out, by name, where it is not installed.

`--seeds N` searches all cells N times instead, each time with a seed of its own for everything
that training starts from, and says how far these agree and what bounds the searches end at.

    python benchmarks/halves.py --marrow marrow_cd34_palantir.h5ad --output halves.json
    python benchmarks/halves.py --worm worm_embryo_amphid.h5ad --lines ADL --z learned
    python benchmarks/halves.py --worm worm_embryo_amphid.h5ad --lines ADL --z learned --seeds 5
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import anndata as ad
import numpy as np
from _halves_measures import Half, agreement, half_rise, of_seeds, rises_of
from _halves_rivals import Rivals, usable
from _lines import add_line_arguments, fit, given_lines, has_own_courses, load_line
from _machine import write
from _own_curves import at, gaussian_process, sums
from _search_seed import set_search_seed
from scipy.stats import norm, spearmanr

# Where courses are compared: shares of the cells that are behind.
SHARES = np.linspace(0.01, 0.99, 99)
DEFAULT_N_BASIS = 50
_MIN_COUNTS = 3


def split(adata: ad.AnnData, seed: int) -> list[ad.AnnData]:
    """Two random halves of the cells, genes that have some counts in both."""
    is_first = np.random.default_rng(seed).random(adata.n_obs) < 0.5
    halves = [adata[is_first], adata[~is_first]]
    enough = [np.asarray(half.X.sum(0)).ravel() >= _MIN_COUNTS for half in halves]
    return [half[:, enough[0] & enough[1]].copy() for half in halves]


def fit_half(adata: ad.AnnData, kind: str, arguments: argparse.Namespace, **of_model) -> Half:
    """Our groups, shifts and log courses, earliest cells first."""
    began = time.perf_counter()
    model = fit(adata, is_given=kind == "given", max_epochs=arguments.max_epochs, **of_model)
    seconds = time.perf_counter() - began
    z = model.get_latent_representation()[:, 0].astype(float)
    rho = float(spearmanr(z, adata.obs["reference"]).statistic)
    sign = 1.0 if rho >= 0 else -1.0
    if kind == "given":
        slope, origin = np.polyfit(adata.obs["given_z"].to_numpy(), z, 1)
        points = origin + slope * norm.ppf(SHARES)
    else:
        points = sign * np.quantile(sign * z, SHARES)
    own = {"own_course": True} if has_own_courses(model) else {}
    trends = model.get_gene_trends(z=points, **own).to_numpy().T
    clusters = model.get_clusters()
    return Half(
        labels=clusters["cluster"].astype(str).to_numpy(),
        courses=np.log(np.maximum(trends, 1e-3 * trends.mean(1, keepdims=True))),
        shifts=sign * clusters["shift"].to_numpy() if of_model["translation_invariant"] else None,
        z=sign * z,
        rho=abs(rho),
        seconds=seconds,
        total=float(model.search_["bounds"].max()),
    )


def compare_halves(
    line: str, adata: ad.AnnData, arguments: argparse.Namespace, names: list[str]
) -> Iterator[dict]:
    """Rows of a line, one for every kind of z, model and number of bases."""
    halves = split(adata, arguments.split)
    kept = adata[:, halves[0].var_names]
    everything = sums(
        kept.X.toarray(), kept.obs["size_factor"].to_numpy(), kept.obs["given_z"].to_numpy()
    )
    rises = rises_of(at(gaussian_process(everything), norm.ppf(SHARES)))
    of_given = None
    for kind in arguments.z:
        for shift in arguments.shift:
            rivals = of_given if kind == "given" else None
            for n_basis in arguments.n_basis:
                model = {"n_basis": n_basis, "translation_invariant": shift == "yes"}
                ours = [fit_half(half, kind, arguments, **model) for half in halves]
                if rivals is None:
                    z = [
                        half.obs["given_z"].to_numpy() if kind == "given" else own.z
                        for half, own in zip(halves, ours, strict=True)
                    ]
                    rivals = Rivals(halves, z, norm.ppf(SHARES), names)
                    of_given = rivals if kind == "given" else of_given
                n_groups = [len(set(half.labels)) for half in ours]
                yield {
                    "line": line,
                    "z": kind,
                    "shift": shift == "yes",
                    "n_obs": [half.n_obs for half in halves],
                    "n_vars": len(rises),
                    "n_basis": n_basis,
                    **agreement(*ours, rises),
                    **times(ours, rivals, rises),
                    "rho": [half.rho for half in ours],
                    "seconds": [half.seconds for half in ours],
                    # As many groups as each half has, and as many as it was allowed.
                    "rivals_at_equal_numbers": rivals.groups(n_groups),
                    **(
                        {"rivals_at_n_basis": rivals.groups([n_basis, n_basis])}
                        if n_basis != DEFAULT_N_BASIS
                        else {}
                    ),
                    "rival_courses": rivals.courses(rises),
                }


def times(ours: list[Half], rivals: Rivals, rises: np.ndarray) -> dict:
    """Half-rise times of the two halves, ours and a rival's on the same genes."""
    both = [*ours, *rivals.halves["Gaussian processes"]]
    found = np.array([half_rise(half.courses) for half in both])
    shared = rises & np.isfinite(found).all(0)
    if shared.sum() < 3:
        return {"half_rise_on_shared_genes": {"n_genes": int(shared.sum())}}
    return {
        "half_rise_on_shared_genes": {
            "n_genes": int(shared.sum()),
            "BasisVAE": float(np.corrcoef(found[0, shared], found[1, shared])[0, 1]),
            "Gaussian processes": float(np.corrcoef(found[2, shared], found[3, shared])[0, 1]),
        }
    }


def compare_seeds(
    line: str, adata: ad.AnnData, arguments: argparse.Namespace, names: list[str]
) -> Iterator[dict]:
    """Rows of a line, one for every kind of z and model, of searches that differ by their seed."""
    del names
    for kind in arguments.z:
        for shift in arguments.shift:
            for n_basis in arguments.n_basis:
                fits = []
                for seed in range(1, arguments.seeds + 1):
                    set_search_seed(seed)
                    model = {"n_basis": n_basis, "translation_invariant": shift == "yes"}
                    fits.append(fit_half(adata, kind, arguments, seed=seed, **model))
                yield {
                    "line": line,
                    "z": kind,
                    "shift": shift == "yes",
                    "n_obs": adata.n_obs,
                    "n_vars": adata.n_vars,
                    "n_basis": n_basis,
                    **of_seeds(fits),
                }


def show(row: dict) -> str:
    """One row in a few words."""
    start = f"{row['line']:5} z {row['z']:7} shift={row['shift']!s:5} K = {row['n_basis']:2}"
    if "totals" in row:
        return (
            f"{start} groups {row['n_groups']} ARI {row['ari']['median']:.3f} "
            f"V {row['v_measure']['median']:.3f} totals {[round(t) for t in row['totals']]} "
            f"rho {[round(r, 3) for r in row['rho']]} {sum(row['seconds']):.0f} s"
        )
    lines = [
        f"{start} groups {row['n_groups']} ARI {row['ari']:.3f} V {row['v_measure']:.3f} "
        f"shifts {row['shifts']} courses {row['courses']:.3f} half rise "
        f"{row['half_rise_on_shared_genes']} {sum(row['seconds']):.0f} s"
    ]
    for key in ("rivals_at_equal_numbers", "rivals_at_n_basis"):
        for name, found in row.get(key, {}).items():
            lines.append(
                f"      {key[7:]:16} {name:24} {found['n_groups']} ARI {found['ari']:.3f} "
                f"V {found['v_measure']:.3f}"
            )
    return "\n".join(lines)


def main() -> None:
    """Run what was asked for, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_line_arguments(parser, default=["ery", "mono", "ADL"])
    parser.add_argument("--genes", type=int, default=600, help="most variable genes")
    parser.add_argument("--z", nargs="+", choices=["given", "learned"], default=["given"])
    parser.add_argument("--shift", nargs="+", choices=["no", "yes"], default=["no", "yes"])
    parser.add_argument("--n-basis", nargs="+", type=int, default=[DEFAULT_N_BASIS, 8, 12, 20])
    parser.add_argument("--split", type=int, default=0, help="seed of the halves")
    parser.add_argument("--seeds", type=int, help="search all cells so often instead")
    parser.add_argument("--max-epochs", type=int)
    parser.add_argument("--output")
    arguments = parser.parse_args()
    kept = {**vars(arguments), "marrow": None, "worm": None, "output": None}
    compare, names = (compare_seeds, []) if arguments.seeds else (compare_halves, usable())
    rows = []
    for line, path in given_lines(arguments):
        adata = load_line(path, line, arguments.genes)
        for row in compare(line, adata, arguments, names):
            rows.append(row)
            print(show(row), flush=True)
            write({"arguments": kept, "rows": rows}, arguments.output)


if __name__ == "__main__":
    main()
