"""Saved models and the versions of the libraries that wrote them."""

from __future__ import annotations

import pickle
import zipfile
import zlib
from collections import OrderedDict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

# Those whose objects are in a saved model.
LIBRARIES = ("basisvae-scvi", "scvi-tools", "torch", "pandas", "numpy")
_PACKAGES = ("basisvae_scvi", "scvi", "torch", "pandas", "numpy", "pyarrow")
ATTRIBUTE = "saved_with_"


def versions_here() -> dict[str, str]:
    """Versions of the libraries in this environment."""
    return {name: version(name) for name in LIBRARIES}


def is_of_library(name: str) -> bool:
    """Whether a dotted name is one of these libraries' own."""
    return name.partition(".")[0] in _PACKAGES


def is_whole(path: Path) -> bool:
    """Whether every part of a saved model is there and has its checksum."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, OSError, EOFError, zlib.error, NotImplementedError):
        return False


def describe_versions(path: Path) -> str:
    """Which versions wrote a file, which are here, and what to do about it."""
    here, there = versions_here(), _versions_of(path)
    listed = ", ".join(f"{name} {number}" for name, number in here.items())
    if not there:
        return (
            f"Here are {listed}. Newer ones may have saved it: pip install --upgrade "
            f"{' '.join(LIBRARIES[1:])}; or load it in the environment where it was saved."
        )
    wanted = [
        f"{name}=={there[name]}" for name in here if there.get(name, here[name]) != here[name]
    ]
    saved = ", ".join(f"{name} {number}" for name, number in there.items())
    cure = f"pip install {' '.join(wanted)}; or load" if wanted else "Load"
    return f"It was saved with {saved}; here are {listed}. {cure} it where it was saved."


class _Placeholder:
    """Stands for any object of a library."""

    def __new__(cls, *args, **kwargs):
        return super().__new__(cls)

    def __init__(self, *args, **kwargs):
        pass

    def __setstate__(self, state) -> None:
        pass

    def __setitem__(self, key, value) -> None:
        pass

    def append(self, value) -> None:
        """Take an entry."""

    extend = append


class _PlainReader(pickle.Unpickler):
    """Reads plain values and containers, whoever wrote the rest; nothing of the file is run."""

    def find_class(self, module: str, name: str):
        """A placeholder for everything."""
        return OrderedDict if name in ("OrderedDict", "dict") else _Placeholder

    def persistent_load(self, key):
        """Tensors are not read."""
        return None


def _versions_of(path: Path) -> dict[str, str]:
    """Versions that wrote a file, as far as it says so."""
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(n for n in archive.namelist() if n.endswith("/data.pkl"))
            with archive.open(name) as file:
                attributes = _PlainReader(file).load()["attr_dict"]
    except Exception:  # whatever is in the file
        return {}
    found = attributes.get(ATTRIBUTE)
    if isinstance(found, dict):
        return {name: found[name] for name in LIBRARIES if isinstance(found.get(name), str)}
    registry = attributes.get("registry_")
    of_scvi = registry.get("scvi_version") if isinstance(registry, dict) else None
    return {"scvi-tools": of_scvi} if isinstance(of_scvi, str) else {}


def portable(value: Any) -> Any:
    """A value whose strings are plain objects, which every version of pandas can read."""
    if isinstance(value, dict):
        return type(value)(
            *((value.default_factory,) if hasattr(value, "default_factory") else ()),
            {key: portable(entry) for key, entry in value.items()},
        )
    if type(value) in (list, tuple):
        return type(value)(portable(entry) for entry in value)
    if isinstance(value, pd.DataFrame):
        plain = value.astype({name: object for name in value if _is_text(value[name])})
        return plain.set_axis(portable(value.index)).set_axis(portable(value.columns), axis=1)
    if isinstance(value, pd.Series):
        plain = value.astype(object) if _is_text(value) else value
        return plain.set_axis(portable(value.index))
    if isinstance(value, pd.Index):
        return value.astype(object) if _is_text(value) else value
    if isinstance(value, pd.api.extensions.ExtensionArray) and _is_text(value):
        return value.to_numpy(dtype=object)
    return value


def _is_text(values) -> bool:
    return isinstance(values.dtype, pd.StringDtype)
