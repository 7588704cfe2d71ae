"""The Gaussian toy data: sizes, signal, noise and truth."""

import numpy as np
import pytest
from scipy.cluster.vq import kmeans2
from scipy.stats import kurtosis

from basisvae_scvi.datasets import toy_groups, toy_shifts

CENTERS = {"early": -1.5, "peak": 0.0, "late": 1.5}


def expected_toy(adata):
    """Write the formulas of the paper out again, independently of the package."""
    z = adata.obs["true_z"].to_numpy()
    curves = []
    for group, scale in zip(adata.var["true_group"], adata.var["true_scale"], strict=True):
        if group in CENTERS:
            curve = np.exp(-((z - CENTERS[group]) ** 2) / 2)
        else:
            curve = 0.4 * np.log(1 + np.exp(z if group == "up" else -z))
        curves.append(scale * curve)
    return np.column_stack(curves)


@pytest.mark.parametrize("variant", ["paper", "authors"])
@pytest.mark.parametrize("noise_sd", [0.2, 0.5])
def test_groups_are_signal_plus_noise(variant, noise_sd):
    adata = toy_groups(n_obs=2000, variant=variant, noise_sd=noise_sd, seed=3)
    noise = adata.X - expected_toy(adata)
    # Standard errors of the mean and of the standard deviation of all residuals.
    error = noise_sd / np.sqrt(noise.size)
    assert abs(noise.mean()) < 5 * error
    assert abs(noise.std() - noise_sd) < 5 * error / np.sqrt(2)
    assert abs(kurtosis(noise, axis=None)) < 5 * np.sqrt(24 / noise.size)


def test_groups_without_noise_are_exact():
    adata = toy_groups(n_obs=50, noise_sd=0.0)
    np.testing.assert_allclose(adata.X, expected_toy(adata), atol=1e-6)


@pytest.mark.parametrize(("variant", "n_groups"), [("paper", 5), ("authors", 4)])
def test_groups_defaults(variant, n_groups):
    adata = toy_groups(variant=variant)
    assert adata.shape == (500, 10 * n_groups)
    assert adata.X.dtype == np.float32
    assert adata.X.min() < 0
    z = adata.obs["true_z"]
    assert -3 <= z.min() < -2.9
    assert 2.9 < z.max() <= 3
    for _, scale in adata.var.groupby("true_group", observed=True)["true_scale"]:
        np.testing.assert_allclose(scale, np.arange(10) * 1.2 / 9 + 0.4)


def test_bumps_share_one_shape_and_differ_by_shift():
    var = toy_groups().var
    groups = var.groupby("true_shape", observed=True)["true_group"].unique()
    assert set(groups["transient"]) == {"early", "peak", "late"}
    assert set(groups["up"]) == {"up"}
    assert set(groups["down"]) == {"down"}
    shift = var.groupby("true_group", observed=True)["true_shift"].unique()
    assert {name: -shift[name].item() for name in CENTERS} == CENTERS


def test_distributions_of_z():
    normal = toy_groups(n_obs=4000, z_distribution="normal").obs["true_z"]
    assert abs(normal.mean()) < 5 / np.sqrt(4000)
    assert abs(normal.std() - 1) < 5 / np.sqrt(8000)
    uneven = toy_groups(n_obs=4000, z_distribution="uneven").obs["true_z"]
    # 60 % lie around -1.8 ± 0.45; of the even 40 %, a third lies below -1: 0.578 + 0.133.
    assert (uneven < -1).mean() == pytest.approx(0.711, abs=0.04)


def test_shifts_move_the_peak_earlier():
    adata = toy_shifts(n_obs=4000, n_vars=9, max_shift=2.0, noise_sd=0.0)
    peak = adata.obs["true_z"].to_numpy()[np.argmax(adata.X, axis=0)]
    np.testing.assert_allclose(peak, -adata.var["true_shift"], atol=0.01)
    np.testing.assert_allclose(np.ptp(adata.var["true_shift"]), 4.0)


def test_shifts_need_many_fixed_curves():
    curves = toy_shifts(noise_sd=0.0).X.T.astype(np.float64)
    total = ((curves - curves.mean()) ** 2).sum()
    left = {}
    for k in (3, 5, 12):
        fits = [kmeans2(curves, k, minit="++", rng=seed) for seed in range(20)]
        left[k] = min(((curves - c[label]) ** 2).sum() for c, label in fits) / total
    assert left[3] == pytest.approx(0.20, abs=0.03)
    assert left[5] == pytest.approx(0.08, abs=0.02)
    assert left[12] == pytest.approx(0.014, abs=0.006)


def test_shifts_scale_and_shape():
    adata = toy_shifts(n_vars=400, shape="switch_on", log_scale_sd=0.5, noise_sd=0.0)
    assert np.log(adata.var["true_scale"]).std() == pytest.approx(0.5, abs=5 * 0.5 / np.sqrt(800))
    ceiling = adata.X.max(axis=0) / adata.var["true_scale"]
    # expit(3 (3 + δ)): every switch has risen by the end of the process, most of the way.
    np.testing.assert_allclose(ceiling, 1 / (1 + np.exp(-9 - 3 * adata.var["true_shift"])), 0.02)


@pytest.mark.parametrize("make", [toy_groups, toy_shifts])
def test_same_seed_same_data(make):
    first, again, other = make(n_obs=40, seed=5), make(n_obs=40, seed=5), make(n_obs=40, seed=6)
    assert np.array_equal(first.X, again.X)
    assert first.obs.equals(again.obs)
    assert first.var.equals(again.var)
    assert not np.array_equal(first.X, other.X)


@pytest.mark.parametrize(
    ("make", "arguments", "named"),
    [
        (toy_groups, {"n_obs": -1}, "n_obs"),
        (toy_groups, {"n_obs": 10.5}, "n_obs"),
        (toy_groups, {"n_per_group": 0}, "n_per_group"),
        (toy_groups, {"variant": "book"}, "variant"),
        (toy_groups, {"noise_sd": -0.1}, "noise_sd"),
        (toy_groups, {"z_distribution": "cauchy"}, "z_distribution"),
        (toy_shifts, {"n_vars": 0}, "n_vars"),
        (toy_shifts, {"n_obs": True}, "n_obs"),
        (toy_shifts, {"max_shift": -1.0}, "max_shift"),
        (toy_shifts, {"log_scale_sd": float("nan")}, "log_scale_sd"),
        (toy_shifts, {"shape": "flat"}, "shape"),
        (toy_shifts, {"shape": "peek"}, "shape"),
    ],
)
def test_errors_name_the_argument(make, arguments, named):
    with pytest.raises(ValueError, match=rf"^{named} "):
        make(**arguments)
