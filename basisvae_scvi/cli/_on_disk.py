"""Matrices that stay on disk: opened for a run, copied at its end, never wholly in memory."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import anndata as ad
import h5py
from anndata.abc import CSRDataset
from anndata.io import read_elem, sparse_dataset, write_elem

from ._paths import is_zarr_path

logger = logging.getLogger(__name__)


def open_anndata(path: Path) -> ad.AnnData:
    """Read all of a file but its matrices, which are left where they are.

    Parameters
    ----------
    path
        An ``.h5ad`` file or a ``.zarr`` folder; it stays open as long as the matrices are in use.

    Returns
    -------
    AnnData in memory, of which ``X`` and the layers are read piece by piece when asked for:
    sparse ones by row, dense ones as arrays of the file. ``raw`` and graphs of cells are left out.
    """
    store = _open(path)
    if left_out := [name for name in ("raw", "obsp", "varp") if _has(store, name)]:
        logger.warning("--backed leaves out %s of %s", " and ".join(left_out), path)
    layers = store.get("layers", {})
    return ad.AnnData(
        X=_matrix(store["X"]) if "X" in store else None,
        layers={name: _matrix(layers[name]) for name in layers},
        **{name: read_elem(store[name]) for name in ("obs", "var")},
        **{name: read_elem(store[name]) for name in ("uns", "obsm", "varm") if name in store},
    )


def _open(path: Path):
    if is_zarr_path(path) or path.is_dir():
        import zarr

        return zarr.open_group(str(path), mode="r")
    return h5py.File(path, "r")


def _has(store, name: str) -> bool:
    """Whether there is something under a name; anndata also writes that there is nothing."""
    return name in store and hasattr(store[name], "keys") and len(store[name]) > 0


def _matrix(element):
    """Rows on disk, or the matrix in memory where its rows are not in one place."""
    kind = element.attrs.get("encoding-type", "")
    if kind == "csr_matrix":
        n_data, n_indices, n_ends = (element[k].shape[0] for k in ("data", "indices", "indptr"))
        if n_data != n_indices or n_ends != element.attrs["shape"][0] + 1:
            raise ValueError("values of a matrix are missing")
        return sparse_dataset(element)
    return read_elem(element) if hasattr(element, "keys") else element


def write_from_disk(file: h5py.File, adata: ad.AnnData, dataset_kwargs: dict[str, Any]) -> None:
    """Write an AnnData; matrices that lie in another HDF5 file are copied as they are stored.

    Parameters
    ----------
    file
        A new file.
    adata
        Any AnnData, be its matrices in memory or on disk.
    dataset_kwargs
        How to store what is in memory.
    """
    stored = {name: place for name, matrix in _matrices(adata) if (place := _place(matrix))}
    write_elem(file, "/", _without(adata, stored), dataset_kwargs=dataset_kwargs)
    for name, place in stored.items():
        if name in file:  # anndata 0.13 writes that there is no X
            del file[name]
        place.parent.copy(place, file, name)


def _without(adata: ad.AnnData, stored: dict) -> ad.AnnData:
    """The AnnData without some of its matrices."""
    if not stored:
        return adata
    return ad.AnnData(
        X=None if "X" in stored else adata.X,
        layers={
            name: adata.layers[name] for name in _layers(adata) if f"layers/{name}" not in stored
        },
        **{name: getattr(adata, name) for name in ("obs", "var", "uns")},
        **{name: dict(getattr(adata, name)) for name in ("obsm", "varm", "obsp", "varp")},
    )


def _matrices(adata: ad.AnnData):
    yield "X", adata.X
    for name in _layers(adata):
        yield f"layers/{name}", adata.layers[name]


def _layers(adata: ad.AnnData) -> list[str]:
    """Names of the layers; in anndata 0.13 X itself is one, without a name."""
    return [name for name in adata.layers if name is not None]


def _place(matrix) -> h5py.Group | h5py.Dataset | None:
    """Where a matrix lies in an HDF5 file; ``None`` for one that does not."""
    place = getattr(matrix, "group", None) if isinstance(matrix, CSRDataset) else matrix
    return place if isinstance(place, h5py.Group | h5py.Dataset) else None
