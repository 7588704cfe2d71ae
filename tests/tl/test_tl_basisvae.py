"""The whole job in one call: what it writes, and what it leaves alone."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import basisvae_scvi as bv

KWARGS = {
    "n_basis": 4,
    "max_epochs": 2,
    "gene_likelihood": "nb",
    "train_kwargs": {"enable_progress_bar": False, "accelerator": "cpu"},
}


def simulate():
    return bv.datasets.simulate_counts(n_obs=90, n_vars=24, n_batches=2, mean_count=2.0, seed=3)


@pytest.fixture
def adata():
    return simulate()


def stored_managers():
    """Identifiers of all data that scvi-tools keeps for our class."""
    by_model = bv.BasisVAE._per_instance_manager_store.values()
    return {*bv.BasisVAE._setup_adata_manager_store, *(i for store in by_model for i in store)}


def everything(adata):
    """All keys and values of the parts that might be touched."""
    return {
        "obs": adata.obs.copy(),
        "var": adata.var.copy(),
        "uns": sorted(adata.uns),
        "obsm": sorted(adata.obsm),
        "varm": sorted(adata.varm),
        "layers": sorted(adata.layers),
    }


def assert_same(before, after):
    for part, value in before.items():
        if isinstance(value, pd.DataFrame):
            pd.testing.assert_frame_equal(value, after[part])
        else:
            assert value == after[part], part


@pytest.fixture(scope="module")
def job():
    """State before one call, and the data after it."""
    adata = simulate()
    before, matrix = everything(adata), adata.X
    known = stored_managers()
    result = bv.tl.basisvae(adata, batch_key="batch", **KWARGS)
    assert result is None
    assert adata.X is matrix
    assert stored_managers() == known, "scvi-tools keeps the data alive"
    return before, adata


def test_writes_the_documented_keys_and_nothing_else(job):
    before, after = job[0], everything(job[1])
    assert set(after["obs"]) - set(before["obs"]) == {
        "basisvae_pseudotime",
        "basisvae_other_order",
    }
    keys = bv.data.Keys()
    assert set(after["var"]) - set(before["var"]) == {
        *(f"basisvae_{name}" for name in ("cluster", "confidence", "gene_shift", "gene_scale")),
        *keys.optional["var"],
    }
    assert set(after["uns"]) - set(before["uns"]) == {"basisvae"}
    assert set(after["obsm"]) - set(before["obsm"]) == {"X_basisvae"}
    assert set(after["varm"]) - set(before["varm"]) == {
        f"basisvae_{name}"
        for name in ("assignment", "shift", "scale", "deviation", "course_sd", "restarts")
    }
    assert after["layers"] == before["layers"]


def test_dtypes_and_shapes_are_as_documented(job):
    adata = job[1]
    z = adata.obsm["X_basisvae"]
    assert (z.dtype, z.shape) == (np.float32, (90, 1))
    assert adata.obs["basisvae_pseudotime"].dtype == np.float64
    for name in ("assignment", "shift", "scale"):
        table = adata.varm[f"basisvae_{name}"]
        assert list(table.columns) == ["0", "1", "2", "3"]
        assert table.shape == (24, 4)
        assert (table.dtypes == np.float64).all()
    assert isinstance(adata.var["basisvae_cluster"].dtype, pd.CategoricalDtype)
    for name in ("confidence", "gene_shift", "gene_scale"):
        assert adata.var[f"basisvae_{name}"].dtype == np.float64
    run = adata.uns["basisvae"]
    described = {"params", "version", "seed", "grid", "basis", "history", "depth"}
    of_search = {"search", "restart_bounds", "best_restart", "flat_bound"}
    of_orders = {"order", "other_order", "order_bounds", "order_agreement"}
    assert set(run) == described | of_search | of_orders
    assert run["seed"] == 0
    assert (run["basis"].dtype, run["basis"].shape) == (np.float64, (len(run["grid"]), 4))


@pytest.mark.slow
def test_equals_the_steps_one_by_one(adata):
    other = adata.copy()
    bv.tl.basisvae(adata, seed=7, root="gene0", translation_invariant=True, **KWARGS)
    bv.BasisVAE.setup_anndata(other)
    model = bv.BasisVAE(other, n_basis=4, gene_likelihood="nb", translation_invariant=True)
    model.train(2, seed=7, **KWARGS["train_kwargs"])
    model.annotate(root="gene0")
    np.testing.assert_array_equal(adata.obsm["X_basisvae"], other.obsm["X_basisvae"])
    for name in ("assignment", "shift", "scale"):
        pd.testing.assert_frame_equal(
            adata.varm[f"basisvae_{name}"], other.varm[f"basisvae_{name}"]
        )


def test_copy_leaves_the_original_alone(adata):
    before = everything(adata)
    copied = bv.tl.basisvae(adata, copy=True, key_added="run2", **KWARGS)
    assert_same(before, everything(adata))
    assert {"X_run2"} <= set(copied.obsm)
    assert "run2" in copied.uns
    np.testing.assert_array_equal(copied.X.toarray(), adata.X.toarray())


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
def test_a_layer_of_any_storage_and_equal_cell_names_are_fine(adata):
    adata.layers["counts"] = sparse.csr_array(adata.X)
    adata.X = np.full(adata.shape, np.nan)
    adata.obs_names = ["cell"] * adata.n_obs
    bv.tl.basisvae(adata, layer="counts", **KWARGS)
    assert isinstance(adata.layers["counts"], sparse.csr_array)
    assert adata.uns["basisvae"]["params"]["layer"] == "counts"
    assert np.isfinite(adata.obsm["X_basisvae"]).all()


def test_several_latent_dimensions(adata):
    bv.tl.basisvae(adata, n_latent=2, **KWARGS)
    assert adata.obsm["X_basisvae"].shape == (90, 2)
    assert "basisvae_pseudotime" not in adata.obs


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"layer": "counts"}, KeyError, "layer='counts'"),
        ({"batch_key": "plate"}, KeyError, "batch_key='plate'"),
        ({"n_basis": 99}, ValueError, "n_basis=99"),
        ({"root": "nowhere"}, ValueError, "root='nowhere'"),
        ({"root": np.zeros(90, dtype=bool)}, ValueError, "marks no cell"),
        ({"root": np.ones(3, dtype=bool)}, ValueError, "length 90"),
        ({"root": "gene0", "n_latent": 2}, ValueError, "n_latent=1"),
    ],
)
def test_errors_come_before_training_and_change_nothing(
    adata, monkeypatch, arguments, error, message
):
    monkeypatch.setattr(bv.BasisVAE, "train", lambda *_, **__: pytest.fail("trained"))
    before = everything(adata)
    with pytest.raises(error, match=message):
        bv.tl.basisvae(adata, **{**KWARGS, **arguments})
    assert_same(before, everything(adata))


def test_an_observed_z_is_the_pseudotime(adata):
    adata.obs["time"] = 5.0 + 3.0 * adata.obs["true_z"]
    bv.tl.basisvae(adata, latent_key="time", **KWARGS)
    time = adata.obs["time"]
    expected = (time - time.min()) / (time.max() - time.min())
    np.testing.assert_allclose(adata.obs["basisvae_pseudotime"], expected, atol=1e-5)
    with pytest.raises(ValueError, match="give one of them"):
        bv.tl.basisvae(adata, latent_key="time", latent_prior_key="time", **KWARGS)


@pytest.mark.parametrize("key_added", ["run/1", "umap"])
def test_keys_that_would_lose_data_are_refused_before_training(adata, key_added, monkeypatch):
    adata.obsm["X_umap"] = np.ones((90, 2))
    monkeypatch.setattr(bv.BasisVAE, "train", None)  # not called
    with pytest.raises(ValueError, match=rf"key_added='{key_added}'"):
        bv.tl.basisvae(adata, key_added=key_added, **KWARGS)
    np.testing.assert_array_equal(adata.obsm["X_umap"], 1.0)


@pytest.mark.parametrize("tool", ["basisvae", "compare"])
def test_counts_in_raw_are_pointed_to(adata, tool):
    adata.raw = adata
    adata.X = adata.X.log1p()
    arguments = {k: v for k, v in KWARGS.items() if k != "n_basis" or tool == "basisvae"}
    vary = () if tool == "basisvae" else ({"n_basis": [3, 4]},)
    with pytest.raises(ValueError, match=r"There are counts in adata\.raw: adata\.layers\["):
        getattr(bv.tl, tool)(adata, *vary, **arguments)


@pytest.mark.parametrize("copy", [True, False])
@pytest.mark.parametrize("layer", [None, "counts"])
def test_a_second_run_takes_the_place_of_the_first(adata, copy, layer):
    adata.layers["counts"] = adata.X.copy()
    bv.tl.basisvae(adata, layer=layer, seed=1, **KWARGS)
    first = adata.obsm["X_basisvae"].copy()
    found = bv.tl.basisvae(adata, layer=layer, seed=2, copy=copy, **KWARGS)
    found = found if copy else adata
    assert found.uns["basisvae"]["seed"] == 2
    assert np.abs(found.obsm["X_basisvae"] - first).max() > 0
    assert (adata.obsm["X_basisvae"] == first).all() == copy


def test_a_run_beside_another_leaves_it(adata):
    bv.tl.basisvae(adata, seed=1, **KWARGS)
    first = adata.obsm["X_basisvae"].copy()
    bv.tl.basisvae(adata, seed=2, key_added="other", **KWARGS)
    np.testing.assert_array_equal(adata.obsm["X_basisvae"], first)
    assert {"basisvae", "other"} <= set(adata.uns)
