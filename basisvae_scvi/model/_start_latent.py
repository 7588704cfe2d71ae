"""Where z starts: on the manifold, where the user says, and near its prior means."""

from __future__ import annotations

import numpy as np
import torch

from basisvae_scvi.data import read_latent
from basisvae_scvi.inference import LatentPrior, further_orders, start_latent
from basisvae_scvi.module import TENSOR_KEYS

INIT_METHODS = ("manifold", "pca", "random")
# Of what training starts from: whoever repeats a run with another seed is to find the same.
SEARCH_SEED = 0
# How far a place on the manifold is off, in standard deviations of z, when it meets a prior mean.
_MANIFOLD_WIDTH = 0.5


class StartLatentMixin:
    """Starting values of z."""

    def _start_z(self, matrix, size_factor: np.ndarray | None, init: str) -> np.ndarray:
        """z⁰ of all cells, shape ``(N, Q)``."""
        module = self.module
        if module.observed_latent:
            dataset = self.adata_manager.create_torch_dataset()
            values = dataset[list(range(self.adata.n_obs))][TENSOR_KEYS.OBSERVED_LATENT]
            values = np.asarray(values, dtype=np.float64)
            centred = values - module.latent_centre.cpu().numpy()
            return centred / module.latent_spread.cpu().numpy()
        if init not in INIT_METHODS:
            return self._towards_prior(self._given_z(init))
        z = start_latent(
            matrix,
            size_factor,
            module.likelihood,
            n_latent=module.n_latent,
            init=init,
            seed=SEARCH_SEED if init == "manifold" else self.seed_,
        )
        return self._towards_prior(z)

    def _orders(self, matrix, size_factor, init: str, z: np.ndarray) -> list[np.ndarray]:
        """The order ``z``, ``(N, 1)``, and paths through the cells that differ, each ``(N,)``."""
        module, first = self.module, z[:, 0]
        if module.observed_latent or init != "manifold":
            return [first]
        others = further_orders(
            matrix,
            size_factor,
            module.likelihood,
            first,
            batch=self._batch_codes(),
            seed=SEARCH_SEED,
        )
        return [first, *(self._towards_prior(order[:, None])[:, 0] for order in others)]

    def _given_z(self, key: str) -> np.ndarray:
        adata = self.adata
        if key not in adata.obsm and key not in adata.obs:
            raise ValueError(
                f"init={key!r} is neither one of {[*INIT_METHODS]} nor a column of adata.obs "
                "or a key of adata.obsm."
            )
        z = read_latent(adata, key, "init")
        if z.shape[1] < self.module.n_latent or not np.isfinite(z).all():
            raise ValueError(
                f"init={key!r} must give {self.module.n_latent} finite number(s) per cell; it has "
                f"{z.shape[1]} column(s) and {int((~np.isfinite(z)).sum())} missing or infinite "
                "value(s). Fill these, or give it as latent_prior_key of setup_anndata, where a "
                "missing value (NaN) leaves a cell free."
            )
        z = z[:, : self.module.n_latent]
        if (z == z[0]).all():
            raise ValueError(
                f"init={key!r} is the same in every cell, which gives them no order; name "
                f"another, or one of {[*INIT_METHODS]}."
            )
        return (z - z.mean(0)) / np.where(z.std(0) > 0, z.std(0), 1.0)

    def _latent_prior(self) -> LatentPrior | None:
        """Prior of z of all cells where they have guesses, else ``None``."""
        module = self.module
        if not module.anchored_latent:
            return None
        values = self.adata_manager.get_from_registry(TENSOR_KEYS.LATENT_PRIOR)
        values = np.array(values, dtype=np.float64).reshape(self.adata.n_obs, -1)  # a copy
        with torch.no_grad():
            prior = module.latent_prior(torch.as_tensor(values, device=module.device))
        mean, sd = prior.loc.cpu().numpy(), prior.scale.cpu().numpy()
        return LatentPrior(mean, sd, is_known=~np.isnan(values))

    def _towards_prior(self, z: np.ndarray) -> np.ndarray:
        """Between z, of whichever sign agrees, and its prior means, as their widths tell."""
        prior = self._latent_prior()
        if prior is None:
            return z
        agreement = np.where(prior.is_known, z * prior.mean, 0.0).sum(0)
        z = z * np.where(agreement < 0.0, -1.0, 1.0)
        share = np.where(prior.is_known, 1.0 / (1.0 + (prior.sd / _MANIFOLD_WIDTH) ** 2), 0.0)
        return share * prior.mean + (1.0 - share) * z
