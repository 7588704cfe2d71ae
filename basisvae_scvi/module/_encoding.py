"""From data to q(z): size factors, the prior of z, and the encoder."""

from __future__ import annotations

from typing import Any

import torch
from scvi import REGISTRY_KEYS
from scvi.module.base import auto_move_data
from torch import Tensor
from torch.distributions import Normal

from ._constants import OUTPUT_KEYS, TENSOR_KEYS

_MIN_SIZE_FACTOR = 1e-6


class EncodingMixin:
    """Part of :class:`BasisVAEModule`: q(z | y), and what it takes from the data."""

    def size_factors(self, tensors: dict[str, Tensor]) -> Tensor | None:
        """s_n, shape ``(N, 1)``: the user's, or observed library over its median."""
        if not self.likelihood.is_count:
            return None
        given = tensors.get(REGISTRY_KEYS.SIZE_FACTOR_KEY)
        if given is None or not self.given_size_factor:
            given = tensors[REGISTRY_KEYS.X_KEY].sum(1, keepdim=True) / self.genes.library
        return given.clamp_min(_MIN_SIZE_FACTOR)

    def _encoder_input(self, x: Tensor, size_factor: Tensor | None) -> Tensor:
        if size_factor is not None:
            return torch.log1p(x / size_factor)
        return x / self.genes.feature_scale

    def _get_inference_input(
        self, tensors: dict[str, Tensor], full_forward_pass: bool = False
    ) -> dict[str, Any]:
        # Training has moved them; loaders of the model's methods leave them on the CPU.
        tensors = {key: values.to(self.device) for key, values in tensors.items()}
        return {
            "x": tensors[REGISTRY_KEYS.X_KEY],
            OUTPUT_KEYS.SIZE_FACTOR: self.size_factors(tensors),
            OUTPUT_KEYS.BATCH: tensors[REGISTRY_KEYS.BATCH_KEY],
            "cont_covs": tensors.get(REGISTRY_KEYS.CONT_COVS_KEY),
            "cat_covs": tensors.get(REGISTRY_KEYS.CAT_COVS_KEY),
            "latent": tensors.get(TENSOR_KEYS.OBSERVED_LATENT),
            "prior": tensors.get(TENSOR_KEYS.LATENT_PRIOR),
        }

    def latent_prior(self, values: Tensor) -> Normal:
        """p(z) of cells with prior means ``values``, shape ``(N, Q)``, in units of the data.

        N(0, 1) for cells without one (NaN).
        """
        mean = (values - self.latent_centre) / self.latent_spread
        is_free = mean.isnan()
        scale = torch.full_like(mean, self.latent_prior_scale)
        return Normal(mean.masked_fill(is_free, 0.0), scale.masked_fill(is_free, 1.0))

    @auto_move_data
    def inference(
        self,
        x: Tensor,
        size_factor: Tensor | None,
        batch_index: Tensor,
        cont_covs: Tensor | None = None,
        cat_covs: Tensor | None = None,
        latent: Tensor | None = None,
        prior: Tensor | None = None,
        n_samples: int = 1,
    ) -> dict[str, Any]:
        """q(z | x) and a sample of it; with observed z, that z and ``None`` for q.

        The log library size comes along for the methods of scvi-tools that ask for it.
        """
        library = x.new_zeros(x.shape[0], 1)
        if size_factor is not None:
            library = torch.log(size_factor * self.genes.library)
        pz = None if prior is None else self.latent_prior(prior)
        common = {OUTPUT_KEYS.LIBRARY: library, OUTPUT_KEYS.QL: None, OUTPUT_KEYS.PRIOR: pz}
        if self.observed_latent:
            z = (latent - self.latent_centre) / self.latent_spread
            z = z if n_samples == 1 else z.expand(n_samples, *z.shape)
            return {OUTPUT_KEYS.Z: z, OUTPUT_KEYS.QZ: None, **common}
        encoder_input = self._encoder_input(x, size_factor)
        if cont_covs is not None:
            encoder_input = torch.cat([encoder_input, cont_covs], dim=-1)
        categories = () if cat_covs is None else torch.split(cat_covs, 1, dim=1)
        qz, z = self.z_encoder(encoder_input, batch_index, *categories)
        if n_samples > 1:
            z = qz.sample((n_samples,))
        return {OUTPUT_KEYS.Z: z, OUTPUT_KEYS.QZ: qz, **common}
