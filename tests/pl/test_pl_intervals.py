"""Shifts and scales as dots with intervals."""

import numpy as np
import pytest
from matplotlib.colors import same_color

from basisvae_scvi import pl
from basisvae_scvi.pl._colors import cluster_colors


def dots(panel):
    """Hollow dots and full dots, each as x and y."""
    lines = [line for line in panel.get_lines() if line.get_marker() == "o"]
    return [(line.get_xdata(), line.get_ydata()) for line in lines]


def members(adata, cluster, name):
    var = adata.var[adata.var["basisvae_cluster"] == cluster]
    return var.sort_values(f"basisvae_gene_{name}", ascending=False)


def test_genes_go_from_early_to_late(certain):
    panels = pl.shifts(certain, show=False)
    assert [p.get_title().split(" ")[1] for p in panels] == ["2", "1", "3"]
    for panel, cluster in zip(panels, "213", strict=True):
        genes = members(certain, cluster, "shift")
        assert [t.get_text() for t in panel.get_yticklabels()] == list(genes.index)
        told = genes["basisvae_shift_identified"].to_numpy()
        hollow, full = dots(panel)
        value = genes["basisvae_gene_shift"].to_numpy()
        np.testing.assert_array_equal(hollow[0], value[~told])
        np.testing.assert_array_equal(full[0], value[told])
        np.testing.assert_array_equal(full[1], np.flatnonzero(told))
        assert panel.xaxis_inverted()
        assert panel.yaxis_inverted()
        assert panel.get_ylim()[0] > panel.get_ylim()[1]


def test_intervals_are_those_that_were_annotated_and_pale_where_not_identified(certain):
    panel = pl.shifts(certain, clusters="3", show=False)[0]
    genes = members(certain, "3", "shift")
    lines = panel.collections[0]
    ends = np.array([segment[:, 0] for segment in lines.get_segments()])
    np.testing.assert_allclose(ends[:, 0], genes["basisvae_gene_shift_lower"])
    np.testing.assert_allclose(ends[:, 1], genes["basisvae_gene_shift_upper"])
    own = cluster_colors(certain, "basisvae_cluster")["3"]
    for color, told in zip(lines.get_colors(), genes["basisvae_shift_identified"], strict=True):
        assert same_color(color[:3], own if told else "0.6")


def test_the_legend_explains_the_dots_outside_of_the_panels(certain):
    panels = pl.shifts(certain, show=False)
    figure = panels[0].figure
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["gene, 90 % interval", "shift not identified"]
    figure.canvas.draw()
    box = figure.legends[0].get_window_extent()
    assert not any(box.overlaps(panel.get_window_extent()) for panel in panels)


def test_without_intervals_the_cure_is_named(hand):
    panels = pl.shifts(hand, show=False)
    texts = [text.get_text() for text in panels[0].figure.legends[0].get_texts()]
    assert texts == ["no intervals: run model.annotate(adata, intervals=True)"]
    assert len(panels[0].collections) == 0


def test_scales_are_on_a_logarithmic_axis_from_large_to_small(certain):
    panels = pl.scales(certain, clusters=["3", "0"], show=False)
    assert [p.get_xscale() for p in panels] == ["log", "log"]
    genes = members(certain, "3", "scale")
    assert [t.get_text() for t in panels[0].get_yticklabels()] == list(genes.index)
    _, full = dots(panels[0])
    np.testing.assert_array_equal(full[0], genes["basisvae_gene_scale"])
    low, high = panels[0].get_xlim()
    assert low < genes["basisvae_gene_scale"].min()
    assert high > genes["basisvae_gene_scale"].max()
    for panel in panels:
        panel.figure.canvas.draw()
        low, high = panel.get_xlim()
        assert sum(low <= tick <= high for tick in panel.get_xticks()) >= 3


def test_large_panels_have_no_names(annotated):
    adata = annotated(n_obs=50, n_vars=400)
    panels = pl.shifts(adata, show=False)
    assert all(len(panel.get_yticks()) == 0 for panel in panels)
    named = pl.shifts(adata, gene_labels=True, clusters="2", show=False)[0]
    assert len(named.get_yticks()) == 100


def test_models_without_shifts_and_flat_genes_are_refused(hand):
    hand.uns["basisvae"]["params"]["translation_invariant"] = False
    with pytest.raises(ValueError, match="translation_invariant=True"):
        pl.shifts(hand, show=False)
    hand.var["basisvae_cluster"] = "0"
    with pytest.raises(ValueError, match="All genes are flat"):
        pl.scales(hand, show=False)
