"""Minibatches from a matrix on disk: every cell once, its own values, mixed, reproducible."""

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from scvi import REGISTRY_KEYS

from basisvae_scvi import BasisVAE
from basisvae_scvi.data import CellSplitter, _backed
from basisvae_scvi.data._backed import BackedBatches

N, P = 1003, 5


@pytest.fixture
def files(tmp_path):
    """Cells whose first gene is their number, as a file."""
    rng = np.random.default_rng(0)
    x = rng.poisson(0.7, (N, P)).astype(np.float32)
    x[:, 0] = np.arange(N)
    adata = ad.AnnData(sp.csr_matrix(x))
    adata.obs["batch"] = np.where(np.arange(N) % 3 == 0, "a", "b")
    adata.obs["age"] = np.arange(N) / 7.0
    adata.write_h5ad(tmp_path / "cells.h5ad")
    return tmp_path / "cells.h5ad", x


@pytest.fixture
def manager(files):
    backed = ad.read_h5ad(files[0], backed="r")
    BasisVAE.setup_anndata(backed, batch_key="batch", continuous_covariate_keys=["age"])
    yield BasisVAE(backed, n_basis=2).adata_manager
    backed.file.close()


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("batch_size", [1, 7, 32, 128, 5000])
def test_every_cell_comes_once_with_all_that_is_its_own(files, manager, batch_size, shuffle):
    x = files[1]
    cells = np.random.default_rng(1).permutation(N)[: N - 100]
    loader = BackedBatches(manager, cells, batch_size, shuffle=shuffle)
    batches = list(loader)
    assert len(batches) == len(loader) == -(-len(cells) // batch_size)
    assert [len(b[REGISTRY_KEYS.X_KEY]) for b in batches[:-1]] == [batch_size] * (len(loader) - 1)
    merged = {key: torch.cat([b[key] for b in batches]).numpy() for key in batches[0]}
    number = merged[REGISTRY_KEYS.X_KEY][:, 0].astype(int)
    assert sorted(number) == sorted(cells)
    if not shuffle:
        assert number.tolist() == sorted(cells)
    np.testing.assert_array_equal(merged[REGISTRY_KEYS.X_KEY], x[number])
    np.testing.assert_array_equal(merged[REGISTRY_KEYS.BATCH_KEY][:, 0], (number % 3 > 0) * 1)
    np.testing.assert_allclose(merged[REGISTRY_KEYS.CONT_COVS_KEY][:, 0], number / 7, rtol=1e-6)


def test_the_order_is_drawn_anew_and_follows_the_seed(manager):
    loader = BackedBatches(manager, np.arange(N), 32, shuffle=True)

    def order(seed=None):
        if seed is not None:
            torch.manual_seed(seed)
        return [b[REGISTRY_KEYS.X_KEY][:, 0].tolist() for b in loader]

    first, second, again = order(3), order(), order(3)
    assert first == again
    assert first != second


def test_a_minibatch_is_a_fair_sample(manager, monkeypatch):
    """Means of the cells' numbers vary as those of windows of random runs, and cells of these."""
    torch.manual_seed(0)
    monkeypatch.setattr(_backed, "_MIN_WINDOW", 256)  # several windows in so few cells
    loader = BackedBatches(manager, np.arange(N), 16, shuffle=True)
    means = [b[REGISTRY_KEYS.X_KEY][:, 0].mean().item() for _ in range(30) for b in loader]
    full = [mean for i, mean in enumerate(means) if (i + 1) % len(loader)]  # 16 cells each
    # A window of 21 runs of neighbours adds its own variance, 1 / 21, to that of 16 cells, 1 / 16.
    assert np.std(full) == pytest.approx(N * np.sqrt((1 / 16 + 1 / 21) / 12), rel=0.15)


def test_training_reads_from_disk_in_runs(manager, monkeypatch):
    """The public way in: model.train() takes these minibatches by itself."""
    seen = []
    read = BackedBatches._read
    monkeypatch.setattr(
        BackedBatches, "_read", lambda self, rows: seen.append(len(rows)) or read(self, rows)
    )
    adata = manager.adata
    model = BasisVAE(adata, n_basis=2)
    model.train(2, init="pca", seed=0, accelerator="cpu", enable_progress_bar=False)
    assert sum(seen) == 2 * N


def test_types_are_those_of_the_usual_loader(manager):
    splitter = CellSplitter(manager, train_size=1.0, batch_size=64)
    splitter.setup()
    ours = next(iter(splitter.train_dataloader()))
    usual = CellSplitter(manager, train_size=1.0, batch_size=64, drop_last=True)
    usual.setup()
    loader = usual.train_dataloader()
    assert not isinstance(loader, BackedBatches)  # settings of the loader are the user's
    theirs = next(iter(loader))
    assert set(ours) == set(theirs)
    for key, value in theirs.items():
        assert ours[key].dtype == value.dtype
        assert ours[key].shape == value.shape


def test_data_in_memory_keep_the_usual_loader(files):
    adata = ad.read_h5ad(files[0])
    BasisVAE.setup_anndata(adata)
    splitter = CellSplitter(BasisVAE(adata, n_basis=2).adata_manager, train_size=0.5)
    splitter.setup()
    assert not isinstance(splitter.train_dataloader(), BackedBatches)
    assert not isinstance(splitter.val_dataloader(), BackedBatches)
