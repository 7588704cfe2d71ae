"""Can the run be trusted? Findings computed from the results, each with what to try."""

from __future__ import annotations

import numpy as np
import pandas as pd
from anndata import AnnData

from basisvae_scvi.data import DEFAULT_KEY
from basisvae_scvi.get import Annotation

from ._finding import Finding, percent, plural
from ._genes import gene_table
from ._observed import Observed
from ._trust_cells import cell_findings

CONFIDENT = 0.9
_MIN_EPOCHS = 10
# Change of the bound over the last fifth of the epochs, as a share of it.
_SETTLED, _MOVING = 1e-3, 5e-3
_FEW_CONFIDENT, _MANY_CONFIDENT = 0.5, 0.75
_UNSTABLE, _STABLE = 0.5, 0.8
_FEW_IDENTIFIED = 0.5


def run_findings(adata: AnnData, *, key: str = DEFAULT_KEY) -> list[Finding]:
    """Whether a run can be trusted, from the annotated data alone.

    Parameters
    ----------
    adata
        Data annotated by ``model.annotate(adata)``.
    key
        The ``key_added`` of the annotation.

    Returns
    -------
    Warnings first, then notes, then what is fine.

    Examples
    --------
    >>> import basisvae_scvi as bv
    >>> found = bv.report.run_findings(model.annotate(copy=True))
    >>> "Number of cells" in [finding.title for finding in found]
    True
    """
    annotation = Annotation.of(adata, key=key)
    table = gene_table(adata, key=key)
    return findings(adata, annotation, table, Observed.of(adata, annotation, table.index))


def findings(
    adata: AnnData, annotation: Annotation, genes: pd.DataFrame, observed: Observed | None
) -> list[Finding]:
    """Look at everything that tells whether a run can be trusted.

    Parameters
    ----------
    adata
        Annotated data.
    annotation
        Its results.
    genes
        Table of the genes with ``cluster``, ``confidence`` and, where known, ``stability`` and
        ``identified``.
    observed
        Observed expression, for the size factors of the cells.

    Returns
    -------
    Warnings first, then notes, then what is fine; within each in a fixed order.
    """
    run = adata.uns[annotation.keys.uns]
    found = [
        _convergence(run),
        _stability(genes),
        _used_bases(annotation, genes),
        _flat_genes(genes),
        _confidence(genes),
        _shifts(annotation, genes),
        *cell_findings(adata, annotation, observed),
    ]
    return sorted(found, key=lambda finding: ("warning", "note", "ok").index(finding.level))


def _convergence(run) -> Finding:
    title = "Convergence"
    history = run.get("history", {})
    loss = np.asarray(history.get("elbo_train", []), dtype=np.float64)
    loss = loss[np.isfinite(loss)]
    if len(loss) < _MIN_EPOCHS:
        return Finding(
            "note",
            title,
            f"{len(loss)} {plural(len(loss), 'epoch')} on record: too few to tell whether "
            "training had settled.",
            "Train for longer (max_epochs), and look at the history of the bound.",
        )
    window = max(len(loss) // 5, 3)
    last, before = loss[-window:].mean(), loss[-2 * window : -window].mean()
    change = (before - last) / max(abs(last), 1e-12)
    text = f"Over the last {window} of {len(loss)} epochs the bound "
    if change < -_SETTLED:
        return Finding(
            "warning",
            title,
            f"{text}got worse by {percent(-change)}.",
            "Lower the learning rate, or train again with another seed.",
        )
    if change > _SETTLED:
        level = "warning" if change > _MOVING else "note"
        advice = f"Train for longer, e.g. max_epochs={2 * len(loss)}."
        return Finding(level, title, f"{text}still improved by {percent(change)}.", advice)
    return Finding("ok", title, f"{text}changed by {percent(abs(change))}: training had settled.")


def _stability(genes: pd.DataFrame) -> Finding:
    title = "Stability over restarts"
    if "stability" not in genes:
        return Finding(
            "note",
            title,
            "Not known: the results hold no comparison of restarts.",
            "Train with n_restarts=2 or more and annotate again; genes that keep their partners "
            "in every restart can be relied upon.",
        )
    mean = genes["stability"].mean()
    text = f"Genes keep {percent(mean)} of their partners from restart to restart"
    weak = int((genes["stability"] < _UNSTABLE).sum())
    text += f"; {weak:,} {plural(weak, 'gene')} keep less than half."
    if mean >= _STABLE:
        return Finding("ok", title, text)
    advice = (
        "Trust clusters whose own stability is high; merge similar ones with a shape_deviation "
        "above the one that was learned, or a larger assignment_weight; use more cells or only "
        "variable genes."
    )
    return Finding("warning" if mean < _UNSTABLE else "note", title, text, advice)


def _used_bases(annotation: Annotation, genes: pd.DataFrame) -> Finding:
    title = "Clusters in use"
    n_used = len(annotation.clusters)
    n_basis = annotation.basis.shape[1]
    text = f"{n_used} of {n_basis} basis functions have genes"
    if annotation.clusters == [Annotation.FLAT]:
        return Finding(
            "warning",
            title,
            "All genes are flat: no course along the order of the cells was found.",
            "Check that the cells lie along a process, model variable genes, or start from a "
            "known order (init= a column of obs).",
        )
    if n_used == n_basis:
        advice = f"Leave room to choose: n_basis={2 * n_basis}. Unused ones cost nothing."
        return Finding("warning", title, f"{text}: all that there are.", advice)
    size = genes["cluster"].astype(str).value_counts()
    small = int((size < 3).sum())
    if small:
        return Finding(
            "note",
            title,
            f"{text}; {small} {plural(small, 'cluster')} of these "
            f"{'holds' if small == 1 else 'hold'} one or two genes.",
            "Read small clusters as outliers. A shape_deviation above the one that was learned "
            "or a larger assignment_weight merges similar clusters.",
        )
    return Finding("ok", title, f"{text}; the smallest cluster has {size.min():,} genes.")


def _flat_genes(genes: pd.DataFrame) -> Finding:
    is_flat = (genes["cluster"].astype(str) == Annotation.FLAT).to_numpy()
    share = is_flat.mean()
    nearly = ((genes["shape"] == "flat").to_numpy() & ~is_flat).mean()
    text = f"{percent(share)} of {len(genes):,} genes do not change along the process"
    if nearly:
        text += f", and {percent(nearly)} are in clusters that change by a fifth at most"
    if "dynamic" in genes:
        n_dynamic = int(genes["dynamic"].sum())
        text += f"; {n_dynamic:,} change at a false discovery rate of 5 %"
    if 0.95 < share < 1.0:
        advice = "Few genes carry the order: check it against known markers in the figures."
        return Finding("note", "Flat genes", f"{text}.", advice)
    return Finding("ok", "Flat genes", f"{text}.")


def _confidence(genes: pd.DataFrame) -> Finding:
    title = "Confidence of the clusters"
    share = (genes["confidence"] >= CONFIDENT).mean()
    text = f"{percent(share)} of the genes have a probability of {CONFIDENT:g} or more"
    if share >= _MANY_CONFIDENT:
        return Finding("ok", title, f"{text} for their cluster.")
    advice = (
        "Use the probabilities, not only the labels: genes below it lie between clusters. More "
        "cells make clusters clearer."
    )
    level = "warning" if share < _FEW_CONFIDENT else "note"
    return Finding(level, title, f"{text} for their cluster.", advice)


def _shifts(annotation: Annotation, genes: pd.DataFrame) -> Finding:
    title = "Shifts"
    if not annotation.parameter("translation_invariant"):
        return Finding(
            "ok",
            title,
            "Not part of this model: all genes of a cluster change at the same time.",
            "Fit with translation_invariant=True to see which genes are earlier than others.",
        )
    moving = genes[genes["cluster"].astype(str) != Annotation.FLAT]
    if "identified" not in genes:
        return Finding(
            "note",
            title,
            "Not known: the results hold no intervals of the shifts.",
            "Annotate again with intervals=True before shifts of single genes are used.",
        )
    known = moving["identified"].dropna()
    if not len(known):
        return Finding("ok", title, "No gene changes, so there are no shifts to tell.")
    share = known.mean()
    text = f"The data tell the shift of {percent(share)} of {len(known):,} changing genes"
    if len(known) < len(moving):
        text += f"; {len(moving) - len(known):,} others were not looked at"
    text += "."
    if share < _FEW_IDENTIFIED:
        advice = (
            "Use only shifts that are marked as identified. The others peak outside the observed "
            "range, or follow a course in which a shift looks like a scale."
        )
        return Finding("note", title, text, advice)
    return Finding("ok", title, text)
