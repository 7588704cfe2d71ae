"""Checks of paths that need no data: they end a wrong call before anything is imported."""

import os
from enum import Enum
from pathlib import Path

from ._errors import CommandError, UsageError, list_some
from ._foreign import check_known
from ._staging import is_saved_model

_SUFFIXES = (".h5ad", ".zarr")
_ADDRESSES = ("http:", "https:", "ftp:", "s3:", "gs:", "file:")
_MATRIX_NAMES = ("*matrix.mtx", "*matrix.mtx.gz")


class InputKind(Enum):
    """What data come in; the value is how messages call it."""

    h5ad = "an h5ad file"
    zarr = "a zarr folder"
    tenx_h5 = "a 10x h5 file"
    tenx_mtx = "a 10x mtx folder"


def matrix_files(folder: Path) -> list[Path]:
    """Count matrices of a folder in the form of 10x, with or without a prefix."""
    return sorted(path for pattern in _MATRIX_NAMES for path in folder.glob(pattern))


def input_kind(path: Path) -> InputKind:
    """Kind of data by suffix; a folder is zarr unless it has a 10x matrix."""
    if path.is_dir():
        is_mtx = not is_zarr_path(path) and matrix_files(path)
        return InputKind.tenx_mtx if is_mtx else InputKind.zarr
    if path.name.endswith((".mtx", ".mtx.gz")):
        return InputKind.tenx_mtx
    if is_zarr_path(path):
        return InputKind.zarr
    return InputKind.tenx_h5 if path.suffix == ".h5" else InputKind.h5ad


def check_input(path: Path) -> None:
    """Raise CommandError for an input that is not there, or is something else than counts."""
    if not path.exists():
        is_address = path.parts[:1] and path.parts[0] in _ADDRESSES
        cure = " Addresses are not read: download it, then name the file." if is_address else ""
        raise CommandError(f"{path} does not exist.{cure}")
    check_known(path)
    if path.is_dir():
        _check_folder(path)


def _check_folder(path: Path) -> None:
    """Raise CommandError for a folder that is neither zarr nor a 10x matrix."""
    if is_saved_model(path):
        raise CommandError(
            f"{path} is a saved model, for --model-dir; name the file with the cells' counts."
        )
    is_store = any((path / name).exists() for name in ("zarr.json", ".zgroup", ".zmetadata"))
    if is_store or is_zarr_path(path) or matrix_files(path):
        return
    inside = sorted(path.iterdir())
    if fitting := [p for p in inside if _is_input(p)]:
        names = list_some((str(p) for p in fitting), 4)
        raise CommandError(f"{path} is a folder of inputs; name one of them: {names}.")
    there = list_some((p.name for p in inside), 5) if inside else "nothing in it"
    raise CommandError(
        f"{path} is a folder with {there}, and neither a zarr folder nor one of matrix.mtx, "
        "features.tsv and barcodes.tsv; name the one that holds the counts."
    )


def _is_input(path: Path) -> bool:
    if path.is_dir():
        return is_zarr_path(path) or bool(matrix_files(path))
    return path.name.endswith((".h5ad", ".h5", ".h5ad.gz"))


def is_zarr_path(path: Path) -> bool:
    """Whether the suffix is that of zarr."""
    return path.suffix == ".zarr"


def check_output(output: Path, input_path: Path | None = None) -> None:
    """Raise UsageError for an output of unknown kind, or one that is the input.

    Parameters
    ----------
    output
        Where an AnnData will be written.
    input_path
        Where one will be read.
    """
    if output.suffix not in _SUFFIXES:
        raise UsageError(f"--output {output} must end in {' or '.join(_SUFFIXES)}.")
    if output.suffix == ".h5ad" and output.is_dir():
        raise UsageError(f"--output {output} is a folder; name a file.")
    if input_path is not None and is_same_path(output, input_path):
        raise UsageError(f"--output {output} is the input; name another file.")


def check_report(path: Path, taken: list[Path]) -> None:
    """Raise UsageError for a report that is no HTML file, or that another file is in the way of.

    Parameters
    ----------
    path
        Where a report will be written.
    taken
        Files that the command reads or writes.
    """
    if path.suffix not in (".html", ".htm"):
        raise UsageError(f"The report {path} must end in .html.")
    if any(is_same_path(path, other) for other in taken):
        raise UsageError(f"The report {path} is the input or output; name another file.")


def is_same_path(first: Path, second: Path) -> bool:
    """Whether two paths lead to one file, links followed."""
    if first.exists() and second.exists():
        return os.path.samefile(first, second)
    return first.resolve() == second.resolve()
