"""What the package accepts and what it writes: fields, checks, matrix access, AnnData keys."""

from ._backed import CellSplitter
from ._cell_blocks import CellBlocks
from ._checks import (
    check_binary,
    check_finite,
    check_layer,
    check_names,
    check_real,
    check_same_genes,
    describe_location,
    read_matrix,
    shortened,
    warn_empty,
)
from ._columns import ColumnReader
from ._counts import NotCounts, check_counts, has_raw_counts, layers_of_counts, pointing_to_counts
from ._datamodule import ForeignBatches
from ._digests import cell_digests, matrix_total, same_cells
from ._fields import BatchField, CategoriesField, MatrixField, NumbersField
from ._keys import DEFAULT_KEY, Keys, check_free, check_table_key, is_run, taken_keys
from ._manager import DataManager
from ._matrices import (
    feature_moments,
    iter_rows,
    plain_matrix,
    read_rows,
    row_sums,
    to_dense,
    with_known_types,
)
from ._obs import (
    check_columns,
    check_obs_key,
    names_of_columns,
    read_categories,
    read_latent,
    read_numbers,
)
from ._registered import check_registered
from ._root import root_cells
from ._values import flags, numbers

__all__ = [
    "DEFAULT_KEY",
    "BatchField",
    "CategoriesField",
    "CellBlocks",
    "CellSplitter",
    "ColumnReader",
    "DataManager",
    "ForeignBatches",
    "Keys",
    "MatrixField",
    "NotCounts",
    "NumbersField",
    "cell_digests",
    "check_binary",
    "check_columns",
    "check_counts",
    "check_finite",
    "check_free",
    "check_layer",
    "check_names",
    "check_obs_key",
    "check_real",
    "check_registered",
    "check_same_genes",
    "check_table_key",
    "describe_location",
    "feature_moments",
    "flags",
    "has_raw_counts",
    "is_run",
    "iter_rows",
    "layers_of_counts",
    "matrix_total",
    "names_of_columns",
    "numbers",
    "plain_matrix",
    "pointing_to_counts",
    "read_categories",
    "read_latent",
    "read_matrix",
    "read_numbers",
    "read_rows",
    "root_cells",
    "row_sums",
    "same_cells",
    "shortened",
    "taken_keys",
    "to_dense",
    "warn_empty",
    "with_known_types",
]
