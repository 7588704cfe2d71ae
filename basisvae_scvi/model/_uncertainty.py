"""How well λ and δ are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import ndtri
from scvi import REGISTRY_KEYS

from basisvae_scvi.inference import GenePosterior, PairEvidence

_KEYS = ("shift", "scale")
# A shift is not identified if the data leave it this wide (the prior has 1), or if they leave the
# product of shift and scale open: then the correlation of δ and log λ is near ±1.
_WIDE_SHIFT = 0.5
_DEPENDENT, _NARROW_SHIFT = 0.95, 0.1


class UncertaintyMixin:
    """Standard deviations and intervals of shifts and scales; ``n_latent=1``."""

    def _gene_posterior(self) -> GenePosterior:
        """λ and δ of all pairs given the data; a sample of the cells stands for all of them."""
        module = self.module
        self._check_if_trained(warn=False)
        if module.n_latent > 1:
            raise ValueError("Standard deviations of shifts and scales take n_latent=1.")
        if self.adata is None:
            raise ValueError("The model has no data: load it with adata=... to use them.")
        cells = self._refresh_sample(np.arange(self.adata.n_obs), seed=0)
        tensors = self._load_cells(cells)
        z = self.orientation_ * self.get_latent_representation(indices=cells)[:, 0]
        size = np.ones(len(cells))
        if module.likelihood.is_count:
            on_device = {key: value.to(module.device) for key, value in tensors.items()}
            size = module.size_factors(on_device)
            factor = module.composition_factor(size.new_tensor(z)[:, None])
            size = (size if factor is None else size * factor).double().cpu().numpy()[:, 0]
        values = tensors[REGISTRY_KEYS.X_KEY].double().cpu().numpy()
        constants = self._module_constants()
        z, weight = z.astype(np.float64), self.adata.n_obs / len(cells)
        return PairEvidence(module, z, values, size, constants, weight).posterior()

    def _standard_deviations(self) -> dict[str, np.ndarray]:
        """Standard deviations of δ and λ in canonical order and units, and their dependence."""
        posterior, view = self._gene_posterior(), self._view()
        return {
            "shift": posterior.shift_sd[:, view.order],
            "scale": posterior.scale_sd[:, view.order] * view.norm,
            "dependence": self.orientation_ * posterior.dependence[:, view.order],
        }

    def get_gene_intervals(self, level: float = 0.9) -> pd.DataFrame:
        """Shift and scale of every gene under its most probable basis, with intervals.

        The standard deviations are those given z and the basis functions, by the working model of
        the structure search: δ on a grid, λ in closed form, counts quasi-Poisson.

        Parameters
        ----------
        level
            Probability that an interval shall have, in (0, 1).

        Returns
        -------
        Data frame indexed by gene: ``cluster``; ``shift``, ``shift_sd``, ``shift_lower``,
        ``shift_upper`` in units of z; ``shift_identified``, ``False`` where the data do not tell
        the shift (a peak outside the range of the cells), or not from the scale (a stretch in
        which the course is exponential); ``scale``, ``scale_sd``, ``scale_lower``,
        ``scale_upper``.

        Raises
        ------
        ValueError
            If ``level`` is not in (0, 1), the model has no data, or has several latent dimensions.

        Examples
        --------
        >>> intervals = model.get_gene_intervals(level=0.9)
        >>> bool((intervals["scale_lower"] <= intervals["scale_upper"]).all())
        True
        """
        if not 0.0 < level < 1.0:
            raise ValueError(f"level={level} must lie in (0, 1).")
        deviations, clusters = self._standard_deviations(), self.get_clusters()
        rows = np.arange(len(clusters))
        label = clusters["cluster"].astype(str).astype(int).to_numpy()
        width = ndtri(0.5 + 0.5 * level)
        table = clusters[["cluster"]].copy()
        for key in _KEYS:
            sd = deviations[key][rows, label]
            table[key], table[f"{key}_sd"] = clusters[key], sd
            table[f"{key}_lower"] = clusters[key] - width * sd
            table[f"{key}_upper"] = clusters[key] + width * sd
        table["scale_lower"] = table["scale_lower"].clip(lower=0.0)
        dependence = np.abs(deviations["dependence"][rows, label])
        sd = table["shift_sd"]
        is_open = (sd > _WIDE_SHIFT) | ((dependence > _DEPENDENT) & (sd > _NARROW_SHIFT))
        moves = self.module.genes.translation_invariant & (label > 0)
        table.insert(5, "shift_identified", moves & ~is_open)
        return table
