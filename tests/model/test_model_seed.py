"""The same seed gives the same numbers, and the caller's generators are left alone."""

import random

import numpy as np
import pytest
import scvi
import torch
from model_helpers import all_tables, assert_same_tables, build, fit, small_counts, train


@pytest.mark.parametrize("arguments", [{}, {"gene_likelihood": "zinb", "n_latent": 2}])
def test_the_same_seed_gives_the_same_bits(arguments):
    """Whatever state the generators are in when the model is made and trained."""
    tables = []
    for state in (1, 2):
        torch.manual_seed(state)
        random.seed(state)
        model = fit(small_counts(), seed=11, translation_invariant=True, **arguments)
        tables.append(all_tables(model))
    assert_same_tables(tables[1], tables[0])


def test_other_seeds_give_other_numbers():
    models = [fit(small_counts(), seed=seed) for seed in (1, 2)]
    z = [model.get_latent_representation() for model in models]
    assert np.abs(z[0] - z[1]).max() > 1e-3
    assert [model.seed_ for model in models] == [1, 2]


def test_the_seed_rules_the_split_of_the_cells():
    parts = []
    for seed in (1, 1, 2):
        model = build(small_counts())
        train(model, 1, seed=seed, train_size=0.5)
        parts.append(sorted(model.validation_indices))
    assert parts[0] == parts[1]
    assert parts[0] != parts[2]


def global_state():
    """States of all global generators, as comparable values."""
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002  the global generator is meant
    return (
        random.getstate(),
        (kind, keys.tobytes(), *rest),
        torch.get_rng_state().numpy().tobytes(),
        scvi.settings.seed,
    )


def test_training_leaves_the_global_generators_alone(adata):
    model = build(adata, translation_invariant=True)
    before = global_state()
    train(model, 2, seed=5)
    assert global_state() == before


def test_a_failed_training_leaves_the_global_generators_alone(adata):
    model = build(adata)
    before = global_state()
    with pytest.raises(ValueError, match="init='nowhere'"):
        train(model, 1, init="nowhere")
    assert global_state() == before


def test_without_a_seed_that_of_scvi_tools_is_used(adata, monkeypatch):
    monkeypatch.setattr(scvi.settings, "_seed", 77)
    model = build(adata)
    train(model, 1, seed=None)
    assert model.seed_ == 77


def test_without_any_seed_a_fresh_one_is_drawn_and_told(adata, monkeypatch):
    monkeypatch.setattr(scvi.settings, "_seed", None)
    seeds = []
    for _ in range(2):
        model = build(adata)
        train(model, 1, seed=None)
        seeds.append(model.seed_)
    assert seeds[0] != seeds[1]
    again = fit(adata.copy(), max_epochs=1, seed=seeds[1])
    np.testing.assert_array_equal(
        again.get_latent_representation(), model.get_latent_representation()
    )
