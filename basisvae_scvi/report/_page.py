"""From results to the text of the page. Names of genes and columns are never trusted."""

from __future__ import annotations

import base64
import hashlib
import json
from importlib.resources import files

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from basisvae_scvi._version import __version__
from basisvae_scvi.get import Annotation

from ._figures import Figure
from ._finding import Finding
from ._trust import CONFIDENT

_SCRIPTS = ("courses.js", "table.js", "page.js")
# A name such as "</script>" must not end the block of data, whatever reads it.
_ESCAPED = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}


def to_json(data) -> str:
    r"""JSON without blanks that is safe inside a ``script`` element.

    Examples
    --------
    >>> to_json(["</script>"])
    '["\\u003c/script\\u003e"]'
    """
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.translate(_ESCAPED)


def render(
    *,
    title: str,
    annotation: Annotation,
    n_cells: int,
    genes: pd.DataFrame,
    clusters: pd.DataFrame,
    findings: list[Finding],
    figures: list[Figure],
    run: dict[str, list[tuple[str, str]]],
    data: dict,
) -> str:
    """Fill the template.

    Parameters
    ----------
    title
        Heading.
    annotation
        Results.
    n_cells
        All cells of the file.
    genes, clusters
        Tables of the genes and of the clusters.
    findings
        Answers to "can it be trusted?".
    figures
        Figures, or the reasons why they are missing.
    run
        What was run, by heading.
    data
        What the table draws from.
    """
    environment = Environment(
        loader=PackageLoader("basisvae_scvi.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = "\n".join(_source(name) for name in _SCRIPTS)
    return environment.get_template("page.html.j2").render(
        title=title,
        version=__version__,
        style=_source("page.css"),
        script=script,
        script_hash=_hash(script),
        data=to_json(data),
        tiles=_tiles(annotation, n_cells, genes, clusters),
        n_genes=len(genes),
        clusters=clusters.assign(label=clusters.index).to_dict("records"),
        has_stability="stability" in clusters,
        findings=findings,
        n_warnings=sum(finding.level == "warning" for finding in findings),
        n_notes=sum(finding.level == "note" for finding in findings),
        figures=figures,
        run=run,
        is_number=lambda value: value is not None and np.isfinite(value),
    )


def _source(name: str) -> str:
    return (files("basisvae_scvi.report") / "page" / name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    """Of the only script that the page may run."""
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def _tiles(
    annotation: Annotation, n_cells: int, genes: pd.DataFrame, clusters: pd.DataFrame
) -> list[tuple[str, str]]:
    """The figures at the top: value and what it counts."""
    is_flat = (genes["cluster"].astype(str) == Annotation.FLAT).to_numpy()
    known = int(np.isfinite(annotation.latent).all(axis=1).sum())
    tiles = [
        (f"{known:,}", "cells ordered" if known == n_cells else f"of {n_cells:,} cells ordered"),
        (f"{len(genes):,}", "genes"),
        (f"{int((clusters.index != Annotation.FLAT).sum())}", "clusters of changing genes"),
        (_percent(is_flat.mean()), "of genes flat"),
        (
            _percent((genes["confidence"] >= CONFIDENT).mean()),
            f"sure of their cluster (≥ {CONFIDENT})",
        ),
    ]
    if "identified" in genes and annotation.parameter("translation_invariant"):
        share = genes.loc[~is_flat, "identified"].mean() if (~is_flat).any() else 0.0
        tiles.append((_percent(share), "of shifts identified"))
    return tiles


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
