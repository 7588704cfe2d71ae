"""Genes by cluster and peak, cells in bins of z."""

import numpy as np
import pytest
from matplotlib.colors import same_color

from basisvae_scvi import get, pl


def image(axes):
    return np.asarray(axes["heatmap"].images[0].get_array())


def binned(adata, n_bins):
    """Genes × bins, by hand."""
    x, s = adata.X.toarray().astype(float), adata.obs["size"].to_numpy()
    order = np.array_split(np.argsort(adata.obsm["X_basisvae"][:, 0]), n_bins)
    return np.array([x[cells].sum(0) / s[cells].sum() for cells in order]).T


def row_order(adata):
    table = get.genes(adata)
    return [g for c in "2130" for g in table.index[table["cluster"] == c]]


def test_rows_are_z_scores_by_cluster_and_peak(hand):
    axes = pl.heatmap(hand, n_bins=20, show=False)
    means = binned(hand, 20)[hand.var_names.get_indexer(row_order(hand))]
    expected = (means - means.mean(1, keepdims=True)) / means.std(1, keepdims=True)
    np.testing.assert_allclose(image(axes), expected)
    labels = [label.get_text() for label in axes["heatmap"].get_yticklabels()]
    assert labels == row_order(hand)


def test_colors_are_symmetric_and_saturate_at_the_outermost_values(hand):
    axes = pl.heatmap(hand, n_bins=20, show=False)
    low, high = axes["heatmap"].images[0].get_clim()
    assert low == -high
    assert (np.abs(image(axes)) > high).mean() == pytest.approx(0.01, abs=0.005)


def test_relative_values_are_in_units_of_the_mean(hand):
    axes = pl.heatmap(hand, n_bins=20, values="relative", show=False)
    order = hand.var_names.get_indexer(row_order(hand))
    overall = hand.X.toarray().astype(float).sum(0) / hand.obs["size"].sum()
    np.testing.assert_allclose(image(axes), (binned(hand, 20) / overall[:, None])[order])
    assert axes["heatmap"].images[0].get_clim()[0] == 0
    assert axes["colorbar"].get_xlabel() == "expression / gene's mean"


def test_a_choice_of_genes_is_sorted_all_the_same(hand):
    axes = pl.heatmap(hand, genes=["gene3", "gene0", "gene2"], show=False)
    labels = [label.get_text() for label in axes["heatmap"].get_yticklabels()]
    assert labels == ["gene2", "gene3", "gene0"]


def test_clusters_have_a_color_and_a_name(hand):
    hand.uns["basisvae_cluster_colors"] = ["gray", "red", "green", "blue"]
    axes = pl.heatmap(hand, show=False)
    strip = np.asarray(axes["clusters"].images[0].get_array())[:, 0]
    expected = np.repeat(["green", "red", "blue", "gray"], 6)
    assert all(same_color(*pair) for pair in zip(strip, expected, strict=True))
    names = [label.get_text() for label in axes["clusters"].get_yticklabels()]
    assert names == ["2 · down", "1 · transient mid", "3 · up", "0 · flat"]
    lines = [line.get_ydata()[0] for line in axes["heatmap"].get_lines()]
    assert lines == [6, 12, 18]


def test_columns_are_labelled_with_z(hand):
    axes = pl.heatmap(hand, n_bins=40, show=False)
    labels = [label.get_text() for label in axes["heatmap"].get_xticklabels()]
    z = np.quantile(hand.obsm["X_basisvae"][:, 0], [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose([float(t.replace("−", "-")) for t in labels], z, atol=0.051)
    np.testing.assert_allclose(axes["heatmap"].get_xticks(), [0, 10, 20, 30, 40])


def test_many_genes_have_no_names(annotated):
    adata = annotated(n_obs=60, n_vars=800)
    ax = pl.heatmap(adata, show=False)["heatmap"]
    assert ax.get_ylabel() == "800 genes"
    assert len(ax.get_yticks()) == 0
    assert image({"heatmap": ax}).shape == (800, 60)
    named = pl.heatmap(adata[:, :30], gene_labels=True, show=False)["heatmap"]
    assert len(named.get_yticks()) == 30


def test_names_of_small_clusters_give_way(annotated):
    adata = annotated(n_obs=40, n_vars=800)
    values = np.array(["3"] * 800)
    values[:2] = ["1", "2"]
    adata.var["basisvae_cluster"] = values
    names = [t.get_text() for t in pl.heatmap(adata, show=False)["clusters"].get_yticklabels()]
    assert "3 · up" in names
    assert len(names) == 2


def test_dense_and_sparse_layers_look_the_same(hand):
    expected = image(pl.heatmap(hand, show=False))
    for matrix in (hand.X.toarray(), hand.X.tocsc()):
        hand.layers["copy"] = matrix
        np.testing.assert_allclose(image(pl.heatmap(hand, layer="copy", show=False)), expected)


def test_a_gene_without_counts_is_a_row_of_zeros(hand):
    x = hand.X.toarray()
    x[:, 1] = 0
    hand.X = x
    for values in ("zscore", "relative"):
        drawn = image(pl.heatmap(hand, genes=["gene1", "gene2"], values=values, show=False))
        np.testing.assert_array_equal(drawn[1], 0.0)


def test_unknown_values_and_genes_are_refused(hand):
    with pytest.raises(ValueError, match="values='log'"):
        pl.heatmap(hand, values="log", show=False)
    with pytest.raises(KeyError, match="nowhere"):
        pl.heatmap(hand, genes=["nowhere"], show=False)
    with pytest.raises(ValueError, match="genes is empty"):
        pl.heatmap(hand, genes=[], show=False)
    hand.uns["basisvae"]["params"]["gene_likelihood"] = "gaussian"
    with pytest.raises(ValueError, match="model of counts"):
        pl.heatmap(hand, values="relative", show=False)
