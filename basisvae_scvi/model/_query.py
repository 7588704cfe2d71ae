"""Query mapping: new cells on a trained model."""

from __future__ import annotations

from pathlib import Path

import torch

from basisvae_scvi._compat import set_params_online_update
from basisvae_scvi.module import BasisFunctions

from ._arguments import networks_by_default
from ._saved_file import as_source, checked_file

# The settings of scvi-tools' query mapping that decide what is trained, with its defaults.
_FREEZE_DEFAULTS = {
    "unfrozen": False,
    "freeze_decoder_first_layer": True,
    "freeze_batchnorm_encoder": True,
    "freeze_batchnorm_decoder": False,
    "freeze_dropout": False,
    "freeze_expression": True,
    "freeze_classifier": True,
}


class QueryMixin:
    """Adds to scvi-tools' query mapping what BasisVAE needs for new batches."""

    @classmethod
    def load_query_data(cls, adata=None, reference_model=None, *, trust_file=False, **kwargs):
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
        trust_file
            Load a saved reference even if its file names code that no saved BasisVAE needs, and
            run that code.
        **kwargs
            As in :meth:`scvi.model.SCVI.load_query_data`.

        Raises
        ------
        ValueError
            If genes are missing or in another order, or the reference's file is damaged or would
            run foreign code.

        Examples
        --------
        >>> import basisvae_scvi as bv
        >>> adata = bv.datasets.simulate_counts(
        ...     n_obs=120, n_vars=30, n_batches=3, mean_count=3.0, seed=1
        ... )
        >>> is_old = adata.obs["batch"] != adata.obs["batch"].iloc[0]
        >>> old, new = adata[is_old].copy(), adata[~is_old].copy()
        >>> bv.BasisVAE.setup_anndata(old, batch_key="batch")
        >>> model = bv.BasisVAE(old, n_basis=4)
        >>> model.train(max_epochs=2, seed=1, enable_progress_bar=False)
        >>> query = bv.BasisVAE.load_query_data(new, model)
        >>> query.train(max_epochs=2, seed=1, enable_progress_bar=False)
        """
        reference_model = as_source(reference_model)
        with checked_file(reference_model, None, trust_file):
            with networks_by_default(_has_networks(reference_model)):
                query = super().load_query_data(adata, reference_model, **kwargs)
            n_known = _n_known_batches(reference_model, cls)
        query.is_query_ = True
        query.freeze_settings_ = {
            name: kwargs.get(name, default) for name, default in _FREEZE_DEFAULTS.items()
        }
        query.module.genes.batch_is_reference[n_known:] = 0.0
        query.n_known_batches_ = n_known
        query._train_new_offsets()
        return query

    @classmethod
    def load(cls, *args, **kwargs):
        """Load a saved model; see :meth:`scvi.model.base.BaseModelClass.load`.

        What was frozen in a query model is frozen again.

        Examples
        --------
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> import scvi
        >>> import basisvae_scvi as bv
        >>> scvi.settings.verbosity = 30  # warnings only
        >>> with TemporaryDirectory() as folder:
        ...     model.save(Path(folder) / "saved")
        ...     again = bv.BasisVAE.load(Path(folder) / "saved", adata=adata)
        >>> again.get_clusters().equals(model.get_clusters())
        True
        >>> scvi.settings.verbosity = 20
        """
        model = super().load(*args, **kwargs)
        if model.is_query_:
            set_params_online_update(model.module, **model.freeze_settings_)
            model._train_new_offsets()
        return model

    def _train_new_offsets(self) -> None:
        """Let gradients through to the offsets of new batches only."""
        offset = self.module.genes.batch_offset
        if self.freeze_settings_["unfrozen"] or self.n_known_batches_ == offset.shape[0]:
            return
        mask = torch.zeros_like(offset)
        mask[self.n_known_batches_ :] = 1.0
        offset.requires_grad_(True)
        offset.register_hook(lambda gradient: gradient * mask.to(gradient.device))


def _has_networks(reference) -> bool:
    """Whether a model, or the folder of a saved one, has networks for basis functions."""
    if hasattr(reference, "module"):
        return isinstance(reference.module.basis, BasisFunctions)
    content = torch.load(Path(reference) / "model.pt", map_location="cpu", weights_only=False)
    return "basis.direction" in content["model_state_dict"]


def _n_known_batches(reference_model, cls) -> int:
    """Number of batches of the reference, whose offsets stay as they are."""
    if isinstance(reference_model, str):
        registry = cls.load_registry(reference_model)
        state = registry["field_registries"]["batch"]["state_registry"]
        return len(state["categorical_mapping"])
    return reference_model.module.n_batch
