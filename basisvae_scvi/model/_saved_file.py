"""Saved models are pickles, which can run any code: unasked, only what ours name is loaded."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import SimpleNamespace

import torch
from scvi.model.base import ArchesMixin

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
    """Raise ValueError for a file that is damaged, or that would run foreign code when loaded.

    Nothing of the file is run on the way.

    Parameters
    ----------
    path
        File of a saved model; one that does not exist is left to the loader.
    """
    if not path.is_file():
        return
    try:
        content = torch.load(path, map_location="cpu", weights_only=False, pickle_module=_PICKLE)
    except _ForeignCodeError as error:
        raise ValueError(
            f"{path} names {error}, which no saved BasisVAE needs and which loading would run. If "
            "you know where the file comes from, pass trust_file=True (--trust-model)."
        ) from None
    except Exception as error:  # torch, zipfile and pickle raise errors of many types
        raise ValueError(
            f"{path} is damaged or cut short ({type(error).__name__}); copy or save it again."
        ) from error
    if not isinstance(content, dict) or not {"model_state_dict", "var_names"} <= set(content):
        raise ValueError(f"{path} is not a saved model; name a folder that model.save() made.")


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
        yield
    finally:
        _is_trusted.reset(token)


class SavedFileMixin:
    """Every way to a saved model passes a check that its file runs no foreign code.

    ``trust_file=True`` leaves the check out.
    """

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
            return super().load(dir_path, *args, prefix=prefix, **kwargs)

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
        ...     registry = bv.BasisVAE.load_registry(str(Path(folder) / "saved"))
        >>> registry["model_name"]
        'BasisVAE'
        >>> scvi.settings.verbosity = 20
        """
        with checked_file(dir_path, prefix, trust_file):
            return super().load_registry(dir_path, prefix)

    @staticmethod
    def prepare_query_anndata(adata, reference_model, *args, trust_file=False, **kwargs):
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
        with checked_file(reference_model, None, trust_file):
            return ArchesMixin.prepare_query_anndata(adata, reference_model, *args, **kwargs)
