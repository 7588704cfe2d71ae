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
    "assignments": lambda adata, **kwargs: pl.assignments(adata, **kwargs),
    "coclustering": lambda adata, **kwargs: pl.coclustering(adata, **kwargs),
    "shifts": lambda adata, **kwargs: pl.shifts(adata, **kwargs),
    "scales": lambda adata, **kwargs: pl.scales(adata, **kwargs),
    "alignment": lambda adata, **kwargs: pl.alignment(adata, **kwargs),
    "history": lambda adata, **kwargs: pl.history(adata, **kwargs),
    "stability": lambda adata, **kwargs: pl.stability(adata, **kwargs),
}


def test_every_figure_is_in_the_list_above():
    assert {*FIGURES, "comparison"} == set(pl.__all__)


@pytest.fixture(params=FIGURES)
def draw(request):
    return FIGURES[request.param]


def test_nothing_is_written_into_the_data(certain, draw):
    uns, obs, var = sorted(certain.uns), certain.obs.copy(), certain.var.copy()
    draw(certain, show=False)
    assert sorted(certain.uns) == uns
    assert certain.obs.equals(obs)
    assert certain.var.equals(var)


def test_is_shown_when_asked_or_by_the_setting_of_scanpy(certain, draw, shown):
    draw(certain, show=False)
    assert len(shown) == 0
    draw(certain, show=True)
    assert len(shown) == 1
    draw(certain)
    assert len(shown) == 2
    sc.settings.autoshow = False
    draw(certain)
    assert len(shown) == 2


def test_given_axes_are_used_and_not_shown(hand, certain, shown):
    _, grid = plt.subplots(2, 2)
    n_figures = len(plt.get_fignums())
    assert pl.latent(hand, ax=grid[0, 0]) is grid[0, 0]
    assert pl.heatmap(hand, ax=grid[0, 1])["heatmap"] is grid[0, 1]
    assert pl.gene_trends(hand, "gene1", ax=grid[1, 0]) is grid[1, 0]
    panels = pl.basis_functions(hand, clusters="2", ax=grid[1, 1])
    assert list(panels) == [grid[1, 1]]
    assert list(pl.shifts(hand, clusters="2", ax=grid[1, 1])) == [grid[1, 1]]
    assert pl.assignments(certain, ax=grid[0, 0])["heatmap"] is grid[0, 0]
    assert pl.coclustering(certain, ax=grid[0, 1])["heatmap"] is grid[0, 1]
    assert list(pl.alignment(certain, clusters="2", ax=grid[0])[0]) == list(grid[0])
    assert list(pl.stability(certain, ax=grid[1]).values()) == list(grid[1])
    three = [*grid[0], grid[1, 0]]
    assert list(pl.history(certain, ax=three).values()) == three
    assert len(plt.get_fignums()) == n_figures
    assert shown == []


def test_a_wrong_number_of_axes_is_refused(hand):
    _, ax = plt.subplots()
    with pytest.raises(ValueError, match="1 Axes for 4 panel"):
        pl.basis_functions(hand, ax=ax, show=False)
    with pytest.raises(ValueError, match="1 Axes for 2 panel"):
        pl.gene_trends(hand, ["gene1", "gene2"], ax=ax, show=False)


def test_without_annotation_the_message_names_the_cure(certain, draw):
    with pytest.raises(KeyError, match=r"uns\['other'\].*model.annotate"):
        draw(certain, key="other", show=False)


def test_several_latent_dimensions_are_refused_where_courses_are_drawn(hand):
    hand.obsm["X_basisvae"] = np.zeros((hand.n_obs, 2))
    for name in ("gene_trends", "heatmap"):
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


def test_another_key_draws_the_same(certain, draw):
    adata = certain.copy()
    adata.var.columns = adata.var.columns.str.replace("basisvae", "run2")
    for container in (adata.obsm, adata.varm, adata.uns):
        for name in list(container):
            container[name.replace("basisvae", "run2")] = container[name]
            del container[name]
    found, expected = draw(adata, key="run2", show=False), draw(certain, show=False)
    for one, other in zip(_panels(found), _panels(expected), strict=True):
        assert one.get_title() == other.get_title()
        assert one.get_xlabel() == other.get_xlabel()
        assert one.dataLim.bounds == other.dataLim.bounds


def _panels(result):
    return list(result.values()) if isinstance(result, dict) else list(np.ravel(result))
