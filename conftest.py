"""Gives the examples in docstrings a fitted ``model``, its ``adata``, and ``annotated`` data."""

import pytest
from _pytest.doctest import DoctestItem


@pytest.fixture(scope="session")
def example_model():
    """Small fitted model: 100 cells, 30 genes, 6 bases with shifts."""
    import basisvae_scvi as bv

    adata = bv.datasets.simulate_counts(n_obs=100, n_vars=30, mean_count=2.0, seed=1)
    bv.BasisVAE.setup_anndata(adata)
    model = bv.BasisVAE(adata, n_basis=6, gene_likelihood="nb", translation_invariant=True)
    model.train(max_epochs=5, seed=0, accelerator="cpu", enable_progress_bar=False)
    return model


@pytest.fixture(scope="session")
def example_annotated(example_model):
    """What the model writes."""
    return example_model.annotate(copy=True)


@pytest.fixture(autouse=True)
def _example_names(request, doctest_namespace):
    if isinstance(request.node, DoctestItem):
        model = request.getfixturevalue("example_model")
        annotated = request.getfixturevalue("example_annotated")
        doctest_namespace.update(model=model, adata=model.adata, annotated=annotated)
