"""Panels of basis functions."""

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import same_color

from basisvae_scvi import get, pl


def genes_of(ax):
    (collection,) = (c for c in ax.collections if isinstance(c, LineCollection))
    return collection


def test_one_panel_per_cluster_by_peak_and_flat_last(hand):
    panels = pl.basis_functions(hand, show=False)
    titles = [panel.get_title() for panel in panels]
    assert titles == [
        "cluster 2 · down\n6 genes",
        "cluster 1 · transient mid\n6 genes",
        "cluster 3 · up\n6 genes",
        "cluster 0 · flat\n6 genes",
    ]
    assert [panel.get_xlabel() for panel in panels] == ["z"] * 4
    assert panels[0].get_ylabel() == "relative expression"
    assert panels[1].get_ylabel() == ""


def test_thick_line_is_the_basis(hand):
    run = hand.uns["basisvae"]
    panel = pl.basis_functions(hand, clusters=["3"], show=False)[0]
    (line,) = panel.get_lines()
    z, values = line.get_data()
    assert (z[0], z[-1]) == (run["params"]["latent_min"], run["params"]["latent_max"])
    np.testing.assert_allclose(values, np.interp(z, run["grid"], run["basis"][:, 3]), atol=1e-3)


def test_thin_lines_are_the_trends_of_its_genes(hand):
    panel = pl.basis_functions(hand, clusters=["1"], show=False)[0]
    members = hand.var_names[hand.var["basisvae_cluster"] == "1"]
    drawn = np.array([path[:, 1] for path in genes_of(panel).get_segments()])
    expected = get.trends(hand, members).to_numpy().T
    np.testing.assert_allclose(np.sort(drawn, axis=0), np.sort(expected, axis=0))


def test_thin_lines_are_limited_to_the_surest_genes(hand):
    panel = pl.basis_functions(hand, clusters=["1"], n_genes=2, show=False)[0]
    members = hand.var[hand.var["basisvae_cluster"] == "1"]
    surest = members["basisvae_confidence"].sort_values(ascending=False).index[:2]
    drawn = [path[:, 1] for path in genes_of(panel).get_segments()]
    np.testing.assert_allclose(drawn, get.trends(hand, surest).to_numpy().T)
    assert panel.get_title().endswith("6 genes")


def test_lines_have_the_color_of_the_cluster(hand):
    hand.uns["basisvae_cluster_colors"] = ["gray", "red", "green", "blue"]
    panel = pl.basis_functions(hand, clusters=["2"], show=False)[0]
    assert same_color(panel.get_lines()[0].get_color(), "green")


def test_clusters_are_drawn_in_the_order_asked_for(hand):
    panels = pl.basis_functions(hand, clusters=["3", "1"], ncols=1, show=False)
    assert [p.get_title().split(" · ")[0] for p in panels] == ["cluster 3", "cluster 1"]
    assert [p.get_ylabel() for p in panels] == ["relative expression"] * 2
    assert len(panels[0].figure.axes) == 2


def test_counts_start_at_zero_and_gaussian_values_do_not(hand):
    assert pl.basis_functions(hand, show=False)[0].get_ylim()[0] == 0
    run = hand.uns["basisvae"]
    run["basis"] = run["basis"] - 1.0
    run["params"]["gene_likelihood"] = "gaussian"
    panel = pl.basis_functions(hand, show=False)[0]
    assert panel.get_ylim()[0] < 0
    assert panel.get_ylabel() == "expression / r.m.s."


def test_one_gene_is_singular(hand):
    part = hand[:, ["gene1", "gene2", "gene6"]].copy()
    titles = [p.get_title() for p in pl.basis_functions(part, show=False)]
    assert [title.split("\n")[1] for title in titles] == ["2 genes", "1 gene"]


@pytest.mark.parametrize("clusters", [["7"], []])
def test_clusters_without_genes_are_refused(hand, clusters):
    with pytest.raises(KeyError, match="0, 1, 2, 3"):
        pl.basis_functions(hand, clusters=clusters, show=False)


def test_ncols_must_be_positive(hand):
    with pytest.raises(ValueError, match="ncols=0"):
        pl.basis_functions(hand, ncols=0, show=False)


def test_with_two_dimensions_the_basis_is_a_colour_in_their_plane(hand):
    rng = np.random.default_rng(0)
    hand.obsm["X_basisvae"] = rng.standard_normal((hand.n_obs, 2))
    run = hand.uns["basisvae"]
    run["grid"] = rng.standard_normal((200, 2))
    panels = pl.basis_functions(hand, show=False)
    assert [panel.get_title() for panel in panels[:2]] == [
        "cluster 0\n6 genes",
        "cluster 1\n6 genes",
    ]
    dots = panels[1].collections[0]
    np.testing.assert_allclose(dots.get_offsets(), run["grid"])
    np.testing.assert_allclose(dots.get_array(), run["basis"][:, 1])
    assert dots.get_clim() == (0.0, run["basis"][:, 1].max())
    assert panels[0].get_xlabel() == "z, dimension 0"
    assert panels[0].get_ylabel() == "z, dimension 1"
