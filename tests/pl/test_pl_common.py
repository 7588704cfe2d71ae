"""What holds for every figure."""

import numpy as np
import pytest
import scanpy as sc
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from basisvae_scvi import pl
from basisvae_scvi.pl._colors import category_colors, cluster_colors, palette

FIGURES = {
    "basis_functions": lambda adata, **kwargs: pl.basis_functions(adata, **kwargs),
    "gene_trends": lambda adata, **kwargs: pl.gene_trends(adata, ["gene1"], **kwargs),
    "heatmap": lambda adata, **kwargs: pl.heatmap(adata, **kwargs),
    "latent": lambda adata, **kwargs: pl.latent(adata, **kwargs),
}


@pytest.fixture(params=FIGURES)
def draw(request):
    return FIGURES[request.param]


def test_nothing_is_written_into_the_data(hand, draw):
    uns, obs, var = sorted(hand.uns), hand.obs.copy(), hand.var.copy()
    draw(hand, show=False)
    assert sorted(hand.uns) == uns
    assert hand.obs.equals(obs)
    assert hand.var.equals(var)


def test_is_shown_when_asked_or_by_the_setting_of_scanpy(hand, draw, shown):
    draw(hand, show=False)
    assert len(shown) == 0
    draw(hand, show=True)
    assert len(shown) == 1
    draw(hand)
    assert len(shown) == 2
    sc.settings.autoshow = False
    draw(hand)
    assert len(shown) == 2


def test_given_axes_are_used_and_not_shown(hand, shown):
    _, grid = plt.subplots(2, 2)
    n_figures = len(plt.get_fignums())
    assert pl.latent(hand, ax=grid[0, 0]) is grid[0, 0]
    assert pl.heatmap(hand, ax=grid[0, 1])["heatmap"] is grid[0, 1]
    assert pl.gene_trends(hand, "gene1", ax=grid[1, 0]) is grid[1, 0]
    panels = pl.basis_functions(hand, clusters="2", ax=grid[1, 1])
    assert list(panels) == [grid[1, 1]]
    assert len(plt.get_fignums()) == n_figures
    assert shown == []


def test_a_wrong_number_of_axes_is_refused(hand):
    _, ax = plt.subplots()
    with pytest.raises(ValueError, match="1 Axes for 4 panel"):
        pl.basis_functions(hand, ax=ax, show=False)
    with pytest.raises(ValueError, match="1 Axes for 2 panel"):
        pl.gene_trends(hand, ["gene1", "gene2"], ax=ax, show=False)


def test_without_annotation_the_message_names_the_cure(hand, draw):
    with pytest.raises(KeyError, match=r"uns\['other'\].*model.annotate"):
        draw(hand, key="other", show=False)


def test_several_latent_dimensions_are_refused_where_courses_are_drawn(hand):
    hand.obsm["X_basisvae"] = np.zeros((hand.n_obs, 2))
    for name in ("basis_functions", "gene_trends", "heatmap"):
        with pytest.raises(ValueError, match="one latent dimension"):
            FIGURES[name](hand, show=False)
    assert isinstance(pl.latent(hand, dimension=1, show=False), Axes)


def test_stored_colors_of_clusters_come_first(hand):
    assert cluster_colors(hand, "basisvae_cluster")["0"] == "#8C8C8C"
    hand.uns["basisvae_cluster_colors"] = ["red", "green", "blue", "black"]
    assert cluster_colors(hand, "basisvae_cluster") == {
        "0": "red",
        "1": "green",
        "2": "blue",
        "3": "black",
    }
    hand.uns["basisvae_cluster_colors"] = ["red"]
    assert cluster_colors(hand, "basisvae_cluster")["0"] == "#8C8C8C"
    hand.uns["basisvae_cluster_colors"] = ["red", "green", "blue", "no color"]
    assert cluster_colors(hand, "basisvae_cluster")["0"] == "#8C8C8C"


def test_colors_are_distinct_for_24_categories():
    assert len(set(palette(24))) == 24
    assert palette(30)[24] == palette(30)[0]


def test_categories_get_the_palette(hand):
    assert list(category_colors(hand, "size", ["a", "b"]).values()) == palette(2)
