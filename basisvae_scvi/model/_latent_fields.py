"""What the user knows of z: observed, or prior means with a width."""

from __future__ import annotations

import numpy as np
from anndata import AnnData
from scvi.data import AnnDataManager
from scvi.data.fields import NumericalObsField, ObsmField

from basisvae_scvi.module import TENSOR_KEYS


def latent_field(
    adata: AnnData, latent_key: str | None, latent_prior_key: str | None
) -> NumericalObsField | ObsmField | None:
    """Field of an observed z or of its prior means; ``None`` without either."""
    key = latent_prior_key if latent_key is None else latent_key
    if key is None:
        return None
    tensor_key = TENSOR_KEYS.LATENT_PRIOR if latent_key is None else TENSOR_KEYS.OBSERVED_LATENT
    return (ObsmField if key in adata.obsm else NumericalObsField)(tensor_key, key)


def latent_arguments(
    manager: AnnDataManager | None, setup_arguments: dict, n_latent: int, scale: float
) -> dict:
    """Arguments of the module that say what is known of z.

    Parameters
    ----------
    manager
        Data of the model, ``None`` if there are none: then the units come with the saved state.
    setup_arguments
        Arguments of ``setup_anndata``.
    n_latent
        Number of latent dimensions.
    scale
        Standard deviation of the prior about prior means.
    """
    arguments = {
        "observed_latent": setup_arguments.get("latent_key") is not None,
        "anchored_latent": setup_arguments.get("latent_prior_key") is not None,
        "latent_prior_scale": scale,
    }
    name = "latent_key" if arguments["observed_latent"] else "latent_prior_key"
    if manager is None or setup_arguments.get(name) is None:
        return arguments
    is_observed = arguments["observed_latent"]
    tensor_key = TENSOR_KEYS.OBSERVED_LATENT if is_observed else TENSOR_KEYS.LATENT_PRIOR
    values = np.asarray(manager.get_from_registry(tensor_key), dtype=np.float64)
    values = values.reshape(len(values), -1)
    if values.shape[1] != n_latent:
        raise ValueError(
            f"{name}={setup_arguments[name]!r} has {values.shape[1]} dimension(s), but "
            f"n_latent={n_latent}; make them equal."
        )
    spread = np.nanstd(values, axis=0)
    return {
        **arguments,
        "latent_centre": np.nanmean(values, axis=0),
        "latent_spread": np.where(spread > 0, spread, 1.0),
    }
