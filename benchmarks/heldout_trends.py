"""Do trends from half of the cells predict the counts of the other half?

Every method gets the same z (Slingshot's pseudotime, or minutes of the embryo), the same cells
to fit and the same yardstick: log likelihood of the other cells' counts, over that of a flat
trend. The yardstick is Poisson, and negative binomial with dispersions that are fixed beforehand
from the fitted half; every trend has the level at which it explains as many counts of the fitted
cells as there are.

Rivals: a Gaussian process for every gene by evidence, penalised splines by restricted likelihood,
a kernel of one width, and Palantir's trends where Palantir is installed (`benchmarks/peers/
requirements.txt`). Whether curves are smooth in ranks or in normal scores of z, and the width of
the kernel, is chosen for each column by what it says of the very cells that it is measured on.

    python benchmarks/heldout_trends.py --marrow marrow_cd34_palantir.h5ad --output heldout.json
    python benchmarks/heldout_trends.py --worm worm_embryo_amphid.h5ad --lines ADL
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from _lines import add_line_arguments, fit, given_lines, has_own_courses, load_line
from _machine import write
from _own_curves import AXES, WIDTHS, at, gaussian_process, kernel, penalised_splines, sums
from scipy.special import gammaln
from scipy.stats import rankdata

sys.path.insert(0, str(Path(__file__).resolve().parent / "peers"))

# A trend that promises next to nothing would lose everything by one count.
_LEAST_SHARE = 1e-3
_MIN_COUNTS = 4


class Yardstick:
    """Log likelihood of held-out counts, per gene, over that of a flat trend.

    Parameters
    ----------
    fitted, other
        AnnData of the cells that trends come from and of those that they are measured on.
    """

    def __init__(self, fitted, other):
        self.fitted_counts, self.counts = fitted.X.toarray().T, other.X.toarray().T
        self.fitted_size = fitted.obs["size_factor"].to_numpy()
        self.size = other.obs["size_factor"].to_numpy()
        self.fitted_z = fitted.obs["given_z"].to_numpy()
        self.z = other.obs["given_z"].to_numpy()
        total = self.fitted_counts.sum(1)
        self.rate = total / self.fitted_size.sum()
        # Of equal totals the first ones, so that exactly half of the genes have few counts.
        self.is_low = rankdata(total, method="ordinal") <= len(total) // 2
        mean = self._mean(at(gaussian_process(self.sums()), self.fitted_z), self.fitted_size)
        excess = ((self.fitted_counts - mean) ** 2 - mean).sum(1)
        self.theta = (mean**2).sum(1) / np.maximum(excess, 1e-3 * (mean**2).sum(1))
        flat = np.ones((len(total), 1))
        self.flat = self._log_likelihoods(self.rate[:, None] * flat * self.size)

    def sums(self):
        """Sums over the fitted cells."""
        return sums(self.fitted_counts.T, self.fitted_size, self.fitted_z)

    @staticmethod
    def _mean(log_rate: np.ndarray, size: np.ndarray) -> np.ndarray:
        return np.exp(log_rate) * size

    def _log_likelihoods(self, mean: np.ndarray) -> dict[str, np.ndarray]:
        y, theta = self.counts, self.theta[:, None]
        negative_binomial = (
            gammaln(y + theta)
            - gammaln(theta)
            + theta * np.log(theta / (theta + mean))
            + y * np.log(mean / (theta + mean))
        )
        return {
            "poisson": (y * np.log(mean) - mean).sum(1),
            "negative_binomial": negative_binomial.sum(1),
        }

    def measure(self, rate_at) -> dict:
        """Gain in nats of ``rate_at(z)``, genes × cells, over flat trends."""
        least = _LEAST_SHARE * self.rate[:, None]
        explained = np.maximum(rate_at(self.fitted_z), least) @ self.fitted_size
        level = self.fitted_counts.sum(1) / explained
        mean = np.maximum(rate_at(self.z), least) * level[:, None] * self.size
        found = {}
        for name, value in self._log_likelihoods(mean).items():
            gain = value - self.flat[name]
            found[name] = {
                "all": float(gain.sum()),
                "fewest_counts": float(gain[self.is_low].sum()),
                "share_improved": float((gain > 0).mean()),
            }
        return found


def best_of(yardstick: Yardstick, curves: dict[str, np.ndarray]) -> dict:
    """The largest gain of any of these curves, column by column, and of which."""
    found = {name: yardstick.measure(curve_rate(these)) for name, these in curves.items()}
    best = {"poisson": {}, "negative_binomial": {}}
    for kind, columns in best.items():
        for column in ("all", "fewest_counts", "share_improved"):
            which = max(found, key=lambda name, k=kind, c=column: found[name][k][c])
            columns[column] = found[which][kind][column]
            columns[f"best_for_{column}"] = which
    return best


def curve_rate(curves: np.ndarray):
    """Rates at any z from log rates on the grid."""
    return lambda z: np.exp(at(curves, z))


def palantir_rate(fitted):
    """Rates at any z from Palantir's trends of log expression; ``None`` without Palantir."""
    from _palantir import _trends, load
    from _peer import Problem, Unavailable

    try:
        load()
    except Unavailable as reason:
        print(f"SKIPPED Palantir: {reason}", flush=True)
        return None
    order = np.sort(fitted.obs["given_z"].to_numpy())
    share = np.linspace(0.0, 1.0, len(order))
    pseudotime = np.interp(fitted.obs["given_z"].to_numpy(), order, share)
    trends = _trends(Problem(fitted, pseudotime, "nb", False, 0))
    points = trends.columns.to_numpy(dtype=float)

    def rate(z: np.ndarray) -> np.ndarray:
        where = np.interp(z, order, share)
        return np.expm1([np.interp(where, points, of) for of in trends.to_numpy()])

    return rate


def basisvae_rates(fitted, arguments: argparse.Namespace, shift: bool) -> dict:
    """Rates at any z by name: genes' own courses, where the model has them, and groups'."""
    model = fit(
        fitted,
        is_given=True,
        max_epochs=arguments.max_epochs,
        n_basis=arguments.n_basis,
        translation_invariant=shift,
        gene_likelihood=arguments.likelihood,
    )
    # The model has z in a unit and with a sign of its own.
    own_z = model.get_latent_representation()[:, 0]
    slope, origin = np.polyfit(fitted.obs["given_z"].to_numpy(), own_z, 1)

    def rates(**kwargs):
        def rate(z: np.ndarray) -> np.ndarray:
            # Beyond the fitted cells all methods are constant.
            inside = np.clip(z, fitted.obs["given_z"].min(), fitted.obs["given_z"].max())
            return model.get_gene_trends(z=origin + slope * inside, **kwargs).to_numpy().T

        return rate

    n_groups = int(model.get_clusters()["cluster"].nunique())
    name = f"BasisVAE, {'with' if shift else 'no'} shifts"
    if not has_own_courses(model):
        return {name: (rates(), n_groups)}
    return {
        name: (rates(own_course=True), n_groups),
        f"{name}, courses of the groups": (rates(own_course=False), n_groups),
    }


def run(path: str, line: str, split: int, arguments: argparse.Namespace) -> dict:
    """All methods on one half of a line's cells."""
    adata = load_line(path, line, arguments.genes)
    is_other = np.random.default_rng(split).random(adata.n_obs) < 0.5
    fitted, other = adata[~is_other].copy(), adata[is_other].copy()
    enough = np.asarray(fitted.X.sum(0)).ravel() >= _MIN_COUNTS
    fitted, other = fitted[:, enough].copy(), other[:, enough].copy()
    yardstick = Yardstick(fitted, other)
    data, methods = yardstick.sums(), {}

    def add(name: str, measured: dict, **more) -> None:
        methods[name] = {**measured, **more}
        poisson = measured["poisson"]
        print(
            f"{line:5} {split} {name:44} {poisson['all']:9.0f} fewest counts "
            f"{poisson['fewest_counts']:8.0f}   NB {measured['negative_binomial']['all']:9.0f} "
            f"{measured['negative_binomial']['fewest_counts']:8.0f}",
            flush=True,
        )

    rivals = {
        "penalised splines": {axis: penalised_splines(data, of) for axis, of in AXES.items()},
        "kernel, best width": {
            f"{axis}, {width}": kernel(data, of, width)
            for axis, of in AXES.items()
            for width in WIDTHS
        },
        "Gaussian processes": {axis: gaussian_process(data, of) for axis, of in AXES.items()},
    }
    for name, curves in rivals.items():
        add(name, best_of(yardstick, curves))
    rate = palantir_rate(fitted)
    if rate is not None:
        add("Palantir", yardstick.measure(rate))
    for shift in arguments.shift:
        began = time.perf_counter()
        found = basisvae_rates(fitted, arguments, shift == "yes")
        seconds = time.perf_counter() - began
        for name, (ours, n_groups) in found.items():
            add(name, yardstick.measure(ours), n_groups=n_groups, seconds=seconds)
    return {
        "line": line,
        "split": split,
        "n_fitted": fitted.n_obs,
        "n_other": other.n_obs,
        "n_genes": fitted.n_vars,
        "methods": methods,
    }


def main() -> None:
    """Run what was asked for, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_line_arguments(parser, default=["ery", "mono", "ADL"])
    parser.add_argument("--genes", type=int, default=1000)
    parser.add_argument("--splits", type=int, default=1, help="random halves, one after the other")
    parser.add_argument("--shift", nargs="*", choices=["no", "yes"], default=["no", "yes"])
    parser.add_argument("--n-basis", type=int, default=50)
    parser.add_argument("--likelihood", default="nb", help="zinb leaves dropout out of trends")
    parser.add_argument("--max-epochs", type=int)
    parser.add_argument("--output")
    arguments = parser.parse_args()
    kept = {**vars(arguments), "marrow": None, "worm": None, "output": None}
    runs = []
    for line, path in given_lines(arguments):
        for split in range(arguments.splits):
            runs.append(run(path, line, split, arguments))
            write({"arguments": kept, "runs": runs}, arguments.output)


if __name__ == "__main__":
    main()
