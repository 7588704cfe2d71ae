"""How the counts are stored makes no difference to the result."""

import anndata as ad
import numpy as np
import pytest
from model_helpers import fit, small_counts
from scipy import sparse

CONVERSIONS = {
    "dense": lambda x: x.toarray(),
    "csr": sparse.csr_matrix,
    "csc": sparse.csc_matrix,
    "csr_array": sparse.csr_array,
    "csc_array": sparse.csc_array,
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
