"""A saved model that a command stands on, and the new cells that are to fit it."""

import anndata as ad
import h5py
import numpy as np
from anndata.abc import CSRDataset
from scipy import sparse

from basisvae_scvi import BasisVAE
from basisvae_scvi.data import (
    check_columns,
    check_finite,
    describe_location,
    iter_rows,
    row_sums,
)

from ._errors import CommandError, list_some
from ._files import readable, strip_leftovers
from ._genes import LIBRARY, SIZE_FACTOR, size_factors_of
from ._layers import chosen_matrix
from ._settings import ProjectSettings

DATA_FILE = "adata.h5ad"


def fitting_cells(adata: ad.AnnData, settings: ProjectSettings, registry: dict) -> ad.AnnData:
    """The new cells in the form that the model knows: its matrix, its genes in its order.

    Parameters
    ----------
    adata
        New cells with at least the genes of the model, in any order; stays as it is.
    settings
        Layer, and the folder of the model.
    registry
        Registry of the model.

    Raises
    ------
    CommandError
        For a layer, genes or columns of obs that the model needs and that are not there.
    """
    arguments = registry["setup_args"]
    layer = arguments["layer"] if settings.layer is None else settings.layer
    whose = "The model's layer" if settings.layer is None else "--layer"
    matrix = chosen_matrix(adata, layer, whose=whose)
    check_finite(matrix, describe_location(layer))
    genes = np.asarray(registry["field_registries"]["X"]["state_registry"]["column_names"])
    places = _places(adata, genes, settings)
    obs = adata.obs.copy()
    if arguments["size_factor_key"] == SIZE_FACTOR:
        obs[SIZE_FACTOR] = size_factors_of(row_sums(matrix), _reference_library(settings))
    _check_columns(adata, obs, arguments)
    part = _columns(matrix, places)
    layer = arguments["layer"]
    work = ad.AnnData(
        X=part if layer is None else None,
        layers=None if layer is None else {layer: part},
        obs=obs,
        var=adata.var.iloc[places][[]].copy(),
        obsm=dict(adata.obsm),
    )
    strip_leftovers(work)
    columns = {name: key for name, key in arguments.items() if name != "layer"}
    check_columns(work, **columns, naming=lambda argument: f"The model's {argument}")
    return work


def _columns(matrix, places: np.ndarray):
    """Some columns of a matrix; of one on disk no more than a block of rows is read at a time."""
    if not isinstance(matrix, CSRDataset | h5py.Dataset):
        return matrix[:, places]
    blocks = [block[:, places] for _, block in iter_rows(matrix)]
    return sparse.vstack(blocks, format="csr") if sparse.issparse(blocks[0]) else np.vstack(blocks)


def _places(adata: ad.AnnData, genes: np.ndarray, settings: ProjectSettings) -> np.ndarray:
    """Columns of the model's genes, in the model's order."""
    places = adata.var_names.get_indexer(genes)
    missing = genes[places < 0]
    if len(missing) == len(genes):
        raise CommandError(
            f"{settings.input} has none of the model's {len(genes)} genes; its var_names are like "
            f"{list_some(adata.var_names[:3])}, the model's like {list_some(genes[:3])}. Name the "
            "genes alike."
        )
    if len(missing):
        raise CommandError(
            f"{settings.input} lacks {len(missing)} of the model's {len(genes)} genes: "
            f"{list_some(missing, 5)}. Add them to var_names, with zeros if they were measured "
            "and not seen; or fit the model to the genes that both have."
        )
    return places


def _check_columns(adata: ad.AnnData, obs, arguments: dict) -> None:
    needed = [
        *(arguments[name] for name in ("batch_key", "size_factor_key")),
        *(arguments["categorical_covariate_keys"] or []),
        *(arguments["continuous_covariate_keys"] or []),
    ]
    for key in needed:
        if key is not None and key not in obs:
            raise CommandError(
                f"The model needs the column {key!r} of obs, which is not there; there are: "
                f"{list_some(adata.obs.columns)}."
            )
    key = arguments.get("latent_prior_key")
    if key is not None and key not in obs and key not in adata.obsm:
        raise CommandError(
            f"The model needs the latent_prior_key {key!r}, which is neither in obs "
            f"({list_some(adata.obs.columns)}) nor in obsm ({list_some(adata.obsm.keys())})."
        )


def _reference_library(settings: ProjectSettings) -> float | None:
    """Median library over all genes of the cells that the model was fitted to, if on record."""
    path = settings.model_dir / DATA_FILE
    if not path.is_file():
        return None
    with readable(path):
        stored = ad.read_h5ad(path, backed="r")
    try:
        return float(stored.uns[LIBRARY]) if LIBRARY in stored.uns else None
    finally:
        stored.file.close()


def load_registry(settings: ProjectSettings) -> dict:
    """Registry of the model, without its parameters."""
    return BasisVAE.load_registry(str(settings.model_dir), trust_file=settings.trust_model)
