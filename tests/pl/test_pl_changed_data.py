"""Figures draw the data that were fitted; others in their place are refused with the cure."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy import sparse

import basisvae_scvi as bv
from basisvae_scvi import pl

FIGURES = {
    "gene_trends": lambda adata, **arguments: pl.gene_trends(adata, "gene5", **arguments),
    "heatmap": lambda adata, **arguments: pl.heatmap(adata, **arguments),
    "relative": lambda adata, **arguments: pl.heatmap(adata, values="relative", **arguments),
    "alignment": lambda adata, **arguments: pl.alignment(adata, **arguments),
}
CHANGES = {
    "logged": (
        lambda x: sparse.csr_matrix(np.log1p(50 * x / x.sum(1, keepdims=True))),
        "log-normalised",
    ),
    "normalised": (lambda x: 1e4 * x / x.sum(1, keepdims=True), "non-integer"),
    "scaled": (lambda x: x - x.mean(0), "negative values"),
}


def draw(figure, adata, **arguments):
    return FIGURES[figure](adata, show=False, **arguments)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("figure", FIGURES)
def test_no_figure_takes_other_values_for_counts(hand, figure, change):
    hand.layers["counts"] = hand.X.copy()
    convert, said = CHANGES[change]
    hand.X = convert(hand.X.toarray())
    with pytest.raises(ValueError, match=rf"adata\.X contains .*{said}.*layer=\"counts\""):
        draw(figure, hand)
    assert not plt.get_fignums()
    draw(figure, hand, layer="counts")


@pytest.fixture(scope="module")
def fractions():
    """Results of a model of fractional counts."""
    adata = bv.datasets.simulate_counts(n_obs=80, n_vars=20, mean_count=3.0, seed=1)
    adata.X = 0.75 * adata.X.toarray()
    arguments = {"allow_non_integer": True, "gene_likelihood": "nb", "n_basis": 4}
    training = {"enable_progress_bar": False, "n_restarts": 1}
    bv.tl.basisvae(adata, max_epochs=1, train_kwargs=training, **arguments)
    return adata


@pytest.mark.parametrize("change", [np.log1p, lambda x: x / 2, lambda x: x.round()])
def test_fractional_counts_are_known_by_their_sum(fractions, change):
    pl.heatmap(fractions, show=False)
    changed = fractions.copy()
    changed.X = change(changed.X)
    with pytest.raises(ValueError, match=r"other values than when model\.annotate.*layer="):
        pl.heatmap(changed, show=False)


def test_a_part_of_the_cells_or_genes_and_another_storage_are_drawn(fractions):
    names = list(fractions.var_names[:6])
    stored = fractions.copy()
    stored.X = sparse.csc_matrix(stored.X)
    for adata in (fractions[20:70].copy(), fractions[:, names].copy(), stored):
        axes = pl.heatmap(adata, genes=names, show=False)
        assert axes["heatmap"].images[0].get_array().shape[0] == 6


def test_a_layer_of_other_counts_can_be_asked_for(hand):
    hand.layers["spliced"] = hand.X.copy()
    hand.layers["spliced"].data = np.maximum(hand.X.data - 1, 0)
    draw("gene_trends", hand, layer="spliced")
