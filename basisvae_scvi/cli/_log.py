"""Messages of a run: what reaches stderr and the log file, and what of other packages does not."""

import logging
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from basisvae_scvi._termination import Terminated, orderly_termination

from ._checks import check_log_options
from ._errors import EXIT_ERROR, EXIT_INTERRUPTED, PROGRAM, CommandError, describe, flatten
from ._settings import LogSettings

logger = logging.getLogger(__name__)
_PACKAGE = logging.getLogger("basisvae_scvi")
INTERRUPTED = "interrupted; nothing was written."


class _StderrHandler(logging.Handler):
    """Writes to whatever stderr is at the time, so that a progress bar can stay below."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one message."""
        print(self.format(record), file=sys.stderr, flush=True)


class _Formatter(logging.Formatter):
    """One line per message: with the time for progress, with its level for what is wrong."""

    def format(self, record: logging.LogRecord) -> str:
        """Text of one message; a traceback follows it if the record holds one."""
        message = flatten(record.getMessage())
        if record.levelno >= logging.WARNING:
            line = f"{PROGRAM}: {record.levelname.lower()}: {message}"
        else:
            line = f"{self.formatTime(record, '%H:%M:%S')} {message}"
        if record.exc_info:
            line += "\n" + "".join(traceback.format_exception(*record.exc_info)).rstrip()
        return line


def _level(settings: LogSettings) -> int:
    if settings.quiet:
        return logging.WARNING
    return logging.DEBUG if settings.verbose else logging.INFO


def _file_handler(path: Path) -> logging.Handler:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return logging.FileHandler(path, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"--log-file {path} cannot be opened: {error.strerror}.") from error


@contextmanager
def _handlers(settings: LogSettings) -> Iterator[Callable[[logging.Handler], None]]:
    """Send the package's messages to stderr; yields what adds further handlers."""
    before = _PACKAGE.handlers, _PACKAGE.level, _PACKAGE.propagate
    added: list[logging.Handler] = []

    def add(handler: logging.Handler) -> None:
        handler.setFormatter(_Formatter())
        added.append(handler)
        _PACKAGE.handlers = [*_PACKAGE.handlers, handler]

    _PACKAGE.handlers, _PACKAGE.propagate = [], False
    _PACKAGE.setLevel(logging.DEBUG)
    try:
        stderr = _StderrHandler(_level(settings))
        add(stderr)
        yield add
    finally:
        for handler in added:
            handler.close()
        _PACKAGE.handlers, _PACKAGE.propagate = before[0], before[2]
        _PACKAGE.setLevel(before[1])


def _emitter() -> str:
    """Name of the module that called ``warnings.warn``, whatever its ``stacklevel``."""
    frame = sys._getframe(1)
    skipped = {__name__, "warnings", "_py_warnings"}
    while frame is not None and frame.f_globals.get("__name__") in skipped:
        frame = frame.f_back
    return "" if frame is None else str(frame.f_globals.get("__name__", ""))


def _show_warning(message, category, filename, lineno, file=None, line=None) -> None:
    if _emitter().partition(".")[0] == "basisvae_scvi":
        logger.warning("%s", message)


@contextmanager
def _own_warnings_only() -> Iterator[None]:
    """Turn the package's warnings into log messages and drop those of others."""
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.showwarning = _show_warning
        yield


def _tell_end(end: Terminated) -> None:
    kept = "" if end.kept is None else f" but {end.kept}"
    logger.error("%s; nothing was written%s.", end, kept)


def run_logged(job: Callable[[], int], settings: LogSettings) -> int:
    """Run a job; every error becomes one line and an exit status.

    Parameters
    ----------
    job
        Returns the exit status.
    settings
        Where messages go, and whether errors show their traceback.

    Returns
    -------
    Exit status.
    """
    with _handlers(settings) as add:
        try:
            if settings.log_file is not None:
                add(_file_handler(settings.log_file))
            check_log_options(settings)
            with _own_warnings_only(), orderly_termination(_tell_end):
                return job()
        except Terminated as end:
            return end.code
        except KeyboardInterrupt:
            logger.error(INTERRUPTED, exc_info=settings.debug)
            return EXIT_INTERRUPTED
        except Exception as error:
            logger.error("%s", describe(error), exc_info=settings.debug)
            return error.exit_code if isinstance(error, CommandError) else EXIT_ERROR
