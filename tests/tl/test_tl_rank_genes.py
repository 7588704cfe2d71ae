"""Genes of a cluster in order."""

import anndata as ad
import pandas as pd
import pytest

from basisvae_scvi import get, tl


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("confidence", ["late", "early", "open"]),
        ("scale", ["open", "late", "early"]),
        ("shift", ["early", "late", "open"]),
        ("stability", ["early", "open", "late"]),
    ],
)
def test_genes_are_ranked_by(hand, by, expected):
    table = tl.rank_genes_in_cluster(hand, "1", by=by)
    assert table["gene"].tolist() == expected
    assert table["rank"].tolist() == [1, 2, 3]
    assert set(table["cluster"]) == {"1"}


def test_all_clusters_and_a_number_of_genes(hand):
    table = tl.rank_genes_in_cluster(hand, n_genes=1)
    assert table[["cluster", "gene", "rank"]].to_numpy().tolist() == [
        ["0", "flat_b", 1],
        ["1", "late", 1],
        ["2", "other", 1],
    ]
    expected = get.genes(hand).loc[table["gene"], ["scale", "peak"]]
    pd.testing.assert_frame_equal(
        table.set_index("gene")[["scale", "peak"]], expected, check_names=False
    )


def test_only_dynamic_genes(hand):
    table = tl.rank_genes_in_cluster(hand, only_dynamic=True)
    assert table["gene"].tolist() == ["late", "early", "other"]


def test_a_table_in_uns_survives_storage(hand, tmp_path):
    table = tl.rank_genes_in_cluster(hand, key_added="ranks")
    hand.write_h5ad(tmp_path / "a.h5ad")
    back = ad.read_h5ad(tmp_path / "a.h5ad").uns["ranks"]
    assert back["gene"].tolist() == table["gene"].tolist()
    assert back["rank"].tolist() == table["rank"].tolist()


def test_wrong_arguments_are_named(hand):
    with pytest.raises(ValueError, match="by='size'"):
        tl.rank_genes_in_cluster(hand, by="size")
    with pytest.raises(KeyError, match="no genes in 7; clusters with genes are 0, 1, 2"):
        tl.rank_genes_in_cluster(hand, ["7"])
    with pytest.raises(ValueError, match="n_genes=0"):
        tl.rank_genes_in_cluster(hand, n_genes=0)
    del hand.var["basisvae_stability"]
    with pytest.raises(KeyError, match=r"stability.*n_restarts=2"):
        tl.rank_genes_in_cluster(hand, by="stability")


@pytest.mark.parametrize("key_added", ["a/b", "", "mine", "basisvae"])
def test_a_table_replaces_no_other_thing(hand, key_added):
    hand.uns["mine"] = {"params": 1}
    before = hand.uns.get(key_added)
    with pytest.raises(ValueError, match=f"key_added='{key_added}'"):
        tl.rank_genes_in_cluster(hand, key_added=key_added)
    with pytest.raises(ValueError, match=f"key_added='{key_added}'"):
        tl.enrich(hand, {"all": list(hand.var_names)}, key_added=key_added)
    assert hand.uns.get(key_added) is before
