"""The course of the training, and the agreement of restarts."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from basisvae_scvi import pl


def said(ax):
    return " ".join(text.get_text() for text in ax.texts)


def test_the_bound_rises_where_the_loss_falls(certain):
    line = pl.history(certain, show=False)["elbo"].get_lines()[0]
    np.testing.assert_array_equal(line.get_xdata(), np.arange(1, 13))
    np.testing.assert_allclose(line.get_ydata(), -np.geomspace(300, 200, 12))


def test_every_restart_has_a_line_with_a_symbol_per_move(certain):
    axes = pl.history(certain, show=False)
    search = certain.uns["basisvae"]["search"]
    lines = [line for line in axes["bound"].get_lines() if line.get_linestyle() == "-"]
    assert [line.get_label() for line in lines] == ["restart 0", "restart 1", "restart 2 (best)"]
    widths = [line.get_linewidth() for line in lines]
    assert widths[2] > max(widths[:2])
    for restart, line in enumerate(lines):
        own = search[search["restart"] == restart]
        np.testing.assert_array_equal(line.get_ydata(), own["bound"])
    symbols = [line for line in axes["bound"].get_lines() if line.get_linestyle() == "None"]
    assert sum(len(line.get_xdata()) for line in symbols) == len(search)
    steps = axes["bases"].get_lines()[0]
    np.testing.assert_array_equal(steps.get_ydata(), [9, 6, 5, 4])


def test_the_legend_lies_beside_the_panel_and_names_the_moves(certain):
    axes = pl.history(certain, show=False)
    legend = axes["bases"].get_legend()
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts[3:] == ["start", "delete", "merge", "settle"]
    plt.gcf().canvas.draw()
    assert legend.get_window_extent().x0 >= axes["bases"].get_window_extent().x1 - 1


def test_what_was_not_recorded_is_said_in_its_panel(hand):
    axes = pl.history(hand, show=False)
    assert "annotate" in said(axes["elbo"])
    assert "objective='evidence'" in said(axes["bound"])
    assert "objective='evidence'" in said(axes["bases"])
    axes = pl.stability(hand, show=False)
    assert "n_restarts=2" in said(axes["restarts"])
    assert "n_restarts=2" in said(axes["clusters"])


def test_restarts_are_ordered_by_bound(certain):
    certain.uns["basisvae"]["restart_bounds"] = np.array([-10.0, -30.0, -12.0])
    ax = pl.stability(certain, show=False)["restarts"]
    dots = ax.get_lines()[0]
    np.testing.assert_array_equal(dots.get_ydata(), [0.0, -2.0, -20.0])
    labels = [label.get_text() for label in ax.get_xticklabels()]
    assert labels == ["0\n(4)", "2\n(4)", "1\n(4)"]


def test_stability_of_clusters_is_that_of_their_genes(certain):
    ax = pl.stability(certain, show=False)["clusters"]
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels == ["2 · down (6)", "1 · transient mid (6)", "3 · up (6)", "0 · flat (6)"]
    dots = [group for group in ax.collections if len(group.get_offsets())]
    for row, cluster in enumerate("2130"):
        own = certain.var.loc[certain.var["basisvae_cluster"] == cluster, "basisvae_stability"]
        offsets = dots[row].get_offsets()
        np.testing.assert_allclose(offsets[:, 0], own)
        assert (np.abs(offsets[:, 1] - row) <= 0.25).all()


def test_a_cluster_that_was_not_searched_says_so(certain):
    certain.var.loc[certain.var["basisvae_cluster"] == "3", "basisvae_stability"] = np.nan
    assert said(pl.stability(certain, show=False)["clusters"]) == "not searched"


def test_compared_settings_are_a_third_panel(certain):
    table = pd.DataFrame(
        {
            "n_basis": [5, 10],
            "log_likelihood": [-200.0, -203.0],
            "difference": [0.0, -3.0],
            "difference_se": [0.0, 0.5],
            "n_used_bases": [4.0, 5.0],
            "seconds": [1.0, 1.0],
        }
    )
    axes = pl.stability(certain, table, show=False)
    assert list(axes) == ["restarts", "clusters", "comparison"]
    assert axes["comparison"].get_xlabel() == "n_basis"
    with pytest.raises(ValueError, match=r"tl\.compare"):
        pl.stability(certain, table[["n_basis"]], show=False)
