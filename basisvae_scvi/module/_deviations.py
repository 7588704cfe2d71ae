"""Own deviations ε_j(z) of the genes from the course of their basis."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from basisvae_scvi.likelihood import GridBasis

# The even grid of z, in standard deviations of its prior, on which courses of genes live.
LATENT_STEP, LATENT_REACH = 0.05, 3.2
# κ(d) = 1 / (1 + d² / (2 l²)), rational quadratic: squared-exponential kernels of all lengths
# about l (Rasmussen & Williams 2006, eq. 4.19). On the marrow's erythroid and monocyte lineages it
# gains 20 to 80 nats over a single length (0.5 to 2.2 were tried), and searches agree better. For
# distances of ranks Φ(z) held-out cells are predicted better by 0.1 to 0.3 %, but halves of the
# cells agree less on the groups, most of all with shifts.
_LENGTH = 1.0
# Directions with less than this share of the largest variance are left out: a hundredth of τ.
_NEGLIGIBLE = 1e-4


def latent_grid() -> np.ndarray:
    """The grid of z, shape ``(G,)``."""
    half = round(LATENT_REACH / LATENT_STEP)
    return LATENT_STEP * np.arange(-half, half + 1)


@cache
def deviation_functions() -> np.ndarray:
    """Square root of κ on the grid of z, shape ``(G, R)``: functions v of ε = τ v u, u ~ N(0, I).

    Deviations have mean 0 over N(0, 1): their level is that of λ.
    """
    z = latent_grid()
    covariance = 1.0 / (1.0 + 0.5 * ((z[:, None] - z) / _LENGTH) ** 2)
    density = np.exp(-0.5 * z**2)
    centred = np.eye(len(z)) - density / density.sum()
    variance, direction = np.linalg.eigh(centred @ covariance @ centred.T)
    kept = variance > _NEGLIGIBLE * variance[-1]
    return direction[:, kept] * np.sqrt(variance[kept])


class OwnDeviations(nn.Module):
    """ε_j(z) = τ Σ_r v_r(z) u_jr, with u_jr ~ N(0, 1); level beyond the grid of z.

    The u_j are set in closed form, not by gradient steps.

    Parameters
    ----------
    n_genes
        Number of genes P.
    """

    def __init__(self, n_genes: int):
        super().__init__()
        functions = torch.as_tensor(deviation_functions(), dtype=torch.float32)
        self.register_buffer("functions", functions, persistent=False)
        self.register_buffer("weight", torch.zeros(n_genes, functions.shape[1]))
        self.register_buffer("unit", torch.tensor(1.0))

    @torch.no_grad()
    def set(self, weight: np.ndarray) -> None:
        """Take over u, shape ``(P, R)``, for z in standard deviations of its prior."""
        self.weight.copy_(torch.as_tensor(weight))
        self.unit.fill_(1.0)

    def rescale(self, unit: float) -> None:
        """Follow z to another unit, given in the old one."""
        self.unit.mul_(unit)

    def forward(self, z: Tensor, sd: Tensor) -> Tensor:
        """ε_j(z_n) for latent coordinates ``(N, 1)`` and τ, shape ``(N, P)``."""
        grid = GridBasis(self.functions.to(z.dtype), -LATENT_REACH, LATENT_REACH)
        every = torch.arange(self.functions.shape[1], device=z.device)
        return grid.at_pairs(z * self.unit, None, every) @ (sd * self.weight).to(z.dtype).T

    def log_prior(self) -> Tensor:
        """−½ Σ u²: the log density of u against that of no deviation, in nats."""
        return -0.5 * self.weight.square().sum()
