"""Files and folders in which counts also come: what they are, and how to get at the counts."""

from __future__ import annotations

import gzip
import shlex
import zipfile
import zlib
from pathlib import Path

from ._errors import CommandError, list_some

_HEAD_BYTES = 2064
# Where the signature of HDF5 may be; MuData has a note of its own before it.
_HDF5_PLACES = (0, 512, 1024, 2048)
_HDF5, _GZIP = b"\x89HDF\r\n\x1a\n", b"\x1f\x8b"
_MATRIX = b"%%MatrixMarket"
_TO_H5AD = "Make an AnnData of it and write that as .h5ad"
_R = (
    "data of R",
    "In R, where it is a Seurat object: zellkonverter::writeH5AD("
    "Seurat::as.SingleCellExperiment(readRDS({name})), {h5ad})",
)
_R_WORKSPACE = (
    "a workspace of R",
    "In R: load({name}); where x in it is a Seurat object: zellkonverter::writeH5AD("
    "Seurat::as.SingleCellExperiment(x), {h5ad})",
)
# By the first bytes: what it is, and what to do; {path} is the file, for a shell.
_BY_HEAD = {
    b"BZh": ("compressed by bzip2", "bunzip2 -k {path}"),
    b"\xfd7zXZ\x00": ("compressed by xz", "unxz -k {path}"),
    b"\x28\xb5\x2f\xfd": ("compressed by zstd", "unzstd {path}"),
    b"7z\xbc\xaf": ("a 7z archive", "7z x {path}"),
    b"RDX": _R_WORKSPACE,
    b"RDA": _R_WORKSPACE,
    b"X\n\x00\x00": _R,
    b"PAR1": (
        "a Parquet table",
        'python -c "import anndata, pandas; anndata.AnnData(pandas.read_parquet({name}))'
        '.write_h5ad({h5ad})", with .T before .write_h5ad if its rows are genes',
    ),
    b"ARROW1": ("an Arrow file", _TO_H5AD),
    b"FEA1": ("a Feather table", _TO_H5AD),
    b"\x93NUMPY": ("an array of numpy without names of cells and genes", _TO_H5AD),
    b"MATLAB": ("a MATLAB file", _TO_H5AD),
    b"\x80\x02": ("a pickle", _TO_H5AD),
    b"\x80\x03": ("a pickle", _TO_H5AD),
    b"\x80\x04": ("a pickle", _TO_H5AD),
    b"\x80\x05": ("a pickle", _TO_H5AD),
    b"version https://git-lfs": ("a pointer of Git LFS, not the data", "git lfs pull"),
    b"<!doctype html": ("a web page, not the data", "Download it again by its direct link"),
    b"<html": ("a web page, not the data", "Download it again by its direct link"),
    b"<?xml": ("an XML document, not the data", "Download it again by its direct link"),
}
_TABLES = (".csv", ".tsv", ".txt", ".tab")


def head_of(path: Path) -> tuple[bytes, bool]:
    """First bytes of a file, and whether gzip hides them; of such a file those within."""
    with open(path, "rb") as file:
        head = file.read(_HEAD_BYTES)
    if not head.startswith(_GZIP):
        return head, False
    try:
        with gzip.open(path) as file:
            return file.read(_HEAD_BYTES), True
    except (OSError, EOFError, zlib.error):
        raise CommandError(f"{path} is a damaged gzip file; copy or download it again.") from None


def is_matrix_market(path: Path) -> bool:
    """Whether a file is a matrix in the form of 10x, compressed or not."""
    return path.is_file() and head_of(path)[0].startswith(_MATRIX)


def check_known(path: Path) -> None:
    """Raise CommandError for a file that is neither HDF5 nor a 10x matrix, with what it is.

    Parameters
    ----------
    path
        A file or folder; what is in folders is left to their readers.
    """
    if path.is_dir():
        return
    if not path.is_file():
        raise CommandError(f"{path} is no file but a pipe or device; write to a file, name that.")
    try:
        head, is_zipped = head_of(path)
    except OSError as error:
        raise CommandError(f"{path} cannot be opened: {error.strerror}.") from None
    if head.startswith(_MATRIX) or any(head.startswith(_HDF5, at) for at in _HDF5_PLACES):
        return
    what, cure = _describe(path, head, is_zipped)
    raise CommandError(f"{path} is {what}. {_filled(cure, path)}.")


def _describe(path: Path, head: bytes, is_zipped: bool) -> tuple[str, str]:
    """What a file is, and what to do."""
    if not head:
        return "empty", "Copy or download it again"
    if head.startswith(b"PK\x03\x04"):
        return _of_zip(path)
    if head[257:262] == b"ustar":
        return "a tar archive", "tar xf {path}, then name what was in it"
    for start, found in _BY_HEAD.items():
        if head[: len(start)].lower() == start.lower():
            return found
    separator = _separator(head)
    if separator is not None and (_suffix(path) in _TABLES or is_zipped or path.suffix == ".h5ad"):
        return (
            "a table of text",
            "If its rows are cells: "
            'python -c "import anndata, pandas; anndata.AnnData(pandas.read_csv({name}, '
            f'sep={separator}, index_col=0)).write_h5ad({{h5ad}})"; if they are genes, with .T '
            "before .write_h5ad. Then name the .h5ad",
        )
    if is_zipped:
        return "compressed by gzip, and within is no HDF5", "gunzip -k {path}, and look at it"
    return (
        "of no kind that is read here, for lack of the signature of HDF5",
        "Copy or download it again, or write it anew with anndata",
    )


def _of_zip(path: Path) -> tuple[str, str]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return "a damaged zip archive", "Copy or download it again"
    if "xl/workbook.xml" in names:
        return "an Excel workbook", _TO_H5AD
    if any(name.endswith("/data.pkl") for name in names):
        return "a file of torch, as of a saved model", "Name the file with the counts of the cells"
    if path.suffix == ".npz":
        return "a matrix of numpy or scipy without names of cells and genes", _TO_H5AD
    marks = (".zgroup", "zarr.json", ".zattrs")
    if any(name in marks for name in names):
        folder = shlex.quote(str(path.with_name(_stem(path) + ".zarr")))
        return "a zipped zarr folder", f"unzip {{path}} -d {folder}, then name {folder}"
    shown = list_some(dict.fromkeys(name.partition("/")[0] for name in names), 3)
    return f"a zip archive of {shown}", f"unzip {{path}}, then name {shown}"


def _separator(head: bytes) -> str | None:
    """How the first line of a text is split, as Python writes it; ``None`` for what is no text."""
    try:
        line = head.decode("utf-8", errors="strict" if len(head) < _HEAD_BYTES else "ignore")
    except UnicodeDecodeError:
        return None
    if "\0" in line:
        return None
    line = line.splitlines()[0]
    counts = {sep: line.count(sep) for sep in ("\t", ",", ";", " ")}
    best = max(counts, key=lambda sep: counts[sep])
    if not counts[best]:
        return None
    return {"\t": r"'\t'", ",": "','", ";": "';'", " ": r"'\s+'"}[best]


def _suffix(path: Path) -> str:
    """The last suffix that is not of a compression."""
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    return suffixes[-1] if suffixes else ""


def _stem(path: Path) -> str:
    """The file's name without what tells its kind."""
    name = path.name
    for suffix in (".gz", ".zip", ".zarr", *_TABLES, ".rds", ".rdata", ".parquet", ".h5ad"):
        name = name[: -len(suffix)] if name.lower().endswith(suffix) else name
    return name


def _filled(cure: str, path: Path) -> str:
    h5ad = path.with_name(f"{_stem(path)}.h5ad")
    named = {"path": shlex.quote(str(path)), "name": quoted(path), "h5ad": quoted(h5ad)}
    return cure.format(**named) if "{" in cure else cure


def quoted(path: Path) -> str:
    """A path as Python and R write it, within the double quotes of a shell."""
    text = str(path).replace("\\", "\\\\").replace("'", "\\'")
    for sign in '"$`':
        text = text.replace(sign, f"\\{sign}")
    return f"'{text}'"
