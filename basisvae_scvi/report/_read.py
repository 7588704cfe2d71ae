"""Only what a report needs of a file: the matrix stays on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import anndata as ad
import h5py
from anndata.io import read_elem, sparse_dataset

from basisvae_scvi.data import DEFAULT_KEY, Keys


@contextmanager
def read_results(path: str | Path, *, key: str = DEFAULT_KEY) -> Iterator[ad.AnnData]:
    """Open an annotated file and read its results, tables and embeddings, but not its counts.

    Parameters
    ----------
    path
        An ``.h5ad`` file, or a zarr folder.
    key
        The ``key_added`` of the annotation.

    Yields
    ------
    All cells and genes. The matrix that the model was fitted to is read block by block from the
    file, which stays open within the context; other layers, graphs and ``raw`` are left out.

    Examples
    --------
    >>> import tempfile
    >>> import basisvae_scvi as bv
    >>> file = Path(tempfile.mkdtemp()) / "fitted.h5ad"
    >>> model.annotate(copy=True).write_h5ad(file)
    >>> with bv.report.read_results(file) as results:
    ...     results.shape
    (100, 30)
    """
    with _opened(Path(path)) as store:
        layer = _layer(store, key)
        place = "X" if layer is None else f"layers/{layer}"
        matrix = _matrix(store[place]) if place in store else None
        yield ad.AnnData(
            X=matrix if layer is None else None,
            layers={} if layer is None or matrix is None else {layer: matrix},
            obs=read_elem(store["obs"]),
            var=read_elem(store["var"]),
            uns=_read_group(store, "uns", _is_run_or_colors),
            obsm=_read_group(store, "obsm"),
            varm=_read_group(store, "varm", lambda name, _: name.startswith(f"{key}_")),
        )


@contextmanager
def _opened(path: Path) -> Iterator:
    if path.suffix == ".zarr" or path.is_dir():
        import zarr

        yield zarr.open(str(path), mode="r")
    else:
        with h5py.File(path, "r") as file:
            yield file


def _layer(store, key: str) -> str | None:
    """Layer that the model was fitted to; ``None`` for X, or where nothing says it."""
    place = f"uns/{Keys(key).uns}/params/layer"
    layer = str(read_elem(store[place])) if place in store else "None"
    return None if layer == "None" else layer


def _matrix(element):
    """Rows on disk where they can be read one after the other; else the matrix in memory."""
    kind = element.attrs.get("encoding-type", "")
    if kind == "csr_matrix":
        return sparse_dataset(element)
    return read_elem(element) if hasattr(element, "keys") else element


def _read_group(store, name: str, is_wanted: Callable = lambda *_: True) -> Mapping:
    if name not in store:
        return {}
    entries = {entry: store[name][entry] for entry in store[name]}
    return {
        entry: read_elem(stored) for entry, stored in entries.items() if is_wanted(entry, stored)
    }


def _is_run_or_colors(name: str, entry) -> bool:
    return name.endswith("_colors") or (hasattr(entry, "keys") and "params" in entry)
