"""train(): starting values, joint training, and what is remembered of it."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from scvi.utils import track
from torch import Tensor

from basisvae_scvi.data import (
    CellBlocks,
    CellSplitter,
    describe_location,
    feature_moments,
    warn_empty,
)
from basisvae_scvi.inference import (
    ENCODER_STEPS,
    AssignmentRefresher,
    FiniteGuard,
    GracefulStop,
    StartSearch,
    apply_start,
    fit_encoder,
    pooled_start,
    start_shapes,
    survive_interrupt,
)
from basisvae_scvi.module import FeatureConstants

from ._checkpoint import CheckpointMixin
from ._constants import observed_library
from ._datamodule import DatamoduleMixin
from ._seed import check_seed_of_processes, resolve_seed, seeded
from ._start_latent import SEARCH_SEED, StartLatentMixin
from ._structure import describe_search

logger = logging.getLogger(__name__)

_MAX_EPOCHS = 150
_MIN_EPOCHS = 20
_CELLS_FOR_MAX_EPOCHS = 10_000
# The refresh of q(w) looks at up to this many cells, and entries of the data matrix. A smaller
# part of the cells would decide on the groups by chance where genes hardly tell them apart.
_REFRESH_CELLS = 10_000
_REFRESH_ELEMENTS = 70_000_000


def default_max_epochs(n_obs: int) -> int:
    """150 epochs up to 10,000 cells, fewer for more, so that the number of steps stays alike."""
    return int(np.clip(_MAX_EPOCHS * _CELLS_FOR_MAX_EPOCHS / n_obs, _MIN_EPOCHS, _MAX_EPOCHS))


class TrainingMixin(CheckpointMixin, DatamoduleMixin, StartLatentMixin):
    """Starting values and training."""

    _data_splitter_cls = CellSplitter

    def train(
        self,
        max_epochs: int | None = None,
        *,
        seed: int | None = None,
        init: str = "manifold",
        n_restarts: int = 2,
        accelerator: str = "auto",
        devices: int | list[int] | str = "auto",
        train_size: float | None = None,
        validation_size: float | None = None,
        shuffle_set_split: bool = True,
        batch_size: int = 128,
        early_stopping: bool = False,
        checkpoint_dir: str | os.PathLike | None = None,
        datamodule: LightningDataModule | None = None,
        datasplitter_kwargs: dict | None = None,
        plan_kwargs: dict | None = None,
        **trainer_kwargs,
    ) -> None:
        """Find starting values (first call only) and train all parameters jointly.

        Parameters
        ----------
        max_epochs
            Passes over the cells; by default 150 for up to 10,000 cells and fewer for more. The
            learning rates fall over them, and start anew when training is continued.
        seed
            Seed of everything random. The same seed on the same machine gives the same numbers.
            By default ``scvi.settings.seed``, else a fresh one; :attr:`seed_` tells which.
        init
            Start of z: ``"manifold"`` (diffusion map of the cells), ``"pca"``, ``"random"``, or a
            column of ``.obs`` / key of ``.obsm``. Not used with an observed z, for query models,
            or when training is continued.
        n_restarts
            Searches for the structure of the genes; the best bound wins. They run side by side
            through joblib, where :func:`joblib.parallel_config` says. :meth:`get_stability` tells
            how far they agree.
        accelerator, devices
            As in Lightning: ``"cpu"``, ``"gpu"``, ``"auto"`` …
        train_size, validation_size
            Fractions of the cells. By default all cells are trained on, or 90 % with early
            stopping.
        shuffle_set_split
            Whether the split is random.
        batch_size
            Cells per step. More make an epoch of many cells faster and reach the same bound; for
            some hundred cells they are too few steps (``benchmarks/batch_size.py``).
        early_stopping
            Stop when ``elbo_validation`` no longer improves.
        checkpoint_dir
            Folder in which the state of the training is kept (``training.ckpt``). If it holds one
            of the same call on the same data, training goes on from there and ends with the
            numbers of a run that was never stopped. Delete it when it is no longer wanted.
        datamodule
            Source of the minibatches in place of AnnData: a Lightning data module that reads the
            same cells and genes, such as :class:`scvi.dataloaders.AnnbatchDataModule` of
            scvi-tools 1.5. AnnData, which may be backed, still gives the starting values, the
            sample for refreshes of q(w), and z at the end. All cells are trained on, unless
            ``datamodule.val_idx`` names some; then the cells must be in the order of AnnData.
            Size of minibatches and split are set there, not here; there is no
            ``checkpoint_dir``, and no ``latent_key`` or ``latent_prior_key``.
        datasplitter_kwargs, plan_kwargs, **trainer_kwargs
            Passed on to scvi-tools' :class:`~scvi.dataloaders.DataSplitter`,
            :class:`basisvae_scvi.inference.BasisVAETrainingPlan` and
            :class:`scvi.train.Trainer`.

        Raises
        ------
        ValueError
            For fewer than two training cells, an ``init`` that does not fit the data, a checkpoint
            that is damaged or belongs to another run, a ``datamodule`` of other cells, genes,
            batches or covariates, or several processes without a seed.
        FloatingPointError
            If a step is not finite. The model then keeps the parameters of the last good epoch,
            and the error names the parameter.

        Examples
        --------
        >>> import basisvae_scvi as bv
        >>> adata = bv.datasets.simulate_counts(n_obs=100, n_vars=30)
        >>> bv.BasisVAE.setup_anndata(adata)
        >>> model = bv.BasisVAE(adata, n_basis=4)
        >>> model.train(max_epochs=2, seed=1, enable_progress_bar=False)
        """
        arguments = {name: value for name, value in locals().items() if name != "self"}
        check_seed_of_processes(seed, trainer_kwargs.get("strategy"))
        self.seed_ = resolve_seed(seed)
        if n_restarts < 1:
            raise ValueError(f"n_restarts={n_restarts} must be at least 1.")
        self._check_cells()
        batches = self._open_datamodule(arguments)
        checkpoint = self._open_checkpoint(arguments)
        if train_size is None and validation_size is None:
            train_size = 0.9 if early_stopping else 1.0
        with seeded(self.seed_):
            if batches is None:
                split = self._split_cells(
                    train_size, validation_size, shuffle_set_split, batch_size
                )
                cells = split[0]
            else:
                split = [batches.train_idx, batches.val_idx, batches.test_idx]
                cells = np.arange(self.adata.n_obs)
            plan_kwargs = dict(plan_kwargs or {})
            if not self.is_query_:
                refresher = self._refresher(cells, len(split[0]))
                plan_kwargs.setdefault("refresher", refresher)
                if self._search_knows_all:
                    plan_kwargs.setdefault("refresh_every", None)
                if not (self.is_trained_ or (checkpoint and checkpoint.is_resumed)):
                    quiet = trainer_kwargs.get("enable_progress_bar") is False
                    with seeded(self._start_seed(init)):
                        self._start(cells, init, n_restarts, refresher, quiet=quiet)
            # Lightning leaves the mode as it finds it, and a trained model rests in eval mode.
            self.module.train()
            stop = GracefulStop()
            guard = FiniteGuard()
            callbacks = [*(trainer_kwargs.get("callbacks") or []), stop, guard]
            if checkpoint is not None:
                self._begin_checkpoint(checkpoint)
                callbacks.append(checkpoint)
            trainer_kwargs["callbacks"] = callbacks
            trainer_kwargs.setdefault("check_val_every_n_epoch", 1 if len(split[1]) else None)
            try:
                with survive_interrupt(stop), warnings.catch_warnings():
                    # LayerNorm has no trouble with a last minibatch of one or two cells.
                    warnings.filterwarnings("ignore", message="Last batch will have a small size")
                    super().train(
                        max_epochs=max_epochs or default_max_epochs(len(split[0])),
                        accelerator=accelerator,
                        devices=devices,
                        batch_size=batch_size,
                        early_stopping=early_stopping,
                        datasplitter_kwargs={
                            **(datasplitter_kwargs or {}),
                            "external_indexing": split,
                        },
                        plan_kwargs=plan_kwargs,
                        datamodule=batches,
                        **trainer_kwargs,
                    )
            except FloatingPointError:
                if guard.n_good_epochs > 0 or (checkpoint and checkpoint.n_epochs):
                    self._finish_training(split)
                raise
            self._finish_training(split)

    def _check_cells(self) -> None:
        """Raise ValueError if there are too few cells to train on."""
        if self.adata is None:
            raise ValueError("The model has no data: load it with adata=... to train it.")
        if self.adata.n_obs < 2 and not self.is_query_:
            raise ValueError(
                f"adata has {self.adata.n_obs} cell(s); at least 2 are needed to order them. "
                "Was adata subset by mistake?"
            )

    def _split_cells(
        self, train_size, validation_size, shuffle: bool, batch_size: int
    ) -> list[np.ndarray]:
        """Indices of training, validation and test cells."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Last batch will have a small size")
            splitter = CellSplitter(
                self.adata_manager,
                train_size=train_size,
                validation_size=validation_size,
                shuffle_set_split=shuffle,
                batch_size=batch_size,
            )
        splitter.setup()
        return [np.asarray(s) for s in (splitter.train_idx, splitter.val_idx, splitter.test_idx)]

    # -- starting values ----------------------------------------------------------------------

    def _refresher(self, cells: np.ndarray, n_train: int) -> AssignmentRefresher:
        """What refreshes q(w), from ``cells`` or a sample of them."""
        return AssignmentRefresher(
            self._cell_blocks(self._refresh_sample(cells)),
            n_train,
            self._module_constants(),
            integrates=self._integrates,
        )

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
            z = self._start_structure(matrix, z, size_factor, constants, n_restarts, quiet)
        else:
            pooled = pooled_start(matrix, z, size_factor, self.seed_)
            n_obs = self.adata.n_obs
            n_shapes = start_shapes(module, pooled, constants, n_obs=n_obs, seed=self.seed_)
            logger.info("Found %d shapes beside the flat one", n_shapes)
        if not module.observed_latent:
            seed = self._start_seed(init)
            batches = self._random_batches(train_cells, ENCODER_STEPS, seed=seed)
            losses = fit_encoder(module, batches, z)
            for _ in track(
                losses, description="Ordering cells", total=ENCODER_STEPS, disable=quiet
            ):
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
        """Whether the search has seen the whole model, which has no batches then.

        What it has found is better held to the end of training: every refresh of q(w) amplifies
        what the noise of the steps has done to the bases.
        """
        return self._integrates and self.module.n_batch == 1

    def _start_structure(
        self,
        matrix,
        z: np.ndarray,
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
            prior=self._latent_prior(),
            silent=quiet,
        )
        start = search.run(z[:, 0], n_restarts)
        self.search_ = describe_search(start, start.searched_genes)
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

    # -- cells --------------------------------------------------------------------------------

    def _refresh_sample(self, cells: np.ndarray) -> np.ndarray:
        """All of some cells, or a sample, ascending; the same one whatever the user's seed."""
        n_genes = self.module.genes.n_genes
        n_cells = min(len(cells), _REFRESH_CELLS, max(64, _REFRESH_ELEMENTS // n_genes))
        rng = np.random.default_rng(SEARCH_SEED)
        return np.sort(rng.choice(cells, n_cells, replace=False))

    def _cell_blocks(self, cells: np.ndarray) -> CellBlocks:
        """Minibatches of some cells, in ascending order, as a data loader gives them."""
        return CellBlocks(self.adata_manager.create_torch_dataset(), cells)

    def _random_batches(
        self, train_cells: np.ndarray, n_batches: int, *, seed: int, batch_size: int = 128
    ) -> Iterator[tuple[np.ndarray, dict[str, Tensor]]]:
        rng = np.random.default_rng(seed)
        dataset = self.adata_manager.create_torch_dataset()
        size = min(batch_size, len(train_cells))
        for _ in range(n_batches):
            cells = np.sort(rng.choice(train_cells, size, replace=False))
            values = dataset[list(cells)]
            yield cells, {key: torch.as_tensor(np.asarray(v)) for key, v in values.items()}

    # -- afterwards ---------------------------------------------------------------------------

    def _finish_training(self, split: Sequence[np.ndarray]) -> None:
        """Bring the model to rest and remember the range and the orientation of z."""
        module = self.module
        module.assignment.release()
        module.eval()
        self.is_trained_ = True
        self.train_indices, self.validation_indices, self.test_indices = split
        if self.is_query_:
            return
        self._remember_latent()
