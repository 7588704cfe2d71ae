"""Reading and writing of AnnData: h5ad files, zarr folders, and the output of Cell Ranger."""

import gzip
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import anndata as ad
from scipy import sparse

from basisvae_scvi._compat import LEFTOVER_OBS_PREFIX, LEFTOVER_OBSM_KEYS, LEFTOVER_UNS_KEYS

from ._errors import CommandError, flatten, list_some
from ._foreign import head_of
from ._guarded_file import new_hdf5
from ._hdf5 import hdf5_kind, mudata_message
from ._mtx import read_mtx
from ._on_disk import open_anndata, write_from_disk
from ._paths import InputKind, check_input, input_kind, is_zarr_path

logger = logging.getLogger(__name__)


def read_anndata(path: Path, *, backed: bool = False) -> ad.AnnData:
    """Read an h5ad file, a zarr folder, or what Cell Ranger writes.

    Parameters
    ----------
    path
        An HDF5 file, which gzip may have compressed; a ``matrix.mtx`` or a folder with one; any
        other folder is zarr.
    backed
        Whether matrices stay on disk; see :func:`~basisvae_scvi.cli._on_disk.open_anndata`.

    Raises
    ------
    CommandError
        If it is missing, unreadable, empty, or names cells twice.
    """
    with readable(path) as (kind, plain):
        if kind is InputKind.zarr:
            _check_complete(path)
        if backed and plain != path:
            raise CommandError(f"--backed reads no compressed file: gunzip -k {path}, name that.")
        adata = open_anndata(path) if backed else _READERS[kind](plain)
    if 0 in adata.shape:
        raise CommandError(f"{path} holds {adata.n_obs} cells and {adata.n_vars} genes.")
    check_names(adata, path)
    logger.debug("read %s: %d cells, %d genes", path, *adata.shape)
    return adata


def _read_10x_h5(path: Path) -> ad.AnnData:
    import scanpy

    return _with_unique_genes(scanpy.read_10x_h5(path))


def _read_10x_mtx(path: Path) -> ad.AnnData:
    return _with_unique_genes(read_mtx(path))


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
    InputKind.tenx_h5: "Copy it again from Cell Ranger's output.",
    InputKind.tenx_mtx: "Copy it again from Cell Ranger's output.",
}


@contextmanager
def readable(path: Path) -> Iterator[tuple[InputKind, Path]]:
    """Turn what h5py, zarr, anndata and scanpy raise into CommandError.

    Yields
    ------
    The kind, and where to read: the path, or what gzip had compressed, for as long as it is read.
    """
    check_input(path)
    kind = input_kind(path)
    try:
        with _uncompressed(path, kind) as plain:
            if kind in (InputKind.h5ad, InputKind.tenx_h5):
                kind = hdf5_kind(plain, path)
            yield kind, plain
    except CommandError:
        raise
    except Exception as error:  # of many types
        cure = _newer_anndata(error) or _CURES[kind]
        raise CommandError(
            f"{path} cannot be read as {kind.value} ({_reason(error)}). {cure}"
        ) from error


@contextmanager
def _uncompressed(path: Path, kind: InputKind) -> Iterator[Path]:
    """The file itself, or a copy that is gone afterwards if gzip has compressed it."""
    if kind is InputKind.tenx_mtx or path.is_dir() or not head_of(path)[1]:
        yield path
        return
    with TemporaryDirectory() as folder:
        plain = Path(folder) / path.stem
        with gzip.open(path) as source, open(plain, "wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
        yield plain


def _reason(error: Exception) -> str:
    """What a reader said; of a bare key, that it is missing."""
    if isinstance(error, KeyError):
        text = flatten(error.args[0] if error.args else "")
        return text if " " in text else f"there is no {text!r} in it"
    text = flatten(error).rstrip(".") or type(error).__name__
    if isinstance(error.__cause__, KeyError) and error.__cause__.args:
        text += f": {_reason(error.__cause__)}"
    return text


def _newer_anndata(error: Exception) -> str | None:
    """The cure for a file with entries in a form that only a newer anndata knows."""
    if "No read method registered" not in str(error):
        return None
    return (
        f"An anndata newer than the {version('anndata')} here wrote it: pip install --upgrade "
        "anndata; or leave that entry out where it was written."
    )


def _check_complete(path: Path) -> None:
    """Raise ValueError for stored values that are gone: zarr reads them as zeros."""
    import zarr

    store = zarr.open_group(str(path), mode="r")
    if "mod" in store:
        raise CommandError(mudata_message(path, list(store["mod"])))
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
