"""One row per gene."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData

from basisvae_scvi.data import DEFAULT_KEY

from ._annotation import CERTAINTY, Annotation
from ._shapes import SHAPE_LABELS, shape_label

# The position of a peak is exact to 1/400 of the range of z; genes are taken a block at a time.
_N_POINTS = 401
_BLOCK = 2000


def genes(adata: AnnData, *, key: str = DEFAULT_KEY) -> pd.DataFrame:
    """Cluster, shape, peak, shift and scale of every modelled gene.

    Parameters
    ----------
    adata
        Data annotated by ``model.annotate(adata)``.
    key
        The ``key_added`` of the annotation.

    Returns
    -------
    Data frame indexed by gene, sorted by cluster, then by peak, then from large to small shift
    and confidence:

    ``cluster``
        Categorical of str; ``"0"`` is the flat cluster.
    ``shape``
        Categorical: shape of the cluster's basis over the observed range of z, by the rule of
        :func:`shape_label`; ``"flat"`` for cluster ``"0"``.
    ``peak``
        z at which the gene's own course λ b(z + δ) is highest within the observed range: the
        peak of its basis minus δ. NaN for flat genes.
    ``shift``
        δ in units of z; genes with δ > 0 are earlier than their cluster's average.
    ``scale``
        λ; for counts 1 is the gene's mean expression.
    ``confidence``
        Probability of the cluster, from 0 to 1.

    Where ``annotate`` has written them, also:

    ``shift_sd``, ``shift_lower``, ``shift_upper``
        Standard deviation and 90 % interval of δ.
    ``shift_identified``
        Whether the data tell δ; where ``False``, do not read ``shift`` or ``peak``.
    ``scale_sd``, ``scale_lower``, ``scale_upper``
        The same for λ.
    ``is_dynamic``
        Whether the gene changes along z, at a false discovery rate of 0.05.
    ``stability``
        Agreement of the restarts about the gene's partners, from 0 to 1; NaN for genes that the
        search did not look at.

    With several latent dimensions ``shape`` and ``peak`` are missing values.

    Raises
    ------
    KeyError
        If the annotation is missing.

    Examples
    --------
    >>> import basisvae_scvi as bv
    >>> adata = bv.datasets.simulate_counts(n_obs=80, n_vars=20)
    >>> train_kwargs = {"enable_progress_bar": False}
    >>> bv.tl.basisvae(adata, n_basis=4, max_epochs=2, train_kwargs=train_kwargs)
    >>> list(bv.get.genes(adata).columns)[:6]
    ['cluster', 'shape', 'peak', 'shift', 'scale', 'confidence']
    """
    return gene_table(Annotation.of(adata, key=key))


def gene_table(annotation: Annotation) -> pd.DataFrame:
    """See :func:`genes`."""
    table = annotation.genes.copy()
    shape, peak = _shapes(annotation), _peaks(annotation)
    table["shape"] = pd.Categorical(table["cluster"].map(shape), categories=SHAPE_LABELS)
    table["peak"] = np.where(table["shape"] == "flat", np.nan, peak)
    by = pd.DataFrame(
        {
            "cluster": table["cluster"].astype(int),
            "peak": table["peak"],
            "shift": -table["shift"],
            "confidence": -table["confidence"],
        }
    )
    order = by.reset_index(drop=True).sort_values(list(by.columns), kind="stable").index
    table["cluster"] = pd.Categorical(table["cluster"], categories=annotation.clusters)
    columns = ["cluster", "shape", "peak", "shift", "scale", "confidence"]
    columns += [name for name in CERTAINTY if name in table]
    return table.iloc[order][columns]


def _shapes(annotation: Annotation) -> dict[str, str | None]:
    """Shape of every cluster in use."""
    if annotation.n_latent != 1:
        return dict.fromkeys(annotation.clusters)
    z = annotation.points(_N_POINTS)
    shape = {c: shape_label(annotation.basis_at(c, z)) for c in annotation.clusters}
    return shape | ({Annotation.FLAT: "flat"} if Annotation.FLAT in shape else {})


def _peaks(annotation: Annotation) -> np.ndarray:
    """Z of the maximum of every gene's course, shape ``(n_genes,)``."""
    peak = np.full(len(annotation.genes), np.nan)
    if annotation.n_latent != 1:
        return peak
    z = annotation.points(_N_POINTS)
    for start in range(0, len(peak), _BLOCK):
        rows = slice(start, start + _BLOCK)
        peak[rows] = z[annotation.courses(annotation.genes.iloc[rows], z).argmax(axis=0)]
    return peak
