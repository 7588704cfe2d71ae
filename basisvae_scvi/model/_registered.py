"""The one place that every AnnData passes on its way to an accessor."""

from __future__ import annotations

import os

import numpy as np
from anndata import AnnData
from scvi import REGISTRY_KEYS
from scvi.data import AnnDataManager

from basisvae_scvi._compat import FIELD_REGISTRIES_KEY, STATE_REGISTRY_KEY, known_manager
from basisvae_scvi.data import (
    check_binary,
    check_columns,
    check_counts,
    check_finite,
    check_registered,
    check_same_genes,
    describe_location,
    read_matrix,
)
from basisvae_scvi.likelihood import get_likelihood

_GIVE_BACK = (
    "Put back what was there, or hand the model its data with model.adata = <AnnData with them>."
)


class RegisteredMixin:
    """Data that changed since they were registered are refused, and so are values of no use."""

    def get_var_names(self, legacy_mudata_format: bool = False) -> np.ndarray:
        """Genes of the model, in its order, whatever became of the AnnData since.

        Examples
        --------
        >>> model.get_var_names()[:2].tolist()
        ['gene0', 'gene1']
        """
        state = self.registry[FIELD_REGISTRIES_KEY][REGISTRY_KEYS.X_KEY][STATE_REGISTRY_KEY]
        return np.array([str(name) for name in state["column_names"]], dtype=object)

    def save(
        self,
        dir_path: str | os.PathLike,
        prefix: str | None = None,
        overwrite: bool = False,
        save_anndata: bool = False,
        **kwargs,
    ) -> None:
        """Save the model; see :meth:`scvi.model.base.BaseModelClass.save`.

        Parameters
        ----------
        dir_path, prefix, overwrite, **kwargs
            As in scvi-tools.
        save_anndata
            Whether to save the data, too.

        Raises
        ------
        ValueError
            If the folder is there and ``overwrite`` is not set, or the data to be saved have
            changed since they were registered.

        Examples
        --------
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     model.save(Path(folder) / "saved")
        ...     sorted(path.name for path in (Path(folder) / "saved").iterdir())
        ['model.pt']
        """
        if save_anndata and self.adata is not None:
            self._check_own_data()
        super().save(os.fspath(dir_path), prefix, overwrite, save_anndata, **kwargs)

    def _validate_anndata(
        self, adata: AnnData | None = None, copy_if_view: bool = True
    ) -> AnnData:
        """As in scvi-tools; what the model knows must be unchanged, what is new must suit it."""
        if adata is None and self.adata is None:
            raise ValueError(
                "The model has no data: pass adata=..., or load it with adata=<its data>."
            )
        target = self.adata if adata is None else adata
        if (manager := known_manager(self, target)) is not None:
            cure = (
                _GIVE_BACK if target is self.adata else "Put back what was there, or pass a copy."
            )
            self._check_unchanged(manager, cure)
        else:
            self._check_new(target)
        return super()._validate_anndata(adata, copy_if_view=copy_if_view)

    def _check_own_data(self) -> None:
        """Raise ValueError unless the model's data are those that were registered."""
        self._check_unchanged(self.adata_manager, _GIVE_BACK)

    def _check_unchanged(self, manager: AnnDataManager, cure: str) -> None:
        adata = manager.adata
        for field in manager.fields:
            if field.attr_name not in ("obs", "obsm") or field.is_empty:
                continue
            # Those that scvi-tools wrote, _scvi_…, are easily taken for leftovers.
            if field.attr_key not in getattr(adata, field.attr_name):
                place = f"adata.{field.attr_name}[{field.attr_key!r}]"
                raise ValueError(f"{place}, which the model reads, is gone. {cure}")
        state = manager.get_state_registry(REGISTRY_KEYS.X_KEY)
        check_registered(adata, self._setup_argument("layer"), state, cure)

    def _check_new(self, adata: AnnData, location: str | None = None) -> None:
        """Raise an error that names the key, unless these cells are as the model reads them.

        ``location`` is where the user has the values, if not where the model reads them.
        """
        if not adata.n_obs:
            raise ValueError("adata has no cells; was it subset by mistake?")
        check_same_genes(adata.var_names, self.get_var_names())
        layer = self._setup_argument("layer")
        matrix = read_matrix(adata, layer)
        arguments = self.registry["setup_args"].items()
        check_columns(adata, **{n: k for n, k in arguments if n != "layer"}, is_new=True)
        location = describe_location(layer) if location is None else location
        check_finite(matrix, location)
        self._check_values(
            matrix,
            location,
            cure=f"The model reads the counts of the cells that it is given in {location}: put "
            "them there; or, in annotate and assign_genes, name the layer with them: "
            'layer="counts".',
        )

    def _check_values(self, matrix, location: str, cure: str | None = None) -> None:
        """Raise ValueError for values that the likelihood does not allow."""
        arguments = self.init_params_["non_kwargs"]
        likelihood = get_likelihood(arguments["gene_likelihood"])
        if likelihood.is_count:
            allowed = arguments["allow_non_integer"]
            check_counts(matrix, location, allow_non_integer=allowed, cure=cure)
        elif likelihood.name == "bernoulli":
            check_binary(matrix, location)
