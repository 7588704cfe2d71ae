"""BasisVAE beside other ways to group genes along a trajectory.

All rivals get the same counts, genes, pseudotime and seeds; every fit has a process of its own,
unless ``--in-process`` is given.
Prints one line a fit, a table for each data set, and writes all of it after every fit.

    python benchmarks/peers/run.py --families counts --seeds 20 --output peers.json
    python benchmarks/peers/run.py marrow_cd34_palantir.h5ad --families --seeds 3
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import mean

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

# Every process of a fit imports what stands here, so heavy imports are deferred.

from _epochs import alone
from _families import FAMILIES, LINEAGE_BASIS, LINEAGES, N_BASIS, PSEUDOTIMES
from _fit import fit, reason_to_skip
from _peer import PEERS
from _scores import against_truth, agreement

PACKAGES = ("palantir", "scFates", "tslearn", "scikit-learn", "scanpy", "leidenalg")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("h5ad", nargs="?", help="marrow sample, for the real lineages")
    parser.add_argument("--families", nargs="*", choices=[*FAMILIES], default=[*FAMILIES])
    parser.add_argument("--lineages", nargs="+", choices=[*LINEAGES], default=[*LINEAGES])
    parser.add_argument("--peers", nargs="+", choices=[*PEERS], default=[*PEERS])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=1000)
    parser.add_argument(
        "--pseudotime",
        choices=PSEUDOTIMES,
        default="dpt",
        help="what rivals get: DPT, its ranks, or the true order of simulations",
    )
    parser.add_argument("--groups", type=int, help="number told to rivals on real lineages")
    parser.add_argument("--original", help="checkout of the authors' code")
    parser.add_argument("--original-epochs", type=int, default=100)
    parser.add_argument(
        "--in-process",
        action="store_true",
        help="start no process for each fit: less to wait for, and no figures of memory",
    )
    parser.add_argument("--output")
    return parser.parse_args()


def usable(names: list[str], original: str | None) -> tuple[list[str], dict[str, str]]:
    """Rivals that can run, and why the others cannot; the latter are also printed."""
    skipped = {}
    for name in names:
        reason = alone(reason_to_skip, None, module=PEERS[name].module)
        if PEERS[name].module == "_original" and original is None:
            reason = "no checkout of the authors' code given with --original"
        if reason is not None:
            skipped[name] = reason
            print(f"SKIPPED {name}: {reason}", flush=True)
    return [name for name in names if name not in skipped], skipped


def attempt(path: Path, name: str, n_groups: int | None, seed: int, about: dict) -> dict:
    """Fit a rival; a failure is a result too."""
    about = {**about, "module": PEERS[name].module, "seed": seed}
    about["n_groups"] = n_groups if PEERS[name].is_told else None
    try:
        if about.pop("in_process"):
            found = {**fit(path, **about), "peak_mib": None, "mib_before": None}
        else:
            found = alone(fit, path, **about)
    except Exception as error:
        return {"seed": seed, "failed": f"{type(error).__name__}: {error}"}
    return {"seed": seed, "n_groups": len(set(found["labels"])), **found}


def versions() -> dict[str, str | None]:
    """Installed versions of the packages that rivals come from."""
    found = dict.fromkeys(PACKAGES)
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _line(data: str, name: str, result: dict) -> str:
    start = f"{data:18} {result['seed']:5} {name:26}"
    if "failed" in result:
        return f"{start} FAILED {result['failed']}"
    scores = "".join(
        f"{label} {result[key]:.3f} "
        for label, key in [("ARI", "ari"), ("V", "v_measure"), ("shift r", "shift_pearson")]
        if key in result
    )
    return f"{start} {scores}groups {result['n_groups']} {result['seconds']:.1f} s"


def run_family(family: str, names: list[str], arguments, directory: Path) -> Iterator[dict]:
    """Draw and fit every seed; yields what is there after each fit."""
    import anndata as ad
    from _data import simulate

    kind = FAMILIES[family]
    about = {
        "likelihood": kind.likelihood,
        "has_shifts": kind.has_shifts,
        "n_basis": N_BASIS,
        "original": arguments.original,
        "original_epochs": arguments.original_epochs,
        "in_process": arguments.in_process,
    }
    report = {"data": [], "fits": {name: [] for name in names}}
    path = directory / "simulation.h5ad"
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
        drawn = simulate(path, family=family, seed=seed, pseudotime=arguments.pseudotime)
        report["data"].append(drawn)
        var = ad.read_h5ad(path).var
        for name in names:
            result = attempt(path, name, drawn["n_groups"], seed, about)
            if "failed" not in result:
                result.update(against_truth(var, kind.truth, kind.has_shifts, result))
                del result["labels"], result["shifts"]
            report["fits"][name].append(result)
            print(_line(family, name, result), flush=True)
            yield report


def run_lineage(lineage: str, names: list[str], arguments, directory: Path) -> Iterator[dict]:
    """Fit one real lineage with every seed; yields what is there after each fit."""
    from _data import read_lineage

    path = directory / "lineage.h5ad"
    data = read_lineage(
        path, source=arguments.h5ad, lineage=lineage, pseudotime=arguments.pseudotime
    )
    about = {
        "likelihood": "zinb",
        "has_shifts": True,
        "n_basis": LINEAGE_BASIS,
        "original": arguments.original,
        "original_epochs": arguments.original_epochs,
        "in_process": arguments.in_process,
    }
    groupings = {name: [] for name in names}
    report = {"data": data, "fits": {name: [] for name in names}, "agreement": {}}
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
        for name in names:
            result = attempt(path, name, arguments.groups, seed, about)
            if "failed" not in result:
                groupings[name].append(result.pop("labels"))
                del result["shifts"]
                report["agreement"][name] = agreement(groupings[name])
            report["fits"][name].append(result)
            print(_line(lineage, name, result), flush=True)
            yield report


def _average(fits: list[dict], key: str, form: str) -> str:
    values = [f[key] for f in fits if f.get(key) is not None]
    return format(mean(values), form) if values else "-"


def table(report: dict) -> Iterator[str]:
    """Lines of a table, one a rival, and how often BasisVAE has the larger ARI."""
    yield (
        f"{'':26} {'fits':>5} {'failed':>6} {'ARI':>6} {'least':>6} {'V':>6} {'shift r':>7} "
        f"{'groups':>6} {'agree':>6} {'s':>7} {'MiB':>6}  BasisVAE above"
    )
    ours = {f["seed"]: f.get("ari") for f in report["fits"].get("BasisVAE", [])}
    for name, fits in report["fits"].items():
        good = [f for f in fits if "failed" not in f]
        least = min((f["ari"] for f in good if "ari" in f), default=None)
        agree = report.get("agreement", {}).get(name)
        pairs = [(ours.get(f["seed"]), f.get("ari")) for f in good]
        pairs = [(a, b) for a, b in pairs if a is not None and b is not None]
        above = f"{sum(a > b for a, b in pairs)} of {len(pairs)}" if pairs else "-"
        yield (
            f"{name:26} {len(good):5} {len(fits) - len(good):6} {_average(good, 'ari', '.3f'):>6} "
            f"{'-' if least is None else format(least, '.3f'):>6} "
            f"{_average(good, 'v_measure', '.3f'):>6} "
            f"{_average(good, 'shift_pearson', '.3f'):>7} {_average(good, 'n_groups', '.1f'):>6} "
            f"{'-' if agree is None else format(agree, '.3f'):>6} "
            f"{_average(good, 'seconds', '.1f'):>7} {_average(good, 'peak_mib', '.0f'):>6}  "
            f"{'-' if name == 'BasisVAE' else above}"
        )


def main() -> None:
    """Run what was asked for, print the tables, write the JSON."""
    from _machine import write

    arguments = parse()
    names, skipped = usable(arguments.peers, arguments.original)
    kept = {**vars(arguments), "output": None, "h5ad": None}
    kept["original"] = bool(arguments.original)
    report = {"arguments": kept, "rivals": versions(), "skipped": skipped}
    report |= {"families": {}, "lineages": {}}
    # Without a number of groups, a rival that is to be told it has nothing to be told.
    untold = [n for n in names if arguments.groups is not None or not PEERS[n].is_told]
    jobs = [("families", family, run_family, names) for family in arguments.families]
    if arguments.h5ad is not None:
        jobs += [("lineages", lineage, run_lineage, untold) for lineage in arguments.lineages]
    with tempfile.TemporaryDirectory() as directory:
        for part, data, job, rivals in jobs:
            for found in job(data, rivals, arguments, Path(directory)):
                report[part][data] = found
                write(report, arguments.output)
            print(f"\n{data}, {arguments.pseudotime}", *table(report[part][data]), "", sep="\n")
    for name, reason in skipped.items():
        print(f"SKIPPED {name}: {reason}")


if __name__ == "__main__":
    main()
