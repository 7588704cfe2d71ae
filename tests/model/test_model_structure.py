"""Restarts, their agreement, and which genes are dynamic."""

import numpy as np
import pytest
import torch
from model_helpers import build, fit, small_counts, train
from scvi.model.base import UnsupervisedTrainingMixin

from basisvae_scvi.datasets import simulate_counts


@pytest.fixture(scope="module")
def model():
    return fit(small_counts(200, 24, mean_count=3.0, seed=4), max_epochs=2, n_basis=6)


def set_search(model, *assignments, bounds):
    model.search_ = {
        **model.search_,
        "genes": np.arange(24),
        "assignments": [np.asarray(a, dtype=float) for a in assignments],
        "bounds": np.asarray(bounds),
    }


@pytest.fixture
def patched(model):
    before = model.search_
    yield model
    model.search_ = before


def test_stability_counts_the_partners_that_are_kept(patched):
    first = np.eye(3)[np.repeat([0, 1, 2], 8)]
    second = np.eye(3)[np.r_[np.repeat([0, 1], 8), np.repeat([2, 1], 4)]]
    set_search(patched, second, first, bounds=[1.0, 2.0])
    found = patched.get_stability()["stability"].to_numpy()
    # Of the last group half moves into the second: 3 of 7 partners stay in either half.
    np.testing.assert_allclose(found[:8], 1.0)
    np.testing.assert_allclose(found[8:16], 7 / 11)
    np.testing.assert_allclose(found[16:20], 3 / 7)
    np.testing.assert_allclose(found[20:], 3 / 15)
    consensus = patched.get_consensus().to_numpy()
    assert consensus[16, 17] == 1.0
    assert consensus[16, 20] == 0.5
    assert consensus[0, 23] == 0.0


def test_a_single_restart_has_no_stability(patched):
    set_search(patched, np.ones((24, 1)), bounds=[1.0])
    with pytest.raises(ValueError, match=r"n_restarts=2"):
        patched.get_stability()


@pytest.mark.slow
def test_probabilities_of_groups_are_calibrated():
    """Some 50 counts a gene: of genes in a group with probability p, a share p belong there."""
    adata = simulate_counts(
        n_obs=400,
        n_vars=400,
        shapes=("peak", "down", "up", "flat"),
        mean_count=0.12,
        max_shift=0.0,
        seed=1,
    )
    setup = {"latent_key": "true_z"}
    model = fit(adata, setup=setup, max_epochs=60, brief=False, n_basis=8)
    clusters, truth = model.get_clusters(), adata.var["true_group"].astype(str)
    cluster, confidence = clusters["cluster"].astype(str), clusters["confidence"]
    group = truth.groupby(cluster.to_numpy()).agg(lambda of: of.mode()[0])
    assert sorted(group) == ["down", "flat", "peak", "up"]
    is_right = group.loc[cluster].to_numpy() == truth.to_numpy()
    for low, high in ((0.0, 1.0), (0.0, 0.8), (0.8, 0.95), (0.95, 1.0)):
        chosen = ((confidence > low) & (confidence <= high)).to_numpy()
        p = confidence[chosen].to_numpy()
        assert len(p) > 20
        # As many as independent draws with these probabilities give.
        spread = np.sqrt((p * (1.0 - p)).sum())
        assert abs(is_right[chosen].sum() - p.sum()) < 3.0 * spread, (low, high)


def test_searches_need_one_latent_dimension():
    adata = small_counts()
    for arguments in ({"n_latent": 2}, {"objective": "paper"}):
        model = fit(adata, **arguments)
        with pytest.raises(ValueError, match="objective='evidence' and n_latent=1"):
            model.get_search_history()
        with pytest.warns(UserWarning, match="n_restarts=5 has no effect"):
            train(build(adata, **arguments), n_restarts=5)
    with pytest.raises(ValueError, match="n_restarts=0"):
        train(build(adata), n_restarts=0)


def test_the_search_is_saved(model, tmp_path):
    model.save(tmp_path / "model", save_anndata=True)
    again = type(model).load(tmp_path / "model", accelerator="cpu")
    assert again.get_search_history().equals(model.get_search_history())
    assert again.get_stability().equals(model.get_stability())


def test_the_search_does_not_depend_on_the_seed():
    adata = small_counts(200, 24, mean_count=3.0, seed=4)
    first, second = (fit(adata, seed=seed, brief=False, n_basis=6) for seed in (1, 2))
    assert first.get_search_history().equals(second.get_search_history())


@pytest.mark.parametrize("init", ["manifold", "random"])
def test_training_starts_from_the_same_parameters_whatever_the_seed(init, monkeypatch):
    starts = []

    def remember(self, *_, **__):
        starts.append({name: value.clone() for name, value in self.module.state_dict().items()})

    monkeypatch.setattr(UnsupervisedTrainingMixin, "train", remember)
    for seed in (1, 2):
        model = build(small_counts(100, 12, mean_count=3.0, seed=4))
        train(model, seed=seed, init=init)
    first, second = starts
    is_equal = [bool(torch.equal(first[name], second[name])) for name in first]
    weights = [name for name in first if name.startswith("z_encoder") and "weight" in name]
    assert all(is_equal) == (init == "manifold")
    assert any(torch.equal(first[name], second[name]) for name in weights) == (init == "manifold")


def test_dynamic_genes_are_taken_while_few_flat_ones_are_expected(model, monkeypatch):
    phi = model.get_assignments()
    flat = np.r_[np.full(10, 0.01), 0.2, 0.6, np.full(12, 0.99)]
    phi["0"] = flat[::-1]
    monkeypatch.setattr(model, "get_assignments", lambda: phi)
    # (0.1 + 0.2) / 11 = 0.027, and with 0.6 it is 0.075.
    assert model.get_dynamic_genes(0.05).to_numpy().nonzero()[0].tolist() == [*range(13, 24)]
    # A gene that is more probably flat than not is never called.
    assert model.get_dynamic_genes(0.08).sum() == 11
    assert model.get_dynamic_genes(0.005).sum() == 0
    with pytest.raises(ValueError, match=r"fdr=1\.0"):
        model.get_dynamic_genes(1.0)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.25, 0.6])
def test_few_flat_genes_are_called_dynamic(share):
    rest = (1 - share) / 3
    adata = simulate_counts(seed=200, proportions=[rest, rest, rest, share])
    model = fit(adata, max_epochs=20, brief=False, n_basis=20, translation_invariant=True)
    is_flat = (adata.var["true_shape"] == "flat").to_numpy()
    called = model.get_dynamic_genes(0.05).to_numpy()
    assert is_flat[called].mean() <= 0.05
    assert called[~is_flat].mean() > 0.9
