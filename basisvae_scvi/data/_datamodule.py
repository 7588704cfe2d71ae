"""Minibatches that a Lightning data module reads, of cells that AnnData describes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from scvi import REGISTRY_KEYS
from scvi.data import AnnDataManager
from torch import Tensor

from basisvae_scvi._compat import FIELD_REGISTRIES_KEY, STATE_REGISTRY_KEY, seed_sampler

from ._checks import shortened

# Argument of setup_anndata, and the entry of the registry in AnnData's and in the data module's.
_COVARIATES = {
    REGISTRY_KEYS.CAT_COVS_KEY: ("categorical_covariate_keys", "mappings", "mapping"),
    REGISTRY_KEYS.CONT_COVS_KEY: ("continuous_covariate_keys", "columns", "columns"),
}


class ForeignBatches(LightningDataModule):
    """Minibatches of another data module, in the codes under which AnnData is registered.

    Only the tensors of registered fields go through. Batches are known by their names, since data
    modules number them in orders of their own.

    Parameters
    ----------
    source
        Data module that reads the same cells. If its ``val_idx`` names cells, its split
        holds; else all cells are trained on.
    manager
        Manager of the AnnData.
    seed
        Of the order of the cells, where it is annbatch that draws it.

    Attributes
    ----------
    train_idx, val_idx, test_idx
        Rows of the data module.
    n_train, n_val
        Their numbers.

    Raises
    ------
    ValueError
        For what tells that the data module and AnnData do not belong together.
    """

    def __init__(self, source: LightningDataModule, manager: AnnDataManager, seed: int):
        super().__init__()
        if not isinstance(source, LightningDataModule):
            raise ValueError(
                f"datamodule is of type {type(source).__name__}, not a LightningDataModule; make "
                "one of an annbatch loader with scvi.dataloaders.AnnbatchDataModule(loader, ...)."
            )
        self.source, self.seed = source, seed
        self._setup = manager.registry["setup_args"]
        self._keys = list(manager.data_registry)
        self._n_batch = manager.summary_stats.n_batch
        n_obs = manager.summary_stats.n_cells
        self._n_vars = manager.summary_stats.n_vars
        _check_number(source, "n_obs", n_obs, "cells")
        _check_number(source, "n_vars", self._n_vars, "genes")
        _check_genes(source, np.asarray(manager.get_state_registry("X").column_names))
        self._check_columns(manager)
        self._batch_codes = self._codes_of_batches(manager)
        if not _rows(source, "val_idx").size and hasattr(source, "set_split"):
            source.set_split(train_size=1.0)  # as scvi-tools does; it also turns shuffling on
        has_split = _rows(source, "val_idx").size > 0
        self.train_idx = _rows(source, "train_idx") if has_split else np.arange(n_obs)
        self.val_idx = _rows(source, "val_idx")
        self.test_idx = _rows(source, "test_idx") if has_split else np.arange(0)
        self.n_train, self.n_val = len(self.train_idx), len(self.val_idx)

    # -- checks -------------------------------------------------------------------------------

    def _check_columns(self, manager: AnnDataManager) -> None:
        """Raise ValueError for columns of obs that the data module says it reads otherwise."""
        registry = getattr(self.source, "registry", None)
        key = self._setup.get("size_factor_key")
        if registry and key != (other := registry["setup_args"].get("size_factor_key")) and key:
            raise ValueError(
                f"size_factor_key={key!r}: the datamodule reads size factors from {other}. Leave "
                "size_factor_key out of setup_anndata to use the observed library size, or train "
                "without datamodule."
            )
        for field, (argument, here, there) in _COVARIATES.items():
            if field not in manager.data_registry or not registry:
                continue
            ours = _plain(manager.get_state_registry(field)[here])
            theirs = _plain(_state(self.source, field).get(there))
            if ours != theirs:
                raise ValueError(
                    f"{argument}={self._setup[argument]}: the datamodule has {theirs} there, and "
                    f"adata has {ours}. Make it with the same {argument}; values are sorted as "
                    "text there, as they are here after astype(str) before setup_anndata."
                )

    def _codes_of_batches(self, manager: AnnDataManager) -> Tensor | None:
        """AnnData's number of each batch of the data module; ``None`` where they have no names."""
        names = _state(self.source, REGISTRY_KEYS.BATCH_KEY).get("categorical_mapping")
        key = self._setup.get("batch_key")
        known = manager.get_state_registry(REGISTRY_KEYS.BATCH_KEY).categorical_mapping
        known = [str(name) for name in known]
        if names is None or len(names) == len(known) == 1:
            return None
        foreign = [str(name) for name in names if str(name) not in known]
        if not foreign:
            return torch.tensor([known.index(str(name)) for name in names])
        if key is None:
            raise ValueError(
                f"The datamodule tells {len(names)} batches apart ({shortened(names)}), and adata "
                "is registered without batch_key. Name the column in setup_anndata, or make the "
                "datamodule without batch_key."
            )
        raise ValueError(
            f"batch_key={key!r}: {shortened(foreign)} of the datamodule is not among the batches "
            f"of adata ({shortened(known)}). Make the datamodule of the same cells, with "
            f"batch_key={key!r}."
        )

    # -- what Lightning calls -------------------------------------------------------------------

    def prepare_data(self) -> None:
        """As the data module does."""
        self.source.prepare_data()

    def setup(self, stage: str) -> None:
        """As the data module does; refuse several processes, which would see the same cells."""
        if self.trainer is not None and self.trainer.world_size > 1:
            raise ValueError(
                f"datamodule works with one device, and there are {self.trainer.world_size}: pass "
                "devices=1, or train without datamodule."
            )
        self.source.trainer = self.trainer
        self.source.setup(stage)

    def teardown(self, stage: str) -> None:
        """As the data module does."""
        self.source.teardown(stage)

    def train_dataloader(self) -> Any:
        """Loader of the training cells."""
        loader = self.source.train_dataloader()
        seed_sampler(loader, self.seed)
        return loader

    def val_dataloader(self) -> Any:
        """Loader of the validation cells, empty without any."""
        return self.source.val_dataloader() if self.n_val else []

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> dict[str, Tensor]:
        """Tensors of the registered fields, with AnnData's numbers of batches."""
        batch = self.source.on_before_batch_transfer(batch, dataloader_idx)
        missing = [key for key in self._keys if batch.get(key) is None]
        if missing:
            raise ValueError(
                f"The minibatches of datamodule have no {shortened(missing)}, which "
                f"setup_anndata has registered; there are: {shortened(batch)}. Make the "
                "datamodule with the same columns, or register adata without them."
            )
        tensors = {key: torch.as_tensor(batch[key]) for key in self._keys}
        x = tensors[REGISTRY_KEYS.X_KEY]
        x = x if x.layout == torch.strided else x.to_dense()
        if x.shape[1] != self._n_vars:
            raise ValueError(_other_number("genes", x.shape[1], self._n_vars))
        tensors[REGISTRY_KEYS.X_KEY] = x.float()
        codes = tensors[REGISTRY_KEYS.BATCH_KEY].reshape(-1, 1).long()
        if self._batch_codes is not None:
            codes = self._batch_codes.to(codes.device)[codes]
        if codes.numel() and not 0 <= int(codes.min()) <= int(codes.max()) < self._n_batch:
            raise ValueError(
                f"batch_key={self._setup.get('batch_key')!r}: the minibatches of datamodule "
                f"number batches from {int(codes.min())} to {int(codes.max())}, and adata from 0 "
                f"to {self._n_batch - 1}. Number them as the categories of the column."
            )
        tensors[REGISTRY_KEYS.BATCH_KEY] = codes
        return tensors

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        """As the data module does."""
        return self.source.transfer_batch_to_device(batch, device, dataloader_idx)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """As the data module does."""
        return self.source.on_after_batch_transfer(batch, dataloader_idx)


def _rows(source: LightningDataModule, name: str) -> np.ndarray:
    """Rows of a part of the split; none where the data module does not tell."""
    rows = getattr(source, name, None)
    return np.arange(0) if rows is None else np.asarray(rows)


def _state(source: LightningDataModule, field: str) -> dict[str, Any]:
    """What the registry of a data module of scvi-tools keeps of a field, if it has one."""
    registry = getattr(source, "registry", None) or {}
    return registry.get(FIELD_REGISTRIES_KEY, {}).get(field, {}).get(STATE_REGISTRY_KEY, {})


def _plain(values: Any) -> Any:
    """Names as lists of text, in their order, to be compared."""
    if values is None:
        return None
    if hasattr(values, "items"):
        return [(str(key), _plain(value)) for key, value in values.items()]
    return [str(value) for value in values]


def _other_number(what: str, found: int, expected: int) -> str:
    return (
        f"The datamodule has {found} {what} and adata has {expected}: make both of the same file, "
        "since adata gives the starting values and the datamodule the minibatches."
    )


def _check_number(source: LightningDataModule, name: str, expected: int, what: str) -> None:
    found = getattr(source, name, None)
    if found is not None and found != expected:
        raise ValueError(_other_number(what, found, expected))


def _check_genes(source: LightningDataModule, expected: np.ndarray) -> None:
    """Raise ValueError for other genes, or another order, where the loader knows their names."""
    var = getattr(getattr(source, "dataset", None), "var", None)
    if var is None or list(var.index.astype(str)) == list(expected.astype(str)):
        return
    raise ValueError(
        "The genes of datamodule are not adata.var_names in their order. Read adata from the "
        "files that the datamodule reads, or write these from adata."
    )
