"""annotate() writes its keys, all of them and nothing else."""

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from model_helpers import fit, small_counts, twin
from scipy import sparse
from scipy.stats import rankdata, spearmanr

from basisvae_scvi import __version__
from basisvae_scvi.model._annotate import annotate
from basisvae_scvi.model._structure import _describe_orders, call_dynamic

ATTRIBUTES = ("obs", "var", "obsm", "varm", "uns", "layers", "obsp", "varp")


def key_sets(adata):
    return {name: set(getattr(adata, name)) for name in ATTRIBUTES}


def new_keys(before, after):
    added = {name: after[name] - before[name] for name in ATTRIBUTES}
    assert all(before[name] <= after[name] for name in ATTRIBUTES)
    return {name: keys for name, keys in added.items() if keys}


def interval_keys(prefix):
    ends = {f"{prefix}_gene_{n}_{e}" for n in ("shift", "scale") for e in ("sd", "lower", "upper")}
    return ends | {f"{prefix}_shift_identified"}


def expected_keys(prefix, *, of_own_cells=True):
    other = {f"{prefix}_other_order"} if of_own_cells else set()
    return {
        "obs": {f"{prefix}_pseudotime", *other},
        "var": {
            f"{prefix}_cluster",
            f"{prefix}_confidence",
            f"{prefix}_gene_shift",
            f"{prefix}_gene_scale",
            f"{prefix}_is_dynamic",
            *interval_keys(prefix),
            f"{prefix}_stability",
        },
        "obsm": {f"X_{prefix}"},
        "varm": {
            f"{prefix}_assignment",
            f"{prefix}_shift",
            f"{prefix}_scale",
            f"{prefix}_restarts",
            f"{prefix}_deviation",
            f"{prefix}_course_sd",
        },
        "uns": {prefix},
    }


@pytest.fixture(scope="module")
def annotated(fitted):
    return fitted.annotate(copy=True)


@pytest.mark.parametrize("key_added", ["basisvae", "run2"])
def test_the_keys_written_are_those_of_the_contract(fitted, key_added):
    before = key_sets(fitted.adata)
    after = key_sets(fitted.annotate(key_added=key_added, copy=True))
    assert new_keys(before, after) == expected_keys(key_added)


def test_in_place_returns_nothing_and_writes_to_the_models_data(adata):
    model = fit(adata)
    before = key_sets(adata)
    assert model.annotate() is None
    assert new_keys(before, key_sets(adata)) == expected_keys("basisvae")


def test_a_copy_leaves_the_original_alone(fitted):
    before = key_sets(fitted.adata)
    copy = fitted.annotate(copy=True)
    assert copy is not fitted.adata
    assert key_sets(fitted.adata) == before


def test_two_latent_dimensions_write_no_pseudotime():
    model = fit(small_counts(), n_latent=2)
    expected = expected_keys("basisvae")
    del expected["obs"]
    expected["var"] -= {*interval_keys("basisvae"), "basisvae_stability"}
    expected["varm"] -= {f"basisvae_{name}" for name in ("restarts", "deviation", "course_sd")}
    before = key_sets(model.adata)
    annotated = model.annotate(copy=True)
    assert new_keys(before, key_sets(annotated)) == expected
    assert annotated.obsm["X_basisvae"].shape == (100, 2)
    assert annotated.uns["basisvae"]["grid"].shape[1] == 2


def test_cells_get_z_and_pseudotime(fitted, annotated):
    assert annotated.obsm["X_basisvae"].dtype == np.float32
    np.testing.assert_array_equal(annotated.obsm["X_basisvae"], fitted.get_latent_representation())
    assert annotated.obs["basisvae_pseudotime"].dtype == np.float64
    np.testing.assert_allclose(annotated.obs["basisvae_pseudotime"], fitted.get_pseudotime())


@pytest.mark.parametrize("name", ["assignment", "shift", "scale"])
def test_tables_of_genes_are_data_frames_with_columns_of_str(fitted, annotated, name):
    table = annotated.varm[f"basisvae_{name}"]
    assert isinstance(table, pd.DataFrame)
    assert list(table.columns) == ["0", "1", "2", "3", "4"]
    assert (table.dtypes == np.float64).all()
    pd.testing.assert_frame_equal(
        table, getattr(fitted, f"get_{name}s")(), check_names=False, check_index_type=False
    )


def test_genes_get_their_group_with_its_values(fitted, annotated):
    clusters = fitted.get_clusters()
    labels = annotated.var["basisvae_cluster"]
    assert isinstance(labels.dtype, pd.CategoricalDtype)
    assert all(isinstance(label, str) for label in labels.cat.categories)
    assert list(labels) == list(clusters["cluster"])
    for key, column in [("confidence", "confidence"), ("gene_shift", "shift")]:
        np.testing.assert_array_equal(annotated.var[f"basisvae_{key}"], clusters[column])
    np.testing.assert_array_equal(annotated.var["basisvae_gene_scale"], clusters["scale"])
    assert (annotated.var.filter(regex="confidence|gene_").dtypes == np.float64).all()


def test_genes_get_their_intervals(fitted, annotated):
    table = fitted.get_gene_intervals(0.9)
    for name in ("shift_sd", "shift_lower", "shift_upper", "scale_sd", "scale_lower"):
        np.testing.assert_allclose(annotated.var[f"basisvae_gene_{name}"], table[name])
    identified = annotated.var["basisvae_shift_identified"]
    assert identified.dtype == bool
    assert list(identified) == list(table["shift_identified"])
    assert list(annotated.var["basisvae_is_dynamic"]) == list(fitted.get_dynamic_genes(0.05))


def test_the_restarts_are_there_and_give_the_consensus(fitted, annotated):
    stability = fitted.get_stability()["stability"]
    np.testing.assert_array_equal(annotated.var["basisvae_stability"], stability)
    labels = annotated.varm["basisvae_restarts"]
    assert list(labels.columns) == ["0", "1"]
    for i, phi in enumerate(fitted.search_["assignments"]):
        np.testing.assert_array_equal(labels[str(i)], phi.argmax(1))
    run = annotated.uns["basisvae"]
    np.testing.assert_array_equal(run["restart_bounds"], fitted.search_["bounds"])
    assert run["best_restart"] == str(np.argmax(run["restart_bounds"]))
    assert run["flat_bound"] == fitted.search_["flat_bound"]
    assert list(run["search"]["move"]) == list(fitted.get_search_history()["move"])


def test_intervals_can_be_left_out_and_leave_none_behind(fitted, annotated):
    again = annotated.copy()
    fitted.annotate(again, intervals=False)
    assert not interval_keys("basisvae") & set(again.var)
    assert "basisvae_stability" in again.var


def test_genes_written_in_another_group_have_no_interval(fitted, annotated):
    """assign_genes() may put a gene elsewhere than training did."""
    clusters = fitted.get_clusters()
    moved, added = clusters.index[0], "a further gene"
    other = next(label for label in "01234" if label != clusters.loc[moved, "cluster"])
    clusters["cluster"] = clusters["cluster"].astype(str)
    clusters.loc[moved, "cluster"] = other
    tables = {"clusters": clusters, "assignment": fitted.get_assignments()}
    tables |= {"shift": fitted.get_shifts(), "scale": fitted.get_scales()}
    tables = {
        name: pd.concat([table, table.iloc[[1]].set_axis([added])])
        for name, table in tables.items()
    }
    target = AnnData(np.zeros((120, 25)), obs=fitted.adata.obs[[]])
    target.var_names = tables["clusters"].index
    annotate(fitted, target, key_added="basisvae", copy=False, tables=tables)
    for name in ("gene_shift_sd", "gene_scale_lower"):
        found = target.var[f"basisvae_{name}"]
        assert found[[moved, added]].isna().all()
        np.testing.assert_array_equal(found[1:-1], annotated.var[f"basisvae_{name}"][1:])
    assert not target.var["basisvae_shift_identified"][[moved, added]].any()
    assert np.isnan(target.var["basisvae_stability"][added])
    flat = pd.concat([fitted.get_assignments(), tables["assignment"].iloc[[-1]]])["0"]
    assert list(target.var["basisvae_is_dynamic"]) == list(call_dynamic(flat, 0.05))


def test_new_cells_alone_say_nothing_of_intervals(fitted, tmp_path):
    fitted.save(str(tmp_path / "model"))
    cells = small_counts(30, 24, seed=6)
    cells.obs_names = [f"new{i}" for i in range(30)]
    without_data = type(fitted).load(str(tmp_path / "model"), adata=False, accelerator="cpu")
    query = type(fitted).load_query_data(cells.copy(), fitted)
    query.is_trained_ = True
    for model in (without_data, query):
        annotated = model.annotate(cells, copy=True)
        assert not interval_keys("basisvae") & set(annotated.var)
        assert list(annotated.var["basisvae_cluster"]) == list(fitted.get_clusters()["cluster"])


def test_a_single_restart_leaves_no_stability_behind(fitted, annotated):
    single = twin(fitted)
    best = int(np.argmax(fitted.search_["bounds"]))
    single.search_ = {
        **fitted.search_,
        "bounds": fitted.search_["bounds"][[best]],
        "assignments": fitted.search_["assignments"][best : best + 1],
    }
    again = annotated.copy()
    single.annotate(again, intervals=False)
    assert "basisvae_stability" not in again.var
    assert list(again.varm["basisvae_restarts"].columns) == ["0"]


def test_the_run_is_described(fitted, annotated):
    run = annotated.uns["basisvae"]
    described = {"params", "version", "grid", "basis", "history", "seed"}
    assert set(run) == described | {
        "search",
        "restart_bounds",
        "best_restart",
        "flat_bound",
        "order",
        "other_order",
        "order_bounds",
        "order_agreement",
        "depth",
    }
    assert run["version"] == __version__
    assert run["seed"] == 0
    assert run["params"]["n_basis"] == 5
    assert run["params"]["gene_likelihood"] == "nb"
    assert run["params"]["translation_invariant"] is True
    assert run["params"]["layer"] == "None"
    elbo = fitted.history["elbo_train"].to_numpy(dtype=float).ravel()
    np.testing.assert_allclose(run["history"]["elbo_train"], elbo)


def test_the_stored_curves_are_those_of_the_model(fitted, annotated):
    run = annotated.uns["basisvae"]
    assert run["basis"].shape == (len(run["grid"]), 5)
    np.testing.assert_allclose(run["basis"], fitted.get_basis_functions(run["grid"]))


def test_the_grid_covers_every_cell_under_every_shift(fitted, annotated):
    z = annotated.obsm["X_basisvae"].ravel()
    shift = annotated.var["basisvae_gene_shift"]
    grid = annotated.uns["basisvae"]["grid"]
    assert grid[0] <= z.min() + min(shift.min(), 0) + 1e-5
    assert grid[-1] >= z.max() + max(shift.max(), 0) - 1e-5


@pytest.fixture(scope="module")
def bigger():
    """Model of half the cells and half the genes, and the annotated whole."""
    whole = small_counts(100, 24)
    model = fit(whole[::2, 1::2].copy(), translation_invariant=True)
    return model, model.annotate(whole, copy=True)


def test_cells_that_were_not_modelled_are_encoded_with_the_genes_of_the_model(bigger):
    model, whole = bigger
    z = whole.obsm["X_basisvae"]
    np.testing.assert_array_equal(z[::2], model.get_latent_representation())
    others = whole[1::2, 1::2].copy()
    np.testing.assert_array_equal(z[1::2], model.get_latent_representation(others))
    np.testing.assert_allclose(whole.obs["basisvae_pseudotime"][::2], model.get_pseudotime())
    np.testing.assert_allclose(
        whole.obs["basisvae_pseudotime"][1::2], model.get_pseudotime(others)
    )


def test_genes_that_were_not_modelled_get_nan(bigger):
    model, whole = bigger
    for name in ("assignment", "shift", "scale"):
        table = whole.varm[f"basisvae_{name}"]
        np.testing.assert_array_equal(table[1::2], getattr(model, f"get_{name}s")())
        assert table[::2].isna().all(axis=None), name
    for name in ("cluster", "confidence", "gene_shift", "gene_scale"):
        assert whole.var[f"basisvae_{name}"][::2].isna().all(), name
        assert whole.var[f"basisvae_{name}"][1::2].notna().all(), name
    for name in sorted(interval_keys("basisvae") - {"basisvae_shift_identified"}):
        assert whole.var[name][::2].isna().all(), name
        assert whole.var[name][1::2].notna().all(), name
    for name in ("shift_identified", "is_dynamic"):
        assert whole.var[f"basisvae_{name}"].dtype == bool
        assert not whole.var[f"basisvae_{name}"][::2].any(), name
    table = model.get_gene_intervals(0.9)
    identified = whole.var["basisvae_shift_identified"][1::2]
    assert list(identified) == list(table["shift_identified"])
    restarts = whole.varm["basisvae_restarts"]
    assert restarts[::2].isna().all(axis=None)
    assert restarts[1::2].notna().all(axis=None)


def test_new_cells_with_the_genes_of_the_model_are_placed(fitted):
    cells = small_counts(30, 24, seed=6)
    cells.obs_names = [f"new{i}" for i in range(30)]
    fitted.annotate(cells)
    np.testing.assert_array_equal(
        cells.obsm["X_basisvae"], fitted.get_latent_representation(cells)
    )


def test_root_orients_the_model_first(fitted):
    other = twin(fitted)
    last = fitted.get_pseudotime().idxmax()
    annotated = other.annotate(root=last, copy=True)
    assert annotated.obs.loc[last, "basisvae_pseudotime"] == 0.0
    np.testing.assert_array_equal(
        annotated.obsm["X_basisvae"], -fitted.get_latent_representation()
    )


def assert_refused(model, adata, message):
    before = key_sets(adata)
    with pytest.raises(ValueError, match=message):
        model.annotate(adata)
    assert key_sets(adata) == before


def test_strange_genes_are_refused_and_nothing_is_written(fitted):
    strangers = small_counts(120, 24)
    strangers.var_names = [f"other{j}" for j in range(24)]
    assert_refused(fitted, strangers, "shares no genes with the model")


def test_strange_cells_of_other_genes_are_refused_and_nothing_is_written(fitted):
    strangers = small_counts(30, 20)
    strangers.obs_names = [f"other{i}" for i in range(30)]
    assert_refused(fitted, strangers, r"30 cell\(s\).*lacks 4 of the model's 24 genes")


def renamed(n_obs, names, seed):
    """Cells of other values under given names."""
    cells = small_counts(n_obs, 24, seed=seed)
    cells.obs_names = names
    return cells


@pytest.mark.parametrize("n_shared", [120, 3])
def test_cells_that_share_names_alone_with_the_models_are_encoded(fitted, n_shared):
    names = [*fitted.adata.obs_names[:n_shared], *(f"new{i}" for i in range(120 - n_shared))]
    cells = renamed(120, names, seed=6)
    expected = fitted.get_latent_representation(cells.copy())
    own = fitted.get_latent_representation()
    fitted.annotate(cells)
    np.testing.assert_allclose(cells.obsm["X_basisvae"], expected, atol=1e-6)
    assert np.abs(cells.obsm["X_basisvae"][:n_shared] - own[:n_shared]).max() > 0.1


def test_cells_of_the_model_are_known_in_any_order_beside_others_and_by_some_genes(fitted):
    own = pd.DataFrame(fitted.get_latent_representation(), index=fitted.adata.obs_names)
    part = fitted.adata[[7, 3, 90], 5:15].copy()
    fitted.annotate(part)
    np.testing.assert_allclose(part.obsm["X_basisvae"], own.loc[part.obs_names], atol=1e-6)
    new = renamed(20, ["cell3", *(f"new{i}" for i in range(19))], seed=6)
    mixed = ad.concat([fitted.adata[[7, 90]], new[::-1]])
    fitted.annotate(mixed)
    np.testing.assert_allclose(mixed.obsm["X_basisvae"][:2], own.iloc[[7, 90]], atol=1e-6)
    expected = fitted.get_latent_representation(new.copy())[::-1]
    np.testing.assert_allclose(mixed.obsm["X_basisvae"][2:], expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["csc", "dense", "float64"])
def test_cells_are_known_however_they_are_stored(fitted, kind, monkeypatch):
    convert = {
        "csc": sparse.csc_matrix,
        "dense": lambda x: x.toarray(),
        "float64": lambda x: x.astype(np.float64),
    }
    copy = fitted.adata.copy()
    copy.X = convert[kind](copy.X)
    own = fitted.get_latent_representation()
    monkeypatch.setattr("basisvae_scvi.model._placing._encode", None)  # would be called for others
    fitted.annotate(copy, intervals=False)
    np.testing.assert_array_equal(copy.obsm["X_basisvae"], own)


def test_duplicated_names_are_no_reason_for_the_z_of_another_cell(fitted):
    cells = renamed(60, ["cell1"] * 60, seed=6)
    expected = fitted.get_latent_representation(cells.copy())
    fitted.annotate(cells)
    np.testing.assert_allclose(cells.obsm["X_basisvae"], expected, atol=1e-6)


def test_new_cells_get_no_marks_of_scvi_tools(fitted):
    cells = small_counts(30, 24, seed=6)
    cells.obs_names = [f"new{i}" for i in range(30)]
    before = key_sets(cells)
    fitted.annotate(cells)
    expected = expected_keys("basisvae", of_own_cells=False)
    assert new_keys(before, key_sets(cells)) == expected


def test_a_model_without_data_stays_without(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    model = type(fitted).load(tmp_path / "model", adata=False, accelerator="cpu")
    copy = fitted.adata.copy()
    model.annotate(copy)
    np.testing.assert_allclose(
        copy.obsm["X_basisvae"], fitted.get_latent_representation(), atol=1e-6
    )
    assert model.adata is None


def test_the_layer_of_other_data_can_be_named(fitted):
    copy = fitted.adata.copy()
    copy.layers["counts"] = copy.X.copy()
    copy.X = np.log1p(copy.X.toarray())
    assert_refused(fitted, copy, r'looks log-normalised.*layer="counts"')
    fitted.annotate(copy, layer="counts")
    np.testing.assert_array_equal(copy.obsm["X_basisvae"], fitted.get_latent_representation())
    assert copy.uns["basisvae"]["params"]["layer"] == "counts"


def test_duplicate_genes_are_refused_and_nothing_is_written(fitted):
    doubled = small_counts(120, 24)
    doubled.var_names = ["gene1", *doubled.var_names[1:]]
    assert_refused(fitted, doubled, r"duplicates; call adata\.var_names_make_unique")


def test_an_error_on_the_way_leaves_no_half_written_result(adata, monkeypatch):
    model = fit(adata)
    before = key_sets(adata)

    def fail():
        raise MemoryError("no room")

    monkeypatch.setattr(model, "get_scales", fail)
    with pytest.raises(MemoryError, match="no room"):
        model.annotate()
    assert key_sets(adata) == before


def test_a_model_without_data_asks_for_some(fitted, tmp_path):
    fitted.save(str(tmp_path / "model"))
    model = type(fitted).load(str(tmp_path / "model"), adata=False, accelerator="cpu")
    with pytest.raises(ValueError, match=r"no data; pass adata=\.\.\. to annotate"):
        model.annotate()


def test_annotating_again_overwrites(adata):
    model = fit(adata)
    model.annotate()
    first = adata.obsm["X_basisvae"].copy()
    model.orient(model.get_pseudotime().idxmax())
    model.annotate()
    np.testing.assert_array_equal(adata.obsm["X_basisvae"], -first)


def test_an_annotated_slice_keeps_rows_together(fitted, annotated):
    part = annotated[:, ["gene5", "gene2"]]
    assert isinstance(part, AnnData)
    np.testing.assert_array_equal(
        part.varm["basisvae_shift"], fitted.get_shifts().loc[["gene5", "gene2"]]
    )


@pytest.mark.parametrize("key_added", ["run/1", "", 3])
def test_a_name_that_is_no_name_is_refused_before_anything_is_done(fitted, key_added):
    orientation, cells = fitted.orientation_, small_counts(120, 24)
    last = fitted.get_pseudotime().idxmax()
    with pytest.raises(ValueError, match="key_added="):
        fitted.annotate(cells, key_added=key_added, root=last)
    with pytest.raises(ValueError, match="key_added="):
        fitted.assign_genes(cells, key_added=key_added, silent=True)
    assert fitted.orientation_ == orientation
    assert not cells.obsm


def test_what_the_user_has_under_the_keys_is_kept(fitted):
    cells = small_counts(120, 24)
    cells.obsm["X_umap"] = np.ones((120, 2))
    for write in (fitted.annotate, fitted.assign_genes):
        with pytest.raises(
            ValueError, match=r"key_added='umap': adata\.obsm\['X_umap'\] would be"
        ):
            write(cells, key_added="umap")
    assert (list(cells.obsm), "umap" in cells.uns) == (["X_umap"], False)
    np.testing.assert_array_equal(cells.obsm["X_umap"], 1.0)
    fitted.annotate(cells, key_added="shapes")
    fitted.annotate(cells, key_added="shapes")  # our own results are replaced
    assert cells.obsm["X_shapes"].shape == (120, 1)


def test_cells_of_an_unknown_batch_are_refused_with_the_cure_though_others_are_known(
    fitted_batches,
):
    new = small_counts(10, 20, seed=5)
    new.obs_names, new.obs["batch"] = [f"new{i}" for i in range(10)], "other"
    both = ad.concat([fitted_batches.adata[:30], new])
    assert_refused(fitted_batches, both, r"load_query_data\(adata, model\)")
    fitted_batches.annotate(both[:30].copy())


@pytest.mark.parametrize("n", [1, 2])
def test_few_new_cells_are_placed_without_a_word_of_training(fitted, n):
    cells = small_counts(n, 24, seed=7)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        fitted.annotate(cells)
    assert np.isfinite(cells.obsm["X_basisvae"]).all()


def test_the_best_order_that_tells_another_process_is_written(fitted, monkeypatch):
    orders = [np.arange(120.0), 119.0 - np.arange(120.0), np.arange(120) % 7 + 0.0]
    described = _describe_orders(orders, [90.0, 80.0, 70.0], 0)
    assert described["other"] == 2  # the second is the first, seen from behind
    np.testing.assert_allclose(described["order_agreement"][:2], 1.0)
    monkeypatch.setattr(
        fitted, "search_", fitted.search_ | described | {"order_bounds": [9, 8, 7]}
    )
    cells = fitted.adata.copy()
    fitted.annotate(cells)
    other = cells.obs["basisvae_other_order"].to_numpy()
    rank = (rankdata(orders[2]) - 0.5) / 120
    along = spearmanr(rank, cells.obsm["X_basisvae"][:, 0]).statistic >= 0
    np.testing.assert_allclose(other, rank if along else 1.0 - rank, rtol=1e-6)
    assert cells.uns["basisvae"]["other_order"] == 2
    part = fitted.adata[:50].copy()
    fitted.annotate(part)
    assert "basisvae_other_order" not in part.obs


def test_orders_that_agree_leave_no_other(fitted):
    described = _describe_orders([np.arange(9.0), np.arange(9.0) ** 2], [5.0, 4.0], 0)
    assert (described["other"], described["other_order"]) == (-1, None)
