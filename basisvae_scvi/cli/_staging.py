"""Results take their names only when all of them are complete."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from ._errors import CommandError


def is_saved_model(folder: Path) -> bool:
    """Whether a folder holds a saved model."""
    return (folder / "model.pt").is_file()


def is_zarr(folder: Path) -> bool:
    """Whether a folder is a zarr store."""
    return any((folder / name).is_file() for name in (".zgroup", "zarr.json"))


class Staging:
    """Files and folders that are written under temporary names beside their targets.

    :meth:`commit` gives all of them their own names; leaving the context without it removes them.
    So an error, Ctrl-C or kill leaves no half result and what was there before is intact.

    Parameters
    ----------
    overwrite
        Whether targets that exist may be replaced.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with Staging(overwrite=False) as staging:
    ...     _ = staging.claim(folder / "a.txt").write_text("done")
    ...     staging.commit()
    >>> [path.name for path in folder.iterdir()]
    ['a.txt']
    """

    def __init__(self, *, overwrite: bool):
        self.overwrite = overwrite
        self._temporary: dict[Path, Path] = {}

    def __enter__(self) -> "Staging":
        return self

    def __exit__(self, *exception) -> None:
        for path in self._temporary.values():
            _remove(path)

    def claim(self, target: Path, is_replaceable: Callable[[Path], bool] | None = None) -> Path:
        """Check that ``target`` may be written, and return the temporary path to write to.

        Parameters
        ----------
        target
            Final path. Its folder is made.
        is_replaceable
            Tells whether an existing folder is a result of the same kind; no other folder is
            ever replaced.

        Raises
        ------
        CommandError
            If the target exists, or its folder cannot be written to.
        """
        target = Path(os.path.abspath(target))
        _check_folder(target.parent)
        if os.path.lexists(target):
            self._check_replaceable(target, is_replaceable)
        temporary = target.with_name(f".{target.stem}.{os.getpid()}.partial{target.suffix}")
        _remove(temporary)
        self._temporary[target] = temporary
        return temporary

    def _check_replaceable(
        self, target: Path, is_replaceable: Callable[[Path], bool] | None
    ) -> None:
        if not self.overwrite:
            raise CommandError(f"{target} exists; pass --overwrite to replace it.")
        if not target.is_dir():
            return
        is_same_kind = is_replaceable is not None and is_replaceable(target)
        if not is_same_kind and (is_replaceable is None or any(target.iterdir())):
            raise CommandError(
                f"{target} is a folder with other contents, which --overwrite does not replace; "
                "name another."
            )

    def commit(self) -> None:
        """Give every staged result its own name; what was claimed first comes last."""
        for target, temporary in reversed(self._temporary.items()):
            if temporary.is_dir():
                _replace_folder(temporary, target)
            else:
                os.replace(temporary, target)
        self._temporary.clear()


def _check_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"Cannot make the folder {folder}: {error.strerror}.") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise CommandError(f"Cannot write to the folder {folder}: {os.strerror(errno.EACCES)}.")


def _replace_folder(temporary: Path, target: Path) -> None:
    """Rename a folder; what had the name is moved away first and removed last."""
    former = temporary.with_name(f"{temporary.name}.former")
    if os.path.lexists(target):
        os.rename(target, former)
    os.rename(temporary, target)
    _remove(former)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
