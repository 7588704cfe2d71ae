"""The basis functions b_k(z): small networks, one per basis, of fixed scale."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from basisvae_scvi.likelihood import BasisEvaluator, GridBasis, TabulatedBasis

# Basis functions continue as constants outside [-Z_LIMIT, Z_LIMIT]; under the N(0, 1) prior a
# cell lies beyond with probability 2e-9, so only shifted arguments ever get there.
Z_LIMIT = 6.0

# Positive bases stay this far from zero: without it they sink into denormal numbers, on which a
# processor computes a hundred times more slowly.
BASIS_FLOOR = 1e-6

_MIN_GRID_WIDTH = 0.1

# Even grids weighted with the normal density: for the saturating networks here they are far more
# accurate than Gauss-Hermite rules of the same size (1e-6 against 1e-2 at steepness 8).
_QUADRATURE_1D = (129, 6.0)
_QUADRATURE_2D = (41, 5.5)
_N_SOBOL = 2048


def prior_quadrature(n_latent: int) -> tuple[Tensor, Tensor]:
    """Nodes ``(S, Q)`` and weights ``(S,)`` to average a function under N(0, I).

    An even grid for one and two latent dimensions, a fixed scrambled Sobol sample beyond.
    """
    if n_latent <= 2:
        per_axis, limit = _QUADRATURE_1D if n_latent == 1 else _QUADRATURE_2D
        axis = torch.linspace(-limit, limit, per_axis, dtype=torch.float64)
        nodes = torch.cartesian_prod(*[axis] * n_latent).reshape(-1, n_latent)
        weights = torch.softmax(-0.5 * nodes.square().sum(1), 0)
        return nodes.float(), weights.float()
    sobol = torch.quasirandom.SobolEngine(n_latent, scramble=True, seed=0)
    uniform = sobol.draw(_N_SOBOL, dtype=torch.float64).clamp(1e-6, 1 - 1e-6)
    nodes = math.sqrt(2.0) * torch.erfinv(2.0 * uniform - 1.0)
    return nodes.float(), torch.full((_N_SOBOL,), 1.0 / _N_SOBOL)


class BasisFunctions(nn.Module):
    """K basis functions of z: the flat one (index 0) and K − 1 one-hidden-layer networks.

    Each network has its own hidden units, so that one basis can be refitted without touching the
    others. A network is ``r_k(z) = Σ_h v_kh tanh(w_khᵀ z + a_kh) + u_k``; then

    * ``positive`` (counts): b_k = f_k / E[f_k] with f_k = softplus(r_k) + 10⁻⁶, mean 1 under
      N(0, I);
    * otherwise: b_k = r_k / sqrt(E[r_k²]), root mean square 1 under N(0, I).

    Without ``normalize`` (a model with no gene-specific scale) the denominator is 1. The flat
    basis is the constant 1.

    Parameters
    ----------
    n_basis
        Number of basis functions K, the flat one included.
    n_latent
        Number of latent dimensions Q.
    n_hidden
        Hidden units of each network.
    positive
        Whether b_k ≥ 0.
    normalize
        Whether to fix the scale of b_k as above.
    n_grid
        For ``n_latent=1``, number of grid points from which shifted values are interpolated, at
        least 4; 0 evaluates the networks directly.
    """

    flat = 0

    def __init__(
        self,
        n_basis: int,
        n_latent: int = 1,
        n_hidden: int = 16,
        positive: bool = True,
        normalize: bool = True,
        n_grid: int = 513,
    ):
        super().__init__()
        self.n_basis, self.n_latent = n_basis, n_latent
        self.positive, self.normalize = positive, normalize
        self.n_grid = n_grid if n_latent == 1 else 0
        n_networks = n_basis - 1
        self.direction = nn.Parameter(torch.empty(n_networks, n_latent, n_hidden))
        self.threshold = nn.Parameter(torch.empty(n_networks, n_hidden))
        self.amplitude = nn.Parameter(torch.empty(n_networks, n_hidden))
        self.level = nn.Parameter(torch.empty(n_networks))
        nodes, weights = prior_quadrature(n_latent)
        self.register_buffer("quadrature_nodes", nodes, persistent=False)
        self.register_buffer("quadrature_weights", weights, persistent=False)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Spread the bends of the hidden units over the prior of z; draw amplitudes at random."""
        n_networks, n_latent, n_hidden = self.direction.shape
        unit = torch.randn(n_networks, n_latent, n_hidden)
        unit = unit / unit.norm(dim=1, keepdim=True)
        if n_latent == 1:
            unit = torch.ones_like(unit)
        steepness = torch.empty(n_networks, 1, n_hidden).uniform_(1.0, 2.0)
        centre = torch.linspace(-2.5, 2.5, n_hidden).expand(n_networks, -1)
        self.direction.copy_(unit * steepness)
        self.threshold.copy_(-centre * steepness.squeeze(1))
        self.amplitude.copy_(torch.randn(n_networks, n_hidden) / math.sqrt(n_hidden))
        self.level.fill_(math.log(math.e - 1.0) if self.positive else 0.0)

    def _link(self, raw: Tensor) -> Tensor:
        return softplus(raw) + BASIS_FLOOR if self.positive else raw

    def _raw(self, z: Tensor, networks: Tensor | slice) -> Tensor:
        """Outputs of some networks for points ``(N, Q)``, shape ``(N, K')``."""
        points = z.clamp(-Z_LIMIT, Z_LIMIT)
        hidden = torch.einsum("nq,kqh->nkh", points, self.direction[networks])
        hidden = torch.tanh(hidden + self.threshold[networks])
        return (hidden * self.amplitude[networks]).sum(-1) + self.level[networks]

    def _norms(self, networks: Tensor | slice) -> Tensor:
        """Denominators of some networks, shape ``(K',)``."""
        if not self.normalize:
            return torch.ones_like(self.level[networks])
        values = self._link(self._raw(self.quadrature_nodes.to(self.level.dtype), networks))
        weights = self.quadrature_weights.to(values.dtype)
        power = weights @ values if self.positive else (weights @ values.square()).sqrt()
        return power.clamp_min(1e-8)

    def log_prior(self) -> Tensor:
        """0: networks have no prior."""
        return self.level.new_zeros(())

    @torch.no_grad()
    def rescale(self, unit: float) -> None:
        """Follow z to another unit, given in the old one."""
        self.direction.mul_(unit)

    def norms(self) -> Tensor:
        """Denominators of all K bases, shape ``(K,)``; 1 for the flat basis."""
        return torch.cat([self.level.new_ones(1), self._norms(slice(None))])

    def forward(self, z: Tensor, wanted: Tensor | None = None) -> Tensor:
        """Evaluate bases.

        Parameters
        ----------
        z
            Points, shape ``(N, Q)``.
        wanted
            Indices of bases, in any number; the columns of all others are 1. By default all.

        Returns
        -------
        Values b_k(z_n), shape ``(N, K)``.
        """
        if wanted is None:
            values = self._link(self._raw(z, slice(None)))
            return torch.cat([values.new_ones(z.shape[0], 1), values], 1) / self.norms()
        basis = wanted.unique()
        basis = basis[basis != self.flat]
        values = self._link(self._raw(z, basis - 1)) / self._norms(basis - 1)
        return values.new_ones(z.shape[0], self.n_basis).index_copy(1, basis, values)

    def _grid_range(self, z: Tensor, shift: Tensor) -> tuple[float, float]:
        """Range that holds all z_n + δ_m, cut at ±6, with one grid step to spare."""
        ends = torch.stack([z.min() + shift.min(), z.max() + shift.max()]).detach().tolist()
        lower, upper = (min(max(end, -Z_LIMIT), Z_LIMIT) for end in ends)
        margin = max(upper - lower, _MIN_GRID_WIDTH) / (self.n_grid - 3)
        return max(lower - margin, -Z_LIMIT), min(upper + margin, Z_LIMIT)

    def evaluator(
        self, z: Tensor, shift: Tensor | None, wanted: Tensor | None = None
    ) -> BasisEvaluator:
        """Evaluator of the pairs of a minibatch.

        Without shifts the K values per cell are computed once; with shifts and one latent
        dimension they are interpolated from a grid that spans the points needed, else the networks
        are evaluated directly.

        Parameters
        ----------
        z
            Latent coordinates of the minibatch, shape ``(N, Q)``.
        shift
            Shifts of the pairs, shape ``(M,)``, or ``None`` without shifts.
        wanted
            Bases of the pairs, shape ``(M,)``, if they are not all: others cost nothing.
        """
        if shift is None:
            return TabulatedBasis(self(z, wanted))
        if not self.n_grid or not z.numel() or not shift.numel():
            return NetworkBasis(self, self.norms())
        lower, upper = self._grid_range(z, shift)
        points = GridBasis.points(lower, upper, self.n_grid, like=z)
        return GridBasis(self(points[:, None], wanted), lower, upper)


@dataclass(frozen=True)
class NetworkBasis:
    """Bases evaluated by their networks at every pair; any number of latent dimensions."""

    functions: BasisFunctions
    norms: Tensor

    def at_pairs(self, z: Tensor, shift: Tensor | None, basis: Tensor) -> Tensor:
        """Evaluate b_k at z_n + δ_m, the same δ in every latent dimension."""
        f = self.functions
        network = (basis - 1).clamp_min(0)
        points = z[:, None, :].expand(-1, len(basis), -1)
        points = points if shift is None else points + shift[:, None]
        hidden = torch.einsum(
            "nmq,mqh->nmh", points.clamp(-Z_LIMIT, Z_LIMIT), f.direction[network]
        )
        hidden = torch.tanh(hidden + f.threshold[network])
        raw = (hidden * f.amplitude[network]).sum(-1) + f.level[network]
        values = f._link(raw) / self.norms[basis]
        return torch.where(basis == f.flat, torch.ones_like(values), values)
