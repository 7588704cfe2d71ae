"""Raw counts: what is none, and where else in an AnnData there are some."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from anndata import AnnData

from ._matrices import BLOCK_ROWS, iter_rows, read_rows, stored_values

# Logs of counts stay below it; counts that are divided by something seldom do.
_MAX_LOG = 30.0


class NotCounts(ValueError):
    """A matrix that holds no counts, under a likelihood for counts.

    Attributes
    ----------
    problem
        What is the matter with the matrix.
    cure
        What to do about it.
    """

    def __init__(self, problem: str, cure: str):
        super().__init__(f"{problem} {cure}")
        self.problem, self.cure = problem, cure


def describe_look(smallest: float, largest: float, *, is_whole: bool) -> str:
    """What values look like, in a word or two; empty for counts."""
    if not np.isfinite([smallest, largest]).all():
        return "not finite"
    if smallest < 0:
        return "scaled"
    if is_whole:
        return ""
    return "log-normalised" if largest < _MAX_LOG else "normalised or corrected"


def check_counts(
    matrix, location: str, *, allow_non_integer: bool = False, cure: str | None = None
) -> None:
    """Raise NotCounts unless the matrix holds raw counts: non-negative whole numbers.

    All entries are read. A log-normalised matrix is the usual mistake and is named as such.
    ``cure`` says what to do where the likelihood has been chosen already.
    """
    largest = 0.0
    is_integer = True
    for _, block in iter_rows(matrix):
        values = stored_values(block)
        if values.size == 0:
            continue
        if values.min() < 0:
            raise NotCounts(
                f"{location} contains negative values, but the likelihood is one for counts.",
                cure or "Name the raw counts with layer=..., or use gene_likelihood='gaussian'.",
            )
        largest = max(largest, float(values.max()))
        is_integer = is_integer and bool((values == np.rint(values)).all())
    if is_integer or allow_non_integer:
        return
    look = describe_look(0.0, largest, is_whole=False)
    raise NotCounts(
        f"{location} contains non-integer values (it looks {look}), but the likelihood is one for "
        "counts.",
        cure
        or "Name the raw counts with layer=..., use gene_likelihood='gaussian', or pass "
        "allow_non_integer=True if fractional counts are meant.",
    )


def _may_be_counts(matrix) -> bool:
    """Whether the first cells have counts, and nothing else."""
    block = read_rows(matrix, slice(0, BLOCK_ROWS))
    try:
        check_counts(block, "")
    except NotCounts:
        return False
    return bool(np.isfinite(stored_values(block)).all() and stored_values(block).any())


def layers_of_counts(adata: AnnData) -> list[str]:
    """Names of the layers that hold counts."""
    # anndata 0.13 lists X among the layers, under the name None.
    return [n for n in adata.layers if n is not None and _may_be_counts(adata.layers[n])]


def has_raw_counts(adata: AnnData) -> bool:
    """Whether ``adata.raw`` holds counts."""
    return adata.raw is not None and _may_be_counts(adata.raw.X)


def where_counts_are(adata: AnnData, but: str | None = None) -> str:
    """Where there are counts, beside a layer, and how to take them in Python; else nothing."""
    if names := [name for name in layers_of_counts(adata) if name != but]:
        return f" There are counts in adata.layers[{names[0]!r}]: pass layer={names[0]!r}."
    if not has_raw_counts(adata):
        return ""
    if not (adata.raw.var_names.is_unique and adata.var_names.isin(adata.raw.var_names).all()):
        return " There are counts in adata.raw: use adata = adata.raw.to_adata()."
    name = "counts" if "counts" not in adata.layers else "counts_of_raw"
    return (
        f" There are counts in adata.raw: adata.layers[{name!r}] = "
        f"adata.raw[:, adata.var_names].X, then pass layer={name!r}."
    )


@contextmanager
def pointing_to_counts(adata: AnnData, layer: str | None) -> Iterator[None]:
    """Let NotCounts of a layer, or of X, say where else in ``adata`` there are counts."""
    try:
        yield
    except NotCounts as error:
        if " There are counts in " in str(error):  # of an AnnData within
            raise
        raise NotCounts(error.problem, f"{error.cure}{where_counts_are(adata, layer)}") from error
