"""What a fitted model tells of the cells: latent coordinates, pseudotime, orientation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from scipy import sparse
from scvi import REGISTRY_KEYS
from torch import Tensor

from basisvae_scvi.data import iter_rows, root_cells, to_dense
from basisvae_scvi.module import OUTPUT_KEYS, rescale_latent

from ._arguments import check_at_least

_N_REFERENCE = 200


class CellsMixin:
    """Accessors of the cells."""

    @torch.inference_mode()
    def get_latent_representation(
        self,
        adata: AnnData | None = None,
        indices: Sequence[int] | None = None,
        give_mean: bool = True,
        mc_samples: int = 1,
        batch_size: int | None = None,
        return_dist: bool = False,
        dataloader: Iterator[dict[str, Tensor | None]] | None = None,
        **data_loader_kwargs,
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Latent coordinates z of the cells.

        Parameters
        ----------
        adata
            Cells with the model's genes; by default those of the model.
        indices
            Cells to use, in the order wanted; by default all.
        give_mean
            The mean of q(z), or the average of ``mc_samples`` draws of it.
        mc_samples
            Draws to average with ``give_mean=False``.
        batch_size
            Cells per step.
        return_dist
            Return mean and variance of q(z) instead.
        dataloader
            Minibatches to use in place of ``adata``.
        **data_loader_kwargs
            Passed on to the data loader.

        Returns
        -------
        Shape ``(N, Q)``, float32, oriented as :meth:`orient` says; with ``return_dist`` a pair of
        such arrays.

        Raises
        ------
        KeyError
            For a layer or column that the model reads and ``adata`` lacks.
        ValueError
            If the data are no longer those that were registered, cells do not suit the likelihood
            or have other genes, or ``indices`` names no cell.

        Examples
        --------
        >>> model.get_latent_representation().shape
        (100, 1)
        """
        self._check_if_trained(warn=False)
        check_at_least(mc_samples, 1, "mc_samples")
        if batch_size is not None:
            check_at_least(batch_size, 1, "batch_size")
            batch_size = int(batch_size)  # torch takes no numpy's
        restore = slice(None)
        if dataloader is None:
            adata = self._validate_anndata(adata)
            cells = np.arange(adata.n_obs) if indices is None else np.asarray(indices)
            cells = np.flatnonzero(cells) if cells.dtype == bool else cells
            if not cells.size:
                raise ValueError("indices names no cell; leave it out for all of them.")
            # Loaders of backed data want the cells of a minibatch sorted, each once.
            ascending, restore = np.unique(cells, return_inverse=True)
            dataloader = self._make_data_loader(
                adata=adata, indices=ascending, batch_size=batch_size, **data_loader_kwargs
            )
        means, variances = [], []
        for tensors in dataloader:
            inputs = self.module._get_inference_input(tensors)
            outputs = self.module.inference(**inputs)
            z, qz = outputs[OUTPUT_KEYS.Z], outputs[OUTPUT_KEYS.QZ]
            mean = z if qz is None else qz.loc
            if qz is not None and not give_mean:
                mean = qz.sample((mc_samples,)).mean(0)
            means.append(self.orientation_ * mean.cpu())
            variances.append(torch.zeros_like(z.cpu()) if qz is None else qz.variance.cpu())
        mean, variance = (
            torch.cat(parts).numpy().astype(np.float32)[restore] for parts in (means, variances)
        )
        return (mean, variance) if return_dist else mean

    def get_pseudotime(
        self, adata: AnnData | None = None, *, root: str | np.ndarray | pd.Series | None = None
    ) -> pd.Series:
        """Position of every cell along the process, from 0 to 1.

        z rescaled linearly, so that differences keep their meaning: 0 and 1 are the first and the
        last of the cells that the model was fitted to, whichever cells are asked for. Cells
        beyond these get 0 or 1.

        Parameters
        ----------
        adata
            Cells with the model's genes; by default those of the model.
        root
            Which end is 0; see :meth:`orient`. By default the current orientation.

        Returns
        -------
        Series of float64 indexed by cell.

        Raises
        ------
        ValueError
            For more than one latent dimension, or an unknown root.

        Examples
        --------
        >>> time = model.get_pseudotime(root="cell0")
        >>> float(time.min()), float(time.max())
        (0.0, 1.0)
        """
        if self.module.n_latent != 1:
            raise ValueError(
                f"Pseudotime needs n_latent=1, but the model has {self.module.n_latent}; use "
                "get_latent_representation(), or fit a model with n_latent=1."
            )
        cells = self._validate_anndata(adata)
        z = self.get_latent_representation(cells)[:, 0]
        time = self.to_pseudotime(z)
        if root is not None and self._root_sign(cells, z, root) < 0:
            time = 1.0 - time
        return pd.Series(time, index=cells.obs_names, name="pseudotime")

    def to_pseudotime(self, z: np.ndarray) -> np.ndarray:
        """Pseudotime of places along z, as of a cell that is there.

        Parameters
        ----------
        z
            Places, of any shape, oriented as :meth:`orient` says.

        Returns
        -------
        float64, from 0 for the first to 1 for the last of the cells that the model was fitted to.

        Examples
        --------
        >>> z = model.get_latent_representation()[:, 0]
        >>> bool((model.to_pseudotime(z) == model.get_pseudotime()).all())
        True
        """
        self._check_if_trained(warn=False)
        low, high = np.sort(self.orientation_ * np.asarray(self.latent_range_, dtype=np.float64))
        z = np.asarray(z, dtype=np.float64)
        time = (z - low) / (high - low) if high > low else np.zeros_like(z)
        return np.clip(time, 0.0, 1.0)

    def orient(self, root: str | np.ndarray | pd.Series) -> None:
        """Let z, and with it all shifts and basis functions, start at ``root``.

        Parameters
        ----------
        root
            Name of a cell, of a boolean ``.obs`` column, of a category of cells as
            ``"cell_type=HSC"``, or of a gene that is highest at the start; or a boolean mask over
            the cells.

        Raises
        ------
        ValueError
            If it is none of these, marks no cell, or the model has more than one latent
            dimension.

        Examples
        --------
        >>> first = model.get_pseudotime().idxmin()
        >>> model.orient(first)
        >>> model.get_pseudotime().idxmin() == first
        True
        """
        if self.module.n_latent != 1:
            raise ValueError(
                f"Only a one-dimensional z has two ends; the model has {self.module.n_latent} "
                "latent dimensions."
            )
        cells = self._validate_anndata(None)
        z = self.get_latent_representation()[:, 0]
        self.orientation_ = int(self.orientation_ * self._root_sign(cells, z, root))

    def _root_sign(self, adata: AnnData, z: np.ndarray, root) -> int:
        """+1 if ``z`` already starts at the root, −1 if it ends there."""
        mask = root_cells(adata, root)
        if mask is None:
            return 1 if self._correlation_with_gene(adata, z, root) <= 0 else -1
        ranks = np.argsort(np.argsort(z, kind="stable"), kind="stable")
        return 1 if ranks[mask].mean() <= (adata.n_obs - 1) / 2 else -1

    def _normalised_gene(self, adata: AnnData, genes: Sequence[int]) -> np.ndarray:
        """Size-normalised values of some genes, dense, shape ``(N, len(genes))``."""
        manager = self.get_anndata_manager(adata, required=True)
        matrix = manager.get_from_registry(REGISTRY_KEYS.X_KEY)
        columns = np.concatenate([to_dense(b[:, genes]) for _, b in iter_rows(matrix)])
        if not self.module.likelihood.is_count:
            return columns
        total = np.concatenate([np.asarray(b.sum(1)).ravel() for _, b in iter_rows(matrix)])
        return columns / np.maximum(total, 1.0)[:, None]

    def _correlation_with_gene(self, adata: AnnData, z: np.ndarray, gene: str) -> float:
        values = self._normalised_gene(adata, [adata.var_names.get_loc(gene)])[:, 0]
        return float(np.corrcoef(z, np.log1p(1e4 * values))[0, 1]) if values.std() > 0 else 0.0

    def _set_reference(self, z: np.ndarray) -> None:
        """Points that span z, at which curves are shown and bases are ordered."""
        if self.module.n_latent > 1:
            step = max(1, len(z) // _N_REFERENCE)
            self.latent_reference_ = z[::step][:_N_REFERENCE]
        else:
            # The central 99 %: where a single cell lies far out, a curve has no support.
            low, high = np.quantile(z, [0.005, 0.995])
            self.latent_range_ = (float(z.min()), float(z.max()))
            self.latent_reference_ = np.linspace(low, high, _N_REFERENCE)[:, None]

    def _has_free_latent(self) -> bool:
        """Whether the unit and the direction of z are ours to choose."""
        return not (self.module.observed_latent or self.module.anchored_latent)

    def _remember_latent(self) -> None:
        """Fix the unit of z, keep its span, and let the gene that follows z most closely rise.

        The unit is that of the prior: over all cells z has second moment 1, its uncertainty
        included. The rule needs no label and gives the same orientation from run to run. An
        observed z, or one with prior means, has both already.
        """
        self.orientation_, module = 1, self.module
        mean, variance = self.get_latent_representation(return_dist=True)
        z = mean.astype(np.float64)
        is_free = self._has_free_latent()
        if is_free and module.n_latent == 1:
            unit = float(np.sqrt(z.var() + variance.mean(dtype=np.float64)))
            rescale_latent(module, unit)
            # Asked once more: the range is to be that of the z which the model tells, to the bit.
            z = self.get_latent_representation().astype(np.float64)
        self._set_reference(z)
        if module.n_latent > 1 or not is_free:
            return
        manager = self.get_anndata_manager(self.adata, required=True)
        matrix = manager.get_from_registry(REGISTRY_KEYS.X_KEY)
        self.orientation_ = 1 if _strongest_covariance(matrix, z[:, 0]) >= 0 else -1


def _strongest_covariance(matrix, z: np.ndarray) -> float:
    """Correlation with z of the feature that follows it most closely (log1p for counts)."""
    z = (z - z.mean()) / (z.std() or 1.0)
    n_vars = matrix.shape[1]
    cross, first, second = np.zeros(n_vars), np.zeros(n_vars), np.zeros(n_vars)
    for rows, block in iter_rows(matrix):
        values = sparse.csr_matrix(block, dtype=np.float64)
        cross += values.T @ z[rows]
        first += np.asarray(values.sum(0)).ravel()
        second += np.asarray(values.power(2).sum(0)).ravel()
    n = len(z)
    sd = np.sqrt(np.maximum(second / n - (first / n) ** 2, 0.0))
    correlation = np.divide(cross / n, sd, out=np.zeros(n_vars), where=sd > 1e-12)
    return float(correlation[np.abs(correlation).argmax()])
