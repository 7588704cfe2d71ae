"""Reading and writing of AnnData: h5ad files, zarr folders, and the output of Cell Ranger."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anndata as ad
from scipy import sparse

from basisvae_scvi._compat import LEFTOVER_OBS_PREFIX, LEFTOVER_OBSM_KEYS, LEFTOVER_UNS_KEYS

from ._errors import CommandError, flatten, list_some
from ._guarded_file import new_hdf5
from ._on_disk import open_anndata, write_from_disk
from ._paths import InputKind, check_input, input_kind, is_zarr_path, matrix_files

logger = logging.getLogger(__name__)


def read_anndata(path: Path, *, backed: bool = False) -> ad.AnnData:
    """Read an h5ad file, a zarr folder, or what Cell Ranger writes.

    Parameters
    ----------
    path
        The suffix ``.h5`` makes it a 10x file; a folder is a 10x one if it has a ``matrix.mtx``,
        else zarr.
    backed
        Whether matrices stay on disk; see :func:`~basisvae_scvi.cli._on_disk.open_anndata`.

    Raises
    ------
    CommandError
        If it is missing, unreadable, empty, or names cells twice.
    """
    with readable(path) as kind:
        if kind is InputKind.zarr:
            _check_complete(path)
        adata = open_anndata(path) if backed else _READERS[kind](path)
    if 0 in adata.shape:
        raise CommandError(f"{path} holds {adata.n_obs} cells and {adata.n_vars} genes.")
    check_names(adata, path)
    logger.debug("read %s: %d cells, %d genes", path, *adata.shape)
    return adata


def _read_10x_h5(path: Path) -> ad.AnnData:
    import scanpy

    return _with_unique_genes(scanpy.read_10x_h5(path))


def _read_10x_mtx(path: Path) -> ad.AnnData:
    import scanpy

    [matrix, *others] = matrix_files(path)
    if others:
        raise CommandError(
            f"{path} holds several matrices: {list_some(p.name for p in (matrix, *others))}. "
            "Leave one in a folder of its own."
        )
    return _with_unique_genes(scanpy.read_10x_mtx(path, prefix=matrix.name.split("matrix.mtx")[0]))


def _with_unique_genes(adata: ad.AnnData) -> ad.AnnData:
    """Symbols that occur twice are numbered, as everywhere in scanpy; counts go by cells."""
    adata.var_names_make_unique()
    adata.X = sparse.csr_matrix(adata.X)
    return adata


_READERS = {
    InputKind.h5ad: ad.read_h5ad,
    InputKind.zarr: ad.read_zarr,
    InputKind.tenx_h5: _read_10x_h5,
    InputKind.tenx_mtx: _read_10x_mtx,
}
_CURES = {
    InputKind.h5ad: "Copy it again, or write it anew with anndata.",
    InputKind.zarr: "Copy it again, or write it anew with anndata.",
    InputKind.tenx_h5: "Copy it again from Cell Ranger's output; an AnnData must end in .h5ad.",
    InputKind.tenx_mtx: (
        "It needs matrix.mtx.gz, features.tsv.gz and barcodes.tsv.gz, or matrix.mtx, genes.tsv "
        "and barcodes.tsv."
    ),
}


@contextmanager
def readable(path: Path) -> Iterator[InputKind]:
    """Turn what h5py, zarr, anndata and scanpy raise into CommandError; yields the kind."""
    check_input(path)
    kind = input_kind(path)
    try:
        yield kind
    except CommandError:
        raise
    except Exception as error:  # of many types
        reason = flatten(error.args[0] if isinstance(error, KeyError) and error.args else error)
        raise CommandError(
            f"{path} cannot be read as {kind.value} ({reason.rstrip('.')}). {_CURES[kind]}"
        ) from error


def _check_complete(path: Path) -> None:
    """Raise ValueError for stored values that are gone: zarr reads them as zeros."""
    import zarr

    store = zarr.open_group(str(path), mode="r")
    places = ["X"] if "X" in store else []
    places += [f"layers/{name}" for name in store.get("layers", ())]
    for element in (store[place] for place in places):
        values = element["data"] if hasattr(element, "keys") and "data" in element else None
        if values is not None and values.nchunks_initialized < values.nchunks:
            raise ValueError(f"values of {element.path} are missing")


def check_names(adata: ad.AnnData, path: Path) -> None:
    """Raise CommandError for names that occur twice: results are matched by name."""
    for names, what in ((adata.obs_names, "obs_names"), (adata.var_names, "var_names")):
        if not names.is_unique:
            twice = names[names.duplicated()].unique()
            raise CommandError(
                f"{what} of {path} has duplicates: {list_some(twice, 5)}. "
                f"Make them unique with adata.{what}_make_unique()."
            )


def write_anndata(adata: ad.AnnData, path: Path) -> None:
    """Write an AnnData to ``path``, as zarr if its suffix says so."""
    # Columns of strings with missing values came in with the user's data and go out with them.
    with ad.settings.override(allow_write_nullable_strings=True):
        if is_zarr_path(path):
            adata.write_zarr(path)
        else:
            adata.strings_to_categoricals()
            with new_hdf5(path) as file:
                write_from_disk(file, adata, dataset_kwargs={"compression": "gzip"})


def strip_leftovers(adata: ad.AnnData) -> None:
    """Take out what scvi-tools leaves in an AnnData for its own use."""
    for key in LEFTOVER_UNS_KEYS:
        adata.uns.pop(key, None)
    for key in LEFTOVER_OBSM_KEYS:
        adata.obsm.pop(key, None)
    for column in adata.obs.columns:
        if str(column).startswith(LEFTOVER_OBS_PREFIX):
            del adata.obs[column]
