"""What a fitted model tells of the genes: groups, shifts, scales, basis functions, trends."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from scvi import REGISTRY_KEYS

from ._canonical import CanonicalView


def gene_table(values: np.ndarray, genes: pd.Index) -> pd.DataFrame:
    """Genes × K, with the labels of the bases as columns."""
    return pd.DataFrame(values, index=genes, columns=[str(k) for k in range(values.shape[1])])


def cluster_table(view: CanonicalView, genes: pd.Index) -> pd.DataFrame:
    """Most probable basis of every gene, with its probability, shift and scale."""
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
        index=genes,
    )


class GenesMixin:
    """Accessors of the genes; tables are data frames indexed by gene."""

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
        return gene_table(values, self._gene_names())

    def get_assignments(self) -> pd.DataFrame:
        """Probability φ_jk that gene j follows basis k.

        Returns
        -------
        Genes × K, float64, columns ``"0"`` … ``str(K - 1)``; rows sum to 1. ``"0"`` is the flat
        basis; bases in use come next, ordered by the position of their peak.

        Examples
        --------
        >>> phi = model.get_assignments()
        >>> phi.shape, list(phi.columns)
        ((30, 6), ['0', '1', '2', '3', '4', '5'])
        >>> bool(abs(phi.sum(axis=1) - 1).max() < 1e-6)
        True
        """
        return self._per_gene_table(self._view().assignment)

    def get_shifts(
        self, *, return_sd: bool = False
    ) -> pd.DataFrame | tuple[pd.DataFrame, pd.DataFrame]:
        """Shift δ_jk of every gene under every basis, in units of z.

        A gene with δ > 0 runs through its group's course earlier. Shifts have mean 0 over the
        genes of each group; all are 0 for a model without shifts.

        Parameters
        ----------
        return_sd
            Whether to return standard deviations, too; see :meth:`get_gene_intervals`.

        Returns
        -------
        Genes × K, float64; with ``return_sd`` a pair of such tables.

        Examples
        --------
        >>> model.get_shifts().loc["gene0"].shape
        (6,)
        """
        shifts = self._per_gene_table(self._view().shift)
        if not return_sd:
            return shifts
        return shifts, self._per_gene_table(self._posterior()["shift"])

    def get_scales(
        self, *, return_sd: bool = False
    ) -> pd.DataFrame | tuple[pd.DataFrame, pd.DataFrame]:
        """Scale λ_jk of every gene under every basis.

        1 is the gene's average size (for Gaussian data that of all features); all are 1 for a
        model without scales.

        Parameters
        ----------
        return_sd
            Whether to return standard deviations, too; see :meth:`get_gene_intervals`.

        Returns
        -------
        Genes × K, float64; with ``return_sd`` a pair of such tables.

        Examples
        --------
        >>> bool((model.get_scales() > 0).all(axis=None))
        True
        """
        scales = self._per_gene_table(self._view().scale)
        if not return_sd:
            return scales
        return scales, self._per_gene_table(self._posterior()["scale"])

    def get_clusters(self) -> pd.DataFrame:
        """Most probable basis of every gene, with its probability, shift and scale.

        Returns
        -------
        Data frame indexed by gene with ``cluster`` (categorical of str), ``confidence`` (max φ),
        ``shift`` (δ) and ``scale`` (λ) under that basis.

        Examples
        --------
        >>> list(model.get_clusters().columns)
        ['cluster', 'confidence', 'shift', 'scale']
        """
        return cluster_table(self._view(), self._gene_names())

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

        Examples
        --------
        >>> model.get_coclustering(["gene0", "gene1"]).shape
        (2, 2)
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

    def _points(self, z: np.ndarray | None) -> np.ndarray:
        """Points in oriented units, shape ``(G, Q)``.

        By default over the range of the central 99 % of the cells.
        """
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
            Points, shape ``(G,)`` or ``(G, Q)``; by default 200 over the range of the central
            99 % of the cells.

        Returns
        -------
        G × K, indexed by z when Q = 1.

        Examples
        --------
        >>> basis = model.get_basis_functions([-1.0, 0.0, 1.0])
        >>> basis["0"].tolist()
        [1.0, 1.0, 1.0]
        """
        view, points = self._view(), self._points(z)
        return self._curve_table(view.basis(points), points, self._labels())

    def get_gene_trends(
        self,
        genes: Sequence[str] | str | None = None,
        z: np.ndarray | None = None,
        *,
        own_course: bool = True,
    ) -> pd.DataFrame:
        """Expected normalised expression of genes along z, averaged over q(w) and over batches.

        For counts Σ_k φ_jk m_j λ_jk b_k(z + δ_jk) exp(ε_j(z)) times the mean batch factor: counts
        of a cell with size factor 1, without dropout. For Gaussian data the mean, for binary data
        the probability.

        Parameters
        ----------
        genes
            Genes to show; by default all.
        z
            Points, shape ``(G,)`` or ``(G, Q)``; by default 200 over the range of the central
            99 % of the cells.
        own_course
            Whether the gene's own deviation ε_j from its group takes part. Without it, all genes
            of a group follow one course.

        Returns
        -------
        G × genes, indexed by z when Q = 1.

        Raises
        ------
        KeyError
            For genes that the model does not know.

        Examples
        --------
        >>> model.get_gene_trends(["gene0", "gene1"]).shape
        (200, 2)
        """
        self._check_if_trained(warn=False)
        points = self._points(z)
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
                    mean = self.module.expected_expression(
                        internal, batch, chosen, own_course=own_course
                    )
                    trends += weight * mean.cpu().numpy()
        return self._curve_table(trends, points, names)

    def _batch_weights(self) -> np.ndarray:
        """Share of the training cells in each batch; batches added by a query have none."""
        share = np.zeros(self.module.n_batch)
        share[: len(self.batch_share_)] = self.batch_share_
        return share

    def _batch_shares(self) -> np.ndarray:
        """Share of the model's cells in each batch, shape ``(B,)``."""
        codes = self._batch_codes()
        return np.bincount(codes, minlength=self.module.n_batch) / len(codes)

    def _batch_codes(self) -> np.ndarray:
        """Batch of each of the model's cells, integers from 0, shape ``(N,)``."""
        codes = self.adata_manager.get_from_registry(REGISTRY_KEYS.BATCH_KEY)
        return np.asarray(codes).ravel().astype(int)
