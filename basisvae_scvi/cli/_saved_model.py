"""A saved model that a command stands on, and the new cells that are to fit it."""

from pathlib import Path

import anndata as ad
import numpy as np

from basisvae_scvi import BasisVAE
from basisvae_scvi.data import check_categories, check_finite, describe_location, row_sums

from ._errors import CommandError, UsageError, list_some
from ._files import readable, strip_leftovers
from ._genes import LIBRARY, SIZE_FACTOR, size_factors_of
from ._paths import check_output, is_same_path
from ._settings import AssignSettings, ProjectSettings
from ._staging import is_saved_model

DATA_FILE = "adata.h5ad"


def check_usage_of_model(settings: ProjectSettings | AssignSettings) -> None:
    """Raise UsageError for paths or a key that cannot be."""
    check_output(settings.output, settings.input)
    if is_same_path(settings.output, settings.model_dir):
        raise UsageError(f"--output {settings.output} is --model-dir; name another.")
    if not settings.key_added or "/" in settings.key_added:
        raise UsageError(f"--key-added {settings.key_added!r} is empty or has a slash.")


def check_model_dir(folder: Path) -> None:
    """Raise CommandError if a folder holds no saved model."""
    if not folder.is_dir():
        raise CommandError(f"--model-dir {folder} is not a folder; fit --model-dir makes one.")
    if not is_saved_model(folder):
        there = list_some(sorted(path.name for path in folder.iterdir()))
        raise CommandError(
            f"--model-dir {folder} holds no model.pt but: {there}. Name the folder that fit "
            "--model-dir made."
        )


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
    layer = settings.layer or arguments["layer"]
    matrix = _matrix(adata, layer, settings.layer)
    check_finite(matrix, describe_location(layer))
    genes = np.asarray(registry["field_registries"]["X"]["state_registry"]["column_names"])
    places = _places(adata, genes, settings)
    obs = adata.obs.copy()
    if arguments["size_factor_key"] == SIZE_FACTOR:
        obs[SIZE_FACTOR] = size_factors_of(row_sums(matrix), _reference_library(settings))
    _check_columns(adata, obs, arguments)
    part = matrix[:, places]
    layer = arguments["layer"]
    work = ad.AnnData(
        X=part if layer is None else None,
        layers=None if layer is None else {layer: part},
        obs=obs,
        var=adata.var.iloc[places][[]].copy(),
        obsm=dict(adata.obsm),
    )
    strip_leftovers(work)
    return work


def _matrix(adata: ad.AnnData, layer: str | None, option: str | None):
    if layer is None:
        if adata.X is None:
            raise CommandError(
                f"X is empty; name a matrix with --layer: {list_some(adata.layers.keys())}."
            )
        return adata.X
    if layer not in adata.layers:
        whose = f"--layer {layer!r}" if option else f"The model's layer {layer!r}"
        raise CommandError(
            f"{whose} is not in layers; there are: {list_some(adata.layers.keys())}. "
            "Name the same kind of data with --layer."
        )
    return adata.layers[layer]


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
    for key in [arguments["batch_key"], *(arguments["categorical_covariate_keys"] or [])]:
        check_categories(adata, key, "The model's column")
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
