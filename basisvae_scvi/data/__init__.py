"""What the package accepts and what it writes: fields, checks, matrix access, AnnData keys."""

from ._backed import CellSplitter
from ._cell_blocks import CellBlocks
from ._checks import (
    check_binary,
    check_categories,
    check_counts,
    check_finite,
    check_layer,
    check_names,
    check_no_missing,
    check_numeric,
    check_obs_key,
    check_real,
    check_same_genes,
    check_size_factors,
    describe_location,
    shortened,
    warn_empty,
)
from ._columns import ColumnReader
from ._datamodule import ForeignBatches
from ._digests import cell_digests, matrix_total, same_cells
from ._fields import MatrixField
from ._keys import DEFAULT_KEY, Keys
from ._matrices import feature_moments, iter_rows, row_sums, stored_values, to_dense
from ._registered import check_registered
from ._root import root_cells

__all__ = [
    "DEFAULT_KEY",
    "CellBlocks",
    "CellSplitter",
    "ColumnReader",
    "ForeignBatches",
    "Keys",
    "MatrixField",
    "cell_digests",
    "check_binary",
    "check_categories",
    "check_counts",
    "check_finite",
    "check_layer",
    "check_names",
    "check_no_missing",
    "check_numeric",
    "check_obs_key",
    "check_real",
    "check_registered",
    "check_same_genes",
    "check_size_factors",
    "describe_location",
    "feature_moments",
    "iter_rows",
    "matrix_total",
    "root_cells",
    "row_sums",
    "same_cells",
    "shortened",
    "stored_values",
    "to_dense",
    "warn_empty",
]
