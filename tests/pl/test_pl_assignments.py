"""φ as rows and columns."""

import numpy as np
import pytest
from matplotlib import pyplot as plt

from basisvae_scvi import pl


def image(axes):
    return np.asarray(axes["heatmap"].images[0].get_array())


def row_names(axes):
    return [label.get_text() for label in axes["heatmap"].get_yticklabels()]


def test_rows_go_from_sure_to_unsure_within_clusters_by_peak(certain):
    axes = pl.assignments(certain, show=False)
    var = certain.var
    expected = [
        gene
        for c in "2130"
        for gene in var.index[var["basisvae_cluster"] == c][
            np.argsort(-var.loc[var["basisvae_cluster"] == c, "basisvae_confidence"])
        ]
    ]
    assert row_names(axes) == expected
    columns = [label.get_text() for label in axes["heatmap"].get_xticklabels()]
    assert columns == ["2", "1", "3", "0"]
    phi = certain.varm["basisvae_assignment"].loc[expected, columns]
    np.testing.assert_allclose(image(axes), phi)
    assert axes["heatmap"].images[0].get_clim() == (0.0, 1.0)
    assert axes["colorbar"].get_xlabel() == "probability φ"


def test_bases_without_genes_are_left_out_and_counted(certain):
    phi = certain.varm["basisvae_assignment"]
    phi["4"], phi["5"], phi["6"] = 0.0, 0.3, 0.005
    certain.varm["basisvae_assignment"] = phi
    ax = pl.assignments(certain, show=False)["heatmap"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["2", "1", "3", "0", "5"]
    assert "(2 without genes not shown)" in ax.get_xlabel()


def test_a_choice_of_genes_and_of_names(certain):
    axes = pl.assignments(certain, genes=["gene3", "gene1"], show=False)
    assert row_names(axes) == ["gene1", "gene3"]
    axes = pl.assignments(certain, gene_labels=False, show=False)
    assert axes["heatmap"].get_ylabel() == "24 genes"


def test_two_latent_dimensions_are_fine(certain):
    certain.obsm["X_basisvae"] = np.zeros((certain.n_obs, 2))
    axes = pl.assignments(certain, show=False)
    assert image(axes).shape == (24, 4)
    assert [t.get_text() for t in axes["clusters"].get_yticklabels()] == ["0", "1", "2", "3"]


def test_missing_probabilities_are_named(hand):
    with pytest.raises(KeyError, match=r"varm\['basisvae_assignment'\].*annotate"):
        pl.assignments(hand, show=False)


def test_nothing_covers_the_data(certain):
    for figure in (pl.assignments, pl.coclustering):
        axes = figure(certain, show=False)
        plt.gcf().canvas.draw()
        data = axes["heatmap"].get_window_extent()
        for name in ("clusters", "colorbar"):
            assert not data.overlaps(axes[name].get_window_extent().padded(-1)), name
