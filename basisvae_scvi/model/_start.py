"""What training starts from: the structure that the search finds, networks fitted to it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from basisvae_scvi._progress import track
from basisvae_scvi.data import CellBlocks, describe_location, feature_moments, warn_empty
from basisvae_scvi.inference import (
    ENCODER_STEPS,
    AssignmentRefresher,
    StartSearch,
    apply_start,
    fit_encoder,
    pooled_start,
    start_shapes,
)
from basisvae_scvi.module import FeatureConstants

from ._constants import observed_library
from ._start_latent import SEARCH_SEED, StartLatentMixin
from ._structure import describe_search

logger = logging.getLogger(__name__)


# Searches from one start, unless the user says otherwise.
N_RESTARTS = 2


class StartMixin(StartLatentMixin):
    """Starting values of a whole model."""

    def _start(
        self,
        train_cells: np.ndarray,
        init: str,
        n_restarts: int,
        refresher: AssignmentRefresher,
        *,
        quiet: bool,
    ) -> None:
        """Give a fresh model its starting values."""
        module, constants = self.module, refresher.constants
        matrix = self._matrix()
        if module.likelihood.is_count:
            location = describe_location(self._setup_argument("layer"))
            total = feature_moments(matrix).total
            if total.sum() == 0:
                raise ValueError(
                    f"{location} has no counts at all; name the raw counts with layer=... in "
                    "setup_anndata."
                )
            warn_empty(matrix, total, location)
        size_factor = self._size_factors(matrix)
        z = self._start_z(matrix, size_factor, init)
        self._set_reference(z)
        self.batch_share_ = self._batch_shares()
        module.to("cpu")
        self._reset_module()
        logger.info("Searching the shapes of the genes")
        if self._integrates:
            orders = self._orders(matrix, size_factor, init, z)
            z = self._start_structure(matrix, orders, size_factor, constants, n_restarts, quiet)
        else:
            if n_restarts > N_RESTARTS:
                warnings.warn(
                    f"n_restarts={n_restarts} has no effect: the structure is searched with "
                    "objective='evidence' and n_latent=1 only.",
                    UserWarning,
                    stacklevel=3,
                )
            pooled = pooled_start(matrix, z, size_factor, self.seed_)
            n_obs = self.adata.n_obs
            n_shapes = start_shapes(module, pooled, constants, n_obs=n_obs, seed=self.seed_)
            logger.info("Found %d shapes beside the flat one", n_shapes)
        if not module.observed_latent:
            seed = self._start_seed(init)
            batches = self._random_batches(train_cells, ENCODER_STEPS, seed=seed)
            losses = fit_encoder(module, batches, z)
            steps = track(losses, "Ordering cells", total=ENCODER_STEPS, unit="step", silent=quiet)
            for _ in steps:
                pass
        if not self._integrates:
            refresher(module, keep_active=False)

    @property
    def _integrates(self) -> bool:
        """Whether bases pay for themselves: the search then knows z, bases and genes at once."""
        return self.module.objective == "evidence" and self.module.n_latent == 1

    def _start_seed(self, init: str) -> int:
        """Of all starting values, encoder and networks included.

        Where the search finds them they are one solution, which training improves on: encoders
        that start elsewhere end in other optima, in which a cell in a hundred stands elsewhere.
        """
        return SEARCH_SEED if self._integrates and init != "random" else self.seed_

    @property
    def _search_knows_all(self) -> bool:
        """Whether the search has seen the whole model.

        What it has found is better held to the end of training: every refresh of q(w) amplifies
        what the noise of the steps has done to the bases.
        """
        return self._integrates

    def _start_structure(
        self,
        matrix,
        orders: list[np.ndarray],
        size_factor: np.ndarray | None,
        constants: FeatureConstants,
        n_restarts: int,
        quiet: bool,
    ) -> np.ndarray:
        """Give the module the structure that the search finds; returns z, shape ``(N, 1)``."""
        search = StartSearch(
            self.module,
            matrix,
            size_factor,
            constants,
            composes=self._given_size_factor() is None,
            seed=SEARCH_SEED,
            batch=self._batch_codes(),
            prior=self._latent_prior(),
            silent=quiet,
        )
        start = search.run(orders, n_restarts)
        if len(orders) > 1:
            order = start.found.order + 1
            logger.info("Of %d orders of the cells number %d tells most", len(orders), order)
        self.search_ = describe_search(start, start.searched_genes, orders)
        if not start.has_trajectory:
            warnings.warn(
                "No gene changes along z beyond what noise would do: all genes start on the flat "
                "basis, and the order of the cells means nothing. If a process is expected, check "
                "that the cells span it, or give z a start of your own: train(init=<.obs key>).",
                UserWarning,
                stacklevel=4,
            )
        apply_start(self.module, start)
        n_shapes = len(start.curves) if start.has_trajectory else 0
        logger.info("Found %d shapes beside the flat one", n_shapes)
        return start.z[:, None]

    def _reset_module(self) -> None:
        """Draw all parameters anew, so that the result depends on the seed at hand alone."""
        for part in self.module.modules():
            if part is not self.module and hasattr(part, "reset_parameters"):
                part.reset_parameters()
        self.module.assignment.set(torch.full_like(self.module.assignment(), 1.0) / self._n_basis)

    def _size_factors(self, matrix) -> np.ndarray | None:
        """Size factors of all cells, shape ``(N,)``; ``None`` where they do not apply."""
        if not self.module.likelihood.is_count:
            return None
        given = self._given_size_factor()
        return (
            observed_library(matrix)[0] / float(self.module.genes.library)
            if (given is None)
            else given
        )

    def _module_constants(self) -> FeatureConstants:
        genes = self.module.genes
        scale, level, dispersion = (
            t.cpu().numpy().astype(np.float64)
            for t in (genes.feature_scale, genes.feature_level, genes.start_dispersion)
        )
        return FeatureConstants(scale, level, dispersion, float(genes.library))

    def _random_batches(
        self, train_cells: np.ndarray, n_batches: int, *, seed: int, batch_size: int = 128
    ) -> Iterator[tuple[np.ndarray, dict[str, Tensor]]]:
        rng = np.random.default_rng(seed)
        dataset = self.adata_manager.create_torch_dataset()
        size = min(batch_size, len(train_cells))
        for _ in range(n_batches):
            cells = np.sort(rng.choice(train_cells, size, replace=False))
            yield cells, CellBlocks(dataset, cells)[0]
