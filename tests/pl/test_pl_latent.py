"""z by itself, against a column, and on an embedding."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import same_color

from basisvae_scvi import pl


def z_of(adata):
    return adata.obsm["X_basisvae"][:, 0].astype(float)


def test_histogram_counts_all_modelled_cells(hand):
    hand.obsm["X_basisvae"][:10] = np.nan
    ax = pl.latent(hand, show=False)
    assert sum(bar.get_height() for bar in ax.patches) == hand.n_obs - 10
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("z", "cells")


def test_numbers_are_a_scatter_plot(hand):
    ax = pl.latent(hand, color="size", show=False)
    points = np.asarray(ax.collections[0].get_offsets())
    np.testing.assert_allclose(points, np.column_stack([z_of(hand), hand.obs["size"]]))
    assert ax.get_ylabel() == "size"


def test_categories_are_rows_with_their_median(hand):
    stage = pd.Categorical.from_codes(np.arange(hand.n_obs) % 3, ["late", "early", "middle"])
    hand.obs["stage"] = stage
    hand.uns["stage_colors"] = ["red", "green", "blue"]
    ax = pl.latent(hand, color="stage", show=False)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["late", "early", "middle"]
    for row, (category, color) in enumerate(
        zip(stage.categories, ["red", "green", "blue"], strict=True)
    ):
        points = np.asarray(ax.collections[row].get_offsets())
        np.testing.assert_allclose(points[:, 0], z_of(hand)[stage == category])
        assert np.abs(points[:, 1] - row).max() <= 0.3
        assert same_color(ax.collections[row].get_facecolor()[0, :3], color)
        median = np.median(z_of(hand)[stage == category])
        np.testing.assert_allclose(ax.get_lines()[row].get_xdata(), median)


@pytest.mark.parametrize("values", [[True, False], ["a", "b"], ["a", None]])
def test_other_columns_are_taken_as_categories(hand, values):
    hand.obs["column"] = np.resize(np.array(values, dtype=object), hand.n_obs)
    if values == [True, False]:
        hand.obs["column"] = hand.obs["column"].astype(bool)
    ax = pl.latent(hand, color="column", show=False)
    expected = sorted(str(v) for v in values if v is not None)
    assert [t.get_text() for t in ax.get_yticklabels()] == expected


@pytest.mark.parametrize(("name", "label"), [("X_umap", "UMAP"), ("umap", "UMAP"), ("X_x", "x")])
def test_embedding_is_coloured_by_z(hand, name, label):
    hand.obsm[name] = np.random.default_rng(0).normal(size=(hand.n_obs, 3))
    ax = pl.latent(hand, basis=name.removeprefix("X_"), show=False)
    dots = ax.collections[0]
    np.testing.assert_allclose(dots.get_offsets(), hand.obsm[name][:, :2])
    np.testing.assert_allclose(dots.get_array(), z_of(hand))
    assert (ax.get_xlabel(), ax.get_ylabel()) == (f"{label}1", f"{label}2")
    assert dots.colorbar.ax.get_ylabel() == "z"


def test_second_dimension(hand):
    hand.obsm["X_basisvae"] = np.random.default_rng(1).normal(size=(hand.n_obs, 2))
    ax = pl.latent(hand, color="size", dimension=1, show=False)
    points = np.asarray(ax.collections[0].get_offsets())
    np.testing.assert_allclose(points[:, 0], hand.obsm["X_basisvae"][:, 1])
    assert ax.get_xlabel() == "z, dimension 1"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"color": "nothing"}, KeyError, "color='nothing'"),
        ({"basis": "umap"}, KeyError, r"obsm\['X_umap'\]"),
        ({"basis": "basisvae"}, ValueError, "two columns"),
        ({"color": "size", "basis": "umap"}, ValueError, "not both"),
        ({"dimension": 1}, ValueError, "dimension=1"),
    ],
)
def test_wrong_arguments_are_named(hand, arguments, error, message):
    with pytest.raises(error, match=message):
        pl.latent(hand, **arguments, show=False)


@pytest.fixture
def plane(hand):
    """The same cells at two latent dimensions, with a number and a category."""
    rng = np.random.default_rng(0)
    hand.obsm["X_basisvae"] = rng.standard_normal((hand.n_obs, 2)).astype(np.float32)
    hand.obs["kind"] = np.where(np.arange(hand.n_obs) % 3, "a", "b")
    return hand


def test_two_dimensions_are_a_plane(plane):
    ax = pl.latent(plane, show=False)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("z, dimension 0", "z, dimension 1")
    np.testing.assert_allclose(ax.collections[0].get_offsets(), plane.obsm["X_basisvae"])


def test_numbers_colour_the_cells_of_the_plane(plane):
    ax = pl.latent(plane, color="size", show=False)
    np.testing.assert_allclose(ax.collections[1].get_array(), plane.obs["size"])
    assert ax.figure.axes[1].get_ylabel() == "size"


def test_categories_colour_the_cells_of_the_plane_and_have_a_legend_outside(plane):
    plane.uns["kind_colors"] = ["#ff0000", "#0000ff"]
    plane.obs["kind"] = plane.obs["kind"].astype("category")
    ax = pl.latent(plane, color="kind", show=False)
    dots = ax.collections[0]
    for place, color in zip(dots.get_offsets(), dots.get_facecolors(), strict=True):
        cell = np.abs(plane.obsm["X_basisvae"] - place).sum(1).argmin()
        assert same_color(color[:3], "red" if plane.obs["kind"].iloc[cell] == "a" else "blue")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]
    ax.figure.canvas.draw()
    assert ax.get_legend().get_window_extent().x0 >= ax.get_window_extent().x1 - 1


def test_one_of_two_dimensions_can_be_asked_for(plane):
    ax = pl.latent(plane, dimension=1, color="size", show=False)
    np.testing.assert_allclose(
        ax.collections[0].get_offsets()[:, 0], plane.obsm["X_basisvae"][:, 1]
    )
