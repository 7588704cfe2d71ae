"""Genes × genes, from restarts or from φ."""

import numpy as np
import pytest

from basisvae_scvi import pl


def image(axes):
    return np.asarray(axes["heatmap"].images[0].get_array())


def row_names(axes):
    return [label.get_text() for label in axes["heatmap"].get_yticklabels()]


def test_restarts_make_a_consensus(certain):
    axes = pl.coclustering(certain, show=False)
    labels = certain.varm["basisvae_restarts"].loc[row_names(axes)].to_numpy()
    expected = np.mean([labels[:, [r]] == labels[:, r] for r in range(3)], axis=0)
    np.testing.assert_allclose(image(axes), expected)
    assert (np.diag(image(axes)) == 1).all()
    assert len(np.unique(expected)) > 2
    assert axes["colorbar"].get_xlabel().startswith("share of 3 restarts")


def test_probabilities_of_the_model_are_the_other_source(certain):
    axes = pl.coclustering(certain, source="assignment", show=False)
    phi = certain.varm["basisvae_assignment"].loc[row_names(axes)].to_numpy()
    expected = phi @ phi.T
    np.fill_diagonal(expected, 1.0)
    np.testing.assert_allclose(image(axes), expected)


def test_one_restart_has_no_consensus(certain):
    certain.varm["basisvae_restarts"] = certain.varm["basisvae_restarts"][["0"]]
    axes = pl.coclustering(certain, show=False)
    assert axes["colorbar"].get_xlabel() == "probability of sharing a basis function"


def test_clusters_are_blocks_between_lines(certain):
    ax = pl.coclustering(certain, show=False)["heatmap"]
    rows = [line.get_ydata()[0] for line in ax.get_lines() if line.get_xdata()[0] == 0]
    columns = [line.get_xdata()[0] for line in ax.get_lines() if line.get_ydata()[0] == 0]
    assert rows == columns == [6, 12, 18]


def test_genes_that_the_search_left_out_are_not_shown(certain):
    certain.varm["basisvae_restarts"].iloc[:4] = np.nan
    axes = pl.coclustering(certain, show=False)
    assert len(row_names(axes)) == 20
    assert axes["heatmap"].get_xlabel() == "4 genes not shown"
    with pytest.raises(ValueError, match="source='assignment'"):
        pl.coclustering(certain, genes=["gene0", "gene1"], show=False)


def test_many_genes_are_thinned_evenly(certain):
    axes = pl.coclustering(certain, max_genes=8, show=False)
    whole = row_names(pl.coclustering(certain, show=False))
    expected = np.linspace(0, 23, 8).round().astype(int)
    assert row_names(axes) == [whole[i] for i in expected]
    assert axes["heatmap"].get_xlabel() == "16 genes not shown"


def test_wrong_arguments_and_missing_restarts_are_named(hand, certain):
    with pytest.raises(ValueError, match="source='both'"):
        pl.coclustering(certain, source="both", show=False)
    with pytest.raises(ValueError, match="max_genes=0"):
        pl.coclustering(certain, max_genes=0, show=False)
    with pytest.raises(KeyError, match=r"varm\['basisvae_restarts'\].*n_restarts=2"):
        pl.coclustering(hand, source="consensus", show=False)
