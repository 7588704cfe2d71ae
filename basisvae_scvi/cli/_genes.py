"""The working copy that the model sees: one matrix, the genes to model, their size factors."""

import logging

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc

from basisvae_scvi import BasisVAE
from basisvae_scvi.data import (
    Keys,
    check_binary,
    check_counts,
    describe_location,
    feature_moments,
    read_categories,
    row_sums,
)

from ._choices import GeneLikelihood
from ._errors import CommandError
from ._files import strip_leftovers
from ._layers import chosen_matrix, counts_wanted
from ._settings import ModelSettings

logger = logging.getLogger(__name__)

# Column of the working copy; it never reaches the output.
SIZE_FACTOR = "_basisvae_size_factor"
# Entry of uns of the working copy: the library over all genes at which such a size factor is 1.
LIBRARY = "_basisvae_library"
# Fewer points than this are no trend; of three or less the fit does not come back.
_MIN_VARYING = 10


def prepare(adata: ad.AnnData, settings: ModelSettings) -> ad.AnnData:
    """Make the AnnData to model, checked and registered.

    Parameters
    ----------
    adata
        All cells and genes; stays as it is.
    settings
        Keys, and how many genes to model.

    Returns
    -------
    AnnData with the chosen matrix, all of ``obs`` and ``obsm``, and nothing else.

    Raises
    ------
    CommandError, KeyError, ValueError
        For keys that are not there and values that do not suit the likelihood.
    """
    work = _working_copy(adata, settings.layer)
    _register(work, settings, settings.size_factor_key)
    if settings.n_top_genes is None or settings.n_top_genes >= work.n_vars:
        return work
    matrix = _matrix(work, settings.layer)
    with counts_wanted(adata, settings.layer):
        _check_values(matrix, settings)
    size_factor_key = settings.size_factor_key
    if settings.gene_likelihood.is_count and size_factor_key is None:
        size_factor_key = SIZE_FACTOR
        library = row_sums(matrix)
        work.obs[SIZE_FACTOR] = size_factors_of(library, None)
        work.uns[LIBRARY] = median_library(library)
    if (key := settings.batch_key) is not None:
        work.obs[key] = read_categories(work, key, "--batch-key")
    chosen = _select(work, matrix, settings)
    logger.info("Modelling %d of %d genes", chosen.sum(), work.n_vars)
    strip_leftovers(work)
    work = work[:, chosen].copy()
    _register(work, settings, size_factor_key)
    return work


def library_size_factors(matrix) -> np.ndarray:
    """Library over all genes, divided by its median over the cells that are not empty."""
    return size_factors_of(row_sums(matrix), None)


def median_library(library: np.ndarray) -> float:
    """Median library of the cells that are not empty; 1 if all are."""
    filled = library[library > 0]
    return float(np.median(filled)) if filled.size else 1.0


def size_factors_of(library: np.ndarray, unit: float | None) -> np.ndarray:
    """Libraries in a unit, by default their own median.

    A cell without counts is given one count, since a size factor must be positive.
    """
    return np.maximum(library, 1.0) / (median_library(library) if unit is None else unit)


def hide_size_factors(adata: ad.AnnData, settings: ModelSettings) -> None:
    """Let the annotation say that size factors are the library's, where :func:`prepare` made them.

    The column of the working copy is not in the output, and the library over all genes of the
    output gives the same numbers.
    """
    params = adata.uns[Keys(settings.key_added).uns]["params"]
    if params["size_factor_key"] == SIZE_FACTOR:
        params["size_factor_key"] = "None"


def _working_copy(adata: ad.AnnData, layer: str | None) -> ad.AnnData:
    matrix = chosen_matrix(adata, layer)
    work = ad.AnnData(
        X=matrix if layer is None else None,
        layers=None if layer is None else {layer: matrix},
        obs=adata.obs.copy(),
        var=adata.var[[]].copy(),
        obsm=dict(adata.obsm),
    )
    strip_leftovers(work)
    return work


def _matrix(work: ad.AnnData, layer: str | None):
    return work.X if layer is None else work.layers[layer]


def _register(work: ad.AnnData, settings: ModelSettings, size_factor_key: str | None) -> None:
    BasisVAE.setup_anndata(
        work,
        layer=settings.layer,
        batch_key=settings.batch_key,
        size_factor_key=size_factor_key,
        categorical_covariate_keys=settings.categorical_covariate_keys or None,
        continuous_covariate_keys=settings.continuous_covariate_keys or None,
        latent_key=settings.latent_key,
        latent_prior_key=settings.latent_prior_key,
    )


def _check_values(matrix, settings: ModelSettings) -> None:
    """What the model would check of its genes, for all genes."""
    location = describe_location(settings.layer)
    if settings.gene_likelihood.is_count:
        check_counts(matrix, location, allow_non_integer=settings.allow_non_integer)
    elif settings.gene_likelihood is GeneLikelihood.bernoulli:
        check_binary(matrix, location)


def _select(work: ad.AnnData, matrix, settings: ModelSettings) -> np.ndarray:
    """Mask of the genes to model, shape ``(P,)``; a gene that is the root is among them."""
    if settings.gene_likelihood.is_count:
        chosen = _variable_counts(work, settings)
    else:
        chosen = most_variable(matrix, settings.n_top_genes)
    return chosen | np.asarray(work.var_names == settings.root)


def most_variable(matrix, n_genes: int) -> np.ndarray:
    """Mask of the features of largest variance; of equal ones the first."""
    order = np.argsort(-feature_moments(matrix).variance, kind="stable")
    chosen = np.zeros(len(order), dtype=bool)
    chosen[order[:n_genes]] = True
    return chosen


def _check_varying(work: ad.AnnData, settings: ModelSettings) -> None:
    """Raise CommandError where too few genes vary: fitting a trend to them ends the process."""
    matrix, key = _matrix(work, settings.layer), settings.batch_key
    batch = np.zeros(work.n_obs) if key is None else work.obs[key].to_numpy()
    for one in pd.unique(batch):
        part = matrix if key is None else matrix[np.flatnonzero(batch == one)]
        n_varying = int((feature_moments(part).variance > 0).sum())
        if n_varying < _MIN_VARYING:
            where = "" if key is None else f" in batch {one!r}"
            raise CommandError(
                f"--n-top-genes {settings.n_top_genes}: {n_varying} gene(s) vary{where}, and "
                f"{_MIN_VARYING} are needed to choose among them. Leave out --n-top-genes, or "
                "such cells."
            )


def _variable_counts(work: ad.AnnData, settings: ModelSettings) -> np.ndarray:
    """Mask of the genes that vary more than their mean explains (scanpy's ``seurat_v3``)."""
    _check_varying(work, settings)
    try:
        table = sc.pp.highly_variable_genes(
            work,
            layer=settings.layer,
            n_top_genes=settings.n_top_genes,
            flavor="seurat_v3",
            batch_key=settings.batch_key,
            check_values=False,
            inplace=False,
        )
    except ImportError as error:
        raise CommandError(
            "--n-top-genes needs the package scikit-misc: pip install scikit-misc."
        ) from error
    except ValueError as error:
        raise CommandError(
            f"--n-top-genes {settings.n_top_genes}: the trend of variance on mean cannot be "
            f"fitted ({error}). Leave out genes seen in few cells, or leave out --n-top-genes."
        ) from error
    return table["highly_variable"].reindex(work.var_names).to_numpy(dtype=bool)
