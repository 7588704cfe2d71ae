"""Everything that a fit writes: what is claimed before it, and written after it."""

from dataclasses import dataclass
from pathlib import Path

from ._figures import draw_figures, figure_names
from ._files import write_anndata
from ._metrics import write_metrics
from ._outcome import Outcome
from ._report import write_fit_report
from ._run_info import Stopwatch, run_info, run_info_path, write_run_info
from ._saved_model import DATA_FILE
from ._settings import ModelSettings
from ._staging import Staging, is_saved_model, is_zarr
from ._tables import cell_table, gene_table, write_table

_TABLES = ("genes", "assignments", "cells")


@dataclass(frozen=True)
class Outputs:
    """Temporary paths of all results of one fit.

    Attributes
    ----------
    model_dir
        Folder of the model, if wanted.
    tables, figures
        Paths by name; empty where not wanted.
    report, metrics
        The report and the figures of the run, if wanted.
    run_info
        Record of the run.
    output
        The AnnData: claimed first, so that once it is there everything is.
    """

    model_dir: Path | None
    tables: dict[str, Path]
    figures: dict[str, Path]
    report: Path | None
    metrics: Path | None
    run_info: Path
    output: Path

    @classmethod
    def claim(cls, settings: ModelSettings, staging: Staging) -> "Outputs":
        """Check that everything may be written, before the time of a fit is spent."""
        output = staging.claim(settings.output, is_zarr)
        model_dir = settings.model_dir
        tables, figures = {}, {}
        if settings.tables is not None:
            tables = {n: staging.claim(settings.tables / f"{n}.tsv") for n in _TABLES}
        if settings.figures is not None:
            names = figure_names(settings.n_latent)
            figures = {n: staging.claim(settings.figures / n) for n in names}
        return cls(
            model_dir=None if model_dir is None else staging.claim(model_dir, is_saved_model),
            tables=tables,
            figures=figures,
            report=None if settings.report is None else staging.claim(settings.report),
            metrics=None if settings.metrics is None else staging.claim(settings.metrics),
            run_info=staging.claim(run_info_path(settings.output)),
            output=output,
        )

    def write(
        self, outcome: Outcome, settings: ModelSettings, line: str, watch: Stopwatch
    ) -> None:
        """Write everything to its temporary path."""
        model, adata, key = outcome.model, outcome.adata, settings.key_added
        write_anndata(adata, self.output)
        if self.model_dir is not None:
            model.save(str(self.model_dir))
            # The size factors may be known to the working copy alone.
            write_anndata(model.adata, self.model_dir / DATA_FILE)
        if self.tables:
            write_table(gene_table(model), self.tables["genes"], "gene")
            write_table(model.get_assignments(), self.tables["assignments"], "gene")
            write_table(cell_table(adata, key), self.tables["cells"], "cell")
        if self.figures:
            draw_figures(adata, gene_table(model), key, self.figures)
        info = run_info(outcome, line, watch)
        if self.report is not None:
            write_fit_report(adata, self.report, settings, info)
        write_run_info(info, self.run_info)
        write_metrics(adata, key, info, self.metrics)
