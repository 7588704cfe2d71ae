"""Basis functions as smooth curves on a fixed grid: one representation from search to module."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from basisvae_scvi.likelihood import BasisEvaluator, GridBasis, TabulatedBasis

from ._basis import BASIS_FLOOR, BasisFunctions, prior_quadrature
from ._deviations import LATENT_REACH, LATENT_STEP
from ._smooth import smooth_priors

# How far genes are shifted at most: the support of the curves is that of z and so much more.
SHIFT_REACH = 2.2
# To how much, in units of f, a curve that is taken over is told; it decides how smooth it is.
_PRECISE = 0.02
# exp of this is as good as infinity, and keeps gradients finite.
_MAX_LOG = 30.0


def curve_support(translation_invariant: bool) -> np.ndarray:
    """Points on which curves are given, shape ``(C,)``; beyond they are level."""
    reach = LATENT_REACH + (SHIFT_REACH if translation_invariant else 0.0)
    half = round(reach / LATENT_STEP)
    return LATENT_STEP * np.arange(-half, half + 1)


def _forget_unit(module: SmoothBasis, _incompatible_keys) -> None:
    """A state that was loaded says what the unit is; a function, so that it can be pickled."""
    module._unit = None


class SmoothBasis(nn.Module):
    """The flat basis (index 0) and K − 1 curves f_k = U w_k with w_k ~ N(0, I).

    U is the root of the covariance of a Gaussian process whose slope is smooth, one of a few of
    different length and slope, for each curve the one under which it is most probable. For counts
    b_k = exp(f_k) / E[exp f_k], otherwise b_k = f_k / sqrt(E[f_k²]), E over N(0, 1). In between
    the points of the grid b_k is cubic, beyond them level.

    Parameters
    ----------
    n_basis
        Number of basis functions K, the flat one included.
    translation_invariant
        Whether genes are shifted, for which the support is wider.
    positive
        Whether b_k ≥ 0.
    normalize
        Whether to fix the size of b_k as above; otherwise the denominator is 1.
    """

    flat = 0

    def __init__(
        self,
        n_basis: int,
        *,
        translation_invariant: bool,
        positive: bool = True,
        normalize: bool = True,
    ):
        super().__init__()
        self.n_basis, self.n_latent = n_basis, 1
        self.positive, self.normalize = positive, normalize
        support = curve_support(translation_invariant)
        self.n_grid, self.reach = len(support), float(support[-1])
        roots = [prior.basis for prior in smooth_priors(len(support), LATENT_STEP)]
        rank = max(root.shape[1] for root in roots)
        roots = [np.pad(root, ((0, 0), (0, rank - root.shape[1]))) for root in roots]

        def constant(name: str, values) -> None:
            self.register_buffer(name, torch.as_tensor(values).float(), persistent=False)

        constant("support", support)
        constant("roots", np.stack(roots))
        nodes, weights = prior_quadrature(1)
        constant("quadrature_nodes", nodes)
        constant("quadrature_weights", weights)
        self.weight = nn.Parameter(torch.zeros(n_basis - 1, rank))
        self.register_buffer("prior", torch.zeros(n_basis - 1, dtype=torch.long))
        self.register_buffer("unit", torch.tensor(1.0))
        self._unit: float | None = None  # the same, where no device need be waited for
        self.register_load_state_dict_post_hook(_forget_unit)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Make all curves level."""
        self.unit.fill_(1.0)
        self._unit = None
        self.prior.zero_()
        self.weight.zero_()
        if not self.positive:  # the level 1; the log of which is 0
            prior, weight = self._told(np.ones((1, self.n_grid)))
            self.prior += prior
            self.weight += weight

    def _told(self, curves: np.ndarray) -> tuple[Tensor, Tensor]:
        """Prior and w of curves ``(K', C)``: Gaussian-process regression with hardly any noise."""
        target = torch.as_tensor(curves, dtype=torch.float64) / _PRECISE
        best, found = None, None
        for index, root in enumerate(self.roots.double() / _PRECISE):
            precision = torch.eye(root.shape[1], dtype=torch.float64) + root.T @ root
            weight = torch.linalg.solve(precision, root.T @ target.T).T
            evidence = -0.5 * (target - weight @ root.T).square().sum(1)
            evidence -= 0.5 * weight.square().sum(1) + 0.5 * torch.logdet(precision)
            which = torch.full((len(target),), index)
            if best is not None:
                wins = evidence > best
                evidence = torch.where(wins, evidence, best)
                which = torch.where(wins, which, found[0])
                weight = torch.where(wins[:, None], weight, found[1])
            best, found = evidence, (which, weight)
        return found

    @torch.no_grad()
    def set_curves(self, curves: np.ndarray) -> None:
        """Take over curves f on the support, ``(K', C)``, as the first ones; others are level."""
        self.reset_parameters()
        if len(curves):
            prior, weight = (values.to(self.weight.device) for values in self._told(curves))
            self.prior[: len(curves)] = prior
            self.weight[: len(curves)] = weight.to(self.weight)

    def log_prior(self) -> Tensor:
        """−½ Σ w² of the curves that are not level, in nats."""
        return -0.5 * self.weight.square().sum()

    def rescale(self, unit: float) -> None:
        """Follow z to another unit, given in the old one."""
        self.unit.mul_(unit)
        self._unit = None

    def _values(self) -> tuple[Tensor, Tensor]:
        """All bases at the points of the grid ``(C, K)``, and their denominators ``(K,)``."""
        curves = torch.einsum("kcr,kr->ck", self.roots[self.prior], self.weight)
        values = curves.clamp_max(_MAX_LOG).exp() if self.positive else curves
        norm = torch.ones_like(values[0])
        if self.normalize:
            density = torch.softmax(-0.5 * (self.support / self.unit).square(), 0)
            mean = density @ (values if self.positive else values.square())
            norm = (mean if self.positive else mean.sqrt()).clamp_min(1e-8)
        values = values / norm + (BASIS_FLOOR if self.positive else 0.0)
        one = values.new_ones(len(values), 1)
        return torch.cat([one, values], 1), torch.cat([norm.new_ones(1), norm])

    def norms(self) -> Tensor:
        """Denominators of all K bases, shape ``(K,)``; 1 for the flat basis."""
        return self._values()[1]

    def _grid(self) -> GridBasis:
        if self._unit is None:
            self._unit = float(self.unit)
        reach = self.reach / self._unit
        return GridBasis(self._values()[0], -reach, reach)

    def forward(self, z: Tensor, wanted: Tensor | None = None) -> Tensor:
        """b_k(z_n) of points ``(N, 1)``, shape ``(N, K)``; ``wanted`` makes no difference."""
        curves = torch.arange(1, self.n_basis, device=z.device)
        return torch.cat([torch.ones_like(z), self._grid().at_pairs(z, None, curves)], 1)

    def evaluator(
        self, z: Tensor, shift: Tensor | None, wanted: Tensor | None = None
    ) -> BasisEvaluator:
        """Evaluator of the pairs of a minibatch with shifts ``(M,)``, or none."""
        return TabulatedBasis(self(z)) if shift is None else self._grid()


def networks_of_old_states(module: nn.Module, state: dict[str, Tensor], prefix: str, *_) -> None:
    """States from before bases were curves on a grid hold networks."""
    direction = state.get(f"{prefix}basis.direction")
    if direction is None or not isinstance(module.basis, SmoothBasis):
        return
    module.basis = BasisFunctions(
        module.n_basis,
        n_hidden=direction.shape[-1],
        positive=module.basis.positive,
        normalize=module.basis.normalize,
    ).to(direction.device)
