"""Observed expression along z: size factors, bins of cells, means."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from anndata import AnnData
from scipy import sparse

from basisvae_scvi.data import (
    check_layer,
    describe_location,
    iter_rows,
    plain_matrix,
    read_numbers,
    stored_values,
    to_dense,
)
from basisvae_scvi.get import Annotation

_NAME_LAYER = (
    'Name the layer with the data that the model was fitted to, e.g. layer="counts", or put them '
    "back."
)
COUNT_LIKELIHOODS = ("zinb", "nb", "poisson")


@dataclass(frozen=True)
class Cells:
    """Modelled cells in bins of equal numbers along z.

    Attributes
    ----------
    matrix
        All cells × all genes, as stored.
    z
        z of the N modelled cells, shape (N,).
    size_factor
        Their size factors, shape (N,); 1 where they do not apply.
    selector
        Which rows of the matrix they are: indicators, (N, n_obs).
    bins
        Which bin they are in: indicators, (n_bins, N).
    """

    matrix: object
    z: np.ndarray
    size_factor: np.ndarray
    selector: sparse.csr_matrix
    bins: sparse.csr_matrix

    @classmethod
    def of(
        cls,
        adata: AnnData,
        annotation: Annotation,
        *,
        layer: str | None,
        size_factor_key: str | None,
        n_bins: int,
    ) -> Cells:
        """Sort the cells into bins.

        Raises
        ------
        KeyError
            For a layer or column that is not there.
        ValueError
            If ``n_bins`` is below 1, or the matrix is missing or not what was fitted.
        """
        annotation.require_one_dimension("Courses along z")
        if n_bins < 1:
            raise ValueError(f"n_bins={n_bins} must be at least 1.")
        fitted_layer = annotation.parameter("layer")
        layer = fitted_layer if layer is None else layer
        matrix = _matrix(adata, layer)
        z = annotation.latent[:, 0]
        rows = np.flatnonzero(np.isfinite(z))
        columns = adata.var_names.get_indexer(annotation.genes.index)
        library = _library(matrix, columns, describe_location(layer), annotation)
        if layer == fitted_layer:
            _check_total(library, len(columns), describe_location(layer), annotation)
        size_factor = _size_factors(adata, annotation, library, size_factor_key)
        return cls(
            matrix=matrix,
            z=z[rows],
            size_factor=size_factor[rows],
            selector=_indicator(np.arange(len(rows)), rows, (len(rows), len(z))),
            bins=_bins(z[rows], n_bins),
        )

    @property
    def counts(self) -> np.ndarray:
        """Number of cells in each bin, shape ``(n_bins,)``."""
        return self.bins @ np.ones(len(self.z))

    @property
    def centers(self) -> np.ndarray:
        """Mean z of the cells of each bin, shape ``(n_bins,)``."""
        return (self.bins @ self.z) / self.counts

    def values(self, columns: np.ndarray) -> np.ndarray:
        """Some columns of the matrix for the modelled cells, dense float64, ``(N, J)``."""
        blocks = [to_dense(block[:, columns]) for _, block in iter_rows(self.matrix)]
        return self.selector @ np.concatenate(blocks)

    def means(self, columns: np.ndarray) -> np.ndarray:
        """Σ x / Σ s of every bin, shape ``(n_bins, J)``; NaN where Σ s is 0."""
        member = (self.bins @ self.selector).tocsc()
        total = np.zeros((self.bins.shape[0], len(columns)))
        for rows, block in iter_rows(self.matrix):
            part = member[:, rows] @ block[:, columns]
            total += part.toarray() if sparse.issparse(part) else part
        return _ratio(total, (self.bins @ self.size_factor)[:, None])

    def means_and_errors(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Σ x / Σ s of every bin and its standard error, each ``(n_bins, J)``.

        The squared error is that of a ratio estimate, n Σ (x − r s)² / (n − 1) / (Σ s)²; NaN for
        a bin of one cell.
        """
        size, n = (self.bins @ self.size_factor)[:, None], self.counts[:, None]
        mean = _ratio(self.bins @ values, size)
        residual = values - (self.bins.T @ mean) * self.size_factor[:, None]
        variance = _ratio(n * (self.bins @ residual**2), n - 1.0)
        return mean, _ratio(np.sqrt(variance), size)


def is_count_model(annotation: Annotation) -> bool:
    """Whether the fit was one of counts."""
    return annotation.parameter("gene_likelihood") in COUNT_LIKELIHOODS


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)


def _matrix(adata: AnnData, layer: str | None):
    check_layer(adata, layer)
    matrix = adata.X if layer is None else adata.layers[layer]
    return plain_matrix(matrix, describe_location(layer))


def _indicator(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> sparse.csr_matrix:
    return sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=shape)


def _bins(z: np.ndarray, n_bins: int) -> sparse.csr_matrix:
    n_bins = min(n_bins, len(z))
    code = np.empty(len(z), dtype=int)
    for i, cells in enumerate(np.array_split(np.argsort(z, kind="stable"), n_bins)):
        code[cells] = i
    return _indicator(code, np.arange(len(z)), (n_bins, len(z)))


def _library(matrix, columns: np.ndarray, location: str, annotation: Annotation) -> np.ndarray:
    """Sum of the modelled genes in every cell, shape ``(n_obs,)``, in one pass.

    Raises
    ------
    ValueError
        For values that are no counts, where the model is one of counts.
    """
    takes_counts = is_count_model(annotation)
    takes_fractions = bool(annotation.parameter("allow_non_integer"))
    sums, smallest, largest, is_whole = [np.empty(0)], 0.0, 0.0, True
    for _, block in iter_rows(matrix):
        part = block[:, columns]
        sums.append(np.asarray(part.sum(axis=1), dtype=np.float64).ravel())
        values = stored_values(part)
        if takes_counts and values.size:
            smallest = min(smallest, float(values.min()))
            largest = max(largest, float(values.max()))
            is_whole = is_whole and bool((values == np.rint(values)).all())
    if smallest < 0 or not (is_whole or takes_fractions):
        fractions = (
            f"values that are not whole (they look {'logged' if largest < 30 else 'scaled'})"
        )
        what = "negative values" if smallest < 0 else fractions
        raise ValueError(f"{location} has {what}, but the model is one of counts. {_NAME_LAYER}")
    return np.concatenate(sums)


def _check_total(library: np.ndarray, n_genes: int, location: str, annotation: Annotation) -> None:
    """Raise ValueError if the values are others than when the fit was written.

    Of a part of the cells or genes nothing is known.
    """
    total = annotation.parameter("data_total")
    known = (annotation.parameter("data_cells"), annotation.parameter("data_genes"))
    if total is None or known != (len(library), n_genes):
        return
    if not np.isclose(library.sum(), total, rtol=1e-5, atol=1e-5 * np.abs(library).sum()):
        raise ValueError(
            f"{location} has other values than when model.annotate(adata) wrote "
            f"adata.uns[{annotation.keys.uns!r}]. {_NAME_LAYER}"
        )


def _size_factors(
    adata: AnnData, annotation: Annotation, library: np.ndarray, size_factor_key: str | None
) -> np.ndarray:
    """Size factors of all cells, as the model has them."""
    if not is_count_model(annotation):
        return np.ones(adata.n_obs)
    key = annotation.parameter("size_factor_key") if size_factor_key is None else size_factor_key
    if key is not None:
        return read_numbers(adata, key, "size_factor_key")
    filled = library[library > 0]
    return library / (np.median(filled) if filled.size else 1.0)
