"""The report of one annotated AnnData."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from anndata import AnnData

from basisvae_scvi.data import DEFAULT_KEY, check_obs_key
from basisvae_scvi.get import Annotation

from ._figures import draw_figures
from ._genes import cluster_table, gene_table, page_data
from ._observed import Observed
from ._page import render
from ._run import describe_run
from ._trust import findings


def write_report(
    adata: AnnData,
    path: str | os.PathLike,
    *,
    key: str = DEFAULT_KEY,
    title: str | None = None,
    genes: Sequence[str] | None = None,
    color: Sequence[str] | str | None = None,
    run_info: Mapping | None = None,
) -> None:
    """Write one HTML file with what was run, whether it can be trusted, and what was found.

    The file needs no network and no other file. The same results give the same bytes. What the
    annotation lacks is named in the file with the cure.

    Parameters
    ----------
    adata
        Data annotated by ``model.annotate(adata)``.
    path
        File to write; one that is there is replaced once the new one is complete.
    key
        The ``key_added`` of the annotation.
    title
        Heading.
    genes
        Genes whose courses are drawn; by default the leading ones of the clusters.
    color
        Columns of ``.obs`` to show z against, such as cell types.
    run_info
        Record of the command that made the results; its command, versions and times are listed.

    Raises
    ------
    KeyError
        If the annotation, a gene or a column is missing.
    ValueError
        If ``path`` is no file in a folder that is there.

    Examples
    --------
    >>> import tempfile
    >>> import basisvae_scvi as bv
    >>> adata = model.annotate(copy=True)
    >>> file = Path(tempfile.mkdtemp()) / "report.html"
    >>> bv.report.write_report(adata, file, title="Thirty genes")
    >>> "<h1>Thirty genes</h1>" in file.read_text(encoding="utf-8")
    True
    """
    _check_place(path)
    annotation = Annotation.of(adata, key=key)
    columns = [color] if isinstance(color, str) else list(() if color is None else color)
    for column in columns:
        check_obs_key(adata, column, "color")
    shown = None if genes is None else list(annotation.select(genes).index)
    table = gene_table(adata, key=key)
    clusters = cluster_table(adata, table, key=key)
    observed = Observed.of(adata, annotation, table.index)
    text = render(
        title="BasisVAE report" if title is None else title,
        annotation=annotation,
        n_cells=adata.n_obs,
        genes=table,
        clusters=clusters,
        findings=findings(adata, annotation, table, observed),
        figures=draw_figures(
            adata, annotation, table, clusters, shown_genes=shown, colors=columns
        ),
        run=describe_run(adata, annotation, run_info),
        data=page_data(annotation, table, clusters, observed),
    )
    _write_whole(text, Path(path))


def _check_place(path: str | os.PathLike) -> None:
    """Raise ValueError for a path to which no file can be written."""
    is_path = isinstance(path, str | os.PathLike)
    if not is_path or not Path(path).name or Path(path).is_dir():
        raise ValueError(f"path={path!r} must name a file, e.g. 'report.html'.")
    if not Path(path).absolute().parent.is_dir():
        raise ValueError(f"{Path(path).parent} is no folder; make it, or name another.")


def _write_whole(text: str, path: Path) -> None:
    """Write under another name first, so that no half file ever has the right one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        temporary.write_text(text, encoding="utf-8", newline="\n")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
