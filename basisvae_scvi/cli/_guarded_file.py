"""A file for HDF5 that tells of a full disk once, at the end, and not a thousand times."""

import io
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py


class GuardedFile(io.FileIO):
    """File that takes note of the first write that fails, and from then on takes all for done.

    HDF5 cannot close a file that it cannot write to: it tries again for every object in it, says
    so each time, and crashes when the process ends.

    Attributes
    ----------
    error
        The first failure, or ``None``.
    """

    def __init__(self, path: Path):
        super().__init__(path, "w+")
        self.error: OSError | None = None

    def write(self, data) -> int:
        """Write all of ``data``, or take note of why not."""
        view = memoryview(data).cast("B")
        n_bytes, done = len(view), 0
        try:
            while self.error is None and done < n_bytes:
                done += super().write(view[done:])
        except OSError as error:
            self.error = error
        return n_bytes

    def readinto(self, buffer) -> int:
        """Read; what was never written is zeros."""
        n_bytes = super().readinto(buffer)
        if self.error is not None:
            view = memoryview(buffer).cast("B")
            view[n_bytes:] = bytes(len(view) - n_bytes)
            return len(view)
        return n_bytes

    def truncate(self, size: int | None = None) -> int:
        """Cut or extend the file, unless there is no room anyhow."""
        try:
            return super().truncate(size) if self.error is None else self.tell()
        except OSError as error:
            self.error = error
            return self.tell()


# HDF5 calls these, and crashes if one of them raises.
_CALLBACKS = {
    function.__code__
    for function in (GuardedFile.write, GuardedFile.readinto, GuardedFile.truncate)
}
_SECONDS_TO_WAIT = 0.01


@contextmanager
def _raising_outside_callbacks() -> Iterator[None]:
    """Let handlers of signals, which raise, wait until HDF5 is not in the middle of something."""
    taken = {}

    def handle(number: int, frame) -> None:
        at = frame
        while at is not None:
            if at.f_code in _CALLBACKS:
                again = threading.Timer(_SECONDS_TO_WAIT, os.kill, (os.getpid(), number))
                again.daemon = True
                again.start()
                return
            at = at.f_back
        taken[number](number, frame)

    if threading.current_thread() is threading.main_thread():
        handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
        taken = {number: handler for number, handler in handlers.items() if callable(handler)}
    try:
        for number in taken:
            signal.signal(number, handle)
        yield
    finally:
        for number, handler in taken.items():
            signal.signal(number, handler)


@contextmanager
def new_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open a new HDF5 file for writing; on leaving, all of it is on the disk.

    Raises
    ------
    OSError
        If it could not be written.
    """
    with GuardedFile(path) as raw, _raising_outside_callbacks():
        try:
            with h5py.File(raw, "w") as file:
                yield file
        except Exception:
            if raw.error is None:
                raise
        if raw.error is not None:
            raise raw.error
        os.fsync(raw.fileno())
