"""Data that changed after setup or training are refused; what is only stored otherwise is not."""

import anndata as ad
import numpy as np
import pytest
from model_helpers import build, fit, small_counts, train
from scipy import sparse

from basisvae_scvi import BasisVAE


def normalise(adata):
    """As scanpy does, in place: equal totals."""
    adata.X = sparse.csr_matrix(adata.X.multiply(100.0 / adata.X.sum(axis=1)))


def log(adata):
    normalise(adata)
    adata.X = adata.X.log1p()


def scale(adata):
    values = adata.X.toarray()
    adata.X = (values - values.mean(0)) / np.maximum(values.std(0), 1e-6)


def thin(adata):
    adata.X = sparse.csr_matrix(np.floor(adata.X.toarray() / 2))


def log_some_cells(adata):
    values = adata.X.toarray()
    values[60:80] = np.log1p(values[60:80])
    adata.X = values


def in_the_arrays(adata):
    adata.X.data[:] = np.log1p(adata.X.data)


def reorder_values(adata):
    adata.X = adata.X[::-1]


def swap_genes(adata):
    adata.X = adata.X[:, [1, 0, *range(2, adata.n_vars)]]


def remove(adata):
    adata.X = None


def filter_genes(adata):
    adata._inplace_subset_var(np.arange(adata.n_vars) % 3 > 0)


def filter_cells(adata):
    adata._inplace_subset_obs(np.arange(adata.n_obs) % 3 > 0)


def rename_genes(adata):
    adata.var_names = [f"ENSG{i}" for i in range(adata.n_vars)]


CHANGES = {
    normalise: r"adata\.X has other values.*normalised",
    log: r"adata\.X has other values.*look log-normalised",
    scale: r"adata\.X has other values.*scaled",
    thin: r"adata\.X has other values",
    log_some_cells: r"adata\.X has other values.*look log-normalised",
    in_the_arrays: r"adata\.X has other values.*look log-normalised",
    reorder_values: r"adata\.X has other values",
    swap_genes: r"adata\.X has other values",
    remove: r"adata\.X, which setup_anndata registered, is gone",
    filter_genes: r"adata has 13 genes, but 20 were registered",
    filter_cells: r"adata has 66 cells, but 100 were registered",
    rename_genes: r"var_names are not those.*20 differ: ENSG0",
}
ACCESSORS = {
    "annotate": lambda model: model.annotate(),
    "get_latent_representation": lambda model: model.get_latent_representation(),
    "the data by name": lambda model: model.get_latent_representation(model.adata),
    "get_pseudotime": lambda model: model.get_pseudotime(),
    "orient": lambda model: model.orient("cell0"),
    "get_gene_intervals": lambda model: model.get_gene_intervals(),
    "get_shifts": lambda model: model.get_shifts(return_sd=True),
    "get_elbo": lambda model: model.get_elbo(),
    "get_marginal_ll": lambda model: model.get_marginal_ll(n_mc_samples=2),
    "get_normalized_expression": lambda model: model.get_normalized_expression(),
    "posterior_predictive_sample": lambda model: model.posterior_predictive_sample(),
    "assign_genes": lambda model: model.assign_genes(small_counts(), silent=True),
    "train": lambda model: train(model, 1),
}


@pytest.fixture(scope="module")
def trained():
    return fit(small_counts())


@pytest.fixture
def changeable(trained):
    """The trained model with data of its own, to be changed."""
    before = trained.adata
    trained.adata = before.copy()
    yield trained
    trained.adata = before


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_after_training_is_told(changeable, change):
    genes = changeable.get_assignments()
    change(changeable.adata)
    with pytest.raises(ValueError, match=rf"{CHANGES[change]}.*model\.adata = .*layer='counts'"):
        changeable.get_latent_representation()
    # What does not depend on the cells stays as it was, under its own names.
    assert changeable.get_assignments().equals(genes)


@pytest.mark.parametrize("change", [log, filter_genes])
@pytest.mark.parametrize("accessor", ACCESSORS)
def test_every_accessor_looks(changeable, accessor, change):
    change(changeable.adata)
    before = set(changeable.adata.obsm), set(changeable.adata.var)
    with pytest.raises(ValueError, match=CHANGES[change]):
        ACCESSORS[accessor](changeable)
    assert before == (set(changeable.adata.obsm), set(changeable.adata.var))


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_between_setup_and_model_is_told(adata, change):
    BasisVAE.setup_anndata(adata)
    change(adata)
    with pytest.raises(ValueError, match=rf"{CHANGES[change]}.*setup_anndata once more"):
        BasisVAE(adata, n_basis=4, gene_likelihood="nb")


@pytest.mark.parametrize("change", [log, filter_genes])
def test_a_change_before_training_is_told_at_its_start(adata, change, monkeypatch):
    model = build(adata)
    change(adata)
    monkeypatch.setattr(model, "_start", None)  # would be called for the search
    with pytest.raises(ValueError, match=CHANGES[change]):
        model.train()


def test_the_cures_work(adata):
    model = fit(adata)
    z, counts = model.get_latent_representation(), adata.X.copy()
    adata.layers["counts"] = counts
    log(adata)
    with pytest.raises(ValueError, match="other values"):
        model.annotate()
    adata.X = adata.layers["counts"].copy()
    model.annotate()
    np.testing.assert_array_equal(adata.obsm["X_basisvae"], z)
    filter_genes(adata)
    whole = small_counts()
    model.adata = whole
    model.annotate()
    np.testing.assert_array_equal(whole.obsm["X_basisvae"], z)


def test_counts_in_a_layer_are_safe_from_what_is_done_to_x(adata):
    adata.layers["counts"] = adata.X.copy()
    model = fit(adata, setup={"layer": "counts"})
    z = model.get_latent_representation()
    log(adata)
    model.annotate()
    np.testing.assert_array_equal(adata.obsm["X_basisvae"], z)
    del adata.layers["counts"]
    with pytest.raises(ValueError, match=r"adata\.layers\['counts'\], which .* is gone"):
        model.annotate()


@pytest.mark.parametrize(
    "convert",
    [
        sparse.csc_matrix,
        lambda x: x.toarray(),
        lambda x: x.astype(np.int32),
        lambda x: x.astype(np.float64),
    ],
    ids=["csc", "dense", "int32", "float64"],
)
def test_another_storage_is_no_change(changeable, convert):
    z = changeable.get_latent_representation()
    changeable.adata.X = convert(changeable.adata.X)
    np.testing.assert_allclose(changeable.get_latent_representation(), z, atol=1e-6)


@pytest.mark.parametrize("change", [log, normalise, scale])
def test_new_cells_of_no_counts_are_refused_with_the_layer(trained, change):
    cells = small_counts(40, seed=6)
    cells.obs_names = [f"new{i}" for i in range(40)]
    change(cells)
    calls = (trained.get_latent_representation, trained.get_pseudotime, trained.annotate)
    for call in (*calls, trained.get_elbo):
        with pytest.raises(ValueError, match=r"likelihood is one for counts.*layer=\"counts\""):
            call(cells)


def test_a_column_that_is_taken_for_a_leftover_is_named(adata):
    adata.obs["donor"] = np.repeat(["a", "b"], 50)
    model = fit(adata, setup={"batch_key": "donor"})
    z = model.get_latent_representation()
    del adata.obs["_scvi_batch"]
    expected = r"adata\.obs\['_scvi_batch'\], which the model reads, is gone.*model\.adata = "
    with pytest.raises(ValueError, match=expected):
        model.get_latent_representation()
    model.adata = adata.copy()
    np.testing.assert_allclose(model.get_latent_representation(), z, atol=1e-6)


def test_new_cells_that_are_changed_later_are_refused(trained):
    cells = small_counts(40, seed=6)
    trained.get_latent_representation(cells)
    log(cells)
    for call in (trained.get_latent_representation, trained.get_pseudotime):
        with pytest.raises(ValueError, match=r"other values.*log-normalised.*pass a copy"):
            call(cells)


def test_a_second_setup_of_changed_data_does_not_blind_the_first_model(adata):
    model = fit(adata)
    log(adata)
    BasisVAE.setup_anndata(adata)
    BasisVAE(adata, n_basis=4, gene_likelihood="gaussian")
    with pytest.raises(ValueError, match="other values"):
        model.get_latent_representation()


def test_numbers_of_any_kind_are_watched():
    adata = ad.AnnData(np.random.default_rng(0).normal(size=(60, 12)).astype(np.float32))
    model = fit(adata, gene_likelihood="gaussian")
    z = model.get_latent_representation()
    adata.X = adata.X.astype(np.float64)
    np.testing.assert_allclose(model.get_latent_representation(), z, atol=1e-6)
    adata.X = adata.X - adata.X.mean(0)
    with pytest.raises(ValueError, match="other values"):
        model.get_latent_representation()


def test_a_model_of_an_earlier_version_knows_no_values_and_works(changeable):
    state = changeable.adata_manager.registry["field_registries"]["X"]["state_registry"]
    digests = state.pop("digests")
    try:
        assert np.isfinite(changeable.get_latent_representation()).all()
        filter_genes(changeable.adata)
        with pytest.raises(ValueError, match="13 genes"):
            changeable.get_latent_representation()
    finally:
        state["digests"] = digests


def test_changed_data_are_not_saved_with_a_model(changeable, tmp_path):
    log(changeable.adata)
    with pytest.raises(ValueError, match="other values"):
        changeable.save(tmp_path / "with data", save_anndata=True)
    assert not (tmp_path / "with data").exists()
    changeable.save(tmp_path / "alone")
    again = BasisVAE.load(tmp_path / "alone", small_counts(), accelerator="cpu")
    assert again.get_assignments().equals(changeable.get_assignments())
