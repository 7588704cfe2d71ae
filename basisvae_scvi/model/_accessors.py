"""All accessors of a fitted model, and the one that writes them into an AnnData."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps

import numpy as np
import pandas as pd
from anndata import AnnData
from scvi.model.base import RNASeqMixin, VAEMixin

from basisvae_scvi.data import DEFAULT_KEY, Keys, check_free

from ._annotate import annotate
from ._arguments import check_at_least
from ._cells import CellsMixin
from ._genes import GenesMixin


def _counting(method: Callable, *numbers: str) -> Callable:
    """A method of scvi-tools for which 0 draws, or 0 cells a step, are no number."""
    signature = inspect.signature(method)

    @wraps(method)
    def checked(*args, **kwargs):
        given = signature.bind(*args, **kwargs).arguments
        for name in numbers:
            if given.get(name) is not None:
                check_at_least(given[name], 1, name)
        return method(*args, **kwargs)

    return checked


class AccessorsMixin(CellsMixin, GenesMixin):
    """Accessors of cells and genes."""

    get_elbo = _counting(VAEMixin.get_elbo, "batch_size")
    get_marginal_ll = _counting(VAEMixin.get_marginal_ll, "n_mc_samples", "batch_size")
    get_reconstruction_error = _counting(VAEMixin.get_reconstruction_error, "batch_size")
    get_normalized_expression = _counting(
        RNASeqMixin.get_normalized_expression, "n_samples", "n_samples_overall", "batch_size"
    )
    posterior_predictive_sample = _counting(
        RNASeqMixin.posterior_predictive_sample, "n_samples", "batch_size"
    )
    get_likelihood_parameters = _counting(
        RNASeqMixin.get_likelihood_parameters, "n_samples", "batch_size"
    )

    def annotate(
        self,
        adata: AnnData | None = None,
        *,
        key_added: str = DEFAULT_KEY,
        root: str | np.ndarray | pd.Series | None = None,
        layer: str | None = "auto",
        intervals: bool = True,
        copy: bool = False,
    ) -> AnnData | None:
        """Write the results into an AnnData.

        Writes, for ``key_added="basisvae"``: ``.obsm["X_basisvae"]`` (n_obs × Q, float32),
        ``.obs["basisvae_pseudotime"]`` (Q = 1), ``.varm["basisvae_assignment"]``,
        ``["basisvae_shift"]``, ``["basisvae_scale"]`` (data frames, genes × K),
        ``.var["basisvae_cluster"]`` (categorical of str), ``["basisvae_confidence"]``,
        ``["basisvae_gene_shift"]``, ``["basisvae_gene_scale"]``, and ``.uns["basisvae"]``
        (``params``, ``version``, ``grid``, ``basis``, ``history``, ``seed``). Genes that were not
        modelled get NaN.

        Cells of the model are known by their names and their values together, and keep their z;
        all others go through the encoder. Pseudotime is that of :meth:`get_pseudotime`, for any
        cells in the range of those that the model was fitted to.

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
            Where to write; by default the model's data. It may have further cells, which need all
            of the model's genes, and further genes.
        key_added
            Prefix of all keys. Results of an earlier fit under it are replaced.
        root
            If given, :meth:`orient` the model first.
        layer
            Layer of ``adata`` with the data; ``None`` for ``adata.X``. By default as in
            ``setup_anndata``.
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
        KeyError
            For a layer or column that the model reads and ``adata`` lacks.
        ValueError
            If ``adata`` shares no genes with the model, has cells that are not the model's and
            lacks some of its genes, or has values that do not suit the likelihood; if the model's
            own data have changed since they were registered; or if results would replace what is
            not of a fit.

        Examples
        --------
        >>> annotated = model.annotate(copy=True)
        >>> {"basisvae_assignment", "basisvae_scale", "basisvae_shift"} <= set(annotated.varm)
        True
        """
        if (target := self.adata if adata is None else adata) is not None:
            check_free(target, Keys(key_added))
        if root is not None:
            self.orient(root)
        return annotate(
            self, adata, key_added=key_added, copy=copy, layer=layer, intervals=intervals
        )
