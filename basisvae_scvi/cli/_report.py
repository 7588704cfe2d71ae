"""``basisvae-scvi report``: the results of a file in one HTML page."""

import json
import logging
from contextlib import ExitStack
from pathlib import Path

import matplotlib
from anndata import AnnData

from basisvae_scvi.report import read_results, write_report

from ._errors import CommandError
from ._files import check_names, readable
from ._paths import InputKind
from ._run_info import run_info_path
from ._settings import ModelSettings, ReportSettings
from ._staging import Staging

logger = logging.getLogger(__name__)


def report(settings: ReportSettings) -> int:
    """Run the command.

    Parameters
    ----------
    settings
        Its arguments.

    Returns
    -------
    Exit status.
    """
    matplotlib.use("agg")
    with Staging(overwrite=settings.overwrite) as staging:
        path = staging.claim(settings.output)
        _write(settings, path)
        staging.commit()
    logger.info("Wrote %s", settings.output)
    return 0


def write_fit_report(adata: AnnData, path: Path, settings: ModelSettings, info: dict) -> None:
    """Write the report of a fit that has just been made.

    Parameters
    ----------
    adata
        Annotated data.
    path
        Where to write.
    settings
        Arguments of the fit.
    info
        Record of the run.
    """
    matplotlib.use("agg")
    title = settings.output.stem
    write_report(adata, path, key=settings.key_added, title=title, run_info=info)


def _write(settings: ReportSettings, path: Path) -> None:
    with ExitStack() as stack:
        with readable(settings.input) as (kind, plain):
            if kind in (InputKind.tenx_h5, InputKind.tenx_mtx):
                raise CommandError(
                    f"{settings.input} is {kind.value}, which has counts and no results; name "
                    "what fit has written."
                )
            if plain != settings.input:
                raise CommandError(f"{settings.input} is compressed: gunzip -k {settings.input}.")
            opened = read_results(settings.input, key=settings.key_added)
            adata = stack.enter_context(opened)
        check_names(adata, settings.input)
        write_report(
            adata,
            path,
            key=settings.key_added,
            title=settings.input.stem if settings.title is None else settings.title,
            genes=settings.genes or None,
            color=settings.color or (),
            run_info=read_run_info(settings.input),
        )


def read_run_info(results: Path) -> dict | None:
    """Record of the run beside its results; ``None`` if there is none that can be read."""
    try:
        info = json.loads(run_info_path(results).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return info if isinstance(info, dict) else None
