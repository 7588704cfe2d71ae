"""assign_genes: further genes get what they would get if they had been trained."""

import anndata as ad
import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from model_helpers import fit, small_counts, twin
from scipy import sparse
from scipy.stats import spearmanr
from sklearn.metrics import adjusted_rand_score

from basisvae_scvi.datasets import simulate_counts
from basisvae_scvi.model._assign_genes import GeneAssignments

N_TRAINED = 20  # genes of ``everything`` that ``trained_on_20`` has seen


@pytest.fixture(scope="module")
def found(trained_on_20, everything):
    return trained_on_20.assign_genes(everything, silent=True)


def assert_same(found: GeneAssignments, expected: GeneAssignments, **tolerance):
    """Assert that all tables agree; without tolerances bit for bit."""
    for name in ("assignments", "shifts", "scales", "clusters"):
        left, right = getattr(found, name), getattr(expected, name)
        if tolerance:
            pd.testing.assert_frame_equal(left, right, **tolerance)
        else:
            pd.testing.assert_frame_equal(left, right, check_exact=True)


# -- truth ------------------------------------------------------------------------------------


def test_held_out_genes_land_in_the_cluster_of_their_true_group():
    truth = {"shapes": ("peak", "up", "down", "flat"), "max_shift": 0.0, "mean_count": 4.0}
    everything = simulate_counts(n_obs=400, n_vars=120, seed=5, **truth)
    model = fit(
        everything[:, :60].copy(),
        setup={"latent_key": "true_z"},
        max_epochs=40,
        brief=False,
        n_basis=8,
    )
    held = everything[:, 60:].copy()
    found = model.assign_genes(held, silent=True).clusters
    group = everything.var["true_group"].iloc[60:].to_numpy()
    assert adjusted_rand_score(group, found["cluster"]) > 0.9
    trained = model.get_clusters()["cluster"].astype(str).to_numpy()
    labels = np.concatenate([trained, found["cluster"].astype(str)])
    # One and the same labelling for trained and held genes.
    assert adjusted_rand_score(everything.var["true_group"], labels) > 0.9


def test_shifts_and_scales_of_held_out_genes_follow_the_truth():
    everything = simulate_counts(
        n_obs=500, n_vars=60, shapes=("peak",), max_shift=1.0, mean_count=6.0, seed=3
    )
    model = fit(
        everything[:, :30].copy(),
        setup={"latent_key": "true_z"},
        max_epochs=40,
        brief=False,
        n_basis=2,
        translation_invariant=True,
    )
    clusters = model.assign_genes(everything[:, 30:].copy(), silent=True).clusters
    true = everything.var.iloc[30:]
    assert (clusters["cluster"] == "1").mean() > 0.95
    sign = np.sign(np.corrcoef(model.get_latent_representation()[:, 0], everything.obs["true_z"]))
    assert spearmanr(sign[0, 1] * clusters["shift"], true["true_shift"]).statistic > 0.97


@pytest.mark.slow
def test_trained_genes_come_back(everything):
    variable, setup = everything[:, :N_TRAINED].copy(), {"latent_key": "true_z"}
    model = fit(variable, setup=setup, max_epochs=300, translation_invariant=True)
    found = model.assign_genes(everything, silent=True)
    trained, again = model.get_clusters(), found.clusters.iloc[:N_TRAINED]
    is_clear = trained["confidence"] > 0.9
    assert is_clear.sum() >= 10
    same = trained["cluster"].astype(str) == again["cluster"].astype(str)
    assert same[is_clear].all()
    # A gene whose shift is not told may take another one that is as good, with a scale of its own.
    near = {key: np.abs(again[key] - trained[key])[is_clear] < 0.15 for key in ("shift", "scale")}
    assert min(near["shift"].mean(), near["scale"].mean()) >= 0.8
    intervals = model.get_gene_intervals(0.99)
    for key, is_near in near.items():
        inside = again[key].between(intervals[f"{key}_lower"], intervals[f"{key}_upper"])
        assert (inside[is_clear] | is_near).all()


# -- what the result does not depend on ---------------------------------------------------------


def test_a_gene_does_not_depend_on_the_call(trained_on_20, everything, found):
    alone = trained_on_20.assign_genes(everything[:, 25:27].copy(), silent=True)
    by_name = trained_on_20.assign_genes(everything, genes=["gene26", "gene25"], silent=True)
    blocks = trained_on_20.assign_genes(everything, block_size=7, silent=True)
    for table in ("assignments", "shifts", "scales"):
        expected = getattr(found, table)
        kwargs = {"rtol": 1e-3, "atol": 1e-4}
        pd.testing.assert_frame_equal(getattr(alone, table), expected.iloc[25:27], **kwargs)
        pd.testing.assert_frame_equal(getattr(by_name, table), expected.iloc[25:27], **kwargs)
        pd.testing.assert_frame_equal(getattr(blocks, table), expected, **kwargs)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_number_of_jobs_does_not_matter(trained_on_20, everything, n_jobs):
    expected = trained_on_20.assign_genes(everything, block_size=16, silent=True)
    assert_same(
        trained_on_20.assign_genes(everything, block_size=16, n_jobs=n_jobs, silent=True), expected
    )


def test_seed_decides(trained_on_20, everything, found):
    assert_same(
        trained_on_20.assign_genes(everything, seed=trained_on_20.seed_, silent=True), found
    )
    other = trained_on_20.assign_genes(everything, seed=99, silent=True)
    difference = (other.shifts - found.shifts).abs().to_numpy()
    # Of pairs that no gene wants, a shift at the rim of its grid may be any.
    difference = difference[found.assignments.to_numpy() > 0.5]
    assert 0 < difference.max() < 0.03


@pytest.mark.slow
def test_a_dask_cluster_gives_the_same(trained_on_20, everything):
    """A local cluster of two workers, each a process of its own."""
    distributed = pytest.importorskip("distributed")
    expected = trained_on_20.assign_genes(everything, block_size=16, n_jobs=1, silent=True)
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    )
    with cluster, distributed.Client(cluster), joblib.parallel_config(backend="dask"):
        assert_same(trained_on_20.assign_genes(everything, block_size=16, silent=True), expected)


@pytest.mark.slow
def test_processes_give_the_same(trained_on_20, everything):
    expected = trained_on_20.assign_genes(everything, block_size=16, n_jobs=1, silent=True)
    with joblib.parallel_config(backend="loky", n_jobs=2):
        assert_same(trained_on_20.assign_genes(everything, block_size=16, silent=True), expected)


def test_storage_does_not_matter(trained_on_20, everything, found, tmp_path):
    counts = sparse.csr_matrix(everything.X)
    for matrix in (counts.toarray(), counts, counts.tocsc(), sparse.csr_array(counts)):
        adata = everything.copy()
        adata.X = matrix
        assert_same(trained_on_20.assign_genes(adata, silent=True), found)
        if not isinstance(matrix, sparse.csr_array):
            path = tmp_path / "counts.h5ad"
            adata.write_h5ad(path)
            backed = ad.read_h5ad(path, backed="r")
            assert_same(trained_on_20.assign_genes(backed, silent=True), found)
            backed.file.close()


def test_order_of_cells_and_further_cells_do_not_matter(trained_on_20, everything, found):
    rng = np.random.default_rng(0)
    shuffled = everything[rng.permutation(everything.n_obs)].copy()
    assert_same(trained_on_20.assign_genes(shuffled, silent=True), found)
    extra = everything[:20].copy()
    extra.obs_names = [f"extra{i}" for i in range(20)]
    extra.X = extra.X * 7
    more = ad.concat([extra, shuffled])
    assert_same(trained_on_20.assign_genes(more, silent=True), found)


def test_layer_is_that_of_setup_unless_named(everything):
    adata = everything.copy()
    adata.layers["counts"] = adata.X.copy()
    adata.X = np.log1p(adata.X)
    model = fit(adata[:, :N_TRAINED].copy(), setup={"layer": "counts"})
    expected = model.assign_genes(adata, silent=True)
    named = everything.copy()
    assert_same(model.assign_genes(named, layer=None, silent=True), expected)
    with pytest.raises(ValueError, match=r"adata.X contains non-integer values"):
        model.assign_genes(adata, layer=None, silent=True)
    with pytest.raises(KeyError, match=r"layer='counts' is not in adata.layers"):
        model.assign_genes(named, silent=True)


@pytest.mark.slow
def test_size_factors_are_those_of_the_model(everything):
    """Ten times deeper further genes do not change what is found for the others."""
    model = fit(everything[:, :N_TRAINED].copy(), translation_invariant=True)
    expected = model.assign_genes(everything, genes=["gene22"], silent=True)
    deep = everything.copy()
    deep.X[:, 25:] = deep.X[:, 25:] * 10
    again = model.assign_genes(deep, silent=True)
    pd.testing.assert_series_equal(
        again.shifts.loc["gene22"], expected.shifts.loc["gene22"], rtol=1e-3, atol=1e-4
    )
    scaled = (
        again.scales.loc["gene30"]
        / model.assign_genes(everything, silent=True).scales.loc["gene30"]
    )
    assert scaled.between(0.8, 1.25).all()  # λ is relative to the gene's own mean


def test_a_sample_of_cells_stands_for_all(trained_on_20, everything, found):
    part = trained_on_20.assign_genes(everything, max_cells=120, silent=True)
    assert not part.shifts.equals(found.shifts)
    sure = found.clusters["confidence"] > 0.99
    same = part.clusters["cluster"].astype(str) == found.clusters["cluster"].astype(str)
    assert same[sure].mean() > 0.9
    assert_same(trained_on_20.assign_genes(everything, max_cells=10**6, silent=True), found)


# -- conventions ------------------------------------------------------------------------------


def test_tables_have_the_conventions_of_the_accessors(trained_on_20, found):
    assert list(found.assignments.columns) == list(trained_on_20.get_assignments().columns)
    assert list(found.clusters.columns) == list(trained_on_20.get_clusters().columns)
    np.testing.assert_allclose(found.assignments.sum(axis=1), 1.0, atol=1e-12)
    label = found.clusters["cluster"].astype(str)
    rows = np.arange(len(label))
    for column, table in (("shift", found.shifts), ("scale", found.scales)):
        at_label = table.to_numpy()[rows, label.astype(int)]
        np.testing.assert_array_equal(found.clusters[column], at_label)
    assert (found.shifts["0"] == 0).all()


def test_orientation_turns_the_shifts(trained_on_20, everything, found):
    turned = twin(trained_on_20)
    turned.orientation_ = -trained_on_20.orientation_
    other = turned.assign_genes(everything, silent=True)
    flipped = other.clusters["shift"].to_numpy()
    np.testing.assert_allclose(flipped, -found.clusters["shift"], atol=1e-6)


def test_key_added_writes_what_annotate_writes(trained_on_20, everything, found):
    adata = everything.copy()
    trained_on_20.assign_genes(adata, key_added="basisvae", silent=True)
    by_model = trained_on_20.annotate(everything, copy=True)
    assert set(adata.varm) == set(by_model.varm)
    assert set(by_model.var.columns) == set(adata.var.columns)
    pd.testing.assert_series_equal(
        adata.obs["basisvae_pseudotime"], by_model.obs["basisvae_pseudotime"]
    )
    np.testing.assert_array_equal(adata.obsm["X_basisvae"], by_model.obsm["X_basisvae"])
    pd.testing.assert_frame_equal(adata.varm["basisvae_shift"], found.shifts)
    labels = adata.var["basisvae_cluster"]
    assert labels.astype(str).tolist() == found.clusters["cluster"].astype(str).tolist()
    params, of_model = (of.uns["basisvae"]["params"] for of in (adata, by_model))
    # What figures know the data by is that of the genes each has.
    assert (params.pop("data_genes"), of_model.pop("data_genes")) == (32, 20)
    assert params.pop("data_total") > of_model.pop("data_total")
    assert params == of_model
    grid = adata.uns["basisvae"]["grid"]
    shift = found.clusters["shift"]
    z = trained_on_20.get_latent_representation()
    assert grid[0] <= z.min() + min(shift.min(), 0) + 1e-6
    assert grid[-1] >= z.max() + max(shift.max(), 0) - 1e-6
    some = everything.copy()
    trained_on_20.assign_genes(some, genes=["gene3", "gene30"], key_added="few", silent=True)
    assert some.var["few_cluster"].notna().sum() == 2


VARIANTS = {
    "zinb": {"gene_likelihood": "zinb"},
    "latent dropout": {"gene_likelihood": "zinb", "zero_inflation": "latent"},
    "poisson": {"gene_likelihood": "poisson", "translation_invariant": False},
    "no scale": {"scale_invariant": False},
    "eq 1": {"scale_invariant": False, "translation_invariant": False},
    "two dimensions": {"n_latent": 2},
    "gene-batch": {"dispersion": "gene-batch"},
    "non-collapsed": {"inference": "non-collapsed"},
    "fixed_pi": {"inference": "fixed_pi"},
    "prior of all pairs": {"gene_prior": "all"},
    "no grid": {"n_grid": 0},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant(name):
    everything = small_counts(120, 18, n_batches=2, seed=7)
    arguments = {"translation_invariant": True, **VARIANTS[name]}
    model = fit(everything[:, :12].copy(), setup={"batch_key": "batch"}, **arguments)
    state = {k: v.clone() for k, v in model.module.state_dict().items()}
    generator = torch.get_rng_state()
    found = model.assign_genes(everything, silent=True)
    assert torch.equal(generator, torch.get_rng_state())
    assert all(torch.equal(v, state[k]) for k, v in model.module.state_dict().items())
    assert all(p.requires_grad for p in model.module.basis.parameters())
    assert np.isfinite(found.shifts.to_numpy()).all()
    assert (found.scales.to_numpy() > 0).all()
    if not arguments.get("scale_invariant", True):
        assert (found.scales.to_numpy() == 1).all()
    if not arguments["translation_invariant"]:
        assert (found.shifts.to_numpy() == 0).all()


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_other_tables(likelihood):
    rng = np.random.default_rng(0)
    everything = small_counts(200, 40, seed=3)
    z = everything.obs["true_z"].to_numpy()
    signal = 2.5 * np.sin(z[:, None] + (np.arange(40) % 2) * np.pi) + rng.normal(size=(200, 40))
    everything.X = signal if likelihood == "gaussian" else (signal > 0).astype(float)
    model = fit(
        everything[:, :30].copy(),
        setup={"latent_key": "true_z"},
        max_epochs=30,
        n_basis=3,
        gene_likelihood=likelihood,
    )
    found = model.assign_genes(everything[:, 30:].copy(), silent=True).clusters
    rising, falling = found["cluster"].iloc[::2], found["cluster"].iloc[1::2]
    assert rising.nunique() == falling.nunique() == 1
    assert rising.iloc[0] != falling.iloc[0]
    trained = model.get_clusters()["cluster"].astype(str)
    assert trained.iloc[0] == str(rising.iloc[0])
    assert trained.iloc[1] == str(falling.iloc[0])
