"""Held-out comparison: the better model wins, on cells it has not seen."""

import numpy as np
import pytest
from matplotlib import pyplot as plt

from basisvae_scvi import BasisVAE, pl, tl
from basisvae_scvi.datasets import simulate_counts
from basisvae_scvi.tl._compare import _folds

QUIET = {"enable_progress_bar": False, "n_restarts": 1, "accelerator": "cpu"}


@pytest.fixture(scope="module")
def counts():
    return simulate_counts(n_obs=300, n_vars=40, mean_count=2.0, max_shift=0.0, seed=3)


@pytest.fixture(scope="module")
def table(counts):
    return tl.compare(
        counts,
        {"gene_likelihood": ["poisson", "nb"], "n_basis": [2, 6]},
        held_out=0.2,
        max_epochs=20,
        train_kwargs=QUIET,
        shape_deviation=0.0,  # or genes follow courses of their own whatever the bases
    )


def test_the_settings_of_the_simulation_win(table):
    """Overdispersed counts of three shapes: NB beats Poisson, and one shape is too few."""
    assert list(table.columns)[:2] == ["gene_likelihood", "n_basis"]
    assert table["log_likelihood"].is_monotonic_decreasing
    best = table.iloc[0]
    assert (best["gene_likelihood"], best["n_basis"]) == ("nb", 6)
    assert best["difference"] == best["difference_se"] == 0
    others = table.iloc[1:]
    assert (others["difference"] < -2 * others["difference_se"]).all()
    np.testing.assert_allclose(
        table["difference"], table["log_likelihood"] - best["log_likelihood"], atol=1e-6
    )
    assert (table["n_used_bases"] <= table["n_basis"]).all()


def test_the_likelihood_is_that_of_a_fit_without_the_held_out_cells(counts, table):
    fold = _folds(counts.n_obs, 1, 0.2, seed=0)[0]
    trained, unseen = counts[fold.trained].copy(), counts[fold.held_out].copy()
    BasisVAE.setup_anndata(trained)
    model = BasisVAE(trained, n_basis=6, gene_likelihood="nb", shape_deviation=0.0)
    model.train(20, seed=0, **QUIET)
    log_p = model.get_marginal_ll(unseen, n_mc_samples=400, return_mean=True)
    found = table.query("gene_likelihood == 'nb' and n_basis == 6")["log_likelihood"].item()
    assert found == pytest.approx(log_p, abs=0.3)  # 25 draws of z against 400


@pytest.mark.slow
@pytest.mark.parametrize("max_shift", [0.0, 1.5])
def test_shifts_win_where_genes_are_shifted_and_only_there(max_shift):
    """A basis for each of two shapes: shifted genes take more, unless shifts are free."""
    adata = simulate_counts(
        n_obs=300,
        n_vars=40,
        shapes=("peak", "down"),
        mean_count=3.0,
        max_shift=max_shift,
        seed=6,
    )
    table = tl.compare(
        adata,
        {"translation_invariant": [False, True]},
        held_out=0.2,
        max_epochs=40,
        train_kwargs=QUIET,
        n_basis=3,
        gene_likelihood="nb",
        shape_deviation=0.0,  # or genes follow courses of their own without shifts
    )
    best, lag = table.iloc[0], -table.iloc[1]["difference"]
    if max_shift:
        assert best["translation_invariant"]
        assert lag > max(0.3, 3.0 * table.iloc[1]["difference_se"])
    else:  # nats a cell: whoever is ahead, it is by next to nothing
        assert lag < 0.15


def test_folds_share_no_cell_and_leave_the_data_alone(counts):
    folds = _folds(50, 5, 0.2, seed=1)
    held_out = np.concatenate([fold.held_out for fold in folds])
    np.testing.assert_array_equal(np.sort(held_out), np.arange(50))
    for fold in folds:
        np.testing.assert_array_equal(np.sort(np.r_[fold.trained, fold.held_out]), np.arange(50))
    before = set(counts.obs) | set(counts.uns)
    tl.compare(
        counts[:60].copy(),
        {"n_basis": [3]},
        n_folds=2,
        max_epochs=1,
        n_samples=2,
        gene_likelihood="nb",
        train_kwargs=QUIET,
    )
    assert set(counts.obs) | set(counts.uns) == before


def test_what_cannot_be_compared(counts):
    for vary in ({}, {"n_basis": []}, {"gene_likelihood": "nb"}):
        with pytest.raises(ValueError, match="list of values each"):
            tl.compare(counts, vary)
    with pytest.raises(ValueError, match=r"\['n_basis'\] are given both"):
        tl.compare(counts, {"n_basis": [3]}, n_basis=3)
    with pytest.raises(ValueError, match="n_folds=11"):
        tl.compare(counts, {"n_basis": [3]}, n_folds=11)
    with pytest.raises(ValueError, match="of its own"):
        tl.compare(counts, {"n_basis": [3]}, held_out=0.001)
    with pytest.raises(KeyError, match="nowhere"):
        tl.compare(counts, {"n_basis": [3]}, layer="nowhere")


def test_the_figure_shows_every_setting_with_two_standard_errors(table):
    ax = pl.comparison(table, show=False)
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["nb", "poisson"]
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["2", "6"]
    assert ax.get_legend().get_title().get_text() == "n_basis"
    for container, n_basis in zip(ax.containers, [2, 6], strict=True):
        rows = table[table["n_basis"] == n_basis].sort_values("gene_likelihood")
        line, _, (bars,) = container
        np.testing.assert_allclose(line.get_ydata(), rows["difference"])
        spans = [np.ptp(segment[:, 1]) for segment in bars.get_segments()]
        np.testing.assert_allclose(spans, 4 * rows["difference_se"], atol=1e-9)
    with pytest.raises(ValueError, match=r"tl\.compare"):
        pl.comparison(table[["n_basis"]])
    plt.close("all")
