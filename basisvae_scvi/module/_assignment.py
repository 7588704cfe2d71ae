"""q(w) and the three treatments of the mixing proportions π (paper, section 3.3).

w_j ~ Categorical(π) assigns gene j to a basis; q(w) = Π_j Categorical(φ_j). The schemes differ in
what they do with π ~ Dirichlet(α, …, α):

* ``collapsed``: π is integrated out of the bound (eqs 5-8);
* ``non-collapsed``: q(π) = Dirichlet(ψ), a variational parameter of its own (section 3.3.1);
* ``fixed_pi``: π is given.

Every scheme knows its part of the bound, ``kl(phi)``, and what one more gene would gain by joining
a basis, ``expected_log_weights(phi)``; from the latter follows the closed-form update of φ.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from basisvae_scvi.likelihood import Pairs

InferenceScheme = Literal["collapsed", "non-collapsed", "fixed_pi"]
SCHEMES: tuple[InferenceScheme, ...] = ("collapsed", "non-collapsed", "fixed_pi")

# Genes that a basis must have in all to be in use.
_IDLE = 1e-3
_MAX_FIXED_POINT_STEPS = 200
_FIXED_POINT_TOLERANCE = 1e-6
# A pair whose probability cannot exceed e to the minus this is left out of the iteration.
_HOPELESS = 60.0


class ActivePairs(NamedTuple):
    """The pairs that matter, and what the bound needs of q(w) cut down to them.

    Attributes
    ----------
    pairs
        The M pairs (j, k) that are kept.
    weight
        φ_jk of each, divided by the gene's sum over what is kept, shape ``(M,)``.
    kl
        KL_w at these weights, a scalar in nats for the whole data set.
    """

    pairs: Pairs
    weight: Tensor
    kl: Tensor


def _negative_entropy(phi: Tensor) -> Tensor:
    # The gradient of xlogy is 0 / 0 at pairs that are cut off.
    return (phi * phi.clamp_min(torch.finfo(phi.dtype).tiny).log()).sum()


def _log_dirichlet_normaliser(concentration: Tensor) -> Tensor:
    """Log ∫ Π_k π_k^(a_k − 1) dπ = Σ log Γ(a_k) − log Γ(Σ a_k)."""
    return torch.lgamma(concentration).sum() - torch.lgamma(concentration.sum())


def _digamma_range(alpha: Tensor, n_genes: int) -> float:
    """ψ(α + P) − ψ(α): what a weight gains when all P genes join an empty basis."""
    alpha = alpha.double()
    return float(torch.digamma(alpha + n_genes).max() - torch.digamma(alpha).min())


class CollapsedProportions(nn.Module):
    """π integrated out after the mean-field step (the closed form under eq 8).

    KL_w = Σ φ log φ − log [Γ(Σα) / Π Γ(α)] − log [Π Γ(n_k + α) / Γ(P + Σα)], n_k = Σ_j φ_jk.
    """

    def __init__(self, n_basis: int, concentration: float):
        super().__init__()
        self.register_buffer("alpha", torch.full((n_basis,), float(concentration)))

    def kl(self, phi: Tensor) -> Tensor:
        """Negative of terms (6) and (7) of the bound."""
        alpha = self.alpha.to(phi.dtype)
        log_evidence = _log_dirichlet_normaliser(phi.sum(0) + alpha)
        return _negative_entropy(phi) - (log_evidence - _log_dirichlet_normaliser(alpha))

    def expected_log_weights(self, phi: Tensor) -> Tensor:
        """Gradient of log evidence by n_k up to a constant: ψ(α + n_k), shape ``(K,)``."""
        return torch.digamma(self.alpha.to(phi.dtype) + phi.sum(0))

    def log_weight_range(self, n_genes: int) -> float:
        """Nats between the largest and the smallest log weight, wherever the genes are."""
        return _digamma_range(self.alpha, n_genes)

    def update(self, phi: Tensor) -> None:
        """Nothing to update: π is gone."""


class DirichletProportions(nn.Module):
    """q(π) = Dirichlet(ψ) with its own parameters.

    KL_w = Σ φ log φ − Σ_k n_k E[log π_k] + KL(Dir(ψ) ‖ Dir(α)), E[log π_k] = ψ⁰(ψ_k) − ψ⁰(Σψ).
    The expectation, which the paper estimates from one reparameterised draw, is taken exactly, so
    its gradient is the one of the reparameterised estimate without the noise.
    """

    def __init__(self, n_basis: int, concentration: float):
        super().__init__()
        self.register_buffer("alpha", torch.full((n_basis,), float(concentration)))
        self.log_concentration = nn.Parameter(torch.zeros(n_basis))

    def _expected_log_pi(self) -> Tensor:
        psi = self.log_concentration.exp()
        return torch.digamma(psi) - torch.digamma(psi.sum())

    def kl(self, phi: Tensor) -> Tensor:
        """KL(q(w) q(π) ‖ p(w | π) p(π))."""
        alpha, psi = self.alpha.to(phi.dtype), self.log_concentration.exp()
        expected = self._expected_log_pi()
        dirichlet = ((psi - alpha) * expected).sum()
        dirichlet = dirichlet - _log_dirichlet_normaliser(psi) + _log_dirichlet_normaliser(alpha)
        return _negative_entropy(phi) - (phi.sum(0) * expected).sum() + dirichlet

    def expected_log_weights(self, phi: Tensor) -> Tensor:
        """E_q[log π_k], shape ``(K,)``."""
        return self._expected_log_pi().to(phi.dtype)

    def log_weight_range(self, n_genes: int) -> float:
        """Nats between the largest and the smallest log weight, wherever the genes are."""
        return _digamma_range(self.alpha, n_genes)

    @torch.no_grad()
    def update(self, phi: Tensor) -> None:
        """Closed-form optimum ψ_k = α + n_k."""
        self.log_concentration.copy_((self.alpha + phi.sum(0)).log())


class FixedProportions(nn.Module):
    """π given, uniform unless stated: KL_w = Σ φ (log φ − log π)."""

    def __init__(self, n_basis: int, proportions: Tensor | None = None):
        super().__init__()
        uniform = torch.full((n_basis,), 1.0 / n_basis)
        self.register_buffer("proportions", uniform if proportions is None else proportions)

    def kl(self, phi: Tensor) -> Tensor:
        """KL(q(w) ‖ p(w | π))."""
        return _negative_entropy(phi) - (phi * self.expected_log_weights(phi)).sum()

    def expected_log_weights(self, phi: Tensor) -> Tensor:
        """Log π_k, shape ``(K,)``."""
        return self.proportions.to(phi.dtype).log()

    def log_weight_range(self, n_genes: int) -> float:
        """Nats between the largest and the smallest log weight."""
        return float(self.proportions.log().max() - self.proportions.log().min())

    def update(self, phi: Tensor) -> None:
        """Nothing to update: π is given."""


def _make_proportions(scheme: str, n_basis: int, concentration: float) -> nn.Module:
    if scheme == "collapsed":
        return CollapsedProportions(n_basis, concentration)
    if scheme == "non-collapsed":
        return DirichletProportions(n_basis, concentration)
    if scheme == "fixed_pi":
        return FixedProportions(n_basis)
    raise ValueError(f"inference={scheme!r} is unknown; choose one of {[*SCHEMES]}.")


class Assignment(nn.Module):
    """q(w): the probability φ_jk that gene j follows basis k.

    Parameters
    ----------
    n_genes
        Number of genes P.
    n_basis
        Number of bases K.
    scheme
        Treatment of π: ``"collapsed"``, ``"non-collapsed"`` or ``"fixed_pi"``.
    concentration
        Dirichlet concentration α of each basis.

    Attributes
    ----------
    active_threshold
        In training, pairs whose φ is at most this are left out of the bound, unless q(w) is held.
    """

    def __init__(
        self, n_genes: int, n_basis: int, scheme: InferenceScheme, concentration: float = 0.1
    ):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(n_genes, n_basis))
        self.proportions = _make_proportions(scheme, n_basis, concentration)
        self.active_threshold = 0.0
        self._held: ActivePairs | None = None

    def forward(self) -> Tensor:
        """φ, shape ``(P, K)``; rows sum to 1."""
        return torch.softmax(self.logits, dim=-1)

    def kl(self, phi: Tensor | None = None) -> Tensor:
        """KL_w of the bound, a scalar in nats for the whole data set."""
        return self.proportions.kl(self() if phi is None else phi)

    def active(self, threshold: float = 0.0) -> ActivePairs:
        """q(w) without the pairs whose φ is at most ``threshold``; every gene keeps its best.

        The bound of the q(w) that is left is a bound of the same model. Where φ is the closed-form
        optimum and m_j is what gene j loses, it is lower by at most −β_w Σ_j log(1 − m_j), thus by
        K · ``threshold`` · β_w nats a gene to first order: with η_k = E log π_k, the part of the
        bound that gene j has in it is β_w log Σ_k exp(evidence_jk / β_w + η_k).

        Parameters
        ----------
        threshold
            What is left out has φ ≤ ``threshold``; 0 keeps everything.
        """
        phi = self()
        if threshold <= 0.0:
            pairs = Pairs.all(*phi.shape, device=phi.device)
            return ActivePairs(pairs, pairs.select(phi), self.kl(phi))
        best = phi.detach().amax(1, keepdim=True)
        kept = phi * ((phi > threshold) | (phi >= best))
        kept = kept / kept.sum(1, keepdim=True)
        pairs = Pairs.active(kept.detach(), 0.0)
        return ActivePairs(pairs, pairs.select(kept), self.kl(kept))

    def visited(self) -> ActivePairs:
        """What the bound sums over: all pairs, but in training only those that matter."""
        if not self.training:
            return self.active()
        return self.active(self.active_threshold) if self._held is None else self._held

    @torch.no_grad()
    def hold(self, threshold: float) -> None:
        """Take q(w) as it stands, cut down to the pairs above ``threshold``, for a constant.

        So it stays for all gradient steps until it is held anew or released; see :meth:`active`.
        """
        self._held = self.active(threshold)

    def release(self) -> None:
        """Let q(w) be a parameter again."""
        self._held = None

    @torch.no_grad()
    def idle(self) -> Tensor:
        """Bases beside the flat one that no gene follows, bool, shape ``(K,)``."""
        is_idle = self().double().sum(0) < _IDLE
        is_idle[0] = False
        return is_idle

    @torch.no_grad()
    def set(self, phi: Tensor) -> None:
        """Make φ the current state (floored at e^-60, so that logits stay finite)."""
        self.logits.copy_(phi.clamp_min(1e-26).log())
        self.proportions.update(phi)

    @torch.no_grad()
    def update(self, evidence: Tensor, assignment_weight: float = 1.0) -> None:
        """Coordinate ascent: φ_jk ∝ exp(evidence_jk / β_w + E log π_k), until it stands still.

        Parameters
        ----------
        evidence
            Σ_n E_q(z)[log p(y_nj | k)] plus the log priors of δ_jk and λ_jk, shape ``(P, K)``,
            for the whole data set.
        assignment_weight
            β_w.
        """
        evidence = evidence.double() / assignment_weight
        margin = _HOPELESS + self.proportions.log_weight_range(len(evidence))
        is_open = evidence >= evidence.amax(1, keepdim=True) - margin
        open_evidence, basis = evidence.topk(int(is_open.sum(1).max()), dim=1)
        phi = self().double()
        members, share = phi.sum(0, keepdim=True), phi.gather(1, basis)
        for _ in range(_MAX_FIXED_POINT_STEPS):
            log_weight = self.proportions.expected_log_weights(members)
            new = torch.softmax(open_evidence + log_weight[basis], dim=1)
            change = (new - share).abs().max()
            share = new
            members = torch.zeros_like(members)
            members[0].index_add_(0, basis.reshape(-1), new.reshape(-1))
            self.proportions.update(members.to(self.logits.dtype))
            if change < _FIXED_POINT_TOLERANCE:
                break
        self.set(torch.zeros_like(phi).scatter_(1, basis, share).to(self.logits.dtype))
