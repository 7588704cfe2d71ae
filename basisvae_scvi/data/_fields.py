"""AnnData fields: scvi-tools' own, with the checks that it leaves out."""

from __future__ import annotations

import numpy as np
from anndata import AnnData
from scipy import sparse
from scvi.data.fields import LayerField

from basisvae_scvi._compat import set_data_in_registry

from ._checks import check_finite, check_layer, check_names, check_same_genes, describe_location
from ._digests import sample_digests
from ._registered import DIGESTS


class MatrixField(LayerField):
    """The data matrix: finite, with unique genes, always in the model's order of genes.

    scipy's sparse arrays are stored as sparse matrices of the same memory, since the loaders of
    scvi-tools accept only the latter. Whether the values suit the likelihood is checked where the
    likelihood is known, in :class:`basisvae_scvi.BasisVAE`.
    """

    def __init__(self, registry_key: str, layer: str | None):
        super().__init__(registry_key, layer, is_count_data=False)

    def validate_field(self, adata: AnnData) -> None:
        """Check presence, names and finiteness."""
        check_layer(adata, self.attr_key)
        check_names(adata)
        super().validate_field(adata)
        check_finite(self.get_field_data(adata), describe_location(self.attr_key))

    def register_field(self, adata: AnnData) -> dict:
        """Register, after turning a sparse array into a sparse matrix without copying it."""
        check_layer(adata, self.attr_key)
        data = self.get_field_data(adata)
        if isinstance(data, sparse.csr_array | sparse.csc_array):
            matrix_type = sparse.csr_matrix if data.format == "csr" else sparse.csc_matrix
            matrix = matrix_type((data.data, data.indices, data.indptr), shape=data.shape)
            set_data_in_registry(adata, matrix, self.attr_name, self.attr_key)
        state = super().register_field(adata)
        return {**state, DIGESTS: sample_digests(self.get_field_data(adata))}

    def transfer_field(self, state_registry: dict, adata_target: AnnData, **kwargs) -> dict:
        """Transfer to new data, whose genes must be the registered ones in the same order."""
        expected = np.asarray(state_registry[self.COLUMN_NAMES_KEY])
        check_same_genes(adata_target.var_names, expected)
        return super().transfer_field(state_registry, adata_target, **kwargs)
