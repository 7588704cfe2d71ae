"""Does a fit find what was planted, on families of simulations drawn at random?

Every seed draws a family of its own: which shapes there are and in what shares, how many cells and
genes, how deep and how noisy the counts are, how wide shifts and scales are, where the cells lie.
Fits have default arguments. What counts can tell at all is shown by an oracle, which knows z, the
shapes and everything else of the simulation, and gives each gene to the group that explains it
best. Prints one line a fit and writes all of them.

    python benchmarks/random_families.py --seeds 20 --output random_families.json
"""

from __future__ import annotations

import argparse
from statistics import mean, median

import numpy as np
from _machine import write
from scipy.special import logsumexp
from sklearn.metrics import adjusted_rand_score
from structure import compare

from basisvae_scvi import datasets
from basisvae_scvi.datasets import basis_values

# No two of them are one up to a shift, as "early" and "late" are with "peak".
SHAPES = ("peak", "double", "up", "down", "switch_on", "switch_off", "pulse")
# The oracle sums over log λ, and over as many shifts.
_LOG_SCALES = np.linspace(-1.2, 1.2, 13)
_LOG_SCALE_PRIOR = -0.5 * (_LOG_SCALES / 0.4) ** 2


def draw_arguments(seed: int) -> dict:
    """Arguments of :func:`basisvae_scvi.datasets.simulate_counts` for a family of its own."""
    rng = np.random.default_rng([2020, seed])

    def between(low: float, high: float) -> float:
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    shapes = [*rng.choice(SHAPES, rng.integers(2, 6), replace=False).tolist(), "flat"]
    return {
        "n_obs": round(between(250, 2500)),
        "n_vars": round(between(80, 600)),
        "shapes": shapes,
        "proportions": rng.dirichlet(np.full(len(shapes), 5.0)).tolist(),
        "mean_count": between(0.15, 2.0),
        "max_shift": float(rng.choice([0.0, rng.uniform(0.2, 1.5)])),
        "log_scale_sd": float(rng.uniform(0.0, 0.6)),
        "dispersion": between(0.7, 10.0),
        "library_sd": float(rng.uniform(0.1, 0.5)),
        "z_distribution": str(rng.choice(["uniform", "normal", "uneven"])),
        "seed": seed,
    }


def oracle(adata, max_shift: float) -> np.ndarray:
    """Group of every gene that explains its counts best, all else known, shape ``(P,)``."""
    z = adata.obs["true_z"].to_numpy()
    size = adata.obs["true_size_factor"].to_numpy()
    shifts = np.linspace(-max_shift, max_shift, 21) if max_shift else np.zeros(1)
    groups = list(adata.uns["simulation"]["shapes"])
    rates = [  # of every shift, shape (D, N)
        size * np.stack([basis_values(datasets.SHAPES[name].basis, z + shift) for shift in shifts])
        for name in groups
    ]
    counts, label = adata.X.toarray().T, []
    genes = zip(counts, adata.var["true_mean"], adata.var["true_dispersion"], strict=True)
    for count, level, theta in genes:
        evidence = [_log_evidence(count, level * rate, theta) for rate in rates]
        label.append(groups[int(np.argmax(evidence))])
    return np.array(label)


def _log_evidence(count: np.ndarray, rate: np.ndarray, theta: float) -> float:
    """Log p of a gene's counts ``(N,)`` for rates ``(D, N)``, shift and scale summed over."""
    log_p = np.empty((len(_LOG_SCALES), len(rate)))
    for i, log_scale in enumerate(_LOG_SCALES):
        mu = rate * np.exp(log_scale)
        log_p[i] = np.log(mu) @ count - np.log(theta + mu) @ (count + theta)
    return logsumexp(log_p + _LOG_SCALE_PRIOR[:, None]) - np.log(log_p.shape[1])


def fit(seed: int) -> dict:
    """Draw a family, fit it, and compare with the truth and with what can be known."""
    family = draw_arguments(seed)
    adata = datasets.simulate_counts(**family)
    has_shifts = family["max_shift"] > 0
    arguments = {"gene_likelihood": "nb", "n_basis": 20, "translation_invariant": has_shifts}
    truth = adata.var["true_group"].astype(str)
    known = adjusted_rand_score(truth, oracle(adata, family["max_shift"]))
    found = compare(adata, arguments, "true_group", seed)
    return {"family": family, "ari_of_oracle": float(known), **found}


def main() -> None:
    """Run all families, print a line each, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=5000)
    parser.add_argument("--output")
    arguments = parser.parse_args()
    fits = []
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
        fits.append(found := fit(seed))
        family = found["family"]
        print(
            f"{seed:5} {family['n_obs']:5} x {family['n_vars']:4} "
            f"depth {family['mean_count']:.2f} theta {family['dispersion']:.1f} "
            f"shift {family['max_shift']:.1f} "
            f"{family['z_distribution']:8} {len(family['shapes'])} groups: "
            f"ARI {found['ari']:.3f} (oracle {found['ari_of_oracle']:.3f}) "
            f"rho {found['spearman']:.3f} bases {found['bases_used']} "
            f"flat/called {found['flat_among_called']:.3f} {found['seconds']:.0f} s "
            f"{','.join(family['shapes'])}",
            flush=True,
        )
        write({"arguments": {**vars(arguments), "output": None}, "fits": fits}, arguments.output)
    near = sum(found["ari"] >= found["ari_of_oracle"] - 0.05 for found in fits)
    print(
        f"ARI {mean(f['ari'] for f in fits):.3f} mean, "
        f"{median(f['ari'] for f in fits):.3f} median; "
        f"within 0.05 of the oracle in {near} of {len(fits)}"
    )


if __name__ == "__main__":
    main()
