"""Whether the order of the cells can be trusted."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.stats import rankdata

from basisvae_scvi.get import Annotation

from ._finding import Finding, percent
from ._observed import Observed

_MIN_CELLS = 200
# Rank correlation of z with depth, share of its variance between batches, widest gap in its range.
_DEPTH, _BATCH, _GAP = 0.7, 0.5, 0.2
# Share of the evidence for the order taken at which another one is close: on four lines of the
# worm embryo whose times are known, the best wrong order had 0.70 to 0.93 of the right one's.
_CLOSE = 0.9
# Rank correlation with the order of cells of one depth: on simulations it is 0.9 and more for a
# process along which counts rise, and within 0.1 of 0 for depth alone.
_KEPT = 0.5


def cell_findings(
    adata: AnnData, annotation: Annotation, observed: Observed | None
) -> Iterator[Finding]:
    """Number of cells; gaps, depth and batches along z.

    Parameters
    ----------
    adata
        Annotated data.
    annotation
        Its results.
    observed
        Observed expression, for the size factors of the cells.
    """
    known = np.isfinite(annotation.latent).all(axis=1)
    n = int(known.sum())
    if n < _MIN_CELLS:
        yield Finding(
            "note",
            "Number of cells",
            f"{n:,} cells are few: clusters that differ little cannot be told apart.",
            "Use more cells, or fewer and more variable genes.",
        )
    if annotation.n_latent != 1:
        return
    z = annotation.latent[known, 0]
    yield _gap(z)
    if tested := adata.uns[annotation.keys.uns].get("depth"):
        yield _depth(float(tested["correlation"]), float(tested["at_one_depth"]))
    elif observed is not None:
        yield _depth(_rank_correlation(z, observed.size_factor), None)
    run = adata.uns[annotation.keys.uns]
    if "order_bounds" in run:
        yield _orders(run)
    batch_key = annotation.parameter("batch_key")
    if batch_key in adata.obs:
        yield _batches(z, adata.obs[batch_key][known])


def _orders(run) -> Finding:
    title, bounds = "Orders to choose from", np.asarray(run["order_bounds"], dtype=float)
    other = int(run["other_order"])
    if other < 0:
        return Finding("ok", title, f"All {len(bounds)} orders that were looked at agree.")
    taken, rival = bounds[int(run["order"])], bounds[other]
    agreement = float(np.asarray(run["order_agreement"])[other])
    text = (
        f"Genes gain {taken:,.0f} nats by the order taken, and {rival:,.0f} by the best other one "
        f"(rank correlation {agreement:.2f} with it)"
    )
    if rival > _CLOSE * taken:
        return Finding(
            "note",
            title,
            f"{text}: the cells may differ in a second process that is nearly as strong.",
            "Look at both orders below; init= a column of obs, or latent_prior_key, says which.",
        )
    return Finding("ok", title, f"{text}.")


def _gap(z: np.ndarray) -> Finding:
    title = "Cells along z"
    ordered = np.sort(z)
    # Single stray cells at either end are no gap between clusters of cells.
    ordered = ordered[len(z) // 100 : len(z) - len(z) // 100]
    span = ordered[-1] - ordered[0] if len(ordered) > 1 else 0.0
    if span <= 0:
        return Finding(
            "warning",
            title,
            "All cells have the same z: there is no order.",
            "Lower latent_weight, or start from a known order (init= a column of obs).",
        )
    gap = np.diff(ordered).max() / span
    text = f"The widest gap between neighbouring cells is {percent(gap)} of the range"
    if gap > _GAP:
        return Finding(
            "warning",
            title,
            f"{text}: the cells fall into islands.",
            "Check that they come from one process; fit lineages or cell types one by one.",
        )
    return Finding("ok", title, f"{text}: they fill it.")


def _rank_correlation(z: np.ndarray, size_factor: np.ndarray) -> float:
    with np.errstate(invalid="ignore", divide="ignore"):
        rho = np.corrcoef(rankdata(z), rankdata(size_factor))[0, 1]
    return float(np.nan_to_num(rho))


def _depth(rho: float, kept: float | None) -> Finding:
    """``rho`` with the cells' counts, ``kept`` with the order of cells thinned to one depth."""
    title = "Sequencing depth"
    text = f"Rank correlation of z with the counts of the cells: {_signed(rho)}"
    if abs(rho) <= _DEPTH:
        return Finding("ok", title, f"{text}.")
    if kept is None:
        return Finding(
            "note",
            title,
            f"{text}; whether the order is more than one of depth is not known.",
            "Annotate again with the model: cells thinned to one depth will tell.",
        )
    text += f"; with that of cells thinned to one depth and placed again: {_signed(kept)}"
    if kept >= _KEPT:
        return Finding("ok", title, f"{text}. The order does not come from the depth.")
    return Finding(
        "warning",
        title,
        f"{text}: the order is lost, so it may be one of depth.",
        "Check the order against known markers; filter shallow cells, or give size factors "
        "of your own (size_factor_key).",
    )


def _signed(rho: float) -> str:
    return f"{rho:+.2f}".replace("-", "−")


def _batches(z: np.ndarray, batch: pd.Series) -> Finding:
    per_batch = pd.Series(z).groupby(batch.astype(str).to_numpy())
    between = float((per_batch.transform("mean") - z.mean()).pow(2).mean() / max(z.var(), 1e-12))
    text = f"{percent(between)} of the variance of z lies between batches"
    if between > _BATCH:
        return Finding(
            "warning",
            "Batches",
            f"{text}: the order may be one of batches.",
            "Compare the batches along z; if they are stages of the process, leave batch_key out.",
        )
    return Finding("ok", "Batches", f"{text}.")
