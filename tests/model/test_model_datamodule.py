"""Minibatches from a data module: the same cells give the same model, others are refused."""

import importlib.util
import sys

import anndata as ad
import numpy as np
import pytest
import scvi
import torch
from lightning.pytorch import LightningDataModule
from model_helpers import build, small_counts, train
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler

from basisvae_scvi import BasisVAE
from basisvae_scvi.data import ForeignBatches

BATCH_SIZE = 128  # the default of train()


class Rows(Dataset):
    """Tensors of cells, asked for by their rows."""

    def __init__(self, tensors):
        self.tensors = tensors

    def __len__(self):
        return len(self.tensors["X"])

    def __getitem__(self, rows):
        return {key: values[rows] for key, values in self.tensors.items()}


class Cells(LightningDataModule):
    """What a user may write: cells in memory, in the order that torch draws."""

    def __init__(self, adata, batch_key=None, n_val=0, **more):
        super().__init__()
        self.n_obs, self.n_vars = adata.shape
        codes = np.zeros(adata.n_obs, dtype=np.int64)
        if batch_key is not None:
            column = adata.obs[batch_key].astype("category").cat
            codes = column.codes.to_numpy(dtype=np.int64)
        self.tensors = {
            "X": torch.as_tensor(adata.X.toarray(), dtype=torch.float32),
            "batch": torch.as_tensor(codes)[:, None],
            **more,
        }
        self.val_idx, self.train_idx = np.arange(n_val), np.arange(n_val, adata.n_obs)

    def _loader(self, rows, shuffle):
        data = Rows({key: values[rows] for key, values in self.tensors.items()})
        order = RandomSampler(data) if shuffle else range(len(data))
        return DataLoader(data, sampler=BatchSampler(order, BATCH_SIZE, False), batch_size=None)

    def train_dataloader(self):
        return self._loader(self.train_idx, True)

    def val_dataloader(self):
        return self._loader(self.val_idx, False)


class Named(Cells):
    """Tells the names of its batches as data modules of scvi-tools do."""

    def __init__(self, adata, names, size_factor_key=None, **arguments):
        super().__init__(adata, **arguments)
        state = {"categorical_mapping": np.array(names)}
        self.registry = {
            "setup_args": {"size_factor_key": size_factor_key},
            "field_registries": {"batch": {"state_registry": state}},
        }


@pytest.fixture(scope="module")
def adata():
    """Two batches, more cells than a minibatch."""
    return small_counts(200, n_batches=2)


@pytest.fixture(scope="module")
def reference(adata):
    """Model of minibatches from AnnData."""
    return in_order(adata)


def in_order(adata, setup=None):
    """Train from AnnData, without the shuffle of the split that comes before that of epochs."""
    model = build(adata, setup={"batch_key": "batch"} if setup is None else setup)
    train(model, shuffle_set_split=False)
    return model


def state(model):
    return {key: values.cpu().numpy() for key, values in model.module.state_dict().items()}


def assert_same(model, reference):
    """All parameters are the same, bit for bit."""
    expected = state(reference)
    for key, values in state(model).items():
        np.testing.assert_array_equal(values, expected[key], err_msg=key)


def trained(adata, datamodule, setup=None, **arguments):
    model = build(adata, setup={"batch_key": "batch"} if setup is None else setup)
    train(model, datamodule=datamodule, **arguments)
    return model


def test_the_same_minibatches_give_the_same_model(adata, reference):
    """Also: size factors that the data module makes up are not the user's."""
    made_up = torch.linspace(0.1, 9.0, adata.n_obs)[:, None]
    model = trained(adata, Cells(adata, "batch", size_factor=made_up))
    assert_same(model, reference)
    for name in ("elbo_train", "kl_global_train"):
        np.testing.assert_array_equal(model.history[name], reference.history[name])
    np.testing.assert_array_equal(model.train_indices, np.arange(adata.n_obs))
    np.testing.assert_array_equal(
        model.get_latent_representation(), reference.get_latent_representation()
    )


def test_made_up_size_factors_do_not_place_cells(adata, reference):
    made_up = torch.linspace(0.1, 9.0, adata.n_obs)[:, None]
    cells = Rows(Cells(adata, "batch", size_factor=made_up).tensors)
    z = reference.get_latent_representation(dataloader=[cells[:50], cells[50:]])
    np.testing.assert_allclose(z, reference.get_latent_representation(), atol=1e-6)


def test_registered_size_factors_are_read(adata):
    adata = adata.copy()
    adata.obs["s"] = np.linspace(0.5, 2.0, adata.n_obs)
    setup = {"batch_key": "batch", "size_factor_key": "s"}
    given = torch.as_tensor(adata.obs["s"].to_numpy(np.float32))[:, None]
    model = trained(adata, Cells(adata, "batch", size_factor=given), setup)
    assert_same(model, in_order(adata, setup))


def test_batches_are_known_by_their_names(adata, reference):
    """A data module may number them in another order."""
    first, second = adata.obs["batch"].astype("category").cat.categories
    datamodule = Named(adata, [second, first], batch_key="batch")
    datamodule.tensors["batch"] = 1 - datamodule.tensors["batch"]
    assert_same(trained(adata, datamodule), reference)


def test_cells_of_a_new_batch_can_be_mapped(adata, reference):
    new = adata[:140].copy()
    new.obs["batch"] = "new"
    queries = []
    for _ in range(2):
        torch.manual_seed(0)  # draws the weights of the new batch
        queries.append(BasisVAE.load_query_data(new.copy(), reference))
    train(queries[0], datamodule=Named(new, ["new"], batch_key="batch"))
    train(queries[1], shuffle_set_split=False)
    assert_same(*queries)
    offset = queries[0].module.genes.batch_offset.detach().cpu().numpy()
    assert (offset[2] != 0).any()  # the third batch is the one that was trained


def test_data_on_disk_give_the_starting_values(adata, reference, tmp_path):
    adata.write_h5ad(tmp_path / "cells.h5ad")
    backed = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    assert_same(trained(backed, Cells(adata, "batch")), reference)
    backed.file.close()


def test_the_split_is_that_of_the_datamodule(adata):
    datamodule = Cells(adata, "batch", n_val=60)
    model = trained(adata, datamodule, early_stopping=True, max_epochs=3)
    np.testing.assert_array_equal(model.train_indices, np.arange(60, 200))
    np.testing.assert_array_equal(model.validation_indices, np.arange(60))
    assert model.trainer.datamodule.n_train == 140
    assert len(model.history["elbo_validation"]) == 3
    # The terms of all genes are spread over the cells that are trained on.
    history = {key: float(table.iloc[-1].iloc[0]) for key, table in model.history.items()}
    parts = history["reconstruction_loss_train"] + history["kl_local_train"]
    assert history["elbo_train"] == pytest.approx(parts + history["kl_global_train"] / 140)


def refusals(adata):
    """Data module, further arguments of train(), setup, and what the message says."""
    batch = {"batch_key": "batch"}
    fewer, other = adata[:, :15].copy(), adata[:150].copy()
    return {
        "genes": (Cells(fewer, "batch"), {}, batch, "15 genes and adata has 20: make both"),
        "cells": (Cells(other, "batch"), {}, batch, "150 cells and adata has 200: make both"),
        "no module": (object(), {}, batch, "not a LightningDataModule; make one"),
        "unknown batch": (
            Named(adata, ["x", "y"], batch_key="batch"),
            {},
            batch,
            "batch_key='batch': x, y of the datamodule is not among the batches of adata",
        ),
        "no batch_key": (
            Named(adata, ["x", "y"], batch_key="batch"),
            {},
            {},
            r"tells 2 batches apart \(x, y\), and adata is registered without batch_key",
        ),
        "size factors": (
            Named(adata, ["0", "1"], batch_key="batch"),
            {},
            {**batch, "size_factor_key": "s"},
            "size_factor_key='s': the datamodule reads size factors from None",
        ),
        "covariate": (
            Cells(adata, "batch"),
            {},
            {**batch, "continuous_covariate_keys": ["s"]},
            "have no extra_continuous_covs, which setup_anndata has registered",
        ),
        "train_size": (
            Cells(adata, "batch"),
            {"train_size": 0.9},
            batch,
            "train_size=0.9 does not go with datamodule",
        ),
        "batch_size": (
            Cells(adata, "batch"),
            {"batch_size": 64},
            batch,
            "batch_size=64 does not go with datamodule",
        ),
        "checkpoint": (
            Cells(adata, "batch"),
            {"checkpoint_dir": "here"},
            batch,
            "checkpoint_dir='here' does not go with datamodule",
        ),
        "early stopping": (
            Cells(adata, "batch"),
            {"early_stopping": True},
            batch,
            "early_stopping=True takes validation cells",
        ),
        "observed z": (
            Cells(adata, "batch"),
            {},
            {**batch, "latent_key": "true_z"},
            "latent_key='true_z' does not go with datamodule",
        ),
    }


@pytest.mark.parametrize("name", refusals(small_counts(200, n_batches=2)))
def test_what_does_not_fit_is_refused(adata, name):
    adata = adata.copy()
    adata.obs["s"] = np.linspace(0.5, 2.0, adata.n_obs)
    datamodule, arguments, setup, message = refusals(adata)[name]
    with pytest.raises(ValueError, match=message):
        trained(adata, datamodule, setup, **arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"X": torch.zeros(200, 7)}, "7 genes and adata has 20"),
        ({"batch": torch.full((200, 1), 5)}, "number batches from 5 to 5, and adata from 0 to 1"),
    ],
)
def test_minibatches_are_checked_where_the_datamodule_tells_nothing(adata, change, message):
    datamodule = Cells(adata, "batch", **change)
    BasisVAE.setup_anndata(adata, batch_key="batch")
    manager = BasisVAE(adata, n_basis=3).adata_manager
    batch = next(iter(datamodule.train_dataloader()))
    with pytest.raises(ValueError, match=message):
        ForeignBatches(datamodule, manager, 0).on_before_batch_transfer(batch, 0)


# -- annbatch -----------------------------------------------------------------------------------


def missing_annbatch():
    """Why annbatch cannot be tested here; empty if it can."""
    if sys.version_info < (3, 12):
        return "annbatch takes Python 3.12"
    if not hasattr(scvi.dataloaders, "AnnbatchDataModule"):
        return f"scvi-tools {scvi.__version__} has no AnnbatchDataModule; 1.5 has"
    return "" if importlib.util.find_spec("annbatch") else "annbatch is not installed"


needs_annbatch = pytest.mark.skipif(bool(missing_annbatch()), reason=missing_annbatch() or "-")


@pytest.fixture(scope="module")
def collection(adata, tmp_path_factory):
    """Cells as annbatch stores them: shuffled."""
    from annbatch import DatasetCollection

    folder = tmp_path_factory.mktemp("annbatch")
    adata.write_h5ad(folder / "cells.h5ad")
    return DatasetCollection(str(folder / "cells.zarr")).add_adatas(
        [str(folder / "cells.h5ad")],
        shuffle_chunk_size=10,
        rng=np.random.default_rng(0),
    )


def annbatch_module(collection, batch_size=BATCH_SIZE, **arguments):
    from annbatch import Loader

    loader = Loader(batch_size=batch_size, chunk_size=32, preload_nchunks=8, preload_to_gpu=False)
    return scvi.dataloaders.AnnbatchDataModule(
        loader.use_collection(collection),
        **{"batch_key": "batch", "chunk_size": 32, "preload_nchunks": 8, **arguments},
    )


@needs_annbatch
def test_annbatch_trains_as_anndata_does(adata, reference, collection):
    model = trained(adata, annbatch_module(collection))
    # Other minibatches of the same cells. Between two orders of AnnData's own, z differs by up to
    # 0.14, q(w) of genes with a clear group by up to 0.03, and the bound by 2 %. Which group the
    # others lean to is the noise of two epochs.
    expected = reference.get_clusters()
    is_clear = (expected["confidence"] > 0.7).to_numpy()
    assert is_clear.mean() > 0.5
    found = model.get_clusters()["cluster"]
    assert (found.astype(str) == expected["cluster"].astype(str))[is_clear].all()
    np.testing.assert_allclose(
        model.get_latent_representation(), reference.get_latent_representation(), atol=0.2
    )
    shares = (m.get_assignments()[is_clear] for m in (model, reference))
    np.testing.assert_allclose(*shares, atol=0.1)
    bounds = [float(m.history["elbo_train"].iloc[-1].iloc[0]) for m in (model, reference)]
    assert bounds[0] == pytest.approx(bounds[1], rel=0.03)
    # The same seed gives the same numbers.
    assert_same(trained(adata, annbatch_module(collection)), model)


@needs_annbatch
def test_annbatch_brings_every_cell_once_in_an_order_of_the_seed(adata, collection):
    BasisVAE.setup_anndata(adata, batch_key="batch")
    manager = BasisVAE(adata, n_basis=3).adata_manager

    def epochs(seed):
        batches = ForeignBatches(annbatch_module(collection, batch_size=64), manager, seed)
        loader = batches.train_dataloader()
        parts = [[batches.on_before_batch_transfer(b, 0) for b in loader] for _ in range(2)]
        assert [len(part["X"]) for part in parts[0]] == [64, 64, 64, 8]
        return [
            {key: torch.cat([part[key] for part in epoch]).numpy() for key in epoch[0]}
            for epoch in parts
        ]

    first, second = epochs(0)
    assert set(first) == {"X", "batch"}  # and no size factors of the minibatch
    again, other = epochs(0)[0], epochs(1)[0]
    np.testing.assert_array_equal(first["X"], again["X"])
    assert (first["X"] != second["X"]).any()
    assert (first["X"] != other["X"]).any()
    codes = adata.obs["batch"].astype("category").cat.codes.to_numpy()
    expected = np.unique(np.column_stack([codes, adata.X.toarray()]), axis=0, return_counts=True)
    for epoch in (first, second):
        found = np.unique(
            np.column_stack([epoch["batch"], epoch["X"]]), axis=0, return_counts=True
        )
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[1], expected[1])


@needs_annbatch
def test_annbatch_can_hold_cells_back(adata, collection):
    datamodule = annbatch_module(collection)
    datamodule.set_split(train_size=0.75, batch_size=64)
    model = trained(adata, datamodule, early_stopping=True)
    assert (len(model.train_indices), len(model.validation_indices)) == (150, 50)
    assert np.isfinite(model.history["elbo_validation"].to_numpy(float)).all()


@needs_annbatch
def test_genes_of_annbatch_in_another_order_are_refused(adata, collection):
    turned = adata[:, ::-1].copy()
    with pytest.raises(ValueError, match=r"genes of datamodule are not adata\.var_names"):
        trained(turned, annbatch_module(collection))


@needs_annbatch
def test_covariates_of_annbatch_must_be_the_same(adata, collection):
    setup = {"categorical_covariate_keys": ["batch"]}
    with pytest.raises(
        ValueError, match=r"categorical_covariate_keys=\['batch'\]: the datamodule"
    ):
        trained(adata, annbatch_module(collection, batch_key=None), setup)
