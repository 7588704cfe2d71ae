"""train(datamodule=...): what goes with a data module, and what does not."""

from __future__ import annotations

from typing import Any

from basisvae_scvi.data import ForeignBatches

# Arguments of train() that say which cells come when, with their defaults.
_TOLD_BY_DATAMODULE = {
    "train_size": None,
    "validation_size": None,
    "shuffle_set_split": True,
    "batch_size": 128,
    "datasplitter_kwargs": None,
}


class DatamoduleMixin:
    """Minibatches from a data module, for a model that is built from AnnData."""

    def _open_datamodule(self, arguments: dict[str, Any]) -> ForeignBatches | None:
        """The data module of the user, checked; ``None`` without one.

        Parameters
        ----------
        arguments
            Those of :meth:`train`.

        Raises
        ------
        ValueError
            If it does not fit the data or the other arguments.
        """
        datamodule = arguments["datamodule"]
        if datamodule is None:
            return None
        for name, default in _TOLD_BY_DATAMODULE.items():
            if arguments[name] != default:
                raise ValueError(
                    f"{name}={arguments[name]!r} does not go with datamodule, which brings the "
                    "minibatches and the split: set it there, for annbatch with "
                    "datamodule.set_split(train_size=0.9, batch_size=512), and leave it out here."
                )
        if (folder := arguments["checkpoint_dir"]) is not None:
            raise ValueError(
                f"checkpoint_dir={str(folder)!r} does not go with datamodule, whose order of "
                "cells cannot be taken up again: leave one of the two out."
            )
        for name in ("latent_key", "latent_prior_key"):
            if (key := self._setup_argument(name)) is not None:
                raise ValueError(
                    f"{name}={key!r} does not go with datamodule, which does not read what is "
                    "known of z: train without datamodule, on adata opened with backed='r'."
                )
        batches = ForeignBatches(datamodule, self.adata_manager, self.seed_)
        if arguments["early_stopping"] and not batches.n_val:
            raise ValueError(
                "early_stopping=True takes validation cells, and datamodule has none: give it "
                "some, for annbatch with datamodule.set_split(train_size=0.9), or leave "
                "early_stopping out."
            )
        return batches
