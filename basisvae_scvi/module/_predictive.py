"""Predictive distributions in the form that scvi-tools' RNA-seq methods expect."""

from __future__ import annotations

import torch
from scvi.distributions import NegativeBinomial, Normal, Poisson, ZeroInflatedNegativeBinomial
from torch import Tensor
from torch.distributions import Distribution

from basisvae_scvi.likelihood import Likelihood, Observations

from ._genes import GeneParameters


class Bernoulli(torch.distributions.Bernoulli):
    """Bernoulli with the ``get_normalized`` that scvi-tools asks every likelihood for."""

    def get_normalized(self, key: str) -> Tensor:
        """Probability of success, whatever the key: binary data have no library."""
        return self.probs


def predictive_distribution(
    likelihood: Likelihood,
    genes: GeneParameters,
    decoded: list[tuple[Tensor, Observations]],
    squeeze: bool,
) -> Distribution:
    """Distribution of shape ``(S, N, P)``, or ``(N, P)`` with ``squeeze``.

    ``scale`` is the expected fraction of a cell's counts, so that
    ``get_normalized_expression(library_size=1e4)`` returns counts per ten thousand.
    """

    def stack(tensors: list[Tensor]) -> Tensor:
        return tensors[0] if squeeze else torch.stack(tensors)

    mean = stack([mean for mean, _ in decoded])
    observations = [o for _, o in decoded]
    name = likelihood.name
    first = observations[0]
    dispersion = first.per_cell(first.dispersion)
    if dispersion is not None:
        dispersion = dispersion.expand_as(mean).contiguous()
    if name == "gaussian":
        return Normal(mean, dispersion, normal_mu=mean)
    if name == "bernoulli":
        return Bernoulli(probs=mean)
    fraction = mean / (first.size_factor * genes.feature_scale.sum())
    if name == "poisson":
        return Poisson(rate=mean, scale=fraction)
    if name == "nb":
        return NegativeBinomial(mu=mean, theta=dispersion, scale=fraction)
    logits = stack([o.dropout_logits.expand(mean.shape[-2], -1) for o in observations])
    return ZeroInflatedNegativeBinomial(
        mu=mean, theta=dispersion, zi_logits=logits, scale=fraction
    )
