"""How the counts are stored makes no difference to the result."""

import anndata as ad
import numpy as np
import pytest
from model_helpers import build, fit, small_counts
from scipy import sparse
from storages import STORAGES, with_duplicates

from basisvae_scvi import BasisVAE, pl, tl
from basisvae_scvi.data import plain_matrix

CONVERSIONS = {
    "dense": lambda x: x.toarray(),
    "csr": sparse.csr_matrix,
    "csc": sparse.csc_matrix,
    "csc_array": sparse.csc_array,
    "csr with duplicates": lambda x: STORAGES["csr with duplicates"](x.toarray()),
    "lazy csr_array": lambda x: STORAGES["lazy csr_array"](x.toarray()),
}


@pytest.fixture(scope="module")
def reference():
    """z and φ of a model of a CSR matrix."""
    model = fit(small_counts())
    return model.get_latent_representation(), model.get_assignments().to_numpy()


@pytest.mark.parametrize("storage", CONVERSIONS)
@pytest.mark.parametrize("layer", [None, "counts"])
def test_training_gives_the_same_from_any_storage(reference, storage, layer):
    adata = small_counts()
    matrix = CONVERSIONS[storage](adata.X)
    if layer is None:
        adata.X = matrix
    else:
        adata.layers[layer] = matrix
        adata.X = np.zeros(adata.shape, dtype=np.float32)
    model = fit(adata, setup={"layer": layer})
    np.testing.assert_allclose(model.get_latent_representation(), reference[0], atol=1e-4)
    np.testing.assert_allclose(model.get_assignments(), reference[1], atol=1e-3)


def minibatch(model, adata=None):
    """Counts of all cells as the networks get them, and where they come from."""
    manager = model.get_anndata_manager(model.adata if adata is None else adata)
    cells = list(range(manager.adata.n_obs))
    return manager.create_torch_dataset()[cells]["X"], manager.get_from_registry("X")


@pytest.mark.parametrize("layer", [None, "counts"])
@pytest.mark.parametrize("storage", STORAGES)
def test_a_model_reads_any_storage_and_leaves_it(storage, layer):
    adata, expected = small_counts(), build(small_counts())
    counts = adata.X.toarray()
    matrix = STORAGES[storage](counts)
    if layer is None:
        adata.X = matrix
    else:
        adata.layers[layer], adata.X = matrix, None
    model = build(adata, setup={"layer": layer})
    found, plain = minibatch(model)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, counts)
    assert type(plain) in (np.ndarray, sparse.csr_matrix)
    assert minibatch(model)[1] is plain  # converted once
    assert (adata.X if layer is None else adata.layers[layer]) is matrix
    for name, values in expected.module.state_dict().items():
        if name.startswith("genes.feature") or name == "genes.library":
            np.testing.assert_allclose(model.module.state_dict()[name], values, rtol=1e-6)


@pytest.mark.parametrize("storage", STORAGES)
def test_new_cells_may_be_stored_in_any_way(fitted, storage):
    cells = small_counts(120, 24)
    cells.X = STORAGES[storage](cells.X.toarray())
    expected = fitted.get_latent_representation()
    np.testing.assert_allclose(fitted.get_latent_representation(cells), expected, atol=1e-6)


@pytest.mark.parametrize("storage", STORAGES)
def test_genes_may_be_stored_in_any_way(fitted, storage):
    cells = small_counts(120, 24)
    expected = fitted.assign_genes(cells, genes=["gene2", "gene9"], silent=True)
    cells.X = STORAGES[storage](cells.X.toarray())
    found = fitted.assign_genes(cells, genes=["gene2", "gene9"], silent=True)
    np.testing.assert_allclose(found.assignments, expected.assignments, atol=1e-6)
    np.testing.assert_allclose(found.scales, expected.scales, rtol=1e-5)


def test_ones_that_add_up_to_two_are_not_binary():
    adata = small_counts()
    ones = (adata.X > 0).astype(np.float32)
    adata.X = with_duplicates(ones + ones)
    assert set(adata.X.data) == {1.0}
    BasisVAE.setup_anndata(adata)
    with pytest.raises(ValueError, match="values other than 0 and 1"):
        BasisVAE(adata, n_basis=3, gene_likelihood="bernoulli")


def test_halves_that_add_up_to_ones_are_counts():
    adata = small_counts()
    halves = with_duplicates(2 * adata.X.toarray())
    halves.data = np.full(len(halves.data), 0.5, np.float32)
    adata.X = halves
    model = build(adata)
    np.testing.assert_array_equal(minibatch(model)[0], halves.toarray())


@pytest.mark.parametrize("storage", ["masked array", "lazy masked array"])
def test_masked_values_are_refused_with_a_cure_that_works(storage):
    adata = small_counts()
    counts = adata.X.toarray()
    adata.X = np.ma.masked_equal(counts, counts.max())
    if storage != "masked array":
        adata.X = STORAGES["lazy"](counts).map_blocks(np.ma.masked_equal, counts.max())
    with pytest.raises(ValueError, match=r"adata\.X has 1 masked value\(s\).*\.filled\(0\)"):
        BasisVAE.setup_anndata(adata)
    adata.X = np.ma.masked_equal(counts, counts.max()).filled(0)
    assert build(adata).summary_stats.n_cells == 100


def test_a_part_of_an_object_is_read_as_what_it_shows():
    adata = small_counts()
    adata.X = with_duplicates(adata.X.toarray())
    part = adata[::-2, 3:]
    with pytest.raises(ValueError, match=r"adata\.copy\(\)"):
        BasisVAE.setup_anndata(part)
    np.testing.assert_array_equal(minibatch(build(part.copy()))[0], adata.X.toarray()[::-2, 3:])


def test_figures_show_the_same_means_from_any_storage():
    adata = small_counts()
    counts = adata.X.toarray()
    train_kwargs = {"accelerator": "cpu", "enable_progress_bar": False, "n_restarts": 1}
    tl.basisvae(adata, n_basis=4, max_epochs=1, gene_likelihood="nb", train_kwargs=train_kwargs)

    def means():
        axes = pl.gene_trends(adata, ["gene3"], show=False)
        points = [c.get_offsets() for c in np.ravel(axes)[0].collections]
        lines = [line.get_xydata() for line in np.ravel(axes)[0].lines]
        return np.concatenate([np.asarray(p) for p in (*points, *lines)])

    expected = means()
    for storage in ("csr with duplicates", "lazy csr_array", "masked array", "float16"):
        adata.X = STORAGES[storage](counts)
        np.testing.assert_allclose(means(), expected, rtol=1e-5, err_msg=storage)


@pytest.mark.parametrize("storage", ["dense", "csr"])
def test_training_gives_the_same_from_disk(reference, storage, tmp_path):
    adata = small_counts()
    adata.X = CONVERSIONS[storage](adata.X)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    backed = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    model = fit(backed)
    # From disk the minibatches are others, so results agree up to the noise of training ...
    np.testing.assert_allclose(model.get_latent_representation(), reference[0], atol=0.1)
    np.testing.assert_allclose(model.get_assignments(), reference[1], atol=0.1)
    again = fit(backed)  # ... and are the same for the same seed.
    np.testing.assert_array_equal(model.get_assignments(), again.get_assignments())
    backed.file.close()


@pytest.fixture(params=["dense", "csr"])
def backed(request, tmp_path):
    """The data of ``fitted``, on disk."""
    adata = small_counts(120, 24)
    adata.X = CONVERSIONS[request.param](adata.X)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    adata = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    yield adata
    adata.file.close()


def test_cells_on_disk_are_placed_as_in_memory(fitted, backed):
    np.testing.assert_allclose(
        fitted.get_latent_representation(backed),
        fitted.get_latent_representation(),
        atol=1e-6,
    )


@pytest.mark.parametrize("batch_size", [None, 3])
@pytest.mark.parametrize("indices", [[100, 5, 77, 6, 0], list(range(119, -1, -7))])
def test_cells_on_disk_come_in_the_order_asked_for(fitted, backed, indices, batch_size):
    found = fitted.get_latent_representation(backed, indices=indices, batch_size=batch_size)
    expected = fitted.get_latent_representation()[indices]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_cells_on_disk_may_be_asked_for_twice(fitted, backed):
    found = fitted.get_latent_representation(backed, indices=[2, 2, 1])
    expected = fitted.get_latent_representation()[[2, 2, 1]]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_cells_can_be_chosen_by_a_mask(fitted, backed):
    mask = np.arange(120) % 3 == 0
    np.testing.assert_allclose(
        fitted.get_latent_representation(backed, indices=mask),
        fitted.get_latent_representation()[mask],
        atol=1e-6,
    )


def test_the_root_may_be_a_gene_of_data_on_disk(fitted, backed):
    in_memory = fitted.get_pseudotime(root="gene3")
    np.testing.assert_allclose(fitted.get_pseudotime(backed, root="gene3"), in_memory, atol=1e-5)


@pytest.mark.parametrize("indices", [[100, 5, 77], [119, 118, 0, 1]])
def test_cells_in_memory_come_in_the_order_asked_for(fitted, indices):
    np.testing.assert_allclose(
        fitted.get_latent_representation(indices=indices),
        fitted.get_latent_representation()[indices],
        atol=1e-6,
    )


def test_a_saved_model_reads_data_on_disk(fitted, backed, tmp_path):
    fitted.save(str(tmp_path / "model"))
    model = type(fitted).load(str(tmp_path / "model"), adata=backed, accelerator="cpu")
    np.testing.assert_allclose(
        model.get_latent_representation(), fitted.get_latent_representation(), atol=1e-6
    )


@pytest.mark.parametrize("inplace", [True, False])
@pytest.mark.parametrize("layer", [None, "counts"])
@pytest.mark.parametrize("storage", [n for n in STORAGES if n != "zarr"])
def test_genes_that_are_missing_are_added_to_any_storage(storage, layer, inplace):
    """Zarr arrays that AnnData holds without a file are put together by nobody."""
    model = build(small_counts())
    cells = small_counts(30, 20, seed=5)
    expected = cells.X.toarray()
    expected[:, -3:] = 0
    cells = cells[:, :-3].copy()
    matrix = STORAGES[storage](cells.X.toarray())
    if layer is None:
        cells.X = matrix
    else:
        cells.layers[layer] = matrix
    found = BasisVAE.prepare_query_anndata(cells, model, inplace=inplace)
    assert cells.n_vars == (20 if inplace else 17)
    found = cells if inplace else found
    found = plain_matrix(found.X if layer is None else found.layers[layer])
    found = found.toarray() if sparse.issparse(found) else found
    np.testing.assert_array_equal(found, expected)
