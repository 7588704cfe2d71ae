"""``basisvae-scvi fit``: read, model, annotate, write."""

import logging
import warnings
from collections.abc import Callable
from functools import partial

from anndata import AnnData

from basisvae_scvi import BasisVAE
from basisvae_scvi._quiet import quiet_libraries
from basisvae_scvi._termination import Terminated
from basisvae_scvi.inference import CheckpointFile, TrainingProgress
from basisvae_scvi.model import INIT_METHODS

from ._checks import check_data_options
from ._device import check_accelerator, limit_threads
from ._errors import EXIT_INTERRUPTED
from ._files import read_anndata, strip_leftovers
from ._genes import hide_size_factors, prepare
from ._layers import counts_wanted, take_raw
from ._outcome import Outcome
from ._output import Outputs
from ._run_info import Stopwatch
from ._settings import FitSettings, ModelSettings
from ._staging import Staging

logger = logging.getLogger(__name__)


def fit(settings: FitSettings, line: str) -> int:
    """Run the command.

    Parameters
    ----------
    settings
        Its arguments.
    line
        The command as it was called, for the record of the run.

    Returns
    -------
    Exit status.
    """
    load = partial(read_anndata, settings.input, backed=settings.backed)
    outcome = fit_and_write(settings, load, line)
    return EXIT_INTERRUPTED if outcome.interrupted else 0


def fit_and_write(settings: ModelSettings, load: Callable[[], AnnData], line: str) -> Outcome:
    """Fit what ``load`` returns and write all that the settings ask for, or nothing."""
    watch = Stopwatch()
    try:
        outcome = _fit_staged(settings, load, line, watch)
    except Terminated as end:  # perhaps long after training has said what it keeps
        if settings.checkpoint_dir is not None:
            end.kept = CheckpointFile(settings.checkpoint_dir).kept
        raise
    if outcome.interrupted:
        logger.error(
            "interrupted; %s holds what was reached by epoch %d.",
            settings.output,
            outcome.n_epochs,
        )
    else:
        logger.info("Wrote %s: %d bases in use", settings.output, outcome.n_used_bases)
    return outcome


def _fit_staged(
    settings: ModelSettings, load: Callable[[], AnnData], line: str, watch: Stopwatch
) -> Outcome:
    with Staging(overwrite=settings.overwrite) as staging, quiet_libraries():
        outputs = Outputs.claim(settings, staging)
        limit_threads(settings.threads)
        check_accelerator(settings.accelerator)
        outcome = fit_anndata(load(), settings)
        outputs.write(outcome, settings, line, watch)
        staging.commit()
        if settings.checkpoint_dir is not None and not outcome.interrupted:
            CheckpointFile(settings.checkpoint_dir).remove()
    return outcome


def fit_anndata(adata: AnnData, settings: ModelSettings) -> Outcome:
    """Fit the model and annotate ``adata`` in place."""
    check_data_options(adata, settings, INIT_METHODS)
    take_raw(adata, settings.layer, backed=getattr(settings, "backed", False))
    work = prepare(adata, settings)
    with counts_wanted(adata, settings.layer):
        model = build_model(work, settings)
    progress = TrainingProgress(silent=settings.quiet)
    logger.info("Fitting %d cells × %d genes", model.adata.n_obs, model.adata.n_vars)
    with warnings.catch_warnings():
        # Said once, when the output is there.
        warnings.filterwarnings("ignore", message="Training was interrupted")
        model.train(
            max_epochs=settings.max_epochs,
            seed=settings.seed,
            init=settings.init,
            n_restarts=settings.n_restarts,
            accelerator=settings.accelerator.value,
            train_size=settings.train_size,
            validation_size=settings.validation_size,
            shuffle_set_split=settings.shuffle_set_split,
            batch_size=settings.batch_size,
            early_stopping=settings.early_stopping,
            checkpoint_dir=settings.checkpoint_dir,
            enable_progress_bar=not settings.quiet,
            callbacks=[progress],
        )
    model.annotate(adata, key_added=settings.key_added, root=settings.root)
    hide_size_factors(adata, settings)
    strip_leftovers(adata)
    return Outcome(model, adata, progress.n_epochs, progress.was_interrupted)


def build_model(work: AnnData, settings: ModelSettings) -> BasisVAE:
    """Model of registered data, with the arguments of the command line."""
    return BasisVAE(
        work,
        n_basis=settings.n_basis,
        n_latent=settings.n_latent,
        scale_invariant=settings.scale_invariant,
        translation_invariant=settings.translation_invariant,
        gene_likelihood=settings.gene_likelihood.value,
        dispersion=settings.dispersion.value,
        zero_inflation=settings.zero_inflation.value,
        inference=settings.inference.value,
        concentration=settings.concentration,
        latent_weight=settings.latent_weight,
        assignment_weight=settings.assignment_weight,
        gene_prior=settings.gene_prior.value,
        latent_prior_scale=settings.latent_prior_scale,
        n_hidden=settings.n_hidden,
        n_layers=settings.n_layers,
        dropout_rate=settings.dropout_rate,
        basis_functions=settings.basis_functions and settings.basis_functions.value,
        n_hidden_basis=settings.n_hidden_basis,
        n_grid=settings.n_grid,
        objective=settings.objective.value,
        shape_deviation=settings.shape_deviation,
        allow_non_integer=settings.allow_non_integer,
    )
