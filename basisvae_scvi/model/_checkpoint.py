"""What a checkpoint must have in common with the run that goes on from it, and what it keeps."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import numpy as np
import scvi
from scipy import sparse
from scvi import REGISTRY_KEYS

from basisvae_scvi._termination import Terminated, orderly_termination
from basisvae_scvi._version import __version__
from basisvae_scvi.data import iter_rows
from basisvae_scvi.inference import CheckpointFile, TrainingCheckpoint, keeping_state

from ._start_latent import INIT_METHODS

logger = logging.getLogger(__name__)

# Attributes of the model that the search for starting values sets.
_FOUND = ("latent_reference_", "latent_range_", "batch_share_", "search_")
# Arguments of train() that do not change its result, or whose effect is told otherwise.
_LEFT_OUT = {
    *("seed", "checkpoint_dir", "devices", "trainer_kwargs", "callbacks", "logger"),
    *("enable_progress_bar", "datamodule"),
}


class CheckpointMixin:
    """Training that can be stopped at any moment and taken up again."""

    @contextmanager
    def _ending_orderly(self, checkpoint: TrainingCheckpoint | None) -> Iterator[None]:
        """Let signals end the process only when the last state is written, and say so."""
        with orderly_termination(_tell_end), keeping_state(checkpoint):
            yield

    def _open_checkpoint(self, arguments: dict[str, Any]) -> TrainingCheckpoint | None:
        """Find the state of an earlier run of the same training, and take over its seed.

        Parameters
        ----------
        arguments
            Those of :meth:`train`.

        Raises
        ------
        ValueError
            If the file is damaged, or of a run with other data, arguments or versions.
        """
        folder = arguments["checkpoint_dir"]
        if folder is None:
            return None
        file, identity = CheckpointFile(folder), self._identity(arguments)
        state = file.read()
        if state is not None:
            seed = scvi.settings.seed if arguments["seed"] is None else arguments["seed"]
            expected = {**identity, "seed": state.get("seed") if seed is None else int(seed)}
            found = {**state.get("identity", {}), "seed": state.get("seed")}
            if other := _differences(found, expected):
                raise ValueError(
                    f"The checkpoint {file.path} is of another run: {'; '.join(other)}. Call as "
                    "before to go on, or delete the file or name another folder to start anew."
                )
            self.seed_ = state["seed"]
        return TrainingCheckpoint(file, identity, state)

    def _begin_checkpoint(self, checkpoint: TrainingCheckpoint) -> None:
        """Write the starting values, or take up those that an earlier run has found."""
        if checkpoint.is_resumed:
            for name, value in checkpoint.found.items():
                setattr(self, name, value)
            logger.info("Going on from %s at epoch %d", checkpoint.file.path, checkpoint.n_epochs)
        found = {name: getattr(self, name) for name in _FOUND}
        checkpoint.begin(self.module, self.seed_, found)

    def _identity(self, arguments: dict[str, Any]) -> dict[str, str]:
        """All that the result depends on beside the seed, by name, as text."""
        given = {**arguments, **arguments["trainer_kwargs"]}
        identity = {
            "version of basisvae-scvi": __version__,
            **{f"version of {name}": version(name) for name in ("scvi-tools", "torch")},
            **_as_text(self.init_params_["non_kwargs"]),
            **_as_text(self.registry["setup_args"]),
            **_as_text({k: v for k, v in given.items() if k not in _LEFT_OUT}),
            "data": self._data_digest(arguments["init"]),
        }
        if self.is_trained_ or self.is_query_:
            identity["parameters"] = _digest(*self.module.state_dict().values())
        return identity

    def _data_digest(self, init: str) -> str:
        """Digest of everything that the model reads of the cells."""
        manager = self.adata_manager
        digest = hashlib.sha256(_text(self.adata.var_names))
        for _, block in iter_rows(manager.get_from_registry(REGISTRY_KEYS.X_KEY)):
            _add(digest, block)
        for key in sorted(set(manager.data_registry) - {REGISTRY_KEYS.X_KEY}):
            _add(digest, manager.get_from_registry(key))
        if not (init in INIT_METHODS or self.module.observed_latent or self.is_query_):
            _add(digest, self._given_z(init))
        return digest.hexdigest()


def _tell_end(end: Terminated) -> None:
    kept = f"kept is {end.kept}" if end.kept else "nothing is kept; with checkpoint_dir=... it is"
    logger.error("Training was %s; %s.", end, kept)


def _as_text(values: dict[str, Any]) -> dict[str, str]:
    """Plain values and containers of them; objects say nothing that could be compared."""
    return {name: text for name, value in values.items() if (text := _text_of(value)) is not None}


def _text_of(value: Any) -> str | None:
    if isinstance(value, dict):
        return str(_as_text(value))
    if isinstance(value, list | tuple):
        return str([_text_of(entry) for entry in value])
    is_plain = value is None or isinstance(value, bool | int | float | str)
    return repr(value) if is_plain else None


def _differences(there: dict[str, Any], here: dict[str, Any]) -> list[str]:
    """What differs, as a text for each; data and parameters are known by their digests alone."""
    changed = [name for name in sorted({*there, *here}) if there.get(name) != here.get(name)]
    return [
        f"its {name} are others"
        if name in ("data", "parameters")
        else f"{name} was {there.get(name)} and is {here.get(name)}"
        for name in changed
    ]


def _digest(*tensors) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        _add(digest, tensor.cpu().numpy())
    return digest.hexdigest()


def _add(digest, values) -> None:
    """Update a digest with the content of a matrix, an array or a table."""
    if sparse.issparse(values):
        values = sparse.csr_array(values)
        for part in (values.data, values.indices, values.indptr):
            _add(digest, part)
        return
    array = np.asarray(values)
    digest.update(f"{array.dtype} {array.shape}".encode())
    digest.update(_text(array.ravel()) if array.dtype == object else array.tobytes())


def _text(values) -> bytes:
    return "\0".join(str(value) for value in values).encode()
