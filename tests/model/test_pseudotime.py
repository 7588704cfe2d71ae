"""Pseudotime and its root."""

import numpy as np
import pandas as pd
import pytest
from model_helpers import small_counts, twin

from basisvae_scvi import BasisVAE


@pytest.fixture
def time(fitted):
    return fitted.get_pseudotime()


def assert_turned(found, time):
    np.testing.assert_allclose(found, 1.0 - time, atol=1e-12)


def test_pseudotime_is_z_on_the_unit_interval(fitted, time):
    z = fitted.get_latent_representation()[:, 0].astype(float)
    assert (time.min(), time.max()) == (0.0, 1.0)
    assert list(time.index) == list(fitted.adata.obs_names)
    np.testing.assert_allclose(time, (z - z.min()) / (z.max() - z.min()), atol=1e-12)


def test_a_cell_at_the_end_as_root_turns_pseudotime(fitted, time):
    assert_turned(fitted.get_pseudotime(root=time.idxmax()), time)


def test_a_cell_at_the_start_as_root_keeps_pseudotime(fitted, time):
    pd.testing.assert_series_equal(fitted.get_pseudotime(root=time.idxmin()), time)


@pytest.mark.parametrize("make", [np.asarray, pd.Series, list])
def test_a_mask_as_root_turns_pseudotime(fitted, time, make):
    assert_turned(fitted.get_pseudotime(root=make((time > 0.8).to_numpy())), time)


def test_a_boolean_column_as_root_turns_pseudotime(fitted, time):
    fitted.adata.obs["is_late"] = (time > 0.8).to_numpy()
    try:
        assert_turned(fitted.get_pseudotime(root="is_late"), time)
    finally:
        del fitted.adata.obs["is_late"]


def test_a_category_as_root_turns_pseudotime(fitted, time):
    fitted.adata.obs["stage"] = np.where(time > 0.8, "late", "early")
    try:
        assert_turned(fitted.get_pseudotime(root="stage=late"), time)
    finally:
        del fitted.adata.obs["stage"]


def test_a_gene_as_root_is_highest_at_the_start(fitted):
    counts = np.asarray(fitted.adata.X.todense())
    share = np.log1p(1e4 * counts / counts.sum(1, keepdims=True))
    current = fitted.get_pseudotime()
    n_turned = 0
    for j, gene in enumerate(fitted.adata.var_names):
        time = fitted.get_pseudotime(root=gene)
        assert np.corrcoef(time, share[:, j])[0, 1] <= 0, gene
        n_turned += not np.allclose(time, current)
    assert 0 < n_turned < 24


def test_orienting_turns_everything_that_follows(fitted, time):
    other = twin(fitted)
    other.orient(time.idxmax())
    assert other.orientation_ == -fitted.orientation_
    assert_turned(other.get_pseudotime(), time)
    np.testing.assert_allclose(other.get_gene_trends(), fitted.get_gene_trends()[::-1], rtol=1e-5)


def test_orienting_twice_by_one_root_turns_once(fitted, time):
    other = twin(fitted)
    for _ in range(2):
        other.orient(time.idxmax())
    assert_turned(other.get_pseudotime(), time)


def test_root_of_new_cells_is_sought_among_them(fitted):
    cells = small_counts(30, 24, seed=6)
    cells.obs_names = [f"new{i}" for i in range(30)]
    time = fitted.get_pseudotime(cells)
    assert_turned(fitted.get_pseudotime(cells, root=time.idxmax()), time)


def test_without_root_the_strongest_gene_rises(fitted):
    counts = np.asarray(fitted.adata.X.todense())
    r = [np.corrcoef(fitted.get_pseudotime(), counts[:, j])[0, 1] for j in range(24)]
    assert r[int(np.abs(r).argmax())] > 0


def test_a_part_of_the_cells_keeps_its_pseudotime(fitted, time):
    late = fitted.adata[(time > 0.6).to_numpy()].copy()
    np.testing.assert_allclose(fitted.get_pseudotime(late), time[late.obs_names], atol=1e-6)
    fitted.annotate(late)
    np.testing.assert_allclose(late.obs["basisvae_pseudotime"], time[late.obs_names], atol=1e-6)


def test_new_cells_have_the_pseudotime_of_the_models_range(fitted, time):
    low, high = np.sort(fitted.orientation_ * np.array(fitted.latent_range_))
    cells = small_counts(40, 24, seed=6)
    cells.obs_names = [f"new{i}" for i in range(40)]
    z = fitted.get_latent_representation(cells.copy())[:, 0].astype(float)
    expected = np.clip((z - low) / (high - low), 0.0, 1.0)
    query = BasisVAE.load_query_data(cells.copy(), fitted, accelerator="cpu")
    query.is_trained_ = True
    fitted.annotate(cells)
    for found in (
        cells.obs["basisvae_pseudotime"],
        fitted.get_pseudotime(cells.copy()),
        query.get_pseudotime(),
    ):
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_one_cell_has_its_place_and_cells_beyond_the_range_its_ends(fitted, time):
    middle = (time - 0.5).abs().idxmin()
    assert fitted.get_pseudotime(fitted.adata[[middle]].copy()).item() == pytest.approx(
        time[middle], abs=1e-6
    )
    other = twin(fitted)
    z = fitted.get_latent_representation()[:, 0] * fitted.orientation_
    other.latent_range_ = tuple(np.quantile(z, [0.25, 0.75]))
    beyond = other.get_pseudotime()
    assert (beyond.min(), beyond.max()) == (0.0, 1.0)
    assert 50 < ((beyond == 0.0) | (beyond == 1.0)).sum() < 70
