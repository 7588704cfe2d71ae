"""The file of a checkpoint: replaced as a whole, proof against damage, and no code in it."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

FILE_NAME = "training.ckpt"
_MAGIC = b"basisvae-scvi checkpoint 1\n"
_DIGEST_BYTES = 32
_ARRAY = "numpy array"


class CheckpointFile:
    """A file with the state of a training: tensors, arrays, numbers, text and containers of them.

    Parameters
    ----------
    folder
        Where the file lies; made if it is not there.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     file = CheckpointFile(folder)
    ...     file.write({"epoch": 3, "z": np.arange(2.0)})
    ...     state = file.read()
    >>> state["epoch"], state["z"]
    (3, array([0., 1.]))
    """

    def __init__(self, folder: str | os.PathLike):
        self.path = Path(folder) / FILE_NAME

    @property
    def _temporary(self) -> Path:
        # One name for all runs: what a killed one leaves is written over by the next.
        return self.path.with_name(f".{FILE_NAME}.partial")

    @property
    def kept(self) -> str | None:
        """What a message says of the file, ``None`` if there is none."""
        return f"{self.path}, from which the same call goes on" if self.path.is_file() else None

    def read(self) -> dict[str, Any] | None:
        """State of the file, ``None`` if there is no file.

        Raises
        ------
        ValueError
            If the file is no checkpoint, of another version, or damaged.
        """
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ValueError(
                f"The checkpoint {self.path} cannot be read ({error.strerror}); name another "
                "folder."
            ) from error
        if not content.startswith(_MAGIC):
            raise ValueError(
                f"{self.path} is no checkpoint of this version; delete it or name another folder."
            )
        digest, body = _cut(content[len(_MAGIC) :], _DIGEST_BYTES)
        if digest != hashlib.sha256(body).digest():
            raise ValueError(
                f"The checkpoint {self.path} is damaged or cut short; delete it to start anew."
            )
        # Nothing but tensors and plain values, so that a foreign file runs no code.
        try:
            state = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
        except Exception as error:  # torch and pickle raise errors of many types
            raise ValueError(
                f"{self.path} cannot be read with torch {torch.__version__}, or holds what no "
                "checkpoint needs; delete it or name another folder."
            ) from error
        return _decode(state)

    def write(self, state: dict[str, Any]) -> None:
        """Replace the file by one with this state, or leave it as it is.

        Raises
        ------
        OSError
            If there is no space, or the folder cannot be written to.
        """
        buffer = io.BytesIO()
        torch.save(_encode(state), buffer)
        body = buffer.getbuffer()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(self._temporary, "wb") as file:
                file.write(_MAGIC)
                file.write(hashlib.sha256(body).digest())
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
            os.replace(self._temporary, self.path)
        except BaseException:  # Ctrl-C and signals too
            with contextlib.suppress(OSError):
                self._temporary.unlink(missing_ok=True)
            raise

    def remove(self) -> None:
        """Delete the file, and the folder if nothing else is in it."""
        self.path.unlink(missing_ok=True)
        self._temporary.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.path.parent.rmdir()


def _cut(content: bytes, place: int) -> tuple[bytes, bytes]:
    return content[:place], content[place:]


def _encode(value: Any) -> Any:
    """Put arrays as tensors and numpy's numbers as Python's: pickles of numpy name functions."""
    if isinstance(value, np.ndarray):
        return {_ARRAY: torch.from_numpy(np.ascontiguousarray(value))}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {key: _encode(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_encode(entry) for entry in value)
    return value


def _decode(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {_ARRAY}:
            return value[_ARRAY].numpy()
        return {key: _decode(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_decode(entry) for entry in value)
    return value
