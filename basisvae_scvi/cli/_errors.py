"""Errors and the one line in which a user hears of them."""

import errno
import os
import traceback

PROGRAM = "basisvae-scvi"
EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
# Why a file cannot be written; HDF5 and torch tell some of it in their texts alone.
_NOT_WRITABLE = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES)
_FAILED_WRITES = ("file write failed", "failed writing file", "unable to flush file")


class CommandError(Exception):
    """Something the user can mend; its message is the whole line that they read."""

    exit_code = EXIT_ERROR


class UsageError(CommandError):
    """A wrong call, known before any data are read."""

    exit_code = EXIT_USAGE


def flatten(text: str) -> str:
    """Put a message of several lines on one."""
    return " ".join(str(text).split())


def describe(error: BaseException) -> str:
    """One line for any error.

    The package's own messages stand alone. Of other packages' errors the type is told as well,
    since their messages are often not meant for users.
    """
    # KeyError shows its message in quotes, hence args and not str().
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    message = flatten(text)
    if isinstance(error, CommandError) or (message and _is_ours(error)):
        return message
    name = type(error).__name__
    return f"{name}: {message} (--debug shows where)" if message else f"{name} (--debug: where)"


def write_trouble(error: BaseException) -> str | None:
    """Why a file could not be written; ``None`` for an error of another kind."""
    if isinstance(error, CommandError):
        return None
    code = getattr(error, "errno", None) if isinstance(error, OSError) else None
    if code in _NOT_WRITABLE:
        return os.strerror(code)
    text = str(error)
    if not any(sign in text.lower() for sign in _FAILED_WRITES):
        return None
    known = (os.strerror(code) for code in _NOT_WRITABLE)
    return next((reason for reason in known if reason in text), "a write failed")


def _is_ours(error: BaseException) -> bool:
    """Whether the package itself raised it."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and _package(frames[-1].f_globals) == "basisvae_scvi"


def _package(module_globals: dict) -> str:
    return str(module_globals.get("__name__", "")).partition(".")[0]


def list_some(names, limit: int = 12) -> str:
    """Names in a row for a message, shortened where there are many."""
    names = [str(name) for name in names]
    listed = ", ".join(names[:limit]) or "none"
    return listed if len(names) <= limit else f"{listed}, … ({len(names)} in all)"
