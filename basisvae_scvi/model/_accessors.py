"""All accessors of a fitted model, and the one that writes them into an AnnData."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData

from basisvae_scvi.data import DEFAULT_KEY, Keys, check_free

from ._annotate import annotate
from ._cells import CellsMixin
from ._genes import GenesMixin


class AccessorsMixin(CellsMixin, GenesMixin):
    """Accessors of cells and genes."""

    def annotate(
        self,
        adata: AnnData | None = None,
        *,
        key_added: str = DEFAULT_KEY,
        root: str | np.ndarray | pd.Series | None = None,
        intervals: bool = True,
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

        Further, how far these can be trusted: ``.var["basisvae_is_dynamic"]`` (bool, by
        :meth:`get_dynamic_genes` at 0.05); with ``intervals``
        ``["basisvae_gene_shift_sd"]``, ``["basisvae_gene_shift_lower"]``,
        ``["basisvae_gene_shift_upper"]``, ``["basisvae_shift_identified"]`` (bool) and the same
        three of the scale, by :meth:`get_gene_intervals` at 0.9; after a search
        ``.varm["basisvae_restarts"]`` (genes × restarts: most probable group in each),
        ``.uns["basisvae"]["search"]`` (data frame), ``["restart_bounds"]``, ``["best_restart"]``
        and ``["flat_bound"]``; after several restarts ``.var["basisvae_stability"]``.

        Parameters
        ----------
        adata
            Where to write; by default the model's data. It may have further cells and genes.
        key_added
            Prefix of all keys. Results of an earlier fit under it are replaced.
        root
            If given, :meth:`orient` the model first.
        intervals
            Whether to write standard deviations and intervals of shifts and scales. They need one
            latent dimension and the data that the model was trained on (they are left out for a
            query model, or one loaded without data), and about 20 s for 7,000 genes and 50 bases.
        copy
            Return an annotated copy instead of writing in place.

        Returns
        -------
        The copy, or ``None``.

        Raises
        ------
        ValueError
            If ``adata`` shares no cells or no genes with the model, or results would replace what
            is not of a fit.

        Examples
        --------
        >>> annotated = model.annotate(copy=True)
        >>> sorted(annotated.varm)
        ['basisvae_assignment', 'basisvae_restarts', 'basisvae_scale', 'basisvae_shift']
        """
        if (target := self.adata if adata is None else adata) is not None:
            check_free(target, Keys(key_added))
        if root is not None:
            self.orient(root)
        return annotate(self, adata, key_added=key_added, copy=copy, intervals=intervals)
