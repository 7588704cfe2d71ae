"""Checks of paths that need no data: they end a wrong call before anything is imported."""

import os
from enum import Enum
from pathlib import Path

from ._errors import CommandError, UsageError

_SUFFIXES = (".h5ad", ".zarr")
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
    if is_zarr_path(path):
        return InputKind.zarr
    if path.is_dir():
        return InputKind.tenx_mtx if matrix_files(path) else InputKind.zarr
    return InputKind.tenx_h5 if path.suffix == ".h5" else InputKind.h5ad


def check_input(path: Path) -> None:
    """Raise CommandError for an input that is not there."""
    if not path.exists():
        raise CommandError(f"{path} does not exist.")


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
