"""Parameters of the genes: what does not depend on the cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from basisvae_scvi.likelihood import Likelihood, Pairs

from ._deviations import OwnDeviations
from ._priors import log_prior_normal, log_prior_scale

DispersionMode = Literal["gene", "gene-batch"]
ZeroInflationMode = Literal["gene", "latent"]

# exp of these bounds is as good as 0 and infinity, and keeps gradients finite.
_LOG_DISPERSION_RANGE = (-10.0, 14.0)


def _with_learned_priors(module: nn.Module, state: dict[str, Tensor], prefix: str, *_) -> None:
    """States from before these were learned: shifts are N(0, 1), no gene deviates."""
    state.setdefault(f"{prefix}shift_prior_sd", torch.ones_like(module.shift_prior_sd))
    state.setdefault(f"{prefix}shape_deviation", torch.zeros_like(module.shape_deviation))
    if module.deviation is not None:
        own = module.deviation
        state.setdefault(f"{prefix}deviation.weight", torch.zeros_like(own.weight))
        state.setdefault(f"{prefix}deviation.unit", torch.ones_like(own.unit))


@dataclass(frozen=True)
class FeatureConstants:
    """Data constants of the features.

    Attributes
    ----------
    scale
        m_j: what λ = 1 means, in units of the data, shape ``(P,)``. For counts the gene's mean
        normalised count; for Gaussian data one number for all features, their root mean square;
        for binary data 1.
    level
        The value of the flat basis for λ = 1, shape ``(P,)``: m_j for counts, the feature's mean
        for Gaussian data, the logit of its mean for binary data.
    dispersion
        Starting value of θ_j or σ_j, shape ``(P,)``.
    library
        Median observed library, the unit of the size factors (1 where they do not apply).
    """

    scale: np.ndarray
    level: np.ndarray
    dispersion: np.ndarray
    library: float

    @classmethod
    def unknown(cls, n_genes: int) -> FeatureConstants:
        """Placeholders for a module whose state is about to be loaded."""
        ones = np.ones(n_genes, dtype=np.float32)
        return cls(scale=ones, level=ones, dispersion=ones, library=1.0)


class LatentDropout(nn.Module):
    """ZINB dropout logits as a function of z: a_j + Σ_h W_jh tanh(v_hᵀ z + c_h)."""

    def __init__(self, n_genes: int, n_latent: int, n_hidden: int = 16):
        super().__init__()
        self.hidden = nn.Linear(n_latent, n_hidden)
        self.output = nn.Linear(n_hidden, n_genes)

    def forward(self, z: Tensor) -> Tensor:
        """Logits for latent coordinates ``(N, Q)``, shape ``(N, P)``."""
        return self.output(torch.tanh(self.hidden(z)))

    @torch.no_grad()
    def start_at(self, logit: float) -> None:
        """Make all logits equal to ``logit``, whatever z."""
        nn.init.zeros_(self.output.weight)
        self.output.bias.fill_(logit)


class GeneParameters(nn.Module):
    """Scales λ, shifts δ, own deviations, dispersions, dropout and batch offsets of all genes.

    Parameters
    ----------
    constants
        Data constants of the features.
    likelihood
        Observation model.
    n_basis, n_batch, n_latent
        Numbers of bases K, batches B and latent dimensions Q.
    scale_invariant
        Whether λ_jk is free; otherwise it is 1 (eq 1 of the paper).
    translation_invariant
        Whether δ_jk is free; otherwise it is 0 (eqs 1 and 2).
    dispersion
        ``"gene"`` or ``"gene-batch"``.
    zero_inflation
        ``"gene"`` or ``"latent"``.
    deviates
        Whether genes have deviations of their own from their basis; one latent dimension.
    """

    START_DROPOUT_LOGIT = -3.0
    FLAT = 0

    def __init__(
        self,
        constants: FeatureConstants,
        likelihood: Likelihood,
        *,
        n_basis: int,
        n_batch: int,
        n_latent: int,
        scale_invariant: bool,
        translation_invariant: bool,
        dispersion: DispersionMode,
        zero_inflation: ZeroInflationMode,
        deviates: bool = False,
    ):
        super().__init__()
        n_genes = len(constants.scale)
        self.likelihood, self.n_batch = likelihood, n_batch
        self.scale_invariant = scale_invariant
        self.translation_invariant = translation_invariant
        self._register_constants(constants)
        if scale_invariant:
            self.log_scale = nn.Parameter(torch.zeros(n_genes, n_basis))
        if translation_invariant:
            self.shift = nn.Parameter(torch.zeros(n_genes, n_basis))
        if likelihood.has_dispersion:
            rows = n_batch if dispersion == "gene-batch" else 1
            self.log_dispersion = nn.Parameter(torch.zeros(rows, n_genes))
        if likelihood.has_dropout:
            self.dropout = (
                LatentDropout(n_genes, n_latent)
                if zero_inflation == "latent"
                else nn.Parameter(torch.zeros(1, n_genes))
            )
        self.deviation = OwnDeviations(n_genes) if deviates else None
        # Also with one batch, where it stays zero, so that query mapping can add rows to it.
        self.batch_offset = nn.Parameter(torch.zeros(n_batch, n_genes), requires_grad=n_batch > 1)
        self.register_buffer("batch_is_reference", torch.ones(n_batch))
        self.reset_parameters()

    def _register_constants(self, constants: FeatureConstants) -> None:
        def as_tensor(values: np.ndarray) -> Tensor:
            # A copy: constants of equal value must not share memory when a state is loaded.
            return torch.tensor(np.asarray(values), dtype=torch.float32)

        self.register_buffer("feature_scale", as_tensor(constants.scale))
        self.register_buffer("feature_level", as_tensor(constants.level))
        self.register_buffer("start_dispersion", as_tensor(constants.dispersion))
        self.register_buffer("library", torch.tensor(float(constants.library)))
        self.register_buffer("shift_prior_sd", torch.tensor(1.0))
        self.register_buffer("shape_deviation", torch.tensor(0.0))
        self.register_load_state_dict_pre_hook(_with_learned_priors)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Return to the starting values: λ = 1, δ = 0, moment estimates of the dispersion."""
        self.shift_prior_sd.fill_(1.0)
        self.shape_deviation.fill_(0.0)
        if self.deviation is not None:
            self.deviation.set(self.deviation.weight * 0.0)
        for name in ("log_scale", "shift", "batch_offset"):
            if hasattr(self, name):
                getattr(self, name).zero_()
        if self.likelihood.has_dispersion:
            self.log_dispersion.copy_(self.start_dispersion.log().expand_as(self.log_dispersion))
        if self.likelihood.has_dropout:
            if isinstance(self.dropout, LatentDropout):
                self.dropout.start_at(self.START_DROPOUT_LOGIT)
            else:
                self.dropout.fill_(self.START_DROPOUT_LOGIT)

    @property
    def n_genes(self) -> int:
        """Number of genes P."""
        return self.feature_scale.shape[0]

    def scales(self, n_basis: int) -> Tensor:
        """λ_jk, shape ``(P, K)``."""
        if self.scale_invariant:
            return self.log_scale.exp()
        return self.feature_scale.new_ones(self.n_genes, n_basis)

    def data_scales(self, n_basis: int) -> Tensor:
        """λ_jk times its unit (m_j, or the feature's level for the flat basis), ``(P, K)``."""
        unit = self.feature_scale[:, None].expand(-1, n_basis - 1)
        return self.scales(n_basis) * torch.cat([self.feature_level[:, None], unit], 1)

    def pair_scales(self, pairs: Pairs) -> Tensor:
        """λ_m times its unit, as in :meth:`data_scales`, of each pair, shape ``(M,)``."""
        is_flat = pairs.basis == self.FLAT
        unit = torch.where(is_flat, self.feature_level[pairs.gene], self.feature_scale[pairs.gene])
        return unit * pairs.select(self.log_scale).exp() if self.scale_invariant else unit

    def pair_shifts(self, pairs: Pairs) -> Tensor | None:
        """δ_m of each pair, shape ``(M,)``, 0 for the flat basis; ``None`` without shifts."""
        if not self.translation_invariant:
            return None
        return pairs.select(self.shift) * (pairs.basis != self.FLAT)

    def shifts(self) -> Tensor | None:
        """δ_jk, shape ``(P, K)``, 0 for the flat basis; ``None`` without shifts."""
        if not self.translation_invariant:
            return None
        return torch.cat([torch.zeros_like(self.shift[:, :1]), self.shift[:, 1:]], 1)

    def dispersions(self) -> Tensor | None:
        """θ or σ, shape ``(1, P)`` or ``(B, P)``."""
        if not self.likelihood.has_dispersion:
            return None
        return self.log_dispersion.clamp(*_LOG_DISPERSION_RANGE).exp()

    def dropout_logits(self, z: Tensor) -> Tensor | None:
        """Dropout logits, shape ``(1, P)`` or ``(N, P)``."""
        if not self.likelihood.has_dropout:
            return None
        return self.dropout(z) if isinstance(self.dropout, LatentDropout) else self.dropout

    def mean_dropout(self, z: Tensor) -> Tensor:
        """Dropout probability of every gene, averaged over cells at ``(N,)``; shape ``(P,)``."""
        if not self.likelihood.has_dropout:
            return torch.zeros_like(self.feature_scale)
        logits = self.dropout_logits(z.to(self.feature_scale)[:, None])
        return torch.sigmoid(logits).mean(0)

    def deviations(self, z: Tensor) -> Tensor | None:
        """Own deviations at latent coordinates ``(N, 1)``, in the units of offsets, ``(N, P)``."""
        if self.deviation is None:
            return None
        deviation = self.deviation(z, self.shape_deviation)
        return deviation if self.likelihood.is_count else deviation * self.feature_scale

    def offsets(self) -> Tensor | None:
        """Batch offsets c_bj, shape ``(B, P)``, of mean 0 over the reference batches.

        Batches added by query mapping do not enter the mean, so that they cannot move the
        reference.
        """
        if self.n_batch == 1:
            return None
        weight = self.batch_is_reference / self.batch_is_reference.sum()
        return self.batch_offset - weight @ self.batch_offset

    def log_prior_shift(self, shift: Tensor) -> Tensor:
        """Log N(δ | 0, σ_δ²), elementwise; σ_δ is 1 unless the search has found it."""
        return log_prior_normal(shift, self.shift_prior_sd)

    def log_prior_per_pair(self, pairs: Pairs) -> Tensor:
        """Log N(δ_m | 0, σ_δ²) + log Γ(λ_m | 1, 1) of each pair, shape ``(M,)``."""
        total = self.feature_scale.new_zeros(len(pairs))
        if self.scale_invariant:
            total = total + log_prior_scale(pairs.select(self.log_scale).exp())
        if self.translation_invariant:
            total = total + self.log_prior_shift(self.pair_shifts(pairs))
        return total

    def log_prior(self, pairs: Pairs, weight: Tensor) -> Tensor:
        """Σ_m w_m [log N(δ_m | 0, σ_δ²) + log Γ(λ_m | 1, 1)] + Σ log N(c_bj | 0, 1) − ½ Σ u²."""
        total = (weight * self.log_prior_per_pair(pairs)).sum()
        if self.n_batch > 1:
            total = total + log_prior_normal(self.batch_offset).sum()
        if self.deviation is not None:
            total = total + self.deviation.log_prior()
        return total

    def gene_state(self, pairs: Pairs) -> tuple[Tensor | None, Tensor | None]:
        """Copies of λ and δ at the pairs, each ``(M,)`` or ``None`` where they are not free."""
        scale = pairs.select(self.log_scale).exp() if self.scale_invariant else None
        shift = pairs.select(self.shift).clone() if self.translation_invariant else None
        return scale, shift

    @torch.no_grad()
    def set_state(self, pairs: Pairs, scale: Tensor | None, shift: Tensor | None) -> None:
        """Set λ and δ at the pairs, where they are free."""
        if self.scale_invariant:
            self.log_scale[pairs.gene, pairs.basis] = scale.log()
        if self.translation_invariant:
            self.shift[pairs.gene, pairs.basis] = shift
