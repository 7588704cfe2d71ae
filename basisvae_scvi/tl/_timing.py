"""Which of two genes is earlier."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.special import ndtr

from basisvae_scvi.data import DEFAULT_KEY
from basisvae_scvi.get import Annotation

_Names = Sequence[str] | str


def timing(
    adata: AnnData,
    genes_a: _Names | Sequence[tuple[str, str]],
    genes_b: _Names | None = None,
    *,
    key: str = DEFAULT_KEY,
) -> pd.DataFrame:
    """Probability that one gene runs ahead of another of its cluster, P(δ_a > δ_b).

    From the posterior means and standard deviations of the shifts, taken as normal and
    independent given the cluster: Φ((δ_a − δ_b) / √(sd_a² + sd_b²)).

    Parameters
    ----------
    adata
        Data annotated by ``model.annotate(adata)``, of a model with
        ``translation_invariant=True``.
    genes_a
        A gene or several; or, without ``genes_b``, pairs ``[("a", "b"), …]``.
    genes_b
        A gene or several: each of ``genes_a`` is compared with each of them. By default all
        pairs among ``genes_a``.
    key
        The ``key_added`` of the annotation.

    Returns
    -------
    Data frame with one row per pair:

    ``gene_a``, ``gene_b``, ``cluster_a``, ``cluster_b``
        Names of the genes and their clusters.
    ``difference``, ``difference_sd``
        δ_a − δ_b in units of z, positive where a is earlier, and its standard deviation.
    ``probability``
        P(δ_a > δ_b). NaN where it has no meaning, with
    ``reason``
        why: ``"different clusters"`` (shifts are relative to the cluster's own shape; compare
        peaks in :func:`basisvae_scvi.get.genes` instead), ``"flat"``, ``"same gene"``, or
        ``"not identified: …"`` (the data do not tell the shift of the genes named). Empty
        otherwise.

    Raises
    ------
    KeyError
        If a gene was not modelled, or standard deviations were not annotated.
    ValueError
        If there is no pair, or the model has no shifts.

    Examples
    --------
    >>> import basisvae_scvi as bv
    >>> table = bv.tl.timing(annotated, ["gene0", "gene1", "gene2"])
    >>> table[["gene_a", "gene_b"]].to_numpy().tolist()
    [['gene0', 'gene1'], ['gene0', 'gene2'], ['gene1', 'gene2']]
    """
    annotation = Annotation.of(adata, key=key)
    annotation.require("shift_sd", "shift_identified", what="Probabilities of timing")
    annotation.require_shifts("Probabilities of timing")
    pairs = _pairs(genes_a, genes_b)
    a, b = (annotation.select(list(names)) for names in zip(*pairs, strict=True))
    difference = a["shift"].to_numpy() - b["shift"].to_numpy()
    sd = np.hypot(a["shift_sd"].to_numpy(dtype=float), b["shift_sd"].to_numpy(dtype=float))
    reason = _reasons(a, b)
    is_told = reason == ""
    certain = np.where(difference > 0, np.inf, np.where(difference < 0, -np.inf, 0.0))
    score = np.divide(difference, sd, out=certain, where=sd > 0)
    return pd.DataFrame(
        {
            "gene_a": a.index.to_numpy(),
            "gene_b": b.index.to_numpy(),
            "cluster_a": a["cluster"].to_numpy(),
            "cluster_b": b["cluster"].to_numpy(),
            "difference": np.where(is_told, difference, np.nan),
            "difference_sd": np.where(is_told, sd, np.nan),
            "probability": np.where(is_told, ndtr(score), np.nan),
            "reason": reason,
        }
    )


def _pairs(genes_a, genes_b) -> list[tuple[str, str]]:
    first = [genes_a] if isinstance(genes_a, str) else list(genes_a)
    if genes_b is not None:
        pairs = list(product(first, [genes_b] if isinstance(genes_b, str) else list(genes_b)))
    elif first and all(not isinstance(entry, str) for entry in first):
        if any(len(entry) != 2 for entry in first):
            raise ValueError("genes_a must hold names of genes, or pairs of two names each.")
        pairs = [tuple(entry) for entry in first]
    else:
        pairs = list(combinations(first, 2))
    if not pairs:
        raise ValueError("There is no pair to compare; name two genes, or genes_a and genes_b.")
    return pairs


def _reasons(a: pd.DataFrame, b: pd.DataFrame) -> np.ndarray:
    """Why a pair cannot be compared, ``""`` where it can."""
    columns = ("cluster", "shift_identified", "shift_sd")
    rows = zip(
        a.index, b.index, *(frame[name] for name in columns for frame in (a, b)), strict=True
    )
    return np.array([_reason(*row) for row in rows], dtype=object)


def _reason(name_a, name_b, cluster_a, cluster_b, told_a, told_b, sd_a, sd_b) -> str:
    if name_a == name_b:
        return "same gene"
    if cluster_a != cluster_b:
        return "different clusters"
    if cluster_a == Annotation.FLAT:
        return "flat"
    open_ = [
        str(name)
        for name, told, sd in ((name_a, told_a, sd_a), (name_b, told_b, sd_b))
        if not told or not np.isfinite(sd)
    ]
    return f"not identified: {', '.join(open_)}" if open_ else ""
