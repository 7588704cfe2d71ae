"""Courses of genes along z."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from anndata import AnnData

from basisvae_scvi.data import DEFAULT_KEY

from ._annotation import Annotation
from ._bands import credible_band


def trends(
    adata: AnnData,
    genes: Sequence[str] | str | None = None,
    *,
    n_points: int = 200,
    return_interval: bool = False,
    level: float = 0.9,
    key: str = DEFAULT_KEY,
) -> pd.DataFrame | tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Relative expression of genes along z, λ b(z + δ) under the basis each is assigned to.

    For counts, 1 is the gene's mean normalised expression. For ``gene_likelihood="gaussian"``
    the unit is the root mean square of the data (of the flat cluster: the gene's mean), for
    ``"bernoulli"`` the values are logits (of the flat cluster: in units of the gene's own).

    Parameters
    ----------
    adata
        Data annotated by ``model.annotate(adata)``.
    genes
        Genes to show, in this order; by default all that were modelled.
    n_points
        Points of the even grid from the smallest to the largest z the model was fitted to.
    return_interval
        Whether to return the ends of credible intervals, too: what the uncertainty of δ and λ
        leaves open at each z, with the basis as it is. λ is taken to follow δ such that the
        gene's size over the cells stays as observed.
    level
        Probability of the intervals, in (0, 1).
    key
        The ``key_added`` of the annotation.

    Returns
    -------
    n_points × genes, float64, indexed by z; with ``return_interval`` also two such tables of lower
    and upper ends.

    Raises
    ------
    KeyError
        If the annotation or a gene is missing, or intervals are asked for and were not annotated.
    ValueError
        For more than one latent dimension, fewer than two points, or ``level`` outside (0, 1).

    Examples
    --------
    >>> import basisvae_scvi as bv
    >>> adata = bv.datasets.simulate_counts(n_obs=80, n_vars=20)
    >>> train_kwargs = {"enable_progress_bar": False}
    >>> bv.tl.basisvae(adata, n_basis=4, max_epochs=2, train_kwargs=train_kwargs)
    >>> bv.get.trends(adata, adata.var_names[:3], n_points=50).shape
    (50, 3)
    >>> trend, lower, upper = bv.get.trends(adata, return_interval=True)
    >>> bool((lower <= trend).all(axis=None) and (trend <= upper).all(axis=None))
    True
    """
    annotation = Annotation.of(adata, key=key)
    table = annotation.genes if genes is None else annotation.select(genes)
    z = annotation.points(n_points)
    courses = [annotation.courses(table, z)]
    if return_interval:
        courses += credible_band(annotation, table, z, level)
    index = pd.Index(z, name="z")
    tables = [pd.DataFrame(values, index=index, columns=table.index) for values in courses]
    return tuple(tables) if return_interval else tables[0]
