"""Observed expression of every gene in bins of cells along z, small enough for a web page."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from anndata import AnnData

from basisvae_scvi.get import Annotation
from basisvae_scvi.pl._binning import Cells, is_count_model

N_BINS = 24
_STEPS = 255


@dataclass(frozen=True)
class Observed:
    """Bin means in units of the gene's mean, in steps of 1/255 of the gene's largest bin.

    Attributes
    ----------
    z
        Mean z of the cells of each bin, shape (B,).
    weight
        Share of all size factors in each bin, shape (B,).
    mean
        Mean normalised count of each gene, Σ counts / Σ size factors, shape (P,).
    largest
        Largest bin mean of each gene over ``mean``, shape (P,); 0 for genes without counts.
    steps
        Bin means, uint8, shape (P, B); 255 is ``largest``.
    size_factor
        Size factors of the modelled cells, shape (N,).
    """

    z: np.ndarray
    weight: np.ndarray
    mean: np.ndarray
    largest: np.ndarray
    steps: np.ndarray
    size_factor: np.ndarray

    @classmethod
    def of(cls, adata: AnnData, annotation: Annotation, genes: pd.Index) -> Observed | None:
        """Bin the cells in one pass over the matrix.

        Parameters
        ----------
        adata
            Annotated data.
        annotation
            Its results.
        genes
            Genes in the order wanted.

        Returns
        -------
        ``None`` where there are no counts to show: several latent dimensions, a model of other
        data, a matrix that is missing or that has negative values.
        """
        if annotation.n_latent != 1 or not is_count_model(annotation):
            return None
        try:
            cells = Cells.of(adata, annotation, layer=None, size_factor_key=None, n_bins=N_BINS)
        except (KeyError, ValueError):
            return None
        bins = cells.means(adata.var_names.get_indexer(genes)).T
        if np.nanmin(bins) < 0:
            return None
        size = cells.bins @ cells.size_factor
        weight = size / max(size.sum(), 1e-12)
        mean = np.nansum(bins * weight, axis=1)
        relative = np.divide(bins, mean[:, None], out=np.zeros_like(bins), where=mean[:, None] > 0)
        largest = np.nanmax(relative, axis=1)
        share = np.divide(
            relative, largest[:, None], out=np.zeros_like(bins), where=largest[:, None] > 0
        )
        return cls(
            z=cells.centers,
            weight=weight,
            mean=mean,
            largest=largest,
            steps=np.rint(_STEPS * np.nan_to_num(share)).astype(np.uint8),
            size_factor=cells.size_factor,
        )
