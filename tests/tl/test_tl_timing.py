"""P(δ_a > δ_b) from means and standard deviations."""

import numpy as np
import pytest
from scipy.stats import norm

from basisvae_scvi import tl


def test_probability_is_that_of_the_difference_of_two_normals(hand):
    row = tl.timing(hand, "early", "late").iloc[0]
    assert (row["gene_a"], row["gene_b"], row["cluster_a"]) == ("early", "late", "1")
    assert row["difference"] == pytest.approx(0.8)
    assert row["difference_sd"] == pytest.approx(np.sqrt(0.05))
    assert row["probability"] == pytest.approx(norm(0.8, np.sqrt(0.05)).sf(0))
    assert row["reason"] == ""
    back = tl.timing(hand, "late", "early").iloc[0]
    assert back["probability"] == pytest.approx(1 - row["probability"])


def test_probability_is_the_share_of_draws(hand):
    hand.var.loc["late", "basisvae_gene_shift"] = 0.4
    rng = np.random.default_rng(1)
    draws = rng.normal(0.5, 0.1, 200_000) > rng.normal(0.4, 0.2, 200_000)
    found = tl.timing(hand, "early", "late")["probability"][0]
    assert found == pytest.approx(draws.mean(), abs=0.005)


def test_what_cannot_be_compared_says_why(hand):
    names = ["early", "open", "other", "flat_a", "flat_b"]
    table = tl.timing(hand, names).set_index(["gene_a", "gene_b"])
    assert len(table) == 10
    assert table[["probability", "difference", "difference_sd"]].isna().all(axis=None)
    reason = table["reason"]
    assert reason["early", "open"] == "not identified: open"
    assert reason["early", "other"] == "different clusters"
    assert reason["flat_a", "flat_b"] == "flat"
    assert tl.timing(hand, "early", "early")["reason"][0] == "same gene"


def test_lists_are_crossed_and_pairs_are_taken_as_they_are(hand):
    crossed = tl.timing(hand, ["early", "late"], ["other", "open"])
    assert crossed[["gene_a", "gene_b"]].to_numpy().tolist() == [
        ["early", "other"],
        ["early", "open"],
        ["late", "other"],
        ["late", "open"],
    ]
    pairs = [("late", "early"), ("other", "late")]
    found = tl.timing(hand, pairs)[["gene_a", "gene_b"]].to_numpy().tolist()
    assert found == [list(pair) for pair in pairs]


def test_a_shift_without_any_doubt_decides(hand):
    hand.var["basisvae_gene_shift_sd"] = 0.0
    assert tl.timing(hand, [("early", "late"), ("late", "early")])["probability"].tolist() == [
        1,
        0,
    ]


def test_what_is_missing_is_named_with_the_cure(hand):
    with pytest.raises(KeyError, match="never"):
        tl.timing(hand, "early", "never")
    with pytest.raises(ValueError, match="no pair"):
        tl.timing(hand, ["early"])
    with pytest.raises(ValueError, match="pairs of two names"):
        tl.timing(hand, [("early", "late", "open")])
    hand.uns["basisvae"]["params"]["translation_invariant"] = False
    with pytest.raises(ValueError, match="translation_invariant=True"):
        tl.timing(hand, "early", "late")
    del hand.var["basisvae_gene_shift_sd"]
    with pytest.raises(KeyError, match=r"var\['basisvae_gene_shift_sd'\].*intervals=True"):
        tl.timing(hand, "early", "late")
