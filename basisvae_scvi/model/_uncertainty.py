"""How well λ and δ are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from scipy.special import ndtri

from basisvae_scvi.inference import PairEvidence, pair_evidence, place_cells

from ._arguments import check_number

_KEYS = ("shift", "scale")
# A shift is not identified if the data leave it this wide (the prior has 1), or if they leave the
# product of shift and scale open: then the correlation of δ and log λ is near ±1. Nor is one that
# the data would take beyond the largest that is looked at.
_WIDE_SHIFT = 0.5
_DEPENDENT, _NARROW_SHIFT = 0.95, 0.1


class UncertaintyMixin:
    """Standard deviations and intervals of shifts and scales; ``n_latent=1``."""

    def _pair_evidence(self) -> tuple[PairEvidence, np.ndarray]:
        """All pairs on a sample of the cells that stands for all of them, and that sample."""
        module = self.module
        self._check_if_trained(warn=False)
        if module.n_latent > 1:
            raise ValueError("Standard deviations of shifts and scales take n_latent=1.")
        if self.adata is None:
            raise ValueError("The model has no data: load it with adata=... to use them.")
        self._check_own_data()
        cells = self._refresh_sample(np.arange(self.adata.n_obs))
        with torch.no_grad():
            placed = place_cells(module, self._cell_blocks(cells))
            constants = self._module_constants()
            return pair_evidence(module, placed, constants, self.adata.n_obs), cells

    def _latent_prior_sd(self, cells: np.ndarray) -> np.ndarray | None:
        """Standard deviation of the prior of z, ``(N,)``; ``None`` where z is observed."""
        if self.module.observed_latent:
            return None
        prior = self._latent_prior()
        return np.ones(len(cells)) if prior is None else prior.sd[cells, 0]

    def _posterior(self, level: float = 0.9) -> dict[str, np.ndarray]:
        """Standard deviations, ends of the interval of δ, dependence, limit, each ``(P, K)``.

        In canonical order and units. Under the most probable basis z and the bases are integrated
        out; under the others they are given.
        """
        (evidence, cells), view, module = self._pair_evidence(), self._view(), self.module
        label = view.assignment.argmax(1)
        rows, internal = np.arange(len(label)), view.order[label]
        if module.genes.translation_invariant:
            evidence.refit(internal)
        posterior = evidence.posterior(level)
        with torch.no_grad():
            scale = module.genes.scales(module.n_basis).double().cpu().numpy()[rows, internal]
        shift = posterior.shift_mean[rows, internal]
        joint = evidence.joint_variances(
            internal,
            shift,
            scale,
            self._latent_prior_sd(cells),
            has_unit=self._has_free_latent(),
        )
        at = rows[label > 0], internal[label > 0]
        added = np.sqrt(joint.added_shift[at[0]])
        posterior.scale_sd[at] = np.hypot(
            posterior.scale_sd[at], scale[at[0]] * np.sqrt(joint.added_log_scale[at[0]])
        )
        width = ndtri(0.5 + 0.5 * level)
        for end in (posterior.shift_lower, posterior.shift_upper):
            distance = end[at] - posterior.shift_mean[at]
            end[at] = posterior.shift_mean[at] + np.sign(distance) * np.hypot(
                distance, width * added
            )
        posterior.shift_sd[at] = np.hypot(posterior.shift_sd[at], added)
        # Like the shifts, relative to their mean over the cluster.
        centre = np.zeros(module.n_basis)
        for k in np.unique(at[1]):
            centre[k] = posterior.shift_mean[at[0][at[1] == k], k].mean()
        ends = [
            self.orientation_ * (end - centre)[:, view.order]
            for end in (posterior.shift_lower, posterior.shift_upper)
        ]
        return {
            "shift": posterior.shift_sd[:, view.order],
            "scale": posterior.scale_sd[:, view.order] * view.norm,
            "dependence": self.orientation_ * posterior.dependence[:, view.order],
            "is_at_limit": evidence.is_at_limit(posterior.shift_mean)[:, view.order],
            "lower": np.minimum(*ends),
            "upper": np.maximum(*ends),
        }

    def get_gene_intervals(self, level: float = 0.9) -> pd.DataFrame:
        """Shift and scale of every gene under its most probable basis, with intervals.

        The standard deviations are those of the joint posterior of z, basis functions, shifts and
        scales (Laplace's approximation, every gene on its most probable basis), shifts relative to
        the mean over the genes of the cluster.

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
        check_number(level, "level", above=0.0, below=1.0)
        posterior, clusters = self._posterior(level), self.get_clusters()
        rows = np.arange(len(clusters))
        label = clusters["cluster"].astype(str).astype(int).to_numpy()
        width = ndtri(0.5 + 0.5 * level)
        table = clusters[["cluster"]].copy()
        for key in _KEYS:
            table[key], table[f"{key}_sd"] = clusters[key], posterior[key][rows, label]
            half = width * table[f"{key}_sd"]
            table[f"{key}_lower"], table[f"{key}_upper"] = table[key] - half, table[key] + half
        if self.module.genes.translation_invariant:
            table["shift_lower"] = posterior["lower"][rows, label]
            table["shift_upper"] = posterior["upper"][rows, label]
        table["scale_lower"] = table["scale_lower"].clip(lower=0.0)
        dependence = np.abs(posterior["dependence"][rows, label])
        sd = table["shift_sd"]
        is_open = (sd > _WIDE_SHIFT) | ((dependence > _DEPENDENT) & (sd > _NARROW_SHIFT))
        is_open |= posterior["is_at_limit"][rows, label]
        moves = self.module.genes.translation_invariant & (label > 0)
        table.insert(5, "shift_identified", moves & ~is_open)
        return table
