"""AnnData fields: scvi-tools' own, with the checks that it leaves out, for columns of any type."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pandas as pd
from anndata import AnnData
from scvi.data.fields import (
    CategoricalJointObsField,
    CategoricalObsField,
    LayerField,
    NumericalJointObsField,
)

from ._checks import (
    check_finite,
    check_names,
    check_same_genes,
    describe_location,
    read_matrix,
    shortened,
)
from ._digests import sample_digests
from ._obs import read_categories, read_numbers
from ._registered import DIGESTS


class MatrixField(LayerField):
    """The data matrix: finite, with unique genes, always in the model's order of genes.

    The user's matrix is left as it is, whatever its storage; :class:`DataManager` gives the model
    what it reads. Whether the values suit the likelihood is checked where the likelihood is known,
    in :class:`basisvae_scvi.BasisVAE`.
    """

    def __init__(self, registry_key: str, layer: str | None):
        super().__init__(registry_key, layer, is_count_data=False, correct_data_format=False)

    def get_field_data(self, adata: AnnData):
        """The matrix in a form that can be read; see :func:`plain_matrix`."""
        return read_matrix(adata, self.attr_key)

    def validate_field(self, adata: AnnData) -> None:
        """Check presence, names and finiteness."""
        check_names(adata)
        check_finite(self.get_field_data(adata), describe_location(self.attr_key))

    def register_field(self, adata: AnnData) -> dict:
        """Register, and remember by what to know that the values are still the same."""
        state = super().register_field(adata)
        return {**state, DIGESTS: sample_digests(super().get_field_data(adata))}

    def transfer_field(self, state_registry: dict, adata_target: AnnData, **kwargs) -> dict:
        """Transfer to new data, whose genes must be the registered ones in the same order."""
        expected = np.asarray(state_registry[self.COLUMN_NAMES_KEY])
        check_same_genes(adata_target.var_names, expected)
        return super().transfer_field(state_registry, adata_target, **kwargs)


class BatchField(CategoricalObsField):
    """The batches: names of one kind, none of them missing.

    Parameters
    ----------
    registry_key
        Key of the registry.
    key
        Column of ``.obs``; ``None`` for one batch.
    """

    def register_field(self, adata: AnnData) -> dict:
        """Register; see :func:`read_categories` for what may be in the column."""
        with self._plain(adata):
            return super().register_field(adata)

    def transfer_field(
        self,
        state_registry: dict,
        adata_target: AnnData,
        extend_categories: bool = False,
        **kwargs,
    ) -> dict:
        """Transfer to new data; without ``extend_categories`` their batches must be known."""
        with self._plain(adata_target):
            if not (self.is_default or extend_categories):
                known = state_registry[self.CATEGORICAL_MAPPING_KEY]
                _check_known(adata_target, self._original_attr_key, known)
            with _few_cells_are_fine():
                return super().transfer_field(
                    state_registry, adata_target, extend_categories=extend_categories, **kwargs
                )

    @contextmanager
    def _plain(self, adata: AnnData) -> Iterator[None]:
        keys = [] if self.is_default else [self._original_attr_key]
        columns = {key: read_categories(adata, key, "batch_key") for key in keys}
        with _replaced(adata.obs, columns):
            yield


class CategoriesField(CategoricalJointObsField):
    """Covariates of categories: names of one kind each, none of them missing."""

    def register_field(self, adata: AnnData) -> dict:
        """Register; see :func:`read_categories` for what may be in the columns."""
        with self._plain(adata):
            return super().register_field(adata)

    def transfer_field(
        self,
        state_registry: dict,
        adata_target: AnnData,
        extend_categories: bool = False,
        **kwargs,
    ) -> dict:
        """Transfer to new data; without ``extend_categories`` their values must be known."""
        with self._plain(adata_target):
            for key in [] if extend_categories else self.attr_keys:
                _check_known(adata_target, key, state_registry[self.MAPPINGS_KEY][key])
            with _few_cells_are_fine():
                return super().transfer_field(
                    state_registry, adata_target, extend_categories=extend_categories, **kwargs
                )

    @contextmanager
    def _plain(self, adata: AnnData) -> Iterator[None]:
        argument = "categorical_covariate_keys"
        columns = {key: read_categories(adata, key, argument) for key in self.attr_keys}
        with _replaced(adata.obs, columns):
            yield


class NumbersField(NumericalJointObsField):
    """Covariates of numbers, whatever the types of their columns."""

    def register_field(self, adata: AnnData) -> dict:
        """Register; see :func:`read_numbers` for what may be in the columns."""
        argument = "continuous_covariate_keys"
        columns = {key: read_numbers(adata, key, argument) for key in self.attr_keys}
        with _replaced(adata.obs, columns):
            return super().register_field(adata)


@contextmanager
def _replaced(obs: pd.DataFrame, columns: dict[str, pd.Series | np.ndarray]) -> Iterator[None]:
    """Columns in the form that scvi-tools reads, for as long as it reads them."""
    before = {key: obs[key] for key in columns}
    try:
        for key, values in columns.items():
            obs[key] = values
        yield
    finally:
        for key, values in before.items():
            obs[key] = values


@contextmanager
def _few_cells_are_fine() -> Iterator[None]:
    """Leave out scvi-tools' warning that few cells of a category are few to train on."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Category .* has fewer than 3 cells")
        yield


def _check_known(adata: AnnData, key: str, known: np.ndarray) -> None:
    """Raise ValueError for values that the model has not seen."""
    known = pd.Index(known)
    new = pd.Index(adata.obs[key].unique()).difference(known, sort=False)
    if len(new):
        raise ValueError(
            f"adata.obs[{key!r}] has values that are new to the model: {shortened(new)}; it knows "
            f"{shortened(known)}. Map the cells with BasisVAE.load_query_data(adata, model) and "
            "train that for a few epochs."
        )
