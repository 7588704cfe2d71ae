"""Unbranched lines of real cells: which cells, which genes, what is known of their order."""

from __future__ import annotations

import argparse
import inspect
import warnings
from collections.abc import Iterator
from typing import NamedTuple

import anndata as ad
import numpy as np
import scanpy as sc
from scipy.stats import norm, rankdata

from basisvae_scvi import BasisVAE

MIN_CELLS = 10


class Line(NamedTuple):
    """A line of cells, and the column of ``.obs`` that tells their order.

    Attributes
    ----------
    sample
        ``"marrow"`` (Setty et al. 2019) or ``"worm"`` (amphid neurons, Packer et al. 2019).
    order
        Slingshot's pseudotime, a reference and not truth (NaN off the lineage), or minutes of
        the embryo.
    cell_types
        Values of ``.obs["cell.type"]`` that belong to the line; where there are none, all cells
        that have an order.
    """

    sample: str
    order: str
    cell_types: tuple[str, ...] = ()


LINES = {
    "ery": Line("marrow", "slingshot_pt_ery"),
    "mono": Line("marrow", "slingshot_pt_mono"),
    "ADL": Line("worm", "raw.embryo.time", ("ADL_parent", "ADL")),
    "ASG": Line("worm", "raw.embryo.time", ("Neuroblast_ASG_AWA", "ASG_AWA", "ASG")),
    "AWC": Line("worm", "raw.embryo.time", ("AWC", "AWC_ON")),
    "AWB": Line("worm", "raw.embryo.time", ("AWB",)),
}


def normal_scores(values: np.ndarray) -> np.ndarray:
    """Ranks as quantiles of N(0, 1)."""
    return norm.ppf((rankdata(values) - 0.5) / len(values))


def load_line(path: str, name: str, n_genes: int) -> ad.AnnData:
    """Cells of a line and their variable genes.

    ``obs`` has ``size_factor`` (of all genes), ``reference`` (the known order) and ``given_z``,
    its normal scores.
    """
    line = LINES[name]
    adata = ad.read_h5ad(path)
    is_on_it = adata.obs[line.order].notna()
    if line.cell_types:
        is_on_it &= adata.obs["cell.type"].astype(str).isin(line.cell_types)
    adata = adata[is_on_it].copy()
    total = np.asarray(adata.X.sum(axis=1)).ravel()
    adata.obs["size_factor"] = total / np.median(total)
    adata.obs["reference"] = adata.obs[line.order].astype(float)
    adata.obs["given_z"] = normal_scores(adata.obs["reference"])
    sc.pp.filter_genes(adata, min_cells=MIN_CELLS)
    sc.pp.highly_variable_genes(adata, n_top_genes=n_genes, flavor="seurat_v3")
    return adata[:, adata.var["highly_variable"]].copy()


def add_line_arguments(parser: argparse.ArgumentParser, default: list[str]) -> None:
    """Files and lines, as options; lines of the samples that the default ones come from."""
    samples = {LINES[name].sample for name in default}
    choices = [name for name, line in LINES.items() if line.sample in samples]
    for sample in sorted(samples):
        names = ", ".join(name for name in choices if LINES[name].sample == sample)
        parser.add_argument(f"--{sample}", help=f"file of the {sample} sample, for {names}")
    parser.add_argument("--lines", nargs="+", choices=choices, default=default)


def given_lines(arguments: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """Lines asked for with their file; those without one are named and left out."""
    for line in arguments.lines:
        path = getattr(arguments, LINES[line].sample)
        if path is None:
            print(f"SKIPPED {line}: no file given with --{LINES[line].sample}", flush=True)
        else:
            yield line, path


def fit(
    adata: ad.AnnData,
    *,
    is_given: bool = False,
    batch_key: str | None = None,
    max_epochs: int | None = None,
    seed: int = 0,
    **arguments,
) -> BasisVAE:
    """Train on a line, with ``given_z`` observed or z learned; ``arguments`` of the model."""
    BasisVAE.setup_anndata(
        adata,
        batch_key=batch_key,
        size_factor_key="size_factor",
        latent_key="given_z" if is_given else None,
    )
    model = BasisVAE(adata, **arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.train(max_epochs=max_epochs, seed=seed, accelerator="cpu", enable_progress_bar=False)
    return model


def has_own_courses(model: BasisVAE) -> bool:
    """Whether genes of this version of the package stray from the curve of their group."""
    return "own_course" in inspect.signature(model.get_gene_trends).parameters
