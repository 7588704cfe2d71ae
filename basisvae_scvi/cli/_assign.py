"""``basisvae-scvi assign``: further genes of a saved model's cells on its bases."""

import logging

import h5py

from basisvae_scvi import BasisVAE
from basisvae_scvi._quiet import quiet_libraries

from ._checks import check_free_keys
from ._device import check_accelerator, limit_threads
from ._errors import CommandError
from ._files import read_anndata, readable, strip_leftovers, write_anndata
from ._genes import hide_size_factors
from ._layers import chosen_matrix, counts_wanted, take_raw
from ._metrics import write_metrics
from ._outcome import Outcome
from ._run_info import Stopwatch, run_info, run_info_path, write_run_info
from ._saved_model import DATA_FILE
from ._settings import AssignSettings
from ._staging import Staging, is_zarr
from ._tables import write_table

logger = logging.getLogger(__name__)


def assign(settings: AssignSettings, line: str) -> int:
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
    if not (settings.model_dir / DATA_FILE).is_file():
        raise CommandError(
            f"--model-dir {settings.model_dir} holds no {DATA_FILE}, the cells of the model; save "
            "it with fit --model-dir, or with model.save(..., save_anndata=True)."
        )
    watch = Stopwatch()
    with Staging(overwrite=settings.overwrite) as staging, quiet_libraries():
        output = staging.claim(settings.output, is_zarr)
        folder = settings.tables
        names = ("genes", "assignments") if folder else ()
        tables = {name: staging.claim(folder / f"{name}.tsv") for name in names}
        metrics = settings.metrics and staging.claim(settings.metrics)
        record = staging.claim(run_info_path(settings.output))
        limit_threads(settings.threads)
        check_accelerator(settings.accelerator)
        outcome, found = assign_genes(settings)
        write_anndata(outcome.adata, output)
        if tables:
            write_table(found.clusters, tables["genes"], "gene")
            write_table(found.assignments, tables["assignments"], "gene")
        info = run_info(outcome, line, watch)
        write_run_info(info, record)
        write_metrics(outcome.adata, settings.key_added, info, metrics)
        staging.commit()
    logger.info("Wrote %s: %d genes assigned", settings.output, len(found.clusters))
    return 0


def assign_genes(settings: AssignSettings):
    """Assign the genes and annotate their AnnData; returns the outcome and the tables."""
    adata = read_anndata(settings.input, backed=settings.backed)
    cells = settings.model_dir / DATA_FILE
    with readable(cells):
        h5py.File(cells).close()
    model = BasisVAE.load(
        str(settings.model_dir),
        accelerator=settings.accelerator.value,
        trust_file=settings.trust_model,
    )
    check_free_keys(adata, settings.key_added)
    layer = model.registry["setup_args"]["layer"] if settings.layer is None else settings.layer
    take_raw(adata, layer, backed=settings.backed)
    chosen_matrix(adata, layer)
    logger.info("Assigning %d genes", len(settings.genes or adata.var_names))
    with counts_wanted(adata, layer, is_settled=True):
        found = model.assign_genes(
            adata,
            layer=layer,
            genes=settings.genes or None,
            block_size=settings.block_size,
            n_jobs=settings.threads,
            max_cells=settings.max_cells,
            seed=settings.seed,
            key_added=settings.key_added,
            silent=settings.quiet,
        )
    hide_size_factors(adata, settings)
    strip_leftovers(adata)
    return Outcome(model, adata, 0, False), found
