"""Over-representation against the hypergeometric distribution."""

import socket
import sys

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy.stats import false_discovery_control, hypergeom

from basisvae_scvi import tl

pytest.importorskip("gseapy")

NAMES = [f"Gene{j}" for j in range(200)]


@pytest.fixture
def hand(hand):
    """200 modelled genes in three clusters, and ten that were not."""
    cluster = ["0"] * 100 + ["1"] * 60 + ["2"] * 40 + [None] * 10
    var = pd.DataFrame(
        {
            "basisvae_cluster": pd.Categorical(cluster),
            "basisvae_confidence": np.r_[np.full(150, 1.0), np.full(50, 0.4), np.full(10, np.nan)],
            "basisvae_gene_shift": np.where(np.arange(210) < 200, 0.0, np.nan),
            "basisvae_gene_scale": np.where(np.arange(210) < 200, 1.0, np.nan),
        },
        index=[*NAMES, *(f"other{j}" for j in range(10))],
    )
    return AnnData(np.ones((5, 210), np.float32), var=var, obsm=dict(hand.obsm), uns=hand.uns)


SETS = {
    "mostly 1": [*NAMES[110:125], *NAMES[:5], "other1", "unknown"],
    "mostly 2": NAMES[155:180],
    "small": NAMES[:3],
}


def test_p_values_are_those_of_the_hypergeometric_distribution(hand):
    table = tl.enrich(hand, SETS).set_index(["cluster", "term"])
    assert set(table.index) == {
        ("0", "mostly 1"),
        ("1", "mostly 1"),
        ("1", "mostly 2"),
        ("2", "mostly 2"),
    }
    row = table.loc["1", "mostly 1"]
    assert (row["n_overlap"], row["n_set"], row["n_cluster"]) == (15, 20, 60)
    assert row["p_value"] == pytest.approx(hypergeom.sf(14, 200, 20, 60))
    assert row["genes"] == ", ".join(sorted(NAMES[110:125]))
    # Three clusters times two sets were tested; two pairs share no gene.
    expected = false_discovery_control([*table["p_value"], 1.0, 1.0])[:4]
    np.testing.assert_allclose(table["p_adjusted"], expected)


def test_nothing_is_asked_of_the_network(hand, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    assert len(tl.enrich(hand, SETS)) == 4


def test_a_gmt_file_says_the_same(hand, tmp_path):
    path = tmp_path / "sets.gmt"
    lines = ["\t".join([name, "no description", *genes]) for name, genes in SETS.items()]
    path.write_text("\n".join(lines) + "\n\n")
    pd.testing.assert_frame_equal(tl.enrich(hand, path), tl.enrich(hand, SETS))
    path.write_text("one\ttwo\n")
    with pytest.raises(ValueError, match="line 1: a GMT file"):
        tl.enrich(hand, str(path))


def test_background_clusters_sizes_and_confidence_can_be_chosen(hand):
    of_all = tl.enrich(hand, SETS, clusters="1", background=hand.var_names)
    row = of_all[of_all["term"] == "mostly 1"].iloc[0]
    assert row["n_set"] == 21
    assert row["p_value"] == pytest.approx(hypergeom.sf(14, 210, 21, 60))
    assert set(tl.enrich(hand, SETS, min_size=2)["term"]) == set(SETS)
    sure = tl.enrich(hand, SETS, min_confidence=0.5)
    assert "2" not in set(sure["cluster"])
    assert set(sure.loc[sure["cluster"] == "1", "n_cluster"]) == {50}


def test_sets_that_meet_no_cluster_leave_an_empty_table(hand):
    table = tl.enrich(hand, {"flat": NAMES[:10]}, clusters="2", key_added="enriched")
    assert len(table) == 0
    assert "p_adjusted" in table
    assert "enriched" in hand.uns


def test_errors_name_the_cure(hand, monkeypatch):
    with pytest.raises(ValueError, match=r"None of the 1 gene sets.*GENE1.*same kind of names"):
        tl.enrich(hand, {"upper": [name.upper() for name in NAMES[:20]]})
    with pytest.raises(ValueError, match="gene_sets is empty"):
        tl.enrich(hand, {})
    with pytest.raises(KeyError, match="no genes in 9"):
        tl.enrich(hand, SETS, clusters=["9"])
    monkeypatch.setitem(sys.modules, "gseapy", None)
    with pytest.raises(ImportError, match=r"pip install \"basisvae-scvi\[enrich\]\""):
        tl.enrich(hand, SETS)
