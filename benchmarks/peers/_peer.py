"""What every rival is given and what it hands back.

A rival is a module with three functions. ``load()`` imports what the rival needs, and raises
:class:`Unavailable` where that cannot be done; ``warm()`` runs what is compiled on first use, so
that this is no part of the time of a fit; ``group(problem, n_groups, seed)`` returns a
:class:`Grouping`. ``n_groups=None`` leaves the number of groups to the rival.
"""

from __future__ import annotations

import importlib
from typing import NamedTuple

import numpy as np
from anndata import AnnData


class Unavailable(Exception):
    """A rival cannot run here; the message says why."""


class Problem(NamedTuple):
    """Genes to group.

    Attributes
    ----------
    adata
        Cells × genes; X holds raw counts, or real values for ``likelihood="gaussian"``.
    pseudotime
        Position of every cell between 0, at the root, and 1.
    likelihood
        ``"nb"``, ``"zinb"`` or ``"gaussian"``; only models of counts need to know.
    has_shifts
        Whether genes that differ by a shift alone belong together.
    n_basis
        Number of basis functions of either BasisVAE.
    original, original_epochs
        Checkout of the authors' code and epochs to train it for, for the rival that runs it.
    """

    adata: AnnData
    pseudotime: np.ndarray
    likelihood: str
    has_shifts: bool
    n_basis: int
    original: str | None = None
    original_epochs: int = 100


class Grouping(NamedTuple):
    """Group of every gene and, where the rival has one, its shift.

    Shifts have any unit and origin; a gene with a larger one runs earlier.
    """

    labels: np.ndarray
    shifts: np.ndarray | None = None


class Peer(NamedTuple):
    """Where a rival is written, and whether it is told the true number of groups."""

    module: str
    is_told: bool = False


PEERS = {
    "BasisVAE": Peer("_basisvae"),
    "Palantir": Peer("_palantir"),
    "Palantir, true K": Peer("_palantir", True),
    "scFates": Peer("_scfates"),
    "scFates, true K": Peer("_scfates", True),
    "soft-DTW": Peer("_softdtw"),
    "soft-DTW, true K": Peer("_softdtw", True),
    "k-means": Peer("_kmeans"),
    "k-means, true K": Peer("_kmeans", True),
    "lagged correlation": Peer("_lagged"),
    "lagged correlation, true K": Peer("_lagged", True),
    "LPWC": Peer("_lpwc"),
    "LPWC, true K": Peer("_lpwc", True),
    "original": Peer("_original"),
}


def need(*packages: str) -> None:
    """Import packages, or raise :class:`Unavailable`."""
    for package in packages:
        try:
            importlib.import_module(package)
        except Exception as error:  # a broken installation may raise anything
            raise Unavailable(f"cannot import {package}: {error}") from error


def warm_neighbors() -> None:
    """Compile scanpy's graph of neighbours, which takes longer than its use."""
    import scanpy as sc

    few = AnnData(np.random.default_rng(0).standard_normal((30, 5)).astype(np.float32))
    sc.pp.neighbors(few, n_neighbors=5, use_rep="X")


def warm_nothing() -> None:
    """For a rival that compiles nothing."""
