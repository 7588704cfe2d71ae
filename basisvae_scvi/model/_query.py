"""Query mapping: new cells on a trained model."""

from __future__ import annotations

import torch


class QueryMixin:
    """Adds to scvi-tools' query mapping what BasisVAE needs for new batches."""

    @classmethod
    def load_query_data(cls, adata=None, reference_model=None, **kwargs):
        """Prepare the model for new cells, as in scArches.

        Bases, assignments, shifts and scales stay frozen, so that new cells are placed on the
        reference's course. Trained are the encoder's weights of new batches, and for new batches
        the genes' log offsets.

        Parameters
        ----------
        adata
            New cells with the model's genes in the model's order; see ``prepare_query_anndata``.
        reference_model
            Trained model, or the directory of a saved one.
        **kwargs
            As in :meth:`scvi.model.SCVI.load_query_data`.

        Raises
        ------
        ValueError
            If genes are missing or in another order.
        """
        query = super().load_query_data(adata, reference_model, **kwargs)
        query.is_query_ = True
        genes = query.module.genes
        if genes.n_batch > 1:
            n_reference = _n_reference_batches(reference_model, cls)
            genes.batch_is_reference[n_reference:] = 0.0
            if n_reference < genes.n_batch:
                _train_new_rows(genes.batch_offset, n_reference)
        return query


def _n_reference_batches(reference_model, cls) -> int:
    if isinstance(reference_model, str):
        registry = cls.load_registry(reference_model)
        state = registry["field_registries"]["batch"]["state_registry"]
        return len(state["categorical_mapping"])
    return reference_model.module.n_batch


def _train_new_rows(offset: torch.nn.Parameter, n_reference: int) -> None:
    """Let gradients through to the rows of new batches only."""
    mask = torch.zeros_like(offset)
    mask[n_reference:] = 1.0
    offset.requires_grad_(True)
    offset.register_hook(lambda gradient: gradient * mask.to(gradient.device))
