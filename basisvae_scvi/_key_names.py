"""Names under which results are kept: one check for Python and the command line."""

from __future__ import annotations

# In a zarr folder a key is the name of a file, to which suffixes are added.
_MAX_BYTES = 200
_RESERVED = ("_scvi_", "__", ".z", "zarr.json")


def key_problem(name) -> str | None:
    """What is wrong with a name for results; ``None`` if nothing is.

    Parameters
    ----------
    name
        The name.

    Examples
    --------
    >>> from basisvae_scvi._key_names import key_problem
    >>> key_problem("run1"), key_problem("run/1")
    (None, "has a slash, and files keep it as a path; write e.g. 'run_1'")
    """
    if not isinstance(name, str):
        return f"is of type {type(name).__name__}; write it as text, e.g. 'run1'"
    if not name.strip():
        return "is empty; write e.g. 'run1'"
    if "/" in name or "\\" in name:
        better = name.replace("/", "_").replace("\\", "_")
        return f"has a slash, and files keep it as a path; write e.g. {better!r}"
    if not name.isprintable():
        return "has a character that cannot be printed; write e.g. 'run1'"
    if name in (".", "..") or name.startswith(_RESERVED):
        return "has a meaning of its own in files; write e.g. 'run1'"
    if len(name.encode()) > _MAX_BYTES:
        return f"is longer than {_MAX_BYTES} bytes; shorten it"
    return None
