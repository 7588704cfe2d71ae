"""Fitted models that many tests read and none may change (edit a ``twin`` of them)."""

import pytest
from model_helpers import fit, small_counts


@pytest.fixture
def adata():
    """Fresh counts, 100 cells × 20 genes."""
    return small_counts()


@pytest.fixture(scope="session")
def fitted():
    """NB model with scales and shifts."""
    return fit(small_counts(120, 24), max_epochs=3, translation_invariant=True, n_basis=5)


@pytest.fixture(scope="session")
def fitted_by_time():
    """NB model on the true z, so that nothing about the cells is random."""
    adata = small_counts(150, 20, seed=2)
    return fit(adata, setup={"latent_key": "true_z"}, max_epochs=15, translation_invariant=True)


@pytest.fixture(scope="session")
def fitted_batches():
    """Model of cells from two batches, the reference of query mapping."""
    adata = small_counts(120, 20, n_batches=2)
    return fit(
        adata,
        setup={"batch_key": "batch"},
        max_epochs=3,
        translation_invariant=True,
        dispersion="gene-batch",
    )


@pytest.fixture(scope="session")
def everything():
    """Counts of 150 cells × 32 genes, of which ``trained_on_20`` has seen the first 20."""
    return small_counts(150, 32, seed=2)


@pytest.fixture(scope="session")
def trained_on_20(everything):
    """Model of 20 of the 32 genes, on the true z."""
    variable = everything[:, :20].copy()
    setup = {"latent_key": "true_z"}
    return fit(variable, setup=setup, max_epochs=150, translation_invariant=True)
