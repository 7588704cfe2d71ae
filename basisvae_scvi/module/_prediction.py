"""What the module predicts: expected expression, predictive draws, marginal likelihood."""

from __future__ import annotations

import numpy as np
import torch
from scvi.module.base import auto_move_data
from torch import Tensor

from basisvae_scvi.likelihood import expected_observation

from ._constants import OUTPUT_KEYS
from ._priors import standard_normal


class PredictionMixin:
    """Predictions of a :class:`BasisVAEModule`."""

    def expected_expression(
        self, z: Tensor, batch: int, genes: np.ndarray, *, own_course: bool = True
    ) -> Tensor:
        """Expected value of some genes at given points in one batch, for size factor 1.

        Parameters
        ----------
        z
            Points in internal units, shape ``(G, Q)``.
        batch
            Index of the batch.
        genes
            Indices of the genes, shape ``(J,)``.
        own_course
            Whether genes deviate from their basis, or all follow it.

        Returns
        -------
        Shape ``(G, J)``.
        """
        index = torch.as_tensor(genes, device=z.device)
        phi = self.assignment()
        kept = torch.zeros_like(phi)
        kept[index] = phi[index]
        pairs = self.pairs(kept, threshold=1e-8)
        scale, shift = self.pair_parameters(pairs)
        shape_only = z.new_empty(()).expand(z.shape[0], self.genes.n_genes)
        batch_index = torch.full((z.shape[0], 1), batch, device=z.device)
        size_factor = z.new_ones(z.shape[0], 1) if self.likelihood.is_count else None
        observations = self.observations(
            shape_only, z, size_factor, batch_index, composes=False, deviates=own_course
        )
        evaluator = self.basis.evaluator(z, shift)
        weight = pairs.select(phi)
        mean = expected_observation(
            self.likelihood, observations, z, evaluator, pairs, weight, scale, shift
        )
        return mean.index_select(1, index)

    @torch.inference_mode()
    def sample(
        self,
        tensors: dict[str, Tensor],
        n_samples: int = 1,
        generative_kwargs: dict | None = None,
    ) -> Tensor:
        """Posterior predictive draws: z ~ q(z | x), w ~ q(w), y ~ p(y | z, w).

        Returns
        -------
        Shape ``(N, P)`` for one sample, else ``(N, P, n_samples)``.
        """
        draws = []
        for _ in range(n_samples):
            phi = self.assignment()
            w = torch.multinomial(phi, 1)
            one_hot = torch.zeros_like(phi).scatter_(1, w, 1.0)
            _, outputs = self.forward(
                tensors,
                generative_kwargs={**(generative_kwargs or {}), "assignment": one_hot},
                compute_loss=False,
            )
            draws.append(outputs[OUTPUT_KEYS.PX].sample().cpu())
        return draws[0] if n_samples == 1 else torch.stack(draws, dim=-1)

    @torch.inference_mode()
    @auto_move_data
    def marginal_ll(
        self,
        tensors: dict[str, Tensor],
        n_mc_samples: int,
        return_mean: bool = False,
        n_mc_samples_per_pass: int = 1,
    ) -> Tensor | float:
        """Importance-sampled bound on log p(x_n): z integrated out, w kept at q(w).

        log (1/S) Σ_s exp( Σ_jk φ_jk log p(y_nj | z_s, k) ) p(z_s) / q(z_s | x_n), z_s ~ q.
        """
        inference_input = self._get_inference_input(tensors)
        phi = self.assignment()
        pairs = self.pairs(phi, threshold=1e-8)
        log_weights = []
        for _ in range(n_mc_samples):
            outputs = self.inference(**inference_input)
            z, qz = outputs[OUTPUT_KEYS.Z], outputs[OUTPUT_KEYS.QZ]
            log_weight = self.log_likelihood(tensors, z, pairs, pairs.select(phi)).per_cell
            if qz is not None:
                prior = outputs[OUTPUT_KEYS.PRIOR] or standard_normal(z)
                log_weight = log_weight + (prior.log_prob(z) - qz.log_prob(z)).sum(-1)
            log_weights.append(log_weight)
        stacked = torch.stack(log_weights)
        log_p = torch.logsumexp(stacked, 0) - torch.log(torch.tensor(float(len(log_weights))))
        return log_p.mean().item() if return_mean else log_p.cpu()
