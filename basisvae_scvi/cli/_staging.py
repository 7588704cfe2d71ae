"""Results take their names only when all of them are complete."""

import errno
import glob
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

from basisvae_scvi._termination import let_finish

from ._errors import CommandError, write_trouble


def is_saved_model(folder: Path) -> bool:
    """Whether a folder holds a saved model."""
    return (folder / "model.pt").is_file()


def is_zarr(folder: Path) -> bool:
    """Whether a folder is a zarr store."""
    return any((folder / name).is_file() for name in (".zgroup", "zarr.json"))


class Staging:
    """Files and folders that are written under temporary names beside their targets.

    :meth:`commit` gives all of them their own names; leaving the context without it removes them,
    and the folders made for them. So an error or Ctrl-C leaves no half result and what was there
    before is intact. What a killed process has left is removed by the next one that writes to the
    same place.

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
        self._made: list[Path] = []

    def __enter__(self) -> "Staging":
        return self

    def __exit__(self, kind, error: BaseException | None, trace) -> None:
        for path in self._temporary.values():
            _remove(path)
        for folder in reversed(self._made):
            if not any(folder.iterdir()):
                folder.rmdir()
        if error is not None and (reason := write_trouble(error)):
            target = next(iter(self._temporary), "the results")
            raise CommandError(
                f"Cannot write {target} or what goes with it ({reason}). Make room, or name "
                "another place; what was there is as it was."
            ) from error

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
        self._made += _make_folder(target.parent)
        _clear_after_kill(target)
        if os.path.lexists(target):
            self._check_replaceable(target, is_replaceable)
        owner = f"{socket.gethostname()}-{os.getpid()}"
        temporary = target.with_name(f".{target.stem}.{owner}.partial{target.suffix}")
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
        let_finish()
        for target, temporary in reversed(self._temporary.items()):
            if temporary.is_dir():
                _replace_folder(temporary, target)
            else:
                os.replace(temporary, target)
        self._temporary.clear()


def _clear_after_kill(target: Path) -> None:
    """Remove what processes that are no more have left for ``target``."""
    start, end = f".{target.stem}.", f".partial{target.suffix}"
    for path in target.parent.glob(f"{glob.escape(start)}*{glob.escape(end)}*"):
        owner, is_former = path.name[len(start) :].split(end)
        host, _, process = owner.rpartition("-")
        if host != socket.gethostname() or not process.isdigit() or _is_running(int(process)):
            continue
        if is_former and not os.path.lexists(target):
            os.rename(path, target)  # killed between two names
        else:
            _remove(path)


def _is_running(process: int) -> bool:
    if os.name == "nt":
        return True  # not known: there, signal 0 is Ctrl-C
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _make_folder(folder: Path) -> list[Path]:
    """Make a folder that can be written to; returns those that were not there, outermost first."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"Cannot make the folder {folder}: {error.strerror}.") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise CommandError(f"Cannot write to the folder {folder}: {os.strerror(errno.EACCES)}.")
    return missing[::-1]


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
