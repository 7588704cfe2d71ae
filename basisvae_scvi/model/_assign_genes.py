"""assign_genes(): further genes of the same cells on a trained model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from scvi import REGISTRY_KEYS

from basisvae_scvi._parallel import run_jobs
from basisvae_scvi.data import (
    ColumnReader,
    Keys,
    cell_digests,
    check_finite,
    check_free,
    check_names,
    describe_location,
    pointing_to_counts,
    read_matrix,
    same_cells,
    shortened,
)
from basisvae_scvi.inference import (
    FrozenCells,
    FrozenModel,
    GeneFit,
    OwnCourse,
    fit_gene_block,
)
from basisvae_scvi.module import FeatureConstants

from ._annotate import annotate
from ._constants import feature_constants
from ._genes import cluster_table, gene_table
from ._own_courses import further_deviations, has_deviations
from ._seed import resolve_seed, seeded

# Genes per block, fewer where a block would have more entries than this.
_MAX_BLOCK = 1024
_MIN_BLOCK = 32
_BLOCK_ENTRIES = 2**23
# As in the module: an empty cell has an exposure, if next to none.
_MIN_SIZE_FACTOR = 1e-6


@dataclass(frozen=True)
class GeneAssignments:
    """What :meth:`basisvae_scvi.BasisVAE.assign_genes` found, as data frames indexed by gene.

    Attributes
    ----------
    assignments
        φ_jk, genes × K, as :meth:`~basisvae_scvi.BasisVAE.get_assignments` gives it.
    clusters
        Cluster, confidence, shift and scale, as :meth:`~basisvae_scvi.BasisVAE.get_clusters`.
    shifts
        δ_jk, genes × K, as :meth:`~basisvae_scvi.BasisVAE.get_shifts`.
    scales
        λ_jk, genes × K, as :meth:`~basisvae_scvi.BasisVAE.get_scales`.
    deviations
        Own deviations ε, genes × places along z, as ``"deviation"``, and the standard
        deviations of their own courses as ``"course_sd"``; empty for a model without.

    Examples
    --------
    >>> found = model.assign_genes(adata, silent=True)
    >>> found.clusters.index.equals(found.assignments.index)
    True
    """

    assignments: pd.DataFrame
    clusters: pd.DataFrame
    shifts: pd.DataFrame
    scales: pd.DataFrame
    deviations: dict[str, pd.DataFrame] = field(default_factory=dict)


class AssignGenesMixin:
    """Genes that were not trained on."""

    def assign_genes(
        self,
        adata: AnnData,
        *,
        layer: str | None = "auto",
        genes: Sequence[str] | str | None = None,
        block_size: int | None = None,
        n_jobs: int | None = None,
        max_cells: int | None = None,
        seed: int | None = None,
        key_added: str | None = None,
        silent: bool = False,
    ) -> GeneAssignments:
        """Find basis, scale and shift of further genes of the model's cells.

        Train on the variable genes, then assign all of them. z, the basis functions and the
        weights of the groups stay as they were trained, so that every gene is a problem of its
        own: λ_jk, δ_jk, dispersion, dropout and batch offsets maximise

            Σ_n E_q(z) Σ_k φ_jk log p(y_nj | k) + Σ_k φ_jk log p(λ_jk) p(δ_jk)
            − β_w Σ_k φ_jk (log φ_jk − η_k),

        with η_k the expected log weight of basis k among the trained genes. Size factors and
        batches are those of the model's cells. Genes that the model knows are assigned anew.

        Genes are worked on in blocks through joblib, which may send them elsewhere, e.g. with
        ``joblib.parallel_config(backend="dask")``. The same seed gives the same result wherever
        they are worked on, and up to rounding whatever the block and the genes beside it.

        Parameters
        ----------
        adata
            All of the model's cells, known by ``.obs_names`` in any order, and any genes; dense,
            CSR, CSC or backed. In the genes that the model knows they must have its values.
            Other cells are not looked at, but for their z with ``key_added``.
        layer
            Layer with the data; ``None`` for ``adata.X``. By default as in ``setup_anndata``.
        genes
            Genes to assign; by default all of ``adata``.
        block_size
            Genes per block; by default up to 1,024, fewer for more than 8,192 cells.
        n_jobs
            Blocks at a time, each in one thread; by default those of
            :func:`joblib.parallel_config`, else as many as torch has threads.
        max_cells
            Work on a random sample of so many training cells, which stands for all of them; by
            default on all.
        seed
            Seed of the minibatches of cells; by default that of :meth:`train`.
        key_added
            If given, also write the results into ``adata`` under the keys of :meth:`annotate`.
        silent
            Show no progress bar.

        Returns
        -------
        Tables with the labels, the order and the units of the trained genes' tables.

        Raises
        ------
        KeyError
            For a layer or genes that are not there.
        ValueError
            If cells of the model are missing or have other values, names are not unique, or the
            data do not suit the likelihood.

        Examples
        --------
        >>> import basisvae_scvi as bv
        >>> everything = bv.datasets.simulate_counts(n_obs=100, n_vars=60, seed=3)
        >>> variable = everything[:, :30].copy()
        >>> bv.BasisVAE.setup_anndata(variable)
        >>> model = bv.BasisVAE(variable, n_basis=4, gene_likelihood="nb")
        >>> model.train(max_epochs=2, seed=1, enable_progress_bar=False)
        >>> found = model.assign_genes(everything, key_added="basisvae", silent=True)
        >>> found.assignments.shape, int(everything.var["basisvae_cluster"].notna().sum())
        ((60, 4), 60)
        """
        self._check_if_trained(warn=False)
        if self.adata is None:
            raise ValueError(
                "The model has no data, but assign_genes needs its cells: load the model with "
                "adata=<the data it was trained on>."
            )
        self._check_own_data()
        if key_added is not None:
            check_free(adata, Keys(key_added))
        seed = resolve_seed(self.seed_ if seed is None else seed)
        layer = self._setup_argument("layer") if layer == "auto" else layer
        check_names(adata)
        columns = _wanted_columns(adata, genes)
        matrix = read_matrix(adata, layer)
        rows = _rows_of_cells(adata, self.adata.obs_names)
        reader = ColumnReader(matrix, rows, columns)
        size = _block_size(block_size, len(reader.rows))
        starts = range(0, len(columns), size)
        with pointing_to_counts(adata, layer):
            for start in starts:
                block = reader.block(start, start + size)
                check_finite(block, describe_location(layer))
                self._check_values(block, describe_location(layer))
        self._check_same_values(adata, matrix, rows, describe_location(layer))
        used = self._cells_to_use(max_cells, seed)
        size_factor = self._size_factors(self._matrix())
        with seeded(seed):  # the encoder draws, and the caller's generator is to stay as it is
            cells = self._frozen_cells(used, size_factor)
        frozen = FrozenModel.of(self.module, cells, integrates=self._integrates)

        levels = []

        def tasks() -> Iterator[tuple]:
            for start in starts:
                block = reader.block(start, start + size)
                constants = self._further_constants(block, size_factor)
                levels.append(constants.level / constants.scale)
                block = block if len(used) == block.shape[0] else block[used]
                yield frozen, cells, block, constants, seed

        fits = run_jobs(
            fit_gene_block,
            tasks(),
            n_tasks=len(starts),
            n_jobs=n_jobs,
            description="Assigning genes",
            unit="block",
            silent=silent,
        )
        found = self._gene_assignments(fits, np.concatenate(levels), adata.var_names[columns])
        if key_added is not None:
            tables = found.deviations | {
                "assignment": found.assignments,
                "shift": found.shifts,
                "scale": found.scales,
                "clusters": found.clusters,
            }
            own = np.full(adata.n_obs, -1)
            own[rows] = np.arange(len(rows))
            annotate(
                self, adata, key_added=key_added, copy=False, layer=layer, tables=tables, own=own
            )
        return found

    def _check_same_values(self, adata: AnnData, matrix, rows: np.ndarray, location: str) -> None:
        """Raise ValueError if cells of the model have other values here, under the same names."""
        columns = adata.var_names.get_indexer(self._gene_names())
        shared = np.flatnonzero(columns >= 0)
        if not len(shared):
            return
        found = cell_digests(matrix, columns[shared])[rows]
        other = ~same_cells(found, cell_digests(self._matrix(), shared))
        if other.any():
            raise ValueError(
                f"{int(other.sum())} of the model's {len(rows)} cells have other values in "
                f"{location} than the model's data in the {len(shared)} genes that both have: "
                f"{shortened(self.adata.obs_names[other])}. Name the layer with the same data "
                'with layer=..., e.g. layer="counts"; for other cells under the same names use '
                "BasisVAE.load_query_data."
            )

    def _cells_to_use(self, max_cells: int | None, seed: int) -> np.ndarray:
        """Training cells, or a sample of them, ascending."""
        n_obs, trained = self.adata.n_obs, self.train_indices
        if trained is None or len(trained) == 0 or np.max(trained) >= n_obs:
            trained = np.arange(n_obs)  # the model was loaded with other cells
        if max_cells is None or max_cells >= len(trained):
            return np.sort(trained)
        if max_cells < 1:
            raise ValueError(f"max_cells={max_cells} must be at least 1.")
        rng = np.random.default_rng(seed)
        return np.sort(rng.choice(trained, max_cells, replace=False))

    def _frozen_cells(self, used: np.ndarray, size_factor: np.ndarray | None) -> FrozenCells:
        mean, variance = self.get_latent_representation(indices=used, return_dist=True)
        if size_factor is not None:
            size_factor = np.maximum(size_factor.astype(np.float64)[used], _MIN_SIZE_FACTOR)
            z = torch.as_tensor(self.orientation_ * mean, dtype=torch.float32)
            factor = self.module.composition_factor(z.to(self.module.device))
            if factor is not None:
                size_factor = size_factor * factor.double().cpu().numpy()[:, 0]
        batch = np.asarray(self.adata_manager.get_from_registry(REGISTRY_KEYS.BATCH_KEY))
        n_trained = len(self._cells_to_use(None, 0))
        return FrozenCells(
            mean=self.orientation_ * mean.astype(np.float64),
            sd=np.sqrt(variance.astype(np.float64)),
            size_factor=size_factor,
            batch=batch.ravel().astype(np.int64)[used],
            n_obs=n_trained,
        )

    def _further_constants(self, block, size_factor: np.ndarray | None) -> FeatureConstants:
        """Constants of a block of genes, from all of the model's cells."""
        unit = float(self.module.genes.feature_scale[0])
        return feature_constants(block, self.module.likelihood, size_factor, unit=unit)

    def _gene_assignments(
        self, fits: list[GeneFit], level: np.ndarray, names: pd.Index
    ) -> GeneAssignments:
        parts = (
            np.concatenate([getattr(fit, name) for fit in fits])
            for name in ("assignment", "shift", "scale")
        )
        view = self._view().of_further_genes(*parts)
        deviations = {}
        if has_deviations(self):
            owns = zip(*(fit.deviation for fit in fits), strict=True)
            own = OwnCourse(*(np.concatenate(values) for values in owns))
            deviations = further_deviations(self, own, view, level, names)
        return GeneAssignments(
            assignments=gene_table(view.assignment, names),
            clusters=cluster_table(view, names),
            shifts=gene_table(view.shift, names),
            scales=gene_table(view.scale, names),
            deviations=deviations,
        )


def _block_size(block_size: int | None, n_cells: int) -> int:
    if block_size is None:
        return int(np.clip(_BLOCK_ENTRIES // n_cells, _MIN_BLOCK, _MAX_BLOCK))
    if block_size < 1:
        raise ValueError(f"block_size={block_size} must be at least 1.")
    return int(block_size)


def _wanted_columns(adata: AnnData, genes: Sequence[str] | str | None) -> np.ndarray:
    """Columns of the wanted genes, ascending."""
    if genes is None:
        columns = np.arange(adata.n_vars)
    else:
        names = pd.Index([genes] if isinstance(genes, str) else list(genes))
        if not names.is_unique:
            repeated = names[names.duplicated()].unique()
            raise ValueError(f"genes has duplicates: {shortened(repeated)}. Name each once.")
        columns = adata.var_names.get_indexer(names)
        if (columns < 0).any():
            raise KeyError(f"Not in adata.var_names: {shortened(names[columns < 0])}.")
    if len(columns) == 0:
        raise ValueError("There are no genes to assign; pass adata with genes, or name some.")
    return np.sort(columns)


def _rows_of_cells(adata: AnnData, cells: pd.Index) -> np.ndarray:
    """Row of each of the model's cells in ``adata``."""
    if adata.obs_names.equals(cells):
        return np.arange(len(cells))
    for names, place in ((adata.obs_names, "adata"), (cells, "the model's data")):
        if not names.is_unique:
            repeated = names[names.duplicated()].unique()
            raise ValueError(
                f"obs_names of {place} has duplicates: {shortened(repeated)}. Cells are matched "
                "by name; make the names unique with obs_names_make_unique() before training."
            )
    rows = adata.obs_names.get_indexer(cells)
    if (rows < 0).any():
        missing = cells[rows < 0]
        raise ValueError(
            f"adata lacks {len(missing)} of the model's {len(cells)} cells: {shortened(missing)}. "
            "Pass the AnnData that the model's data were taken from, with all of their cells "
            "under the same obs_names; for new cells use BasisVAE.load_query_data."
        )
    return rows
