"""BasisVAEModule: encoder → z → bases → mixture likelihood → bound."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from scvi import REGISTRY_KEYS
from scvi.module.base import BaseModuleClass, LossOutput, auto_move_data
from scvi.nn import Encoder
from torch import Tensor
from torch.distributions import Distribution, Normal

from basisvae_scvi.likelihood import (
    MixtureLogLikelihood,
    Observations,
    Pairs,
    expected_log_likelihood,
    expected_observation,
    get_likelihood,
)

from ._assignment import Assignment, InferenceScheme
from ._basis import BasisFunctions
from ._composition import CompositionMixin
from ._constants import OUTPUT_KEYS
from ._encoding import EncodingMixin
from ._genes import DispersionMode, FeatureConstants, GeneParameters, ZeroInflationMode
from ._prediction import PredictionMixin
from ._predictive import predictive_distribution
from ._priors import kl_normal, standard_normal
from ._smooth_basis import SmoothBasis, networks_of_old_states

GenePrior = Literal["assigned", "all"]
Objective = Literal["evidence", "paper"]
BasisKind = Literal["smooth", "network"]


class BasisVAEModule(EncodingMixin, CompositionMixin, PredictionMixin, BaseModuleClass):
    """The generative model and its variational posterior (paper, eqs 1-8).

    For counts, gene j under basis k has mean
    μ_njk = s_n · m_j · exp(c_bj) · λ_jk · b_k(z_n + δ_jk); see :doc:`/model` for the other
    likelihoods and the bound.

    Parameters
    ----------
    n_input
        Number of genes P.
    n_batch
        Number of batches B.
    n_cats_per_cov, n_continuous_cov
        Categorical and continuous covariates of the encoder.
    n_basis
        Number of basis functions K, the flat one included.
    n_latent
        Number of latent dimensions Q.
    n_hidden, n_layers, dropout_rate
        Shape of the encoder.
    basis_functions
        ``"smooth"``: curves on a grid with a Gaussian-process prior, one latent dimension;
        ``"network"``: small networks of z.
    n_hidden_basis
        Hidden units of each network.
    n_grid
        Grid points for shifted networks when ``n_latent=1``; 0 for none.
    scale_invariant, translation_invariant
        Whether genes have a scale λ and a shift δ.
    gene_likelihood
        ``"zinb"``, ``"nb"``, ``"poisson"``, ``"gaussian"`` or ``"bernoulli"``.
    dispersion
        ``"gene"`` or ``"gene-batch"``.
    zero_inflation
        ``"gene"``, or ``"latent"`` for dropout that depends on z.
    inference
        ``"collapsed"``, ``"non-collapsed"`` or ``"fixed_pi"``.
    concentration
        Dirichlet concentration α.
    latent_weight, assignment_weight
        β_z and β_w: weights of KL(q(z) ‖ p(z)) and of KL_w.
    gene_prior
        ``"assigned"`` weighs the priors of λ_jk and δ_jk with φ_jk; ``"all"`` is the paper's sum
        over all pairs.
    objective
        ``"evidence"``: bases and the freedom of genes are paid for; ``"paper"``: points only.
    shape_deviation
        Standard deviation τ of the genes' own deviations from their basis, or ``"learned"``. The
        one in use is ``genes.shape_deviation``.
    observed_latent
        Whether z is data; then there is no encoder.
    anchored_latent
        Whether cells have prior means of z among their data.
    latent_prior_scale
        Standard deviation of the prior about these means.
    given_size_factor
        Whether size factors are data. If not, those that a data loader makes up are not used.
    latent_centre, latent_spread
        Mean and standard deviation by which observed z or prior means are standardised, each of
        shape ``(Q,)``.
    constants
        Data constants of the features; ``None`` if a saved state follows.

    Examples
    --------
    >>> module = BasisVAEModule(30, n_basis=4, gene_likelihood="nb")
    >>> module.n_basis, module.n_latent
    (4, 1)
    """

    def __init__(
        self,
        n_input: int,
        *,
        n_batch: int = 1,
        n_cats_per_cov: list[int] | None = None,
        n_continuous_cov: int = 0,
        n_basis: int = 50,
        n_latent: int = 1,
        n_hidden: int = 128,
        n_layers: int = 1,
        dropout_rate: float = 0.1,
        basis_functions: BasisKind = "network",
        n_hidden_basis: int = 16,
        n_grid: int = 513,
        scale_invariant: bool = True,
        translation_invariant: bool = False,
        gene_likelihood: str = "zinb",
        dispersion: DispersionMode = "gene",
        zero_inflation: ZeroInflationMode = "gene",
        inference: InferenceScheme = "collapsed",
        concentration: float = 0.1,
        latent_weight: float = 1.0,
        assignment_weight: float = 1.0,
        gene_prior: GenePrior = "assigned",
        objective: Objective = "evidence",
        shape_deviation: float | Literal["learned"] = 0.0,
        observed_latent: bool = False,
        anchored_latent: bool = False,
        latent_prior_scale: float = 0.5,
        given_size_factor: bool = True,
        latent_centre: np.ndarray | None = None,
        latent_spread: np.ndarray | None = None,
        constants: FeatureConstants | None = None,
    ):
        super().__init__()
        self.n_basis, self.n_latent, self.n_batch = n_basis, n_latent, max(1, n_batch)
        self.likelihood = get_likelihood(gene_likelihood)
        self.gene_likelihood = gene_likelihood  # scvi-tools' RNA-seq methods ask for the name
        self.latent_weight, self.assignment_weight = latent_weight, assignment_weight
        self.scheme, self.concentration = inference, concentration
        self.gene_prior, self.observed_latent = gene_prior, observed_latent
        self.objective, self.shape_deviation = objective, shape_deviation
        self.anchored_latent, self.latent_prior_scale = anchored_latent, latent_prior_scale
        self.given_size_factor = given_size_factor
        if observed_latent or anchored_latent:
            centre = np.zeros(n_latent) if latent_centre is None else latent_centre
            spread = np.ones(n_latent) if latent_spread is None else latent_spread
            self.register_buffer("latent_centre", torch.as_tensor(centre, dtype=torch.float32))
            self.register_buffer("latent_spread", torch.as_tensor(spread, dtype=torch.float32))
        if not observed_latent:
            self.z_encoder = Encoder(
                n_input + n_continuous_cov,
                n_latent,
                n_cat_list=[self.n_batch, *(n_cats_per_cov or [])],
                n_layers=n_layers,
                n_hidden=n_hidden,
                dropout_rate=dropout_rate,
                return_dist=True,
                use_batch_norm=False,
                use_layer_norm=True,
            )
        sizes = {"positive": self.likelihood.is_count, "normalize": scale_invariant}
        if basis_functions == "smooth":
            self.basis = SmoothBasis(n_basis, translation_invariant=translation_invariant, **sizes)
        else:
            self.basis = BasisFunctions(n_basis, n_latent, n_hidden_basis, n_grid=n_grid, **sizes)
        self.genes = GeneParameters(
            constants or FeatureConstants.unknown(n_input),
            self.likelihood,
            n_basis=n_basis,
            n_batch=self.n_batch,
            n_latent=n_latent,
            scale_invariant=scale_invariant,
            translation_invariant=translation_invariant,
            dispersion=dispersion,
            zero_inflation=zero_inflation,
            deviates=shape_deviation != 0.0,
        )
        self.assignment = Assignment(n_input, n_basis, inference, concentration)
        self._make_composition()
        self.register_load_state_dict_pre_hook(networks_of_old_states)

    # -- p(y | z) -----------------------------------------------------------------------------

    def _get_generative_input(
        self, tensors: dict[str, Tensor], inference_outputs: dict[str, Any]
    ) -> dict[str, Any]:
        return {
            OUTPUT_KEYS.Z: inference_outputs[OUTPUT_KEYS.Z],
            OUTPUT_KEYS.SIZE_FACTOR: self.size_factors(tensors),
            OUTPUT_KEYS.BATCH: tensors[REGISTRY_KEYS.BATCH_KEY],
            OUTPUT_KEYS.PRIOR: inference_outputs[OUTPUT_KEYS.PRIOR],
        }

    def observations(
        self,
        x: Tensor,
        z: Tensor,
        size_factor: Tensor | None,
        batch_index: Tensor,
        *,
        composes: bool = True,
        deviates: bool = True,
    ) -> Observations:
        """Minibatch in the form that the likelihood backends take.

        With ``composes`` size factors are corrected for the composition of libraries at z; with
        ``deviates`` genes follow courses of their own, where they have any.
        """
        composes &= size_factor is not None
        factor = self.composition_factor(z) if composes else None
        size_factor = size_factor if factor is None else size_factor * factor
        return Observations(
            x=x,
            size_factor=size_factor,
            offset=self.genes.offsets(),
            dispersion=self.genes.dispersions(),
            dropout_logits=self.genes.dropout_logits(z),
            batch=batch_index.reshape(-1).long(),
            deviation=self.genes.deviations(z) if deviates else None,
        )

    def pair_parameters(self, pairs: Pairs) -> tuple[Tensor, Tensor | None]:
        """Scale in units of the data and shift of each pair, each of shape ``(M,)``."""
        return self.genes.pair_scales(pairs), self.genes.pair_shifts(pairs)

    def pairs(self, phi: Tensor, threshold: float = 0.0) -> Pairs:
        """Pairs with φ above ``threshold``; all of them for 0."""
        if threshold > 0.0:
            return Pairs.active(phi, threshold)
        return Pairs.all(*phi.shape, device=phi.device)

    @auto_move_data
    def generative(
        self,
        z: Tensor,
        size_factor: Tensor | None,
        batch_index: Tensor,
        transform_batch: int | None = None,
        assignment: Tensor | None = None,
        decode: bool = True,
        prior: Normal | None = None,
    ) -> dict[str, Distribution | None]:
        """Predictive distribution of every gene, averaged over q(w).

        Parameters
        ----------
        z
            Latent coordinates, shape ``(N, Q)`` or ``(S, N, Q)``.
        size_factor
            Shape ``(N, 1)`` or ``None``.
        batch_index
            Shape ``(N, 1)``.
        transform_batch
            Batch to decode all cells for.
        assignment
            Probabilities (P, K) to use in place of φ, e.g. one-hot draws of w.
        decode
            ``False`` skips the predictive distribution, which training does not need.
        prior
            p(z) of the cells, where it is not N(0, 1).
        """
        pz = standard_normal(z) if prior is None else prior
        if not decode:
            return {OUTPUT_KEYS.PX: None, OUTPUT_KEYS.PZ: pz}
        if transform_batch is not None:
            batch_index = torch.full_like(batch_index, transform_batch)
        samples = z if z.dim() == 3 else z[None]
        phi = self.assignment() if assignment is None else assignment
        px = predictive_distribution(
            self.likelihood,
            self.genes,
            [self._decode(sample, size_factor, batch_index, phi) for sample in samples],
            squeeze=z.dim() == 2,
        )
        return {OUTPUT_KEYS.PX: px, OUTPUT_KEYS.PZ: pz}

    def _decode(
        self, z: Tensor, size_factor: Tensor | None, batch_index: Tensor, phi: Tensor
    ) -> tuple[Tensor, Observations]:
        pairs = self.pairs(phi, threshold=1e-6)
        scale, shift = self.pair_parameters(pairs)
        shape_only = z.new_empty(()).expand(z.shape[0], self.genes.n_genes)
        observations = self.observations(shape_only, z, size_factor, batch_index)
        evaluator = self.basis.evaluator(z, shift)
        mean = expected_observation(
            self.likelihood, observations, z, evaluator, pairs, pairs.select(phi), scale, shift
        )
        return mean, observations

    def forward(
        self,
        tensors: dict[str, Tensor],
        generative_kwargs: dict | None = None,
        compute_loss: bool = True,
        **kwargs,
    ):
        """As in scvi-tools; the predictive distribution is left out where only the loss counts."""
        generative_kwargs = {"decode": not compute_loss, **(generative_kwargs or {})}
        return super().forward(
            tensors, generative_kwargs=generative_kwargs, compute_loss=compute_loss, **kwargs
        )

    # -- bound --------------------------------------------------------------------------------

    def log_likelihood(
        self,
        tensors: dict[str, Tensor],
        z: Tensor,
        pairs: Pairs,
        weight: Tensor,
    ) -> MixtureLogLikelihood:
        """Σ_m w_m log p per cell, and Σ_n log p per pair, for a minibatch."""
        observations = self.observations(
            tensors[REGISTRY_KEYS.X_KEY],
            z,
            self.size_factors(tensors),
            tensors[REGISTRY_KEYS.BATCH_KEY],
        )
        scale, shift = self.pair_parameters(pairs)
        is_all = len(pairs) == self.genes.n_genes * self.n_basis
        return expected_log_likelihood(
            self.likelihood,
            observations,
            z,
            self.basis.evaluator(z, shift, None if is_all else pairs.basis),
            pairs,
            weight,
            scale,
            shift,
        )

    def log_prior(self, pairs: Pairs, weight: Tensor) -> Tensor:
        """Log prior of genes and bases for the whole data set, in nats."""
        if self.gene_prior == "all":
            pairs = Pairs.all(self.genes.n_genes, self.n_basis, device=weight.device)
            weight = weight.new_ones(len(pairs))
        return self.genes.log_prior(pairs, weight) + self.basis.log_prior()

    def loss(
        self,
        tensors: dict[str, Tensor],
        inference_outputs: dict[str, Any],
        generative_outputs: dict[str, Any],
        kl_weight: float | Tensor = 1.0,
        assignment_kl_weight: float | Tensor = 1.0,
        n_obs: int = 1,
    ) -> LossOutput:
        """Negative bound per cell (DESIGN: the objective of the data set divided by ``n_obs``).

        Parameters
        ----------
        tensors, inference_outputs, generative_outputs
            As in scvi-tools.
        kl_weight, assignment_kl_weight
            Warm-up factors on β_z and β_w.
        n_obs
            Number of training cells, over which the global terms are spread.
        """
        z, qz = inference_outputs[OUTPUT_KEYS.Z], inference_outputs[OUTPUT_KEYS.QZ]
        pz = inference_outputs.get(OUTPUT_KEYS.PRIOR)
        pairs, weight, kl_w = self.assignment.visited()
        per_cell = self.log_likelihood(tensors, z, pairs, weight).per_cell
        kl_z = torch.zeros_like(per_cell)
        if qz is not None:
            pz = standard_normal(qz.loc) if pz is None else pz
            kl_z = kl_normal(qz.loc, qz.scale, pz.loc, pz.scale)
        log_prior = self.log_prior(pairs, weight)
        # A sum hands back one number for all cells, by which the fused backends tell that the
        # gradients of their forward pass will do. The gradient of a mean is a vector.
        total = kl_weight * self.latent_weight * kl_z.sum() - per_cell.sum()
        spread = assignment_kl_weight * self.assignment_weight * kl_w - log_prior
        return LossOutput(
            loss=total / len(per_cell) + spread / n_obs,
            reconstruction_loss=-per_cell,
            kl_local={"kl_divergence_z": kl_z},
            kl_global={"kl_divergence_w": kl_w, "negative_log_prior": -log_prior},
        )
