"""The figures of the report: drawn by :mod:`basisvae_scvi.pl`, kept as PNG inside the page."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from anndata import AnnData
from matplotlib import pyplot as plt

from basisvae_scvi.get import Annotation

from ._plans import Plan, plan_figures

_DPI = 150


@dataclass(frozen=True)
class Figure:
    """A figure on the page, or the reason why there is none.

    Attributes
    ----------
    name
        Anchor.
    title
        Heading.
    caption
        How to read it.
    alt
        What it shows, for those who do not see it.
    image
        ``data:`` address of the PNG; empty if the figure could not be drawn.
    width, height
        Size on the page in pixels.
    missing
        Why it could not be drawn, with the cure.
    """

    name: str
    title: str
    caption: str
    alt: str
    image: str = ""
    width: int = 0
    height: int = 0
    missing: str = ""


def draw_figures(
    adata: AnnData,
    annotation: Annotation,
    genes: pd.DataFrame,
    clusters: pd.DataFrame,
    *,
    shown_genes: Sequence[str] | None = None,
    colors: Sequence[str] = (),
) -> list[Figure]:
    """Draw every figure that the results allow.

    Parameters
    ----------
    adata
        Annotated data.
    annotation
        Its results.
    genes, clusters
        Tables of the genes and of the clusters.
    shown_genes
        Genes whose courses are shown; by default the leading one of each cluster.
    colors
        Columns of ``.obs`` to show z against.
    """
    plans = plan_figures(
        adata, annotation, genes, clusters, shown_genes=shown_genes, colors=colors
    )
    # Whatever style the user has set, the same results give the same picture; and a name with
    # dollar signs is a name, not mathematics.
    style = ["default", {"text.parse_math": False}]
    with plt.style.context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        return [_realise(plan) for plan in plans]


def _realise(plan: Plan) -> Figure:
    before = set(plt.get_fignums())
    words = (plan.name, plan.title, plan.caption, plan.alt)
    try:
        figure = _figure(plan.draw())
        image, (width, height) = _encode(figure, plan.pixels_per_inch)
        return Figure(*words, image, width, height)
    except (KeyError, ValueError) as error:
        # Our plots name what is missing and the cure.
        return Figure(*words, missing=str(error.args[0] if error.args else error))
    finally:
        for number in set(plt.get_fignums()) - before:
            plt.close(number)


def _figure(axes):
    first = next(iter(axes.values())) if isinstance(axes, dict) else np.ravel(axes)[0]
    return first.get_figure()


def _encode(figure, pixels_per_inch: int) -> tuple[str, tuple[int, int]]:
    """Address of a PNG, and its size on the page."""
    file = io.BytesIO()
    # Without the version of matplotlib, which would be written into it.
    figure.savefig(
        file, dpi=_DPI, bbox_inches="tight", facecolor="white", metadata={"Software": None}
    )
    encoded = base64.b64encode(file.getvalue()).decode("ascii")
    height, width = plt.imread(io.BytesIO(file.getvalue())).shape[:2]
    on_page = tuple(round(side * pixels_per_inch / _DPI) for side in (width, height))
    return f"data:image/png;base64,{encoded}", on_page
