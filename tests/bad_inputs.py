"""Inputs that something is wrong with, by name: how to make them, and what must be said."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from scipy import sparse


class Case(NamedTuple):
    """One input.

    ``edit`` changes an AnnData in place or returns another; ``said`` must stand in the one line
    of the error, and is ``None`` where the input is good after all.
    """

    edit: Callable[[ad.AnnData], ad.AnnData | None]
    options: tuple[str, ...]
    said: str | None


# -- files: from a good h5ad file to one at ``path`` ----------------------------------------------


def _cut(share: float) -> Callable[[Path, Path], None]:
    def write(good: Path, path: Path) -> None:
        content = good.read_bytes()
        path.write_bytes(content[: int(share * len(content))])

    return write


def _without(*names: str) -> Callable[[Path, Path], None]:
    def write(good: Path, path: Path) -> None:
        shutil.copy(good, path)
        with h5py.File(path, "a") as file:
            for name in names:
                del file[name]

    return write


def _zarr(*removed: str) -> Callable[[Path, Path], None]:
    def write(good: Path, path: Path) -> None:
        ad.read_h5ad(good).write_zarr(path)
        for name in removed:
            target = path / name
            shutil.rmtree(target) if target.is_dir() else target.unlink()

    return write


def _other_hdf5(good: Path, path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["numbers"] = np.arange(3)


def _unknown_encoding(good: Path, path: Path) -> None:
    shutil.copy(good, path)
    with h5py.File(path, "a") as file:
        file["obs"].attrs["encoding-type"] = "tomorrow"


def _short_column(good: Path, path: Path) -> None:
    shutil.copy(good, path)
    with h5py.File(path, "a") as file:
        values = file["obs/true_z"][:5]
        attributes = dict(file["obs/true_z"].attrs)
        del file["obs/true_z"]
        file["obs/true_z"] = values
        file["obs/true_z"].attrs.update(attributes)


def _mtx(text: str) -> Callable[[Path, Path], None]:
    """A folder of Cell Ranger 2 with one gene, whose matrix has this text."""

    def write(good: Path, path: Path) -> None:
        path.mkdir()
        (path / "matrix.mtx").write_text(text)
        (path / "genes.tsv").write_text("ENSG1\tA\n")
        (path / "barcodes.tsv").write_text("AAAC\nAAAG\n")

    return write


_MTX = "%%MatrixMarket matrix coordinate integer general\n"
FILES: dict[str, tuple[str, Callable[[Path, Path], None], str]] = {
    "missing": ("in.h5ad", lambda good, path: None, "does not exist"),
    "empty": ("in.h5ad", lambda good, path: path.write_bytes(b""), "is empty"),
    "text": ("in.h5ad", lambda good, path: path.write_text("a,b\n1,2\n"), "is a table of text"),
    "header alone": ("in.h5ad", _cut(0.01), "cannot be read as an h5ad file"),
    "half": ("in.h5ad", _cut(0.5), "cannot be read as an h5ad file"),
    "last byte missing": ("in.h5ad", _cut(0.9999), "cannot be read as an h5ad file"),
    "other hdf5": ("in.h5ad", _other_hdf5, "is an HDF5 file with numbers"),
    "no obs": ("in.h5ad", _without("obs"), "is an HDF5 file with"),
    "no indptr": ("in.h5ad", _without("X/indptr"), "cannot be read as an h5ad file"),
    "unknown encoding": ("in.h5ad", _unknown_encoding, "cannot be read as an h5ad file"),
    "short column": ("in.h5ad", _short_column, "cannot be read as an h5ad file"),
    "empty folder": ("in.zarr", lambda good, path: path.mkdir(), "cannot be read as a zarr"),
    "folder by name of h5ad": ("in.h5ad", lambda good, path: path.mkdir(), "nothing in it"),
    "file by name of zarr": ("in.zarr", lambda good, path: path.write_bytes(b"x"), "of no kind"),
    "zarr without obs": ("in.zarr", _zarr("obs"), "cannot be read as a zarr folder"),
    "zarr without data": ("in.zarr", _zarr("X/data"), "cannot be read as a zarr folder"),
    "10x h5: text": ("in.h5", lambda good, path: path.write_text("a\n"), "of no kind"),
    "10x h5: other hdf5": ("in.h5", _other_hdf5, "is an HDF5 file with numbers"),
    "10x mtx: cut": ("in", _mtx(_MTX + "1 2 2\n1 1 4\n"), "cannot be read as a 10x mtx folder"),
    "10x mtx: more genes": ("in", _mtx(_MTX + "2 2 1\n1 1 4\n"), "has 2 rows and 2 columns"),
    "10x mtx: empty": ("in", _mtx(""), "cannot be read as a 10x mtx folder"),
    "link to nowhere": ("in.h5ad", lambda good, path: path.symlink_to("gone"), "does not exist"),
}


# -- matrices ------------------------------------------------------------------------------------


def _set(value, *, layer: str | None = None) -> Callable[[ad.AnnData], None]:
    def edit(adata: ad.AnnData) -> None:
        matrix = adata.X.toarray().astype(float)
        matrix[3, 2] = value
        if layer is None:
            adata.X = matrix
        else:
            adata.layers[layer] = sparse.csr_matrix(matrix)

    return edit


def _as(convert: Callable) -> Callable[[ad.AnnData], None]:
    def edit(adata: ad.AnnData) -> None:
        adata.X = convert(adata.X)

    return edit


def _blank(cells=slice(0), genes=slice(0)) -> Callable[[ad.AnnData], None]:
    def edit(adata: ad.AnnData) -> None:
        matrix = adata.X.toarray()
        matrix[cells] = 0
        matrix[:, genes] = 0
        adata.X = matrix

    return edit


def _raw(*, x: bool = True, genes=slice(None), layer: bool = False):
    """Logs in X, or nothing, and the counts in raw."""

    def edit(adata: ad.AnnData) -> None:
        layers = {"counts": adata.X.copy()} if layer else {}
        adata.layers.clear()
        adata.raw = adata[:, genes].copy()
        adata.X = adata.X.log1p() if x else None
        for name, matrix in layers.items():
            adata.layers[name] = matrix

    return edit


RAW = ("--layer", "raw")
COUNTS = ("--layer", "counts")
GAUSSIAN = ("--likelihood", "gaussian")
BERNOULLI = ("--likelihood", "bernoulli")
_BAD_VALUES = {
    "negative": (-1.0, "negative"),
    "NaN": (np.nan, "NaN"),
    "infinite": (np.inf, "infinite"),
    "minus infinite": (-np.inf, "infinite"),
    "fraction": (0.5, "integer"),
}
MATRICES = {
    **{f"{n} in X": Case(_set(v), (), said) for n, (v, said) in _BAD_VALUES.items()},
    **{
        f"{n} in a layer": Case(_set(v, layer="counts"), COUNTS, "counts")
        for n, (v, said) in _BAD_VALUES.items()
    },
    **{
        f"{n} beside the chosen genes": Case(_set(v), ("--n-top-genes", "5"), said)
        for n, (v, said) in _BAD_VALUES.items()
    },
    "NaN under gaussian": Case(_set(np.nan), GAUSSIAN, "NaN"),
    "infinite under gaussian": Case(_set(np.inf), GAUSSIAN, "infinite"),
    "counts under bernoulli": Case(lambda adata: None, BERNOULLI, "bernoulli"),
    "fraction under bernoulli": Case(_set(0.5), BERNOULLI, "bernoulli"),
    "nothing but zeros": Case(_blank(cells=slice(None)), (), "no counts at all"),
    "nothing but zeros, genes chosen": Case(
        _blank(cells=slice(None)), ("--n-top-genes", "5"), "0 gene(s) vary"
    ),
    "a cell alone in its batch, genes chosen": Case(
        lambda adata: adata.obs.__setitem__("k", ["a"] * (adata.n_obs - 1) + ["b"]),
        ("--n-top-genes", "5", "--batch-key", "k"),
        "0 gene(s) vary in batch 'b'",
    ),
    "logs in X, counts in raw": Case(_raw(), (), "There are counts in raw: --layer raw."),
    "nothing in X, counts in raw": Case(_raw(x=False), (), "in raw: --layer raw."),
    "counts in raw, genes chosen": Case(_raw(), ("--n-top-genes", "5"), "in raw: --layer raw."),
    "logs in X, counts in a layer": Case(
        _raw(layer=True), (), "There are counts in counts: --layer counts."
    ),
    "raw of other genes": Case(_raw(genes=slice(5)), RAW, "raw lacks 7 of the 12 genes of X"),
    "raw where there is none": Case(lambda adata: None, RAW, "'raw' is not in layers"),
    "text": Case(_as(lambda x: x.toarray().astype(str)), (), "numbers"),
    "complex": Case(_as(lambda x: x.toarray().astype(complex)), (), "numbers"),
    "no X": Case(lambda adata: ad.AnnData(obs=adata.obs, var=adata.var), (), "X is empty"),
    "one cell": Case(lambda adata: adata[:1].copy(), (), "1 cell"),
    "no cell": Case(lambda adata: adata[:0].copy(), (), "0 cells"),
    "one gene": Case(lambda adata: adata[:, :1].copy(), (), "n_basis=4"),
    "no gene": Case(lambda adata: adata[:, :0].copy(), (), "0 genes"),
    "fewer genes than bases": Case(lambda adata: adata[:, :3].copy(), (), "n_basis=4"),
}
GOOD_MATRICES = {
    "counts in raw": Case(_raw(), RAW, None),
    "csc": Case(_as(sparse.csc_matrix), (), None),
    "dense int16": Case(_as(lambda x: x.toarray().astype(np.int16)), (), None),
    "csr uint64": Case(_as(lambda x: x.astype(np.uint64)), (), None),
    "bool": Case(_as(lambda x: x.toarray() > 0), (), None),
    "float16": Case(_as(lambda x: x.toarray().astype(np.float16)), (), None),
    "unsorted indices": Case(_as(lambda x: x[:, ::-1].tocsc()[:, ::-1].tocsr()), (), None),
    "empty cells and genes": Case(_blank(slice(2, 4), slice(5, 7)), (), None),
    "very large counts": Case(_set(1e7), (), None),
    "constant features": Case(_blank(genes=slice(0, 4)), GAUSSIAN, None),
    "two cells": Case(lambda adata: adata[:2].copy(), (), None),
}


# -- columns, keys and names ---------------------------------------------------------------------


def _obs(values) -> Callable[[ad.AnnData], None]:
    """Give obs a column ``k``; a function is called with the number of cells."""

    def edit(adata: ad.AnnData) -> None:
        column = values(adata.n_obs) if callable(values) else values
        adata.obs["k"] = pd.Series(column, index=adata.obs_names)

    return edit


def _with_one(value, others=1.0):
    return lambda n: [value, *[others] * (n - 1)]


def _obsm(columns: int, value: float | None = None) -> Callable[[ad.AnnData], None]:
    def edit(adata: ad.AnnData) -> None:
        values = np.linspace(-1, 1, adata.n_obs * columns).reshape(adata.n_obs, columns)
        if value is not None:
            values[0] = value
        adata.obsm["k"] = values

    return edit


def _obsm_named(name: str) -> Callable[[ad.AnnData], None]:
    return lambda adata: adata.obsm.__setitem__(name, np.ones((adata.n_obs, 2)))


def _names(axis: str, names: Callable) -> Callable[[ad.AnnData], None]:
    def edit(adata: ad.AnnData) -> None:
        setattr(adata, axis, names(getattr(adata, axis)))

    return edit


_NUMBERS = {
    "size-factor-key": {"NaN": np.nan, "zero": 0.0, "negative": -1.0, "infinite": np.inf},
    "continuous-covariate-key": {"NaN": np.nan, "infinite": np.inf},
    "latent-key": {"NaN": np.nan, "infinite": np.inf},
    "latent-prior-key": {"infinite": np.inf},
    "init": {"NaN": np.nan, "infinite": np.inf},
}
_KEYS = ("batch-key", "categorical-covariate-key", *_NUMBERS)
_HALVES = _obs(lambda n: np.where(np.arange(n) % 2, "a", None))
KEYS = {
    **{f"--{key}: missing": Case(lambda adata: None, (f"--{key}", "k"), "'k'") for key in _KEYS},
    **{
        f"--{key}: text": Case(_obs(lambda n: ["a"] * n), (f"--{key}", "k"), "'k'")
        for key in _NUMBERS
    },
    **{
        f"--{key}: {name}": Case(
            _obs(lambda n, value=value: [value, *np.linspace(1, 2, n - 1)]),
            (f"--{key}", "k"),
            "'k'",
        )
        for key, values in _NUMBERS.items()
        for name, value in values.items()
    },
    "--batch-key: gaps": Case(_HALVES, ("--batch-key", "k"), "'k'"),
    "--batch-key: NaN": Case(_obs(_with_one(np.nan)), ("--batch-key", "k"), "'k'"),
    "--categorical-covariate-key: gaps": Case(
        _HALVES, ("--categorical-covariate-key", "k"), "'k'"
    ),
    "--latent-key: constant": Case(_obs(_with_one(1.0)), ("--latent-key", "k"), "'k'"),
    "--latent-key: two columns": Case(_obsm(2), ("--latent-key", "k"), "'k'"),
    "--latent-key: NaN in obsm": Case(_obsm(1, np.nan), ("--latent-key", "k"), "'k'"),
    "--latent-prior-key: all NaN": Case(
        _obs(lambda n: [np.nan] * n), ("--latent-prior-key", "k"), "'k'"
    ),
    "--latent-prior-key: two columns": Case(_obsm(2), ("--latent-prior-key", "k"), "'k'"),
    "both latent keys": Case(
        lambda adata: None, ("--latent-key", "true_z", "--latent-prior-key", "true_z"), "latent"
    ),
    "--init: too few columns": Case(_obsm(1), ("--init", "k", "--n-latent", "2"), "'k'"),
    "--init: NaN in obsm": Case(_obsm(1, np.nan), ("--init", "k"), "'k'"),
    "--layer: missing": Case(lambda adata: None, ("--layer", "raw"), "'raw'"),
    "--root: missing": Case(lambda adata: None, ("--root", "stem"), "'stem'"),
    "--root: no cell": Case(_obs(lambda n: [False] * n), ("--root", "k"), "'k'"),
    "--root: a number": Case(_obs(_with_one(0.0)), ("--root", "k"), "'k'"),
    "a cell twice": Case(_names("obs_names", lambda n: ["c", "c", *n[2:]]), (), "obs_names"),
    "a gene twice": Case(_names("var_names", lambda n: ["g", "g", *n[2:]]), (), "var_names"),
    "all genes alike": Case(_names("var_names", lambda n: ["g"] * len(n)), (), "var_names"),
    "--key-added: someone's embedding": Case(
        _obsm_named("X_umap"), ("--key-added", "umap"), "obsm['X_umap'] of the input"
    ),
    "--key-added: someone's pseudotime": Case(
        lambda adata: adata.obs.__setitem__("dpt_pseudotime", 0.5),
        ("--key-added", "dpt"),
        "obs['dpt_pseudotime'] of the input",
    ),
    "--key-added: someone's parameters": Case(
        lambda adata: adata.uns.__setitem__("umap", {"params": {"a": 1}}),
        ("--key-added", "umap"),
        "uns['umap'] of the input",
    ),
    "a layer twice as text": Case(lambda adata: None, ("--layer", ""), "--layer"),
}
GOOD_KEYS = {
    "batches of numbers": Case(_obs(lambda n: np.arange(n) % 2), ("--batch-key", "k"), None),
    "one batch": Case(_obs(lambda n: ["a"] * n), ("--batch-key", "k"), None),
    "a batch for every cell": Case(_obs(lambda n: np.arange(n)), ("--batch-key", "k"), None),
    "a flag as batch": Case(_obs(lambda n: np.arange(n) < 9), ("--batch-key", "k"), None),
    "a constant covariate": Case(_obs(_with_one(1.0)), ("--continuous-covariate-key", "k"), None),
    "whole size factors": Case(_obs(lambda n: [1] * n), ("--size-factor-key", "k"), None),
    "gaps in the prior": Case(
        _obs(lambda n: np.where(np.arange(n) < 9, np.nan, np.linspace(-1, 1, n))),
        ("--latent-prior-key", "k"),
        None,
    ),
    "more genes wanted than there are": Case(lambda adata: None, ("--n-top-genes", "99"), None),
    "names with a slash": Case(
        _names("var_names", lambda names: [f"a/{name}" for name in names]), (), None
    ),
    "names of numbers": Case(
        _names("var_names", lambda names: [str(i) for i in range(len(names))]), (), None
    ),
    "a name that is empty": Case(_names("var_names", lambda names: ["", *names[1:]]), (), None),
}
