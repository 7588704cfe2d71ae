"""What else is in the library of a cell: a factor of its size that depends on z."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from ._basis import Z_LIMIT

# Points between ±Z_LIMIT at which the composition of the libraries is known.
_N_COMPOSITION = 241


def _without_composition(module: nn.Module, state: dict[str, Tensor], prefix: str, *_) -> None:
    """States of models from before there was a composition have none: libraries as observed."""
    state.setdefault(f"{prefix}composition", torch.zeros_like(module.composition))


class CompositionMixin:
    """Part of :class:`BasisVAEModule`: the composition of the libraries along z."""

    n_latent: int
    composition: Tensor

    def _make_composition(self) -> None:
        """No composition at first: libraries as observed."""
        self.register_buffer("composition", torch.zeros(_N_COMPOSITION))
        self.register_load_state_dict_pre_hook(_without_composition)

    def set_composition(self, z: np.ndarray, log_factor: np.ndarray) -> None:
        """Correct size factors for what else is in the library at z.

        Parameters
        ----------
        z
            Ascending places, shape ``(G,)``.
        log_factor
            Log of the factor there, shape ``(G,)``; constant beyond the ends.
        """
        values = np.interp(np.linspace(-Z_LIMIT, Z_LIMIT, _N_COMPOSITION), z, log_factor)
        self.composition.copy_(torch.as_tensor(values, dtype=self.composition.dtype))

    def composition_factor(self, z: Tensor) -> Tensor | None:
        """Factor of the size factors at z ``(N, Q)``, shape ``(N, 1)``; ``None`` where it is 1."""
        if self.n_latent > 1 or not self.composition.any():
            return None
        position = (z[:, 0].clamp(-Z_LIMIT, Z_LIMIT) + Z_LIMIT) * (
            (_N_COMPOSITION - 1) / (2 * Z_LIMIT)
        )
        left = position.detach().floor().long().clamp(0, _N_COMPOSITION - 2)
        values, share = self.composition.to(z.dtype), position - left
        return (values[left] * (1 - share) + values[left + 1] * share).exp()[:, None]
