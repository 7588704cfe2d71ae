"""train(): joint training, refreshes of q(w), and what is remembered of it."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from lightning.pytorch import LightningDataModule

from basisvae_scvi._quiet import quiet_libraries
from basisvae_scvi.data import CellBlocks, CellSplitter
from basisvae_scvi.inference import (
    AssignmentRefresher,
    FiniteGuard,
    GracefulStop,
    Runner,
    processes_asked_for,
    raising_errors,
    survive_interrupt,
    with_progress,
)

from ._checkpoint import CheckpointMixin
from ._datamodule import DatamoduleMixin
from ._seed import check_seed_of_processes, resolve_seed, seeded
from ._start import N_RESTARTS, StartMixin
from ._start_latent import SEARCH_SEED
from ._trainer import callbacks_of, check_training

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


class TrainingMixin(CheckpointMixin, DatamoduleMixin, StartMixin):
    """Training and refreshes of q(w)."""

    _data_splitter_cls = CellSplitter
    _train_runner_cls = Runner

    def train(
        self,
        max_epochs: int | None = None,
        *,
        seed: int | None = None,
        init: str = "manifold",
        n_restarts: int = N_RESTARTS,
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
            Seed of everything random but the starting values, which are the same for all seeds
            unless ``init="random"``, ``objective="paper"`` or there are several latent dimensions.
            The same seed on the same machine gives the same numbers.
            By default ``scvi.settings.seed``, else a fresh one; :attr:`seed_` tells which.
        init
            Start of z: ``"manifold"`` (diffusion map of the cells; of those of up to three views,
            the one from which the genes are explained best), ``"pca"``, ``"random"``, or a
            column of ``.obs`` / key of ``.obsm``. Not used with an observed z, for query models,
            or when training is continued.
        n_restarts
            Searches for the structure of the genes; the best bound wins. They run side by side
            through joblib, where :func:`joblib.parallel_config` says. :meth:`get_stability` tells
            how far they agree. With ``objective="paper"`` or several latent dimensions there is no
            search.
        accelerator, devices
            As in Lightning: ``"cpu"``, ``"gpu"``, ``"auto"`` …
        train_size, validation_size
            Fractions of the cells. By default all that are not for validation are trained on: all
            cells, or 90 % with early stopping.
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
            For fewer than two training cells, data that changed since ``setup_anndata``, arguments
            that are unknown or out of range, a device that is not there (all before the search),
            an ``init`` that does not fit the data, a checkpoint
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
        self._check_cells()
        check_training(arguments)
        trainer_kwargs["callbacks"] = callbacks_of(trainer_kwargs)
        check_seed_of_processes(seed, trainer_kwargs.get("strategy"))
        self.seed_ = resolve_seed(seed)
        batches = self._open_datamodule(arguments)
        checkpoint = self._open_checkpoint(arguments)
        if train_size is None:
            is_told = validation_size is not None
            train_size = 1.0 - validation_size if is_told else (0.9 if early_stopping else 1.0)
        with self._ending_orderly(checkpoint), quiet_libraries(), seeded(self.seed_):
            if batches is None:
                split = self._split_cells(
                    train_size, validation_size, shuffle_set_split, batch_size
                )
                cells = split[0]
            else:
                split = [batches.train_idx, batches.val_idx, batches.test_idx]
                cells = np.arange(self.adata.n_obs)
            validating = {
                "early_stopping": early_stopping,
                "check_val_every_n_epoch": trainer_kwargs.get("check_val_every_n_epoch"),
            }
            for name, value in validating.items():
                if value and not len(split[1]):
                    raise ValueError(
                        f"{name}={value} takes validation cells, and train_size={train_size} of "
                        f"{self.adata.n_obs} cells leaves none: make it smaller."
                    )
            plan_kwargs = dict(plan_kwargs or {})
            if not self.is_query_:
                refresher = self._refresher(cells, len(split[0]))
                plan_kwargs.setdefault("refresher", refresher)
                if self._search_knows_all:
                    plan_kwargs.setdefault("refresh_every", None)
                if not (self.is_trained_ or (checkpoint and checkpoint.is_resumed)):
                    quiet = not trainer_kwargs.get("enable_progress_bar", True)
                    with seeded(self._start_seed(init)):
                        self._start(cells, init, n_restarts, refresher, quiet=quiet)
            if max_epochs is None:
                max_epochs = default_max_epochs(len(split[0]))
            max_epochs, batch_size = int(max_epochs), int(batch_size)  # torch takes no numpy's
            # Lightning leaves the mode as it finds it, and a trained model rests in eval mode.
            self.module.train()
            stop = GracefulStop()
            guard = FiniteGuard()
            callbacks = [*with_progress(trainer_kwargs), stop, guard]
            if checkpoint is not None:
                self._begin_checkpoint(checkpoint)
                callbacks.append(checkpoint)
            trainer_kwargs["callbacks"] = callbacks
            trainer_kwargs.setdefault("check_val_every_n_epoch", 1 if len(split[1]) else None)
            try:
                with (
                    survive_interrupt(stop),
                    raising_errors(self),
                    processes_asked_for(devices, trainer_kwargs) as trainer_kwargs,
                ):
                    super().train(
                        max_epochs=max_epochs,
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
        self._check_own_data()
        if self.adata.n_obs < 2 and not self.is_query_:
            raise ValueError(
                f"adata has {self.adata.n_obs} cell(s); at least 2 are needed to order them. "
                "Was adata subset by mistake?"
            )

    def _split_cells(
        self, train_size, validation_size, shuffle: bool, batch_size: int
    ) -> list[np.ndarray]:
        """Indices of training, validation and test cells."""
        splitter = CellSplitter(
            self.adata_manager,
            train_size=train_size,
            validation_size=validation_size,
            shuffle_set_split=shuffle,
            batch_size=batch_size,
        )
        splitter.setup()
        return [np.asarray(s) for s in (splitter.train_idx, splitter.val_idx, splitter.test_idx)]

    # -- refreshes of q(w) --------------------------------------------------------------------

    def _refresher(self, cells: np.ndarray, n_train: int) -> AssignmentRefresher:
        """What refreshes q(w), from ``cells`` or a sample of them."""
        return AssignmentRefresher(
            self._cell_blocks(self._refresh_sample(cells)),
            n_train,
            self._module_constants(),
            integrates=self._integrates,
        )

    def _refresh_sample(self, cells: np.ndarray) -> np.ndarray:
        """All of some cells, or a sample, ascending; the same one whatever the user's seed."""
        n_genes = self.module.genes.n_genes
        n_cells = min(len(cells), _REFRESH_CELLS, max(64, _REFRESH_ELEMENTS // n_genes))
        rng = np.random.default_rng(SEARCH_SEED)
        return np.sort(rng.choice(cells, n_cells, replace=False))

    def _cell_blocks(self, cells: np.ndarray) -> CellBlocks:
        """Minibatches of some cells, in ascending order, as a data loader gives them."""
        return CellBlocks(self.adata_manager.create_torch_dataset(), cells)

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
