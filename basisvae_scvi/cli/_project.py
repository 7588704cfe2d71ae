"""``basisvae-scvi project``: new cells on the course of a saved model."""

import logging
import warnings

from anndata import AnnData

from basisvae_scvi import BasisVAE
from basisvae_scvi._quiet import quiet_libraries
from basisvae_scvi.inference import TrainingProgress

from ._checks import check_free_keys
from ._device import check_accelerator, limit_threads
from ._errors import EXIT_INTERRUPTED, CommandError
from ._files import read_anndata, strip_leftovers, write_anndata
from ._genes import hide_size_factors
from ._layers import take_raw
from ._metrics import write_metrics
from ._outcome import Outcome
from ._run_info import Stopwatch, run_info, run_info_path, write_run_info
from ._saved_model import fitting_cells, load_registry
from ._settings import ProjectSettings
from ._staging import Staging, is_zarr
from ._tables import cell_table, write_table

logger = logging.getLogger(__name__)


def project(settings: ProjectSettings, line: str) -> int:
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
    watch = Stopwatch()
    with Staging(overwrite=settings.overwrite) as staging, quiet_libraries():
        output = staging.claim(settings.output, is_zarr)
        cells = settings.tables and staging.claim(settings.tables / "cells.tsv")
        metrics = settings.metrics and staging.claim(settings.metrics)
        record = staging.claim(run_info_path(settings.output))
        limit_threads(settings.threads)
        check_accelerator(settings.accelerator)
        adata = read_anndata(settings.input, backed=settings.backed)
        outcome = place_cells(adata, settings)
        write_anndata(outcome.adata, output)
        if cells:
            write_table(cell_table(outcome.adata, settings.key_added), cells, "cell")
        info = run_info(outcome, line, watch)
        write_run_info(info, record)
        write_metrics(outcome.adata, settings.key_added, info, metrics)
        staging.commit()
    logger.info("Wrote %s: %d cells placed", settings.output, outcome.adata.n_obs)
    return EXIT_INTERRUPTED if outcome.interrupted else 0


def place_cells(adata: AnnData, settings: ProjectSettings) -> Outcome:
    """Give every cell its z and annotate ``adata`` in place.

    Cells of batches that the model knows are placed by its encoder as it is. Otherwise what
    belongs to the new batches is trained first, and nothing else.
    """
    registry = load_registry(settings)
    if registry["setup_args"].get("latent_key") is not None:
        raise CommandError(
            "The model has an observed z (--latent-key) and no encoder: new cells have a place "
            "already. Use fit for them."
        )
    check_free_keys(adata, settings.key_added)
    layer = settings.layer or registry["setup_args"]["layer"]
    take_raw(adata, layer, backed=settings.backed)
    query = BasisVAE.load_query_data(
        fitting_cells(adata, settings, registry),
        str(settings.model_dir),
        accelerator=settings.accelerator.value,
        trust_file=settings.trust_model,
    )
    progress = TrainingProgress(silent=settings.quiet)
    n_new = query.module.n_batch - query.n_known_batches_
    if n_new:
        logger.info("Learning the offsets of %d new batches", n_new)
        _train(query, settings, progress)
    else:
        query.is_trained_ = True
        query.module.eval()
    layer = "auto" if settings.layer is None else settings.layer
    query.annotate(adata, key_added=settings.key_added, layer=layer, intervals=False)
    hide_size_factors(adata, settings)
    strip_leftovers(adata)
    return Outcome(query, adata, progress.n_epochs, progress.was_interrupted)


def _train(query: BasisVAE, settings: ProjectSettings, progress: TrainingProgress) -> None:
    with warnings.catch_warnings():
        # Said once, by the exit status.
        warnings.filterwarnings("ignore", message="Training was interrupted")
        query.train(
            max_epochs=settings.max_epochs,
            seed=settings.seed,
            accelerator=settings.accelerator.value,
            batch_size=settings.batch_size,
            enable_progress_bar=not settings.quiet,
            callbacks=[progress],
        )
