"""Every combination of scale, shift, likelihood, dimensions and scheme trains."""

import itertools

import numpy as np
import pytest
from model_helpers import all_tables, fit, small_counts

from basisvae_scvi.datasets import toy_groups
from basisvae_scvi.module import SCHEMES

LIKELIHOODS = ("zinb", "nb", "poisson", "gaussian", "bernoulli")
COMBINATIONS = list(itertools.product(LIKELIHOODS, (1, 2), (True, False), (True, False)))


def data_for(likelihood):
    if likelihood == "gaussian":
        return toy_groups(n_obs=60, n_per_group=3)
    adata = small_counts(60, 15)
    if likelihood == "bernoulli":
        adata.X = (adata.X > 0).astype(np.float32)
    return adata


def parameters():
    """All 120 combinations; the quick run takes one scheme of each, in turn."""
    for i, (combination, scheme) in enumerate(itertools.product(COMBINATIONS, SCHEMES)):
        marks = [] if (i // 3) % 3 == i % 3 else [pytest.mark.slow]
        likelihood, n_latent, has_scale, has_shift = combination
        name = f"{likelihood}-Q{n_latent}{'-scale' * has_scale}{'-shift' * has_shift}-{scheme}"
        yield pytest.param(*combination, scheme, marks=marks, id=name)


@pytest.mark.parametrize(
    ("likelihood", "n_latent", "scale_invariant", "translation_invariant", "inference"),
    list(parameters()),
)
def test_variant(likelihood, n_latent, scale_invariant, translation_invariant, inference):
    model = fit(
        data_for(likelihood),
        n_basis=3,
        gene_likelihood=likelihood,
        n_latent=n_latent,
        scale_invariant=scale_invariant,
        translation_invariant=translation_invariant,
        inference=inference,
    )
    history = model.history["elbo_train"].to_numpy(dtype=float)
    assert len(history) == 2
    assert np.isfinite(history).all()
    tables = all_tables(model)
    for name, table in tables.items():
        assert np.isfinite(table.to_numpy(dtype=float)).all(), name
    np.testing.assert_allclose(tables["get_assignments"].sum(axis=1), 1.0)
    assert model.get_latent_representation().shape == (60, n_latent)
    assert (tables["get_scales"] > 0).all(axis=None)
    if not scale_invariant:
        assert (tables["get_scales"] == 1).all(axis=None)
    if not translation_invariant:
        assert (tables["get_shifts"] == 0).all(axis=None)


def test_scales_are_free_where_they_are_asked_for():
    scales = fit(small_counts(), scale_invariant=True).get_scales()
    assert scales.to_numpy().std() > 0.01


def test_shifts_are_free_where_they_are_asked_for():
    shifts = fit(small_counts(), translation_invariant=True).get_shifts()
    assert shifts.to_numpy().std() > 0.01


@pytest.mark.parametrize("likelihood", ["zinb"])
@pytest.mark.parametrize("n_latent", [1, 2])
def test_dropout_may_depend_on_z(likelihood, n_latent):
    model = fit(
        small_counts(60, 15),
        gene_likelihood=likelihood,
        zero_inflation="latent",
        n_latent=n_latent,
    )
    assert np.isfinite(model.history["elbo_train"].to_numpy(dtype=float)).all()
    assert "genes.dropout.output.weight" in dict(model.module.named_parameters())


def test_the_exact_shift_agrees_with_the_grid():
    """n_grid=0 evaluates the networks directly."""
    models = [
        fit(small_counts(60, 15), translation_invariant=True, n_grid=n_grid, n_basis=3)
        for n_grid in (513, 0)
    ]
    bounds = [model.history["elbo_train"].to_numpy(dtype=float) for model in models]
    np.testing.assert_allclose(bounds[0], bounds[1], rtol=1e-3)


@pytest.mark.parametrize("gene_prior", ["assigned", "all"])
def test_both_weights_of_the_prior_train(gene_prior):
    model = fit(small_counts(60, 15), gene_prior=gene_prior, translation_invariant=True)
    assert np.isfinite(model.history["elbo_train"].to_numpy(dtype=float)).all()


def test_three_dimensions_train():
    model = fit(small_counts(60, 15), n_latent=3, translation_invariant=True)
    assert model.get_latent_representation().shape == (60, 3)
    assert np.isfinite(model.get_gene_trends().to_numpy()).all()
