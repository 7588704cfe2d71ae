"""Reading and writing of AnnData: h5ad files and zarr folders."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anndata as ad

from basisvae_scvi._compat import LEFTOVER_OBS_PREFIX, LEFTOVER_OBSM_KEYS, LEFTOVER_UNS_KEYS

from ._errors import CommandError, flatten, list_some
from ._guarded_file import new_hdf5
from ._paths import is_zarr_path

logger = logging.getLogger(__name__)


def read_anndata(path: Path) -> ad.AnnData:
    """Read an h5ad file or a zarr folder.

    Parameters
    ----------
    path
        The suffix ``.zarr``, or being a folder, makes it zarr.

    Raises
    ------
    CommandError
        If it is missing, unreadable, empty, or names cells twice.
    """
    with readable(path) as is_zarr:
        if is_zarr:
            _check_complete(path)
        adata = ad.read_zarr(path) if is_zarr else ad.read_h5ad(path)
    if 0 in adata.shape:
        raise CommandError(f"{path} holds {adata.n_obs} cells and {adata.n_vars} genes.")
    check_names(adata, path)
    logger.debug("read %s: %d cells, %d genes", path, *adata.shape)
    return adata


@contextmanager
def readable(path: Path) -> Iterator[bool]:
    """Turn what h5py, zarr and anndata raise into CommandError; yields whether it is zarr."""
    if not path.exists():
        raise CommandError(f"{path} does not exist.")
    is_zarr = is_zarr_path(path) or path.is_dir()
    try:
        yield is_zarr
    except CommandError:
        raise
    except Exception as error:  # of many types
        kind = "a zarr folder" if is_zarr else "an h5ad file"
        reason = flatten(error.args[0] if isinstance(error, KeyError) and error.args else error)
        raise CommandError(
            f"{path} cannot be read as {kind} ({reason.rstrip('.')}). Copy it again, or write it "
            "anew with anndata."
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
                ad.io.write_elem(file, "/", adata, dataset_kwargs={"compression": "gzip"})


def strip_leftovers(adata: ad.AnnData) -> None:
    """Take out what scvi-tools leaves in an AnnData for its own use."""
    for key in LEFTOVER_UNS_KEYS:
        adata.uns.pop(key, None)
    for key in LEFTOVER_OBSM_KEYS:
        adata.obsm.pop(key, None)
    for column in adata.obs.columns:
        if str(column).startswith(LEFTOVER_OBS_PREFIX):
            del adata.obs[column]
