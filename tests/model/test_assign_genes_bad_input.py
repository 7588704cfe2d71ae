"""assign_genes: bad input is refused with its name, and an interrupt leaves nothing behind."""

import numpy as np
import pytest
import torch
from model_helpers import build
from scipy import sparse

from basisvae_scvi import BasisVAE
from basisvae_scvi.model import _assign_genes


def test_missing_cells_are_named(trained_on_20, everything):
    with pytest.raises(ValueError, match=r"adata lacks 2 of the model's 150 cells: cell0, cell1"):
        trained_on_20.assign_genes(everything[2:].copy(), silent=True)


def test_names_must_be_unique(trained_on_20, everything):
    adata = everything.copy()
    adata.var_names = ["gene0"] * 2 + list(adata.var_names[2:])
    with pytest.raises(ValueError, match="var_names has duplicates: gene0"):
        trained_on_20.assign_genes(adata, silent=True)
    adata = everything[::-1].copy()
    adata.obs_names = ["cell7", *adata.obs_names[1:]]
    with pytest.raises(ValueError, match="obs_names of adata has duplicates: cell7"):
        trained_on_20.assign_genes(adata, silent=True)
    with pytest.raises(ValueError, match="genes has duplicates: gene1"):
        trained_on_20.assign_genes(everything, genes=["gene1", "gene1"], silent=True)


def test_unknown_and_no_genes(trained_on_20, everything):
    with pytest.raises(KeyError, match=r"Not in adata.var_names: GATA1"):
        trained_on_20.assign_genes(everything, genes=["gene1", "GATA1"], silent=True)
    with pytest.raises(ValueError, match="no genes to assign"):
        trained_on_20.assign_genes(everything, genes=[], silent=True)


@pytest.mark.parametrize(
    ("value", "message"),
    [(-1.0, "negative values"), (0.5, "non-integer values"), (np.nan, "NaN or infinite")],
)
@pytest.mark.parametrize("as_sparse", [True, False])
def test_values_are_checked(trained_on_20, everything, value, message, as_sparse):
    adata = everything.copy()
    values = adata.X.toarray() if sparse.issparse(adata.X) else adata.X.copy()
    values[3, 30] = value
    adata.X = sparse.csr_matrix(values) if as_sparse else values
    with pytest.raises(ValueError, match=message):
        trained_on_20.assign_genes(adata, silent=True)
    trained_on_20.assign_genes(
        adata, genes=["gene1"], silent=True
    )  # only what is asked for counts


def test_bad_numbers(trained_on_20, everything):
    with pytest.raises(ValueError, match="block_size=0 must be at least 1"):
        trained_on_20.assign_genes(everything, block_size=0, silent=True)
    with pytest.raises(ValueError, match="max_cells=0 must be at least 1"):
        trained_on_20.assign_genes(everything, max_cells=0, silent=True)
    with pytest.raises(ValueError, match="seed=-1 must be a whole number"):
        trained_on_20.assign_genes(everything, seed=-1, silent=True)


def test_model_must_be_trained_and_have_data(trained_on_20, everything, tmp_path):
    with pytest.raises(RuntimeError, match="train"):
        build(everything.copy()).assign_genes(everything, silent=True)
    trained_on_20.save(str(tmp_path / "model"), save_anndata=False)
    bare = BasisVAE.load(str(tmp_path / "model"), adata=False)
    with pytest.raises(ValueError, match="The model has no data"):
        bare.assign_genes(everything, silent=True)


def test_an_interrupt_leaves_everything_as_it_was(trained_on_20, everything, monkeypatch):
    adata = everything.copy()
    before = {k: v.clone() for k, v in trained_on_20.module.state_dict().items()}
    calls = []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return fit_gene_block(*arguments)

    fit_gene_block = _assign_genes.fit_gene_block
    monkeypatch.setattr(_assign_genes, "fit_gene_block", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trained_on_20.assign_genes(adata, block_size=4, key_added="basisvae", silent=True)
    assert list(adata.var.columns) == list(everything.var.columns)
    assert not {*adata.varm, *adata.obsm, *adata.uns} - {*everything.obsm, *everything.uns}
    assert all(torch.equal(v, before[k]) for k, v in trained_on_20.module.state_dict().items())
    assert not trained_on_20.module.training
