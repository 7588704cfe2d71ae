"""Machine code on disk that is never stale, never another function's, and never in the way.

Numba's own cache marks machine code with the file that defines a function only, though constants
and callees of other files are compiled into it; and it numbers its files in an index, so that two
processes that save at the same time can leave one signature with the code of the other. Here each
signature has a file named after it, which repeats the signature and a digest of all sources, and
every file that does not match or cannot be read counts as absent.
"""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
import uuid
from pathlib import Path
from typing import Any

import numba

try:  # Not a public part of numba: it may move.
    from numba.core.caching import FunctionCache, IndexDataCacheFile
    from numba.core.serialize import dumps
except ImportError:
    FunctionCache = None

logger = logging.getLogger(__name__)


def _digest_of_sources(folder: Path) -> str | None:
    """Digest of all Python files of a folder; ``None`` where they cannot be read."""
    digest = hashlib.sha256()
    try:
        for path in sorted(folder.glob("*.py")):
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
        return digest.hexdigest() if (folder / Path(__file__).name).exists() else None
    except OSError:
        return None


SOURCES = _digest_of_sources(Path(__file__).parent)


class CodeFiles:
    """Machine code of one function, one file per signature.

    Parameters
    ----------
    folder
        Where the files lie.
    name
        What their names begin with.
    stamp
        What has to be equal for code to be used again.
    """

    def __init__(self, folder: str, name: str, stamp: Any):
        self.folder, self.name, self.stamp = Path(folder), name, stamp

    def path(self, key: Any) -> Path:
        """File of a signature."""
        signature = hashlib.sha256(repr(key).encode()).hexdigest()[:32]
        return self.folder / f"{self.name}.{signature}.nbc"

    def load(self, key: Any) -> Any | None:
        """Code of a signature, or ``None``."""
        try:
            with self.path(key).open("rb") as file:
                # First and on its own: what other versions have written may not be readable.
                if pickle.load(file) != self.stamp:
                    return None
                stored, code = pickle.load(file)
        except FileNotFoundError:
            return None
        return code if stored == key else None

    def save(self, key: Any, code: Any) -> None:
        """Write the code of a signature, whole or not at all."""
        path = self.path(key)
        draft = path.with_name(f"{path.name}.{uuid.uuid4().hex[:16]}")
        try:
            with draft.open("wb") as file:
                pickle.dump(self.stamp, file)
                file.write(dumps((key, code)))
            os.replace(draft, path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise

    def flush(self) -> None:
        """Forget all code of the function."""
        for path in self.folder.glob(f"{self.name}.*.nbc"):
            path.unlink(missing_ok=True)


class _Cache(FunctionCache or object):
    """Numba's cache of one function, with files of our own, in which every failure is quiet."""

    def __init__(self, function):
        super().__init__(function)
        if not isinstance(self._cache_file, IndexDataCacheFile):
            raise TypeError("numba keeps its files in another way")
        stamp = (numba.__version__, SOURCES)
        self._cache_file = CodeFiles(self._cache_path, self._impl.filename_base, stamp)

    def load_overload(self, sig, target_context):
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:  # a damaged file can fail in any way
            logger.debug("no machine code of %s on disk: %r", self._name, error)
            return None

    def save_overload(self, sig, data):
        try:
            super().save_overload(sig, data)
        except Exception as error:  # read-only or full, and whatever else disks do
            logger.debug("machine code of %s stays in memory: %r", self._name, error)


def keep_on_disk(dispatcher) -> None:
    """Let numba's ``dispatcher`` keep its machine code on disk, where there is a place for it.

    Without a writable place, without sources to compare with, or with a numba whose caches are
    made otherwise, the machine code lives as long as the process.
    """
    if SOURCES is None or FunctionCache is None or not hasattr(dispatcher, "_cache"):
        return
    try:
        dispatcher._cache = _Cache(dispatcher.py_func)
    except Exception as error:
        logger.debug("%s is compiled in memory: %r", dispatcher.py_func.__name__, error)
