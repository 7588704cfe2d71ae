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
    python benchmarks/halves.py --worm worm_embryo_amphid.h5ad --lines ADL --genes 2000 --seeds 5
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from statistics import mean

import anndata as ad
import numpy as np
from _halves_measures import Half, agreement, half_rise, of_seeds, rises_of
from _halves_rivals import Rivals, usable
from _lines import add_line_arguments, fit, given_lines, has_own_courses, load_line, normal_scores
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
    rises = rising_genes(adata[:, halves[0].var_names])
    for kind in arguments.z:
        rivals = None
        for shift in arguments.shift:
            # Where z is learned they get that of the first number of bases.
            rivals = rivals if kind == "given" else None
            for n_basis in arguments.n_basis:
                model = {"n_basis": n_basis, "translation_invariant": shift == "yes"}
                ours = [fit_half(half, kind, arguments, **model) for half in halves]
                if rivals is None:
                    z = [
                        half.obs["given_z"].to_numpy() if kind == "given" else normal_scores(own.z)
                        for half, own in zip(halves, ours, strict=True)
                    ]
                    rivals = Rivals(halves, z, norm.ppf(SHARES), names)
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
                    **of_rivals(ours, rivals, rises, n_basis),
                }


def rising_genes(adata: ad.AnnData) -> np.ndarray:
    """Genes whose rate at least doubles along the known order, by their own curves ``(P,)``."""
    counts, size = adata.X.toarray(), adata.obs["size_factor"].to_numpy()
    curves = gaussian_process(sums(counts, size, adata.obs["given_z"].to_numpy()))
    return rises_of(at(curves, norm.ppf(SHARES)))


def of_rivals(ours: list[Half], rivals: Rivals, rises: np.ndarray, n_basis: int) -> dict:
    """Rivals with as many groups as each of our halves has, and as many as it was allowed."""
    found = {
        "rivals_at_equal_numbers": rivals.groups([len(set(half.labels)) for half in ours]),
        "rival_courses": rivals.courses(rises),
    }
    if n_basis != DEFAULT_N_BASIS:
        found["rivals_at_n_basis"] = rivals.groups([n_basis, n_basis])
    return found


def times(ours: list[Half], rivals: Rivals, rises: np.ndarray) -> dict:
    """Correlation of half-rise times of the two halves, ours and a rival's on the same genes."""
    both = [*ours, *rivals.halves["Gaussian processes"]]
    found = np.array([half_rise(half.courses) for half in both])
    shared = rises & np.isfinite(found).all(0)
    result = {"n_genes": int(shared.sum())}
    if shared.sum() >= 3:
        found = found[:, shared]
        result["BasisVAE"] = float(np.corrcoef(found[0], found[1])[0, 1])
        result["Gaussian processes"] = float(np.corrcoef(found[2], found[3])[0, 1])
    return {"half_rise_on_shared_genes": result}


def averages(rows: list[dict]) -> list[dict]:
    """Mean ARI over lines of every kind of fit, and of its rivals at equal numbers of groups."""
    kinds = list(dict.fromkeys((row["z"], row["shift"], row["n_basis"]) for row in rows))
    found = []
    for z, shift, n_basis in kinds:
        own = [
            row for row in rows if (row["z"], row["shift"], row["n_basis"]) == (z, shift, n_basis)
        ]
        names = set.intersection(*(set(row["rivals_at_equal_numbers"]) for row in own))
        ari = {"BasisVAE": mean(row["ari"] for row in own)}
        for name in sorted(names):
            ari[name] = mean(row["rivals_at_equal_numbers"][name]["ari"] for row in own)
        lines = [row["line"] for row in own]
        found.append({"z": z, "shift": shift, "n_basis": n_basis, "lines": lines, "ari": ari})
    return found


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
        f"courses {row['courses']:.3f} rho {[round(r, 3) for r in row['rho']]} "
        f"{sum(row['seconds']):.0f} s",
        f"      half rise {row['half_rise_on_shared_genes']} shifts {row['shifts']}",
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
    parser.add_argument(
        "--z", nargs="+", choices=["given", "learned"], help="default: given; with --seeds learned"
    )
    parser.add_argument("--shift", nargs="+", choices=["no", "yes"], default=["no", "yes"])
    parser.add_argument(
        "--n-basis", nargs="+", type=int, help="default: 50, 8, 12 and 20; with --seeds 50"
    )
    parser.add_argument("--split", type=int, default=0, help="seed of the halves")
    parser.add_argument("--seeds", type=int, help="search all cells so often instead")
    parser.add_argument("--max-epochs", type=int)
    parser.add_argument("--output")
    arguments = parser.parse_args()
    searches = arguments.seeds is not None
    arguments.z = arguments.z or (["learned"] if searches else ["given"])
    few = [] if searches else [8, 12, 20]
    arguments.n_basis = arguments.n_basis or [DEFAULT_N_BASIS, *few]
    kept = {**vars(arguments), "marrow": None, "worm": None, "output": None}
    compare, names = (compare_seeds, []) if searches else (compare_halves, usable())
    rows = []
    for line, path in given_lines(arguments):
        adata = load_line(path, line, arguments.genes)
        for row in compare(line, adata, arguments, names):
            rows.append(row)
            print(show(row), flush=True)
            more = {} if searches else {"averages": averages(rows)}
            write({"arguments": kept, "rows": rows, **more}, arguments.output)
    if not searches:
        for found in averages(rows):
            print(found)


if __name__ == "__main__":
    main()
