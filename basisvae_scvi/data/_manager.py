"""Registered data in the form that the model reads, whatever the form the user keeps them in."""

from __future__ import annotations

import numpy as np
from anndata.abc import CSCDataset
from scipy import sparse
from scvi import REGISTRY_KEYS
from scvi.data import AnnDataManager

from ._matrices import plain_matrix
from ._values import table_of_numbers


class DataManager(AnnDataManager):
    """Manager of scvi-tools whose data are plain: CSR matrices, arrays in order, numbers.

    A matrix in another storage is converted once and kept beside the user's, which stays as it is.

    Examples
    --------
    >>> import basisvae_scvi as bv
    >>> adata = bv.datasets.simulate_counts(n_obs=60, n_vars=30)
    >>> adata.X = adata.X.tocsc()
    >>> bv.BasisVAE.setup_anndata(adata)
    >>> model = bv.BasisVAE(adata, n_basis=4)
    >>> model.adata_manager.get_from_registry("X").format, adata.X.format
    ('csr', 'csc')
    """

    _source = _plain = None

    def get_from_registry(self, registry_key: str):
        """The registered data.

        Parameters
        ----------
        registry_key
            Key of the registry.
        """
        values = super().get_from_registry(registry_key)
        if registry_key == REGISTRY_KEYS.X_KEY:
            return self._matrix(values)
        is_plain = isinstance(values, np.ndarray) and values.dtype.kind in "biuf"
        return values if is_plain else table_of_numbers(values)

    def _matrix(self, matrix):
        if self._source is None or not _is_same(matrix, self._source):
            self._source, self._plain = matrix, _by_rows(plain_matrix(matrix))
        return self._plain


def _is_same(matrix, other) -> bool:
    """Whether two objects are one matrix; on disk every access makes a new object."""
    if isinstance(matrix, CSCDataset) and isinstance(other, CSCDataset):
        return matrix.group == other.group
    return matrix is other


def _by_rows(matrix):
    """The matrix with the values of each row side by side: minibatches are rows."""
    if sparse.issparse(matrix):
        return matrix.tocsr()
    return np.ascontiguousarray(matrix) if isinstance(matrix, np.ndarray) else matrix
