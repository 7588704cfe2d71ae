"""Standard deviations of λ and δ against simulation and against a finer integral."""

from dataclasses import replace

import numpy as np
import pytest
from model_helpers import fit, small_counts
from scipy.integrate import quad
from scipy.stats import norm

from basisvae_scvi.datasets import simulate_counts, toy_shifts
from basisvae_scvi.inference import PairEvidence, WorkingBases
from basisvae_scvi.inference.structure import CurveGrid
from basisvae_scvi.likelihood import get_likelihood
from basisvae_scvi.model._constants import feature_constants

NB = get_likelihood("nb")


@pytest.fixture(scope="module")
def shifted():
    """One shape at many positions, on the true z: λ and δ are all there is to find."""
    adata = toy_shifts(n_obs=400, n_vars=24, max_shift=1.5, log_scale_sd=0.3, seed=3)
    return fit(
        adata,
        setup={"latent_key": "true_z"},
        max_epochs=60,
        brief=False,
        gene_likelihood="gaussian",
        translation_invariant=True,
    )


def test_intervals_cover_the_truth_on_the_true_z(shifted):
    """Errors in units of their standard deviation are of size 1."""
    table, var = shifted.get_gene_intervals(0.9), shifted.adata.var
    assert table["cluster"].nunique() == 1
    sign = np.sign(
        np.corrcoef(shifted.get_latent_representation()[:, 0], shifted.adata.obs.true_z)
    )
    truth = sign[0, 1] * var["true_shift"] / shifted.adata.obs["true_z"].std()
    error = table["shift"] - table["shift"].mean() - (truth - truth.mean())
    standardised = error / table["shift_sd"]
    assert 0.5 < np.sqrt((standardised**2).mean()) < 2.0
    assert table["shift_identified"].all()
    ratio = np.log(table["scale"] / var["true_scale"])
    standardised = (ratio - ratio.mean()) / (table["scale_sd"] / table["scale"])
    assert 0.5 < np.sqrt((standardised**2).mean()) < 2.0


@pytest.mark.slow
def test_intervals_cover_the_truth_on_a_z_that_is_learned():
    """Errors of δ are of size 1, too, where z is free, whose unit is its own."""
    standardised = []
    for seed in (20, 22):
        model = fit(
            toy_shifts(n_obs=400, n_vars=24, seed=seed),
            max_epochs=None,
            brief=False,
            n_hidden=64,
            gene_likelihood="gaussian",
            translation_invariant=True,
        )
        table, obs = model.get_gene_intervals(0.9), model.adata.obs
        z = model.get_latent_representation()[:, 0]
        truth = np.sign(np.corrcoef(z, obs["true_z"])[0, 1]) / obs["true_z"].std()
        truth = truth * model.adata.var["true_shift"]
        error = table["shift"] - table["shift"].mean() - (truth - truth.mean())
        standardised.append(error / table["shift_sd"])
    assert 0.8 < np.sqrt(np.mean(np.square(standardised))) < 1.4


def test_intervals_have_the_level_asked_for(shifted):
    wide, narrow = shifted.get_gene_intervals(0.9), shifted.get_gene_intervals(0.5)
    for table, tail in ((wide, 0.95), (narrow, 0.75)):
        half = table["scale_upper"] - table["scale"]
        np.testing.assert_allclose(half, norm.ppf(tail) * table["scale_sd"], rtol=1e-10)
        # Quantiles of δ: here its distribution is close to normal, about its mean.
        length = table["shift_upper"] - table["shift_lower"]
        np.testing.assert_allclose(length, 2 * norm.ppf(tail) * table["shift_sd"], rtol=0.1)
    assert (wide["shift_lower"] < narrow["shift_lower"]).all()
    assert (narrow["shift_upper"] < wide["shift_upper"]).all()
    shifts, sd = shifted.get_shifts(return_sd=True)
    label = wide["cluster"].astype(str)
    picked = [sd.loc[gene, label[gene]] for gene in sd.index]
    np.testing.assert_allclose(wide["shift_sd"], picked)
    assert shifts.equals(shifted.get_shifts())


def test_spread_of_a_scale_is_that_of_its_posterior():
    """Counts without shifts: λ given the data is Γ(X + 1, 1 + M), cut down by the dispersion."""
    model = fit(small_counts(150, 12), max_epochs=2)
    x = model.adata.X.toarray().astype(float)
    module, constants = model.module, model._module_constants()
    z = np.zeros(150)
    bases = replace(WorkingBases.of(module), shape_deviation=0.0)
    table = PairEvidence(bases, z, x, np.ones(150), constants).posterior()
    variance = x.var(0)  # one pool, which all cells are in
    psi = np.maximum(1.0, variance / constants.scale)
    for j in (0, 7):
        shape = x[:, j].sum() / psi[j] + 1
        rate = 1 + 150 * constants.scale[j] / psi[j]
        np.testing.assert_allclose(table.scale_sd[j, 0], np.sqrt(shape) / rate, rtol=0.2)

        def density(lam, power=1.0, shape=shape, rate=rate):
            return np.exp(
                (shape - 1) * np.log(lam * rate / (shape - 1)) - (lam * rate - shape + 1)
            )

        mass, mean, second = (
            quad(lambda lam, p=p: lam**p * density(lam), 1e-9, 20, points=[shape / rate])[0]
            for p in range(3)
        )
        exact = np.sqrt(second / mass - (mean / mass) ** 2)
        np.testing.assert_allclose(np.sqrt(shape) / rate, exact, rtol=1e-6)


def test_a_shift_that_a_scale_can_stand_in_for_is_not_identified():
    """Genes of an exponential course."""
    rng = np.random.default_rng(0)
    adata = simulate_counts(n_obs=300, n_vars=20, seed=1)
    z = adata.obs["true_z"].to_numpy()
    adata.X = rng.poisson(1.5 * np.exp(0.8 * z[:, None]) * rng.uniform(0.5, 2, 20)).astype(float)
    adata.obs["size"] = 1.0
    model = fit(
        adata,
        setup={"latent_key": "true_z", "size_factor_key": "size"},
        max_epochs=20,
        brief=False,
        translation_invariant=True,
    )
    table = model.get_gene_intervals()
    assert (table["cluster"].astype(str) != "0").all()
    assert not table["shift_identified"].any()


@pytest.mark.slow
def test_a_shift_whose_peak_lies_outside_the_cells_is_not_identified():
    """One shape, cells within ±2: at ±3 a gene shows a flank alone, at ±1 its peak."""
    adata = simulate_counts(
        n_obs=500, n_vars=80, shapes=("peak",), mean_count=4.0, max_shift=3.2, seed=1
    )
    model = fit(
        adata,
        setup={"latent_key": "true_z"},
        max_epochs=60,
        brief=False,
        n_basis=8,
        translation_invariant=True,
    )
    table, away = model.get_gene_intervals(), adata.var["true_shift"].abs()
    assert table["shift_identified"][away > 2.6].mean() < 0.1
    assert table["shift_identified"][away < 1.0].mean() > 0.9
    assert min((away > 2.6).sum(), (away < 1.0).sum()) > 5


def test_shifts_at_the_end_of_the_grid_are_seen():
    """A bump that is known, genes at given shifts: beyond ±2.2 the grid holds them back."""
    true = np.array([0.0, 1.0, 2.0, 2.8, -2.8])
    grid, z = CurveGrid(True), np.linspace(-2.0, 2.0, 400)
    curve = np.log(0.05 + np.exp(-0.5 * (grid.x / 0.6) ** 2))
    rate = 10.0 * np.exp(np.interp(z[:, None] + true, grid.x, curve))
    x = np.random.default_rng(0).poisson(rate).astype(float)
    constants = feature_constants(x, NB, np.ones(400))
    bases = WorkingBases(NB, curve[None], True, True)
    evidence = PairEvidence(bases, z, x, np.ones(400), constants)
    shift = evidence.posterior().shift_mean[:, 1]
    np.testing.assert_allclose(shift[:3], true[:3], atol=0.1)
    assert evidence.is_at_limit(shift).tolist() == [False, False, False, True, True]


def test_a_shift_at_the_limit_is_not_identified(monkeypatch):
    counts = small_counts(120, 24)
    fitted = fit(counts, translation_invariant=True, n_basis=5, shape_deviation=0.0)
    before = fitted.get_gene_intervals()
    assert before["shift_identified"].any()
    monkeypatch.setattr(PairEvidence, "is_at_limit", lambda _, shift: np.ones(shift.shape, bool))
    assert not fitted.get_gene_intervals()["shift_identified"].any()


def test_what_intervals_need():
    with pytest.raises(ValueError, match="n_latent=1"):
        fit(small_counts(), n_latent=2).get_gene_intervals()
    model = fit(small_counts())
    with pytest.raises(ValueError, match="level=1"):
        model.get_gene_intervals(1)
    table = model.get_gene_intervals()
    assert not table["shift_identified"].any()  # a model without shifts
    assert (table["shift_sd"] == 0).all()
