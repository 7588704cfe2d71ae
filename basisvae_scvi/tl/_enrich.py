"""Gene sets that are frequent in a cluster."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.stats import false_discovery_control

from basisvae_scvi.data import DEFAULT_KEY, check_table_key, shortened
from basisvae_scvi.get import Annotation

_FOUND = {
    "Term": "term",
    "P-value": "p_value",
    "Odds Ratio": "odds_ratio",
    "Genes": "genes",
}


def enrich(
    adata: AnnData,
    gene_sets: Mapping[str, Iterable[str]] | str | Path,
    *,
    clusters: Sequence[str] | str | None = None,
    background: Sequence[str] | None = None,
    min_size: int = 5,
    max_size: int = 500,
    min_confidence: float = 0.0,
    key: str = DEFAULT_KEY,
    key_added: str | None = None,
) -> pd.DataFrame:
    """Test which gene sets are over-represented in the clusters.

    Hypergeometric test by :func:`gseapy.enrich`, without any access to the network. The
    background are the modelled genes: with only variable genes modelled, a set is then not called
    enriched because variable genes are.

    Parameters
    ----------
    adata
        Data annotated by ``model.annotate(adata)``.
    gene_sets
        Names of genes, as in ``adata.var_names``, by name of the set; or path of a GMT file, e.g.
        from MSigDB or Enrichr.
    clusters
        Clusters to test; by default all in use, the flat one included.
    background
        Genes that could have been found; by default all modelled genes. Genes that were not
        modelled count as members of no cluster.
    min_size, max_size
        Sets with fewer or more genes in the background are left out.
    min_confidence
        Genes with a smaller probability of their cluster count for the background only.
    key
        The ``key_added`` of the annotation.
    key_added
        If given, also write the table to ``adata.uns[key_added]``.

    Returns
    -------
    Data frame of all cluster–set pairs with a gene in common, by cluster and p-value:
    ``cluster``, ``term``, ``n_overlap``, ``n_set`` (in the background), ``n_cluster``,
    ``odds_ratio``, ``p_value``, ``p_adjusted`` (Benjamini–Hochberg over all tests, those without a
    gene in common included) and ``genes`` (joined by ``", "``).

    Raises
    ------
    ImportError
        Without gseapy: ``pip install "basisvae-scvi[enrich]"``.
    KeyError
        If the annotation or a cluster is missing.
    ValueError
        If no set has enough genes in the background, or ``key_added`` is no name or has another
        thing under it.

    Examples
    --------
    >>> import basisvae_scvi as bv
    >>> sets = {"first ten": [f"gene{j}" for j in range(10)]}
    >>> table = bv.tl.enrich(annotated, sets)
    >>> list(table.columns)[:4]
    ['cluster', 'term', 'n_overlap', 'n_set']
    """
    check_table_key(adata, key_added, ("cluster", "term", "p_adjusted"))
    enrich_one = _import_gseapy()
    annotation = Annotation.of(adata, key=key)
    names = pd.Index(annotation.genes.index if background is None else background).astype(str)
    names = names.unique()
    kept = _sets_in_background(read_gene_sets(gene_sets), names, min_size, max_size)
    genes = annotation.genes[annotation.genes["confidence"] >= min_confidence]
    genes = genes[genes.index.astype(str).isin(names)]
    tables = []
    for cluster in _choose(annotation, clusters):
        members = genes.index[genes["cluster"] == cluster].astype(str)
        if len(members):
            tables.append(_test(enrich_one, cluster, members, kept, names))
    table = pd.concat(tables, ignore_index=True) if tables else _empty()
    # Pairs without a gene in common have p = 1 and are not listed, but they were tested.
    p_values = np.ones(max(len(tables) * len(kept), len(table)))
    p_values[: len(table)] = table["p_value"]
    table.insert(7, "p_adjusted", false_discovery_control(p_values)[: len(table)])
    if key_added is not None:
        adata.uns[key_added] = table.set_axis(table.index.astype(str))
    return table


def read_gene_sets(gene_sets: Mapping[str, Iterable[str]] | str | Path) -> dict[str, list[str]]:
    """Gene sets by name, from a mapping or a GMT file (name, description, genes; tabs between).

    Raises
    ------
    ValueError
        If there is none, or a line of the file has no genes.
    """
    if isinstance(gene_sets, Mapping):
        found = {str(name): [str(gene) for gene in genes] for name, genes in gene_sets.items()}
    else:
        found = {}
        lines = Path(gene_sets).read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, start=1):
            name, *rest = line.split("\t")
            if not line.strip():
                continue
            if len(rest) < 2:
                raise ValueError(
                    f"{gene_sets}, line {number}: a GMT file has a name, a description and genes "
                    "in each line, with tabs between them."
                )
            found[name] = [gene.strip() for gene in rest[1:] if gene.strip()]
    if not found:
        raise ValueError("gene_sets is empty; pass names of genes by name of the set.")
    return found


def _import_gseapy():
    try:
        from gseapy import enrich
    except ImportError as error:
        raise ImportError(
            'Enrichment takes gseapy: pip install "basisvae-scvi[enrich]".'
        ) from error
    return enrich


def _sets_in_background(
    gene_sets: dict[str, list[str]], names: pd.Index, min_size: int, max_size: int
) -> dict[str, list[str]]:
    known = set(names)
    within = {name: sorted(known.intersection(genes)) for name, genes in gene_sets.items()}
    kept = {name: genes for name, genes in within.items() if min_size <= len(genes) <= max_size}
    if not kept:
        some = next((genes for genes in gene_sets.values() if genes), [])
        raise ValueError(
            f"None of the {len(gene_sets)} gene sets has {min_size} to {max_size} of the "
            f"{len(names)} background genes. Sets name genes like {shortened(some)}, the data "
            f"like {shortened(names)}: use the same kind of names, or change min_size."
        )
    return kept


def _choose(annotation: Annotation, clusters: Sequence[str] | str | None) -> list[str]:
    if clusters is None:
        return annotation.clusters
    chosen = [clusters] if isinstance(clusters, str) else [str(c) for c in clusters]
    missing = [c for c in chosen if c not in annotation.clusters]
    if missing or not chosen:
        raise KeyError(
            f"clusters={chosen}: no genes in {', '.join(missing) or 'an empty list'}; clusters "
            f"with genes are {', '.join(annotation.clusters)}."
        )
    return chosen


def _test(
    enrich_one, cluster: str, members: pd.Index, kept: dict[str, list[str]], names: pd.Index
) -> pd.DataFrame:
    """Sets that share a gene with one cluster, by p-value."""
    if not any(set(genes) & set(members) for genes in kept.values()):
        return _empty()
    found = enrich_one(
        gene_list=list(members),
        gene_sets=kept,
        background=list(names),
        outdir=None,
        no_plot=True,
        cutoff=1.0,
    ).results
    table = found[list(_FOUND)].rename(columns=_FOUND)
    shared = table.pop("genes").str.split(";").map(sorted)
    table.insert(0, "cluster", cluster)
    table.insert(2, "n_overlap", shared.map(len))
    table.insert(3, "n_set", table["term"].map(lambda term: len(kept[term])))
    table.insert(4, "n_cluster", len(members))
    table["genes"] = shared.map(", ".join)
    table = table[list(_empty().columns)].astype({"p_value": float, "odds_ratio": float})
    return table.sort_values(["p_value", "term"], kind="stable", ignore_index=True)


def _empty() -> pd.DataFrame:
    columns = ["cluster", "term", "n_overlap", "n_set", "n_cluster", "odds_ratio", "p_value"]
    return pd.DataFrame({name: [] for name in [*columns, "genes"]})
