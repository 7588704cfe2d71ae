"""What a fitted model tells: latent coordinates, groups of genes, basis functions, trends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from scipy import sparse
from scvi import REGISTRY_KEYS
from torch import Tensor

from basisvae_scvi.data import DEFAULT_KEY, to_dense
from basisvae_scvi.module import OUTPUT_KEYS

from ._annotate import annotate
from ._canonical import CanonicalView

_N_REFERENCE = 200


class AccessorsMixin:
    """Accessors; tables are data frames indexed by gene."""

    @property
    def _n_basis(self) -> int:
        return self.module.n_basis

    def _gene_names(self) -> pd.Index:
        return pd.Index(np.asarray(self.get_var_names(), dtype=str))

    def _labels(self) -> list[str]:
        return [str(k) for k in range(self._n_basis)]

    def _view(self) -> CanonicalView:
        self._check_if_trained(warn=False)
        return CanonicalView.of(self.module, self.orientation_, self.latent_reference_)

    def _per_gene_table(self, values: np.ndarray) -> pd.DataFrame:
        return pd.DataFrame(values, index=self._gene_names(), columns=self._labels())

    # -- cells --------------------------------------------------------------------------------

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
        """
        self._check_if_trained(warn=False)
        restore = slice(None)
        if dataloader is None:
            adata = self._validate_anndata(adata)
            cells = np.arange(adata.n_obs) if indices is None else np.asarray(indices)
            cells = np.flatnonzero(cells) if cells.dtype == bool else cells
            # Loaders of backed data sort the cells of a minibatch, so they get them sorted.
            ascending = np.argsort(cells, kind="stable")
            restore = np.argsort(ascending, kind="stable")
            dataloader = self._make_data_loader(
                adata=adata, indices=cells[ascending], batch_size=batch_size, **data_loader_kwargs
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

        z rescaled linearly, so that differences keep their meaning.

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
        """
        if self.module.n_latent != 1:
            raise ValueError(
                f"Pseudotime needs n_latent=1, but the model has {self.module.n_latent}; use "
                "get_latent_representation(), or fit a model with n_latent=1."
            )
        cells = self._validate_anndata(adata)
        z = self.get_latent_representation(cells)[:, 0].astype(np.float64)
        if root is not None:
            z = z * self._root_sign(cells, z, root)
        span = z.max() - z.min()
        time = (z - z.min()) / span if span > 0 else np.zeros_like(z)
        return pd.Series(time, index=cells.obs_names, name="pseudotime")

    def orient(self, root: str | np.ndarray | pd.Series) -> None:
        """Let z, and with it all shifts and basis functions, start at ``root``.

        Parameters
        ----------
        root
            Name of a cell, name of a boolean ``.obs`` column, boolean mask over the cells, or
            name of a gene that is highest at the start.

        Raises
        ------
        ValueError
            If it is none of these, marks no cell, or the model has more than one latent
            dimension.
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
        if isinstance(root, str):
            if root in adata.obs_names:
                mask = np.asarray(adata.obs_names == root)
            elif root in adata.obs and adata.obs[root].dtype == bool:
                mask = adata.obs[root].to_numpy()
            elif root in adata.var_names:
                return 1 if self._correlation_with_gene(adata, z, root) <= 0 else -1
            else:
                raise ValueError(
                    f"root={root!r} is neither a cell (adata.obs_names), nor a boolean column of "
                    "adata.obs, nor a gene (adata.var_names)."
                )
        else:
            mask = np.asarray(root)
            if mask.dtype != bool or mask.shape != (adata.n_obs,):
                raise ValueError(
                    f"root must be a boolean mask of length {adata.n_obs}, one entry per cell; "
                    f"got dtype {mask.dtype} and shape {mask.shape}."
                )
        if not mask.any():
            raise ValueError("root marks no cell.")
        ranks = np.argsort(np.argsort(z, kind="stable"), kind="stable")
        return 1 if ranks[mask].mean() <= (adata.n_obs - 1) / 2 else -1

    def _normalised_gene(self, adata: AnnData, genes: Sequence[int]) -> np.ndarray:
        """Size-normalised values of some genes, dense, shape ``(N, len(genes))``."""
        manager = self.get_anndata_manager(adata, required=True)
        matrix = manager.get_from_registry(REGISTRY_KEYS.X_KEY)
        columns = np.concatenate([to_dense(b[:, genes]) for _, b in _rows(matrix)])
        if not self.module.likelihood.is_count:
            return columns
        total = np.concatenate([np.asarray(b.sum(1)).ravel() for _, b in _rows(matrix)])
        return columns / np.maximum(total, 1.0)[:, None]

    def _correlation_with_gene(self, adata: AnnData, z: np.ndarray, gene: str) -> float:
        values = self._normalised_gene(adata, [adata.var_names.get_loc(gene)])[:, 0]
        return float(np.corrcoef(z, np.log1p(1e4 * values))[0, 1]) if values.std() > 0 else 0.0

    def _remember_latent(self) -> None:
        """Keep the span of z, and orient z so that the gene that follows it most closely rises.

        The rule needs no label and gives the same orientation from run to run.
        """
        self.orientation_ = 1
        z = self.get_latent_representation().astype(np.float64)
        if self.module.n_latent > 1:
            step = max(1, len(z) // _N_REFERENCE)
            self.latent_reference_ = z[::step][:_N_REFERENCE]
            return
        self.latent_reference_ = np.linspace(z.min(), z.max(), _N_REFERENCE)[:, None]
        manager = self.get_anndata_manager(self.adata, required=True)
        matrix = manager.get_from_registry(REGISTRY_KEYS.X_KEY)
        self.orientation_ = 1 if _strongest_covariance(matrix, z[:, 0]) >= 0 else -1

    # -- genes --------------------------------------------------------------------------------

    def get_assignments(self) -> pd.DataFrame:
        """Probability φ_jk that gene j follows basis k.

        Returns
        -------
        Genes × K, float64, columns ``"0"`` … ``str(K - 1)``; rows sum to 1. ``"0"`` is the flat
        basis; bases in use come next, ordered by the position of their peak.
        """
        return self._per_gene_table(self._view().assignment)

    def get_shifts(self) -> pd.DataFrame:
        """Shift δ_jk of every gene under every basis, in units of z.

        A gene with δ > 0 runs through its group's course earlier. Shifts have mean 0 over the
        genes of each group; all are 0 for a model without shifts.

        Returns
        -------
        Genes × K, float64.
        """
        return self._per_gene_table(self._view().shift)

    def get_scales(self) -> pd.DataFrame:
        """Scale λ_jk of every gene under every basis; 1 is the gene's (for Gaussian data the
        data's) average size, and all are 1 for a model without scales.

        Returns
        -------
        Genes × K, float64.
        """
        return self._per_gene_table(self._view().scale)

    def get_clusters(self) -> pd.DataFrame:
        """Most probable basis of every gene, with its probability, shift and scale.

        Returns
        -------
        Data frame indexed by gene with ``cluster`` (categorical of str), ``confidence`` (max φ),
        ``shift`` (δ) and ``scale`` (λ) under that basis.
        """
        view = self._view()
        label = view.assignment.argmax(1)
        rows = np.arange(len(label))
        used = [str(k) for k in np.unique(label)]
        return pd.DataFrame(
            {
                "cluster": pd.Categorical(label.astype(str), categories=used),
                "confidence": view.assignment[rows, label],
                "shift": view.shift[rows, label],
                "scale": view.scale[rows, label],
            },
            index=self._gene_names(),
        )

    def get_coclustering(self, genes: Sequence[str] | None = None) -> pd.DataFrame:
        """Probability that two genes follow the same basis, Σ_k φ_ik φ_jk (1 with itself).

        Parameters
        ----------
        genes
            Genes to compare; by default all.

        Returns
        -------
        Genes × genes, float64.

        Raises
        ------
        KeyError
            For genes that the model does not know.
        """
        phi = self.get_assignments()
        if genes is not None:
            phi = phi.iloc[self._gene_indices(genes)]
        values = phi.to_numpy() @ phi.to_numpy().T
        np.fill_diagonal(values, 1.0)
        return pd.DataFrame(values, index=phi.index, columns=phi.index)

    def _gene_indices(self, genes: Sequence[str]) -> np.ndarray:
        genes = [genes] if isinstance(genes, str) else list(genes)
        found = self._gene_names().get_indexer(genes)
        if (found < 0).any():
            missing = [g for g, i in zip(genes, found, strict=True) if i < 0]
            raise KeyError(f"Not among the model's genes: {', '.join(map(str, missing[:10]))}.")
        return found

    # -- curves -------------------------------------------------------------------------------

    def _points(self, z: np.ndarray | None) -> np.ndarray:
        """Points in oriented units, shape ``(G, Q)``; by default over the observed range."""
        if z is None:
            points = self.orientation_ * np.asarray(self.latent_reference_)
            return np.sort(points, axis=0) if self.module.n_latent == 1 else points
        points = np.asarray(z, dtype=np.float64)
        points = points[:, None] if points.ndim == 1 else points
        if points.ndim != 2 or points.shape[1] != self.module.n_latent:
            raise ValueError(
                f"z must have shape (n_points, {self.module.n_latent}); got {np.shape(z)}."
            )
        return points

    def _curve_table(self, values: np.ndarray, points: np.ndarray, columns) -> pd.DataFrame:
        index = pd.RangeIndex(len(points))
        if self.module.n_latent == 1:
            index = pd.Index(points[:, 0], name="z")
        return pd.DataFrame(values, index=index, columns=columns)

    def get_basis_functions(self, z: np.ndarray | None = None) -> pd.DataFrame:
        """Basis functions b_k(z).

        Parameters
        ----------
        z
            Points, shape ``(G,)`` or ``(G, Q)``; by default 200 over the range of the cells.

        Returns
        -------
        G × K, indexed by z when Q = 1.
        """
        view, points = self._view(), self._points(z)
        return self._curve_table(view.basis(points), points, self._labels())

    def get_gene_trends(
        self, genes: Sequence[str] | str | None = None, z: np.ndarray | None = None
    ) -> pd.DataFrame:
        """Expected normalised expression of genes along z, averaged over q(w) and over batches.

        For counts Σ_k φ_jk m_j λ_jk b_k(z + δ_jk) times the mean batch factor: counts of a cell
        with size factor 1, without dropout. For Gaussian data the mean, for binary data the
        probability.

        Parameters
        ----------
        genes
            Genes to show; by default all.
        z
            Points, shape ``(G,)`` or ``(G, Q)``; by default 200 over the range of the cells.

        Returns
        -------
        G × genes, indexed by z when Q = 1.

        Raises
        ------
        KeyError
            For genes that the model does not know.
        """
        view, points = self._view(), self._points(z)
        names = (
            self._gene_names()
            if genes is None
            else pd.Index([genes] if isinstance(genes, str) else list(genes))
        )
        chosen = self._gene_indices(names)
        internal = torch.as_tensor(
            self.orientation_ * points, dtype=torch.float32, device=self.module.device
        )
        batches = self._batch_weights()
        trends = np.zeros((len(points), len(chosen)))
        with torch.no_grad():
            for batch, weight in enumerate(batches):
                if weight > 0:
                    trends += (
                        weight
                        * self.module.expected_expression(internal, batch, chosen).cpu().numpy()
                    )
        return self._curve_table(trends, points, names)

    def _batch_weights(self) -> np.ndarray:
        """Share of the cells in each batch; even where the model has no data."""
        n_batch = self.module.n_batch
        if self.adata is None:
            return np.full(n_batch, 1.0 / n_batch)
        codes = np.asarray(self.adata_manager.get_from_registry(REGISTRY_KEYS.BATCH_KEY)).ravel()
        return np.bincount(codes.astype(int), minlength=n_batch) / len(codes)

    def annotate(
        self,
        adata: AnnData | None = None,
        *,
        key_added: str = DEFAULT_KEY,
        root: str | np.ndarray | pd.Series | None = None,
        copy: bool = False,
    ) -> AnnData | None:
        """Write the results into an AnnData.

        Writes, for ``key_added="basisvae"``: ``.obsm["X_basisvae"]`` (n_obs × Q, float32),
        ``.obs["basisvae_pseudotime"]`` (Q = 1), ``.varm["basisvae_assignment"]``,
        ``["basisvae_shift"]``, ``["basisvae_scale"]`` (data frames, genes × K),
        ``.var["basisvae_cluster"]`` (categorical of str), ``["basisvae_confidence"]``,
        ``["basisvae_gene_shift"]``, ``["basisvae_gene_scale"]``, and ``.uns["basisvae"]``
        (``params``, ``version``, ``grid``, ``basis``, ``history``, ``seed``). Cells and genes
        that were not modelled get NaN.

        Parameters
        ----------
        adata
            Where to write; by default the model's data. It may have further cells and genes.
        key_added
            Prefix of all keys.
        root
            If given, :meth:`orient` the model first.
        copy
            Return an annotated copy instead of writing in place.

        Returns
        -------
        The copy, or ``None``.

        Raises
        ------
        ValueError
            If ``adata`` shares no cells or no genes with the model.
        """
        if root is not None:
            self.orient(root)
        return annotate(self, adata, key_added=key_added, copy=copy)


def _rows(matrix):
    from basisvae_scvi.data import iter_rows

    return iter_rows(matrix)


def _strongest_covariance(matrix, z: np.ndarray) -> float:
    """Correlation with z of the feature that follows it most closely (log1p for counts)."""
    z = (z - z.mean()) / (z.std() or 1.0)
    n_vars = matrix.shape[1]
    cross, first, second = np.zeros(n_vars), np.zeros(n_vars), np.zeros(n_vars)
    for rows, block in _rows(matrix):
        values = sparse.csr_matrix(block, dtype=np.float64)
        cross += values.T @ z[rows]
        first += np.asarray(values.sum(0)).ravel()
        second += np.asarray(values.power(2).sum(0)).ravel()
    n = len(z)
    sd = np.sqrt(np.maximum(second / n - (first / n) ** 2, 0.0))
    correlation = np.divide(cross / n, sd, out=np.zeros(n_vars), where=sd > 1e-12)
    return float(correlation[np.abs(correlation).argmax()])
