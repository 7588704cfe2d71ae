"""The matrix that ``--layer`` names, and what to say where it holds no counts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from anndata import AnnData

from basisvae_scvi.data import (
    NotCounts,
    describe_location,
    has_raw_counts,
    layers_of_counts,
    plain_matrix,
)

from ._errors import CommandError, list_some

RAW = "raw"


def take_raw(adata: AnnData, layer: str | None, *, backed: bool = False) -> None:
    """Make the counts of ``raw`` a layer, where ``raw`` is asked for and no layer is called so.

    The layer stays in the output, where figures and reports look for what was modelled.
    """
    if layer != RAW or RAW in adata.layers:
        return
    if backed:
        raise CommandError(
            "--layer raw: there is no such layer, and raw is read without --backed."
        )
    if adata.raw is None:
        return
    missing = adata.var_names.difference(adata.raw.var_names, sort=False)
    if len(missing) or not adata.raw.var_names.is_unique:
        raise CommandError(
            f"--layer raw: raw lacks {len(missing)} of the {adata.n_vars} genes of X "
            f"({list_some(missing, 5)}), or names some twice. Write it to a file of its own: "
            "adata.raw.to_adata().write_h5ad(...)."
        )
    adata.layers[RAW] = adata.raw[:, adata.var_names].X


def chosen_matrix(adata: AnnData, layer: str | None, *, whose: str = "--layer"):
    """The matrix in a form that can be read.

    Raises
    ------
    CommandError
        If it is not there.
    """
    layers = [name for name in adata.layers if name is not None]
    if layer is not None and layer not in layers:
        raise CommandError(
            f"{whose} {layer!r} is not in layers; there are: {list_some(layers)}. "
            "Name the matrix with --layer, or leave it out to use X."
        )
    if layer is None and adata.X is None:
        raise CommandError(
            f"X is empty; name a matrix with --layer: {list_some(layers)}.{_places(adata, None)}"
        )
    return plain_matrix(
        adata.X if layer is None else adata.layers[layer], describe_location(layer)
    )


@contextmanager
def counts_wanted(
    adata: AnnData, layer: str | None, *, is_settled: bool = False
) -> Iterator[None]:
    """Let NotCounts say in the words of the shell what to do, and where there are counts.

    ``is_settled`` says that the likelihood is that of a saved model.
    """
    try:
        yield
    except NotCounts as error:
        others = (
            "."
            if is_settled
            else ", or use --likelihood gaussian, or --allow-non-integer for fractions that are "
            "meant."
        )
        raise CommandError(
            f"{error.problem} Name the raw counts with --layer{others}{_places(adata, layer)}"
        ) from error


def _places(adata: AnnData, layer: str | None) -> str:
    names = [name for name in layers_of_counts(adata) if name != layer]
    if not names and layer != RAW and has_raw_counts(adata):
        names = [RAW]
    return f" There are counts in {names[0]}: --layer {names[0]}." if names else ""
