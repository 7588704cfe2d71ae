"""``basisvae-scvi demo``: real cells, fitted with the defaults one would begin with."""

import math

import pandas as pd
from anndata import AnnData
from rich.console import Console
from rich.table import Table

from basisvae_scvi import datasets

from ._checks import check_usage
from ._errors import EXIT_INTERRUPTED, UsageError
from ._figures import leading_genes
from ._fit import fit_and_write
from ._outcome import Outcome
from ._settings import DemoSettings, ModelSettings
from ._tables import FLAT, gene_table

NAME = "marrow_erythroid"
SIZE_FACTOR = "size_factor"
MARKERS = ("CD34", "GATA1", "KLF1", "HBB")
ROOT = "CD34"
_N_EPOCHS = 40
_N_TOP = 6


def demo(settings: DemoSettings, line: str) -> int:
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
    if settings.n_basis > settings.n_genes:
        raise UsageError(f"--n-basis {settings.n_basis} is more than --n-genes.")
    chosen = model_settings(settings)
    check_usage(chosen)
    outcome = fit_and_write(chosen, lambda: load_cells(settings.n_genes), line)
    if not settings.quiet:
        show_findings(outcome, settings)
    return EXIT_INTERRUPTED if outcome.interrupted else 0


def load_cells(n_genes: int) -> AnnData:
    """Marrow cells with the most variable genes and the markers, and size factors."""
    adata = datasets.marrow_erythroid()
    is_wanted = (adata.var["variability_rank"] < n_genes) | adata.var_names.isin(MARKERS)
    adata = adata[:, is_wanted.to_numpy()].copy()
    total = adata.obs["total_counts"]
    adata.obs[SIZE_FACTOR] = total / total.median()
    return adata


def model_settings(settings: DemoSettings) -> ModelSettings:
    """What ``fit`` would be told for the same run."""
    shared = ("n_basis", "translation_invariant", "seed", "accelerator", "threads", "overwrite")
    said = ("quiet", "verbose", "debug", "log_file")
    return ModelSettings(
        output=settings.output / f"{NAME}.h5ad",
        tables=settings.output,
        figures=settings.output,
        size_factor_key=SIZE_FACTOR,
        root=ROOT,
        max_epochs=_N_EPOCHS if settings.max_epochs is None else settings.max_epochs,
        **{name: getattr(settings, name) for name in (*shared, *said)},
    )


def show_findings(outcome: Outcome, settings: DemoSettings) -> None:
    """Print what was found, and what to try next, to stdout."""
    genes = gene_table(outcome.model)
    console = Console()
    console.print(cluster_table(genes))
    console.print("Markers, from the stem cell (0) to the erythrocyte (1):")
    for marker in MARKERS:
        console.print(f"  {describe_marker(genes, marker)}", highlight=False)
    console.print(
        f"\nLook at {settings.output}/basis_functions.png and genes.tsv. Next, your own cells:\n"
        "  basisvae-scvi fit CELLS.h5ad -o FITTED.h5ad --layer counts --n-top-genes 1000 "
        "--translation-invariant --root EARLY_GENE --tables TABLES",
        highlight=False,
        soft_wrap=True,
        markup=False,
    )


def cluster_table(genes: pd.DataFrame) -> Table:
    """One row per group, early ones first: size, where its genes peak, its leading genes."""
    table = Table(title="Groups of genes by the shape of their expression")
    for name, justify in (("group", "right"), ("genes", "right"), ("peak", "right")):
        table.add_column(name, justify=justify)
    table.add_column("leading genes")
    leading = leading_genes(genes, _N_TOP)
    for label, members in sorted(genes.groupby("cluster", observed=True), key=_median_peak):
        names = leading.index[leading["cluster"] == label]
        peak = "flat" if label == FLAT else f"{members['peak_pseudotime'].median():.2f}"
        table.add_row(str(label), str(len(members)), peak, ", ".join(names))
    return table


def _median_peak(group: tuple[str, pd.DataFrame]) -> float:
    label, members = group
    return math.inf if label == FLAT else float(members["peak_pseudotime"].median())


def describe_marker(genes: pd.DataFrame, marker: str) -> str:
    """Where a marker went, in a few words."""
    row = genes.loc[marker]
    if row["cluster"] == FLAT:
        return f"{marker}: flat (confidence {row['confidence']:.2f})"
    return (
        f"{marker}: group {row['cluster']} (confidence {row['confidence']:.2f}), "
        f"peak at {row['peak_pseudotime']:.2f}, shift {row['shift']:+.2f}"
    )
