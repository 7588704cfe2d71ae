"""A matrix in the form of 10x: entries, names of genes, names of cells, each a file of its own."""

from __future__ import annotations

import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy import io, sparse

from ._errors import CommandError, list_some
from ._paths import matrix_files

_GENE_FILES, _CELL_FILES = ("features", "genes"), ("barcodes",)
_COLUMNS = ("gene_ids", "symbol", "feature_types")
_GENES = "Gene Expression"


def read_mtx(path: Path) -> ad.AnnData:
    """Read a folder with one matrix, or the matrix that is named.

    Names of genes may have one column (symbols or ids), two, or three as of Cell Ranger; of three
    only what is gene expression is read.

    Raises
    ------
    CommandError
        If there are several matrices, a file with names is missing, or numbers differ.
    """
    matrix = _only_matrix(path) if path.is_dir() else path
    genes_file, cells_file = _names_of(matrix, _GENE_FILES), _names_of(matrix, _CELL_FILES)
    genes, cells = _table(genes_file), _table(cells_file)[0]
    with warnings.catch_warnings():  # which of scipy's two kinds of matrices comes is all the same
        warnings.simplefilter("ignore", DeprecationWarning)
        counts = sparse.csr_matrix(io.mmread(matrix), dtype=np.float32)
    if counts.shape == (len(genes), len(cells)):
        counts = counts.T.tocsr()
    elif counts.shape != (len(cells), len(genes)):
        raise CommandError(
            f"{matrix} has {counts.shape[0]:,} rows and {counts.shape[1]:,} columns, and "
            f"{genes_file.name} names {len(genes):,} genes, {cells_file.name} {len(cells):,} "
            "cells; name files of the same run, without headings."
        )
    var = genes.iloc[:, :3].set_axis(_COLUMNS[: genes.shape[1]], axis=1)
    names = var.pop("symbol") if "symbol" in var else var["gene_ids"]
    adata = ad.AnnData(counts, obs=pd.DataFrame(index=cells.to_numpy()), var=var)
    adata.var_names = names.to_numpy()
    if "feature_types" in var and var["feature_types"].eq(_GENES).any():
        adata = adata[:, var["feature_types"].eq(_GENES).to_numpy()].copy()
    return adata


def _only_matrix(folder: Path) -> Path:
    [matrix, *others] = matrix_files(folder)
    if others:
        raise CommandError(
            f"{folder} holds several matrices: {list_some(p.name for p in (matrix, *others))}. "
            f"Name one of them, e.g. {matrix}."
        )
    return matrix


def _names_of(matrix: Path, kinds: tuple[str, ...]) -> Path:
    """The file beside a matrix that names its genes or cells."""
    stem, _, _ = matrix.name.partition(".mtx")
    tried = []
    for kind in kinds:
        name = stem.replace("matrix", kind) if "matrix" in stem else kind
        tried += [matrix.with_name(f"{name}.tsv{end}") for end in (".gz", "")]
    for path in tried:
        if path.is_file():
            return path
    named = " or ".join(path.name for path in tried[1::2])
    what = "rows, the genes" if kinds is _GENE_FILES else "columns, the cells"
    raise CommandError(
        f"{matrix} needs {named} (or with .gz) beside it, one line for each of its {what}."
    )


def _table(path: Path) -> pd.DataFrame:
    try:
        # "NA" is a name, and so is what has quotes in it.
        return pd.read_csv(
            path,
            sep="\t",
            header=None,
            dtype=str,
            quoting=3,
            keep_default_na=False,
            na_filter=False,
        )
    except pd.errors.EmptyDataError:
        raise CommandError(f"{path} is empty; copy it again.") from None
