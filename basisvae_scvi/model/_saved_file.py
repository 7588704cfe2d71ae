"""Saved models are pickles, which can run any code: unasked, only what ours name is loaded."""

from __future__ import annotations

import os
import pickle
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import SimpleNamespace

import torch
from scvi.model.base import ArchesMixin

from basisvae_scvi._quiet import quiet_libraries
from basisvae_scvi._version import __version__
from basisvae_scvi.data import with_known_types
from basisvae_scvi.inference import one_process

from ._versions import (
    ATTRIBUTE,
    describe_versions,
    is_of_library,
    is_whole,
    portable,
    versions_here,
)

# What the parts of a saved model are built with: tensors, arrays, tables and plain containers.
_BUILDERS = {
    "_codecs": ("encode",),
    "builtins": ("bytes", "dict", "list", "set", "slice", "tuple", "bytearray", "complex"),
    "collections": ("OrderedDict", "defaultdict"),
    "numpy": ("dtype", "ndarray"),
    "numpy._core.multiarray": ("_reconstruct", "scalar"),
    "numpy._core.numeric": ("_frombuffer",),
    "numpy.core.multiarray": ("_reconstruct", "scalar"),
    "numpy.core.numeric": ("_frombuffer",),
    "pandas": ("DataFrame", "Index", "RangeIndex", "StringDtype"),
    "pandas._libs.arrays": ("__pyx_unpickle_NDArrayBacked",),
    "pandas._libs.internals": ("_unpickle_block",),
    "pandas.arrays": ("ArrowStringArray", "StringArray"),
    "pandas.core.arrays.string_": ("StringArray", "StringDtype"),
    "pandas.core.frame": ("DataFrame",),
    "pandas.core.indexes.base": ("Index", "_new_Index"),
    "pandas.core.indexes.range": ("RangeIndex",),
    "pandas.core.internals.managers": ("BlockManager",),
    "pandas.core.internals.blocks": ("new_block",),
    # Strings of pandas 3, where pyarrow is there.
    "pyarrow.lib": ("_restore_array", "chunked_array", "py_buffer", "type_for_alias"),
    "torch": ("device", "Size"),
    "torch._utils": ("_rebuild_tensor_v2", "_rebuild_parameter"),
}
_MODEL_NAME = "BasisVAE"
# Parameters with a value for every gene and basis.
_PER_PAIR = ("assignment.logits", "genes.log_scale", "genes.shift")
# Where scvi-tools and torch build a model from its file.
_LOADERS = ("scvi.model.base.", "torch.nn.modules.module")
# Where torch makes objects of what a file says.
_READERS = ("torch.serialization", "torch._weights_only_unpickler")
_ALIASES = {"__builtin__": "builtins"}
_is_trusted: ContextVar[bool] = ContextVar("basisvae_trusts_file", default=False)


class _ForeignCodeError(pickle.UnpicklingError):
    """A file names something that no model of this package is built with."""


class _Unpickler(pickle.Unpickler):
    """Unpickler that knows the parts of saved models and nothing else."""

    def find_class(self, module: str, name: str):
        """Look up one of the known builders."""
        module = _ALIASES.get(module, module)
        if name not in _BUILDERS.get(module, ()):
            raise _ForeignCodeError(f"{module}.{name}")
        return super().find_class(module, name)


_PICKLE = SimpleNamespace(
    __name__=__name__,
    Unpickler=_Unpickler,
    load=lambda file, **kwargs: _Unpickler(file, **kwargs).load(),
)


def check_saved_file(path: Path) -> None:
    """Raise ValueError for a file that is missing, damaged, or would run foreign code.

    Nothing of the file is run on the way.

    Parameters
    ----------
    path
        File of a saved model.
    """
    if not path.is_file():
        raise ValueError(
            f"There is no saved model {path}; name a folder that model.save() or fit --model-dir "
            "made."
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=False, pickle_module=_PICKLE)
    except _ForeignCodeError as error:
        more = f" {describe_versions(path)}" if is_of_library(str(error)) else ""
        raise ValueError(
            f"{path} names {error}, which no saved BasisVAE needs and which loading would run. If "
            f"you know where the file comes from, pass trust_file=True (--trust-model).{more}"
        ) from None
    except Exception as error:  # torch, zipfile and pickle raise errors of many types
        if is_whole(path):
            raise ValueError(_unreadable(path, error)) from error
        raise ValueError(
            f"{path} is damaged or cut short ({type(error).__name__}); copy or save it again."
        ) from error
    if not isinstance(content, dict) or not {"model_state_dict", "var_names"} <= set(content):
        raise ValueError(f"{path} is not a saved model; name a folder that model.save() made.")
    _check_content(path, content)


def _unreadable(path: Path, error: Exception) -> str:
    """What to say of a file that is whole, and that the libraries here cannot make objects of."""
    return (
        f"{path} is whole, but cannot be read with the libraries here ({type(error).__name__}). "
        f"{describe_versions(path)}"
    )


def _check_content(path: Path, content: dict) -> None:
    """Raise ValueError for a model of another class, one with a part missing, or with NaN."""
    attributes = content.get("attr_dict") or {}
    for name in ("registry_", "init_params_"):
        if not isinstance(attributes.get(name), dict):
            raise ValueError(f"{path} lacks {name}, a part of every saved model; save it again.")
    if (name := attributes["registry_"].get("model_name")) != _MODEL_NAME:
        raise ValueError(f"{path} holds a model of class {name}, not of {_MODEL_NAME}.")
    n_basis = attributes["init_params_"].get("non_kwargs", {}).get("n_basis")
    expected = (len(content["var_names"]), n_basis)
    for name, values in content["model_state_dict"].items():
        # Query mapping would fill up what is too small.
        if name in _PER_PAIR and tuple(values.shape) != expected:
            raise ValueError(
                f"{path} has {name} of shape {tuple(values.shape)}, which does not fit its genes "
                f"and n_basis={n_basis}; save it again."
            )
        if isinstance(values, torch.Tensor) and not values.isfinite().all():
            raise ValueError(
                f"{path} has values in {name} that are not finite; train the model again."
            )


def as_source(source):
    """A model as it is, and its folder as text, which is all that scvi-tools takes for one."""
    return os.fspath(source) if isinstance(source, os.PathLike) else source


@contextmanager
def checked_file(source, prefix: str | None, trust_file: bool) -> Iterator[None]:
    """Check the file of a model given by its folder; within the context it counts as trusted.

    Parameters
    ----------
    source
        Folder of a saved model; a model itself is not looked at.
    prefix
        Of the file's name.
    trust_file
        Leave the check out.
    """
    trusted = trust_file or _is_trusted.get()
    if not trusted and not hasattr(source, "module"):
        check_saved_file(Path(source) / f"{prefix or ''}model.pt")
    token = _is_trusted.set(True)  # checked once is enough
    try:
        with quiet_libraries(), one_process():
            yield
    except Exception as error:  # of many types
        if _comes_from(error, _READERS) and not hasattr(source, "module"):
            file = Path(source) / f"{prefix or ''}model.pt"
            raise ValueError(_unreadable(file, error)) from error
        is_misfit = isinstance(error, KeyError | RuntimeError | TypeError)
        if not (is_misfit and _comes_from(error, _LOADERS, last=True)):
            raise
        raise ValueError(
            f"The saved model {source} does not fit basisvae-scvi {__version__} "
            f"({' '.join(str(error).split())}); load it with the version that saved it, or fit "
            "again."
        ) from error
    finally:
        _is_trusted.reset(token)


def _comes_from(error: Exception, modules: tuple[str, ...], *, last: bool = False) -> bool:
    """Whether some modules, or functions that they called, raised an error; ``last``: they did."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    names = [str(frame.f_globals.get("__name__")) for frame in frames]
    return any(name.startswith(modules) for name in (names[-1:] if last else names))


class SavedFileMixin:
    """Every way to a saved model passes a check that its file runs no foreign code.

    ``trust_file=True`` leaves the check out.
    """

    def save(self, dir_path, *args, **kwargs) -> None:
        """Save the model; see :meth:`scvi.model.base.BaseModelClass.save`.

        The file says which versions have written it, and has no strings that only some versions of
        pandas can read.

        Examples
        --------
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     model.save(Path(folder) / "saved")
        ...     [file.name for file in (Path(folder) / "saved").iterdir()]
        ['model.pt']
        """
        own = vars(self)
        kept = {name: value for name, value in own.items() if name.endswith("_")}
        own |= {name: portable(value) for name, value in kept.items()}
        own[ATTRIBUTE] = versions_here()
        try:
            super().save(dir_path, *args, **kwargs)
        finally:
            del own[ATTRIBUTE]
            own |= kept

    @classmethod
    def load(cls, dir_path, *args, prefix: str | None = None, trust_file: bool = False, **kwargs):
        """Load a saved model; see :meth:`scvi.model.base.BaseModelClass.load`.

        Parameters
        ----------
        dir_path
            Folder that :meth:`save` made.
        *args, prefix, **kwargs
            As in scvi-tools.
        trust_file
            Load a file that names code which no saved BasisVAE needs, and run that code.

        Raises
        ------
        ValueError
            If the file is damaged, is no saved model, or would run foreign code.
        """
        file = Path(dir_path) / f"{prefix or ''}model.pt"
        if kwargs.get("backup_url") and not (trust_file or file.is_file()):
            raise ValueError(
                f"{file} would come from {kwargs['backup_url']} and be loaded unseen: download it "
                "first, or pass trust_file=True."
            )
        with checked_file(dir_path, prefix, trust_file):
            return super().load(os.fspath(dir_path), *args, prefix=prefix, **kwargs)

    @classmethod
    def load_registry(cls, dir_path, prefix: str | None = None, *, trust_file: bool = False):
        """Registry of a saved model; see :meth:`scvi.model.base.BaseModelClass.load_registry`.

        Examples
        --------
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> import scvi
        >>> import basisvae_scvi as bv
        >>> scvi.settings.verbosity = 30  # warnings only
        >>> with TemporaryDirectory() as folder:
        ...     model.save(Path(folder) / "saved")
        ...     registry = bv.BasisVAE.load_registry(Path(folder) / "saved")
        >>> registry["model_name"]
        'BasisVAE'
        >>> scvi.settings.verbosity = 20
        """
        with checked_file(dir_path, prefix, trust_file):
            return super().load_registry(os.fspath(dir_path), prefix)

    @staticmethod
    def prepare_query_anndata(
        adata,
        reference_model,
        return_reference_var_names: bool = False,
        inplace: bool = True,
        *,
        trust_file: bool = False,
    ):
        """As :meth:`scvi.model.SCVI.prepare_query_anndata`; a saved reference is checked first.

        Examples
        --------
        >>> import scvi
        >>> import basisvae_scvi as bv
        >>> scvi.settings.verbosity = 30  # warnings only
        >>> new = adata[:50, ::-1].copy()
        >>> bv.BasisVAE.prepare_query_anndata(new, model)
        >>> new.var_names.equals(adata.var_names)
        True
        >>> scvi.settings.verbosity = 20
        """
        reference_model = as_source(reference_model)
        with checked_file(reference_model, None, trust_file):
            if not return_reference_var_names:
                adata = with_known_types(adata, inplace=inplace)
            return ArchesMixin.prepare_query_anndata(
                adata, reference_model, return_reference_var_names, inplace
            )
