"""Arguments out of range end in a message that names the argument and the choices."""

import numpy as np
import pandas as pd
import pytest
from model_helpers import build, fit, small_counts, train

from basisvae_scvi import BasisVAE


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"gene_likelihood": "negbin"}, r"negbin.*zinb"),
        ({"inference": "exact"}, r"inference='exact' is unknown; choose one of \['collapsed'"),
        ({"dispersion": "cell"}, r"dispersion='cell' is unknown.*'gene-batch'"),
        ({"zero_inflation": "cell"}, r"zero_inflation='cell' is unknown.*'latent'"),
        ({"gene_prior": "none"}, r"gene_prior='none' is unknown.*'assigned'"),
        ({"n_basis": 1}, r"n_basis=1 must be a whole number of at least 2"),
        ({"n_latent": 0}, r"n_latent=0 must be a whole number of at least 1"),
        ({"n_hidden_basis": 0}, r"n_hidden_basis=0 must be a whole number of at least 1"),
        ({"concentration": 0.0}, r"concentration=0\.0 must be a number above 0"),
        ({"concentration": np.nan}, r"concentration=nan must be a number above 0"),
        ({"latent_weight": -1.0}, r"latent_weight=-1\.0 must be a number above 0"),
        ({"assignment_weight": 0.0}, r"assignment_weight=0\.0 must be a number above 0"),
    ],
)
def test_an_argument_out_of_range_is_named(adata, arguments, message):
    with pytest.raises(ValueError, match=message):
        build(adata, **arguments)


@pytest.mark.parametrize("value", [0, 1.5, "", "4", None, [], np.nan, np.inf, True, np.float32(4)])
@pytest.mark.parametrize(
    "name", ["n_basis", "n_latent", "n_hidden_basis", "n_hidden", "n_layers", "n_grid"]
)
def test_numbers_of_something_are_whole(adata, name, value):
    if (name, value) == ("n_grid", 0):
        value = -1
    with pytest.raises(ValueError, match=rf"^{name}=.* must be a whole number of at least"):
        build(adata, **{name: value})


@pytest.mark.parametrize("value", ["", "1", None, [], np.nan, np.inf, True])
@pytest.mark.parametrize(
    "name",
    ["concentration", "latent_weight", "assignment_weight", "latent_prior_scale", "dropout_rate"],
)
def test_weights_are_numbers(adata, name, value):
    with pytest.raises(ValueError, match=rf"^{name}=.* must be a number "):
        build(adata, **{name: value})


@pytest.mark.parametrize("value", ["", "False", None, [], np.nan, 2, -1, 0.5])
@pytest.mark.parametrize("name", ["scale_invariant", "translation_invariant", "allow_non_integer"])
def test_a_text_is_no_switch(adata, name, value):
    with pytest.raises(ValueError, match=rf"^{name}=.* must be True or False"):
        build(adata, **{name: value})


@pytest.mark.parametrize("value", [0, False, np.bool_(False), np.int64(0)])
def test_every_way_to_say_no_is_one(adata, value):
    model = build(adata, translation_invariant=value)
    assert not model.module.genes.translation_invariant


@pytest.mark.parametrize("value", ["", [], True, "0.3", np.nan, -0.1])
def test_a_deviation_is_a_number_or_learned(adata, value):
    with pytest.raises(ValueError, match=r"^shape_deviation=.* must be 'learned', 0 or a pos"):
        build(adata, shape_deviation=value)


@pytest.mark.parametrize("n_grid", [1, 3])
def test_a_grid_too_small_to_interpolate_is_refused(adata, n_grid):
    with pytest.raises(ValueError, match="n_grid"):
        build(adata, n_grid=n_grid, translation_invariant=True)


def test_results_of_an_untrained_model_are_refused(adata):
    model = build(adata)
    for method in (
        model.get_assignments,
        model.get_clusters,
        model.get_latent_representation,
        model.get_gene_trends,
        model.annotate,
    ):
        with pytest.raises(RuntimeError, match="train"):
            method()


def test_a_model_without_data_cannot_be_trained(fitted):
    model = BasisVAE(None, fitted.registry, n_basis=3)
    with pytest.raises(ValueError, match=r"no data: load it with adata="):
        train(model)


@pytest.mark.parametrize("init", ["umap", "X_nowhere"])
def test_an_unknown_start_is_refused(adata, init):
    expected = rf"init='{init}' is neither one of \['manifold', 'pca', 'random'\] nor a column"
    with pytest.raises(ValueError, match=expected):
        train(build(adata), 1, init=init)


def test_a_start_with_gaps_is_refused(adata):
    adata.obs["time"] = [np.nan, *range(99)]
    with pytest.raises(ValueError, match=r"init='time' must give 1 finite.*1 missing or infinite"):
        train(build(adata), 1, init="time")


def test_a_start_that_tells_no_order_is_refused(adata):
    adata.obs["time"] = 3.0
    with pytest.raises(ValueError, match=r"init='time' is the same in every cell"):
        train(build(adata), 1, init="time")


def test_a_start_of_too_few_dimensions_is_refused(adata):
    with pytest.raises(ValueError, match=r"init='true_z' must give 2 finite.*1 column"):
        train(build(adata, n_latent=2), 1, init="true_z")


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, np.nan, "", "1", True, []])
def test_a_seed_out_of_range_is_refused(adata, seed):
    with pytest.raises(ValueError, match=r"^seed=.* must be a whole number from 0"):
        train(build(adata), 1, seed=seed)


def test_an_unknown_gene_is_named_by_the_trends(fitted):
    with pytest.raises(KeyError, match=r"Not among the model's genes: Actb, Gapdh"):
        fitted.get_gene_trends(["gene1", "Actb", "Gapdh"])


def test_an_unknown_gene_is_named_by_the_coclustering(fitted):
    with pytest.raises(KeyError, match=r"Not among the model's genes: Actb"):
        fitted.get_coclustering(["Actb"])


def test_points_of_the_wrong_shape_are_refused(fitted):
    with pytest.raises(ValueError, match=r"z must have shape \(n_points, 1\); got \(5, 2\)"):
        fitted.get_basis_functions(np.zeros((5, 2)))


def test_an_unknown_root_is_refused(fitted):
    expected = r"root='nobody' is neither a cell .* nor a boolean column .* nor a gene"
    with pytest.raises(ValueError, match=expected):
        fitted.get_pseudotime(root="nobody")


def test_a_column_that_is_not_boolean_is_no_root(fitted):
    with pytest.raises(ValueError, match=r"root='true_z' .* numbers, neither True nor False"):
        fitted.get_pseudotime(root="true_z")


@pytest.mark.parametrize("root", [np.ones(7, bool), np.zeros(120), [0, 1]])
def test_a_mask_of_the_wrong_form_is_refused(fitted, root):
    with pytest.raises(ValueError, match=r"root must be a boolean mask of length 120"):
        fitted.get_pseudotime(root=root)


@pytest.mark.parametrize("root", [np.zeros(120, bool), pd.Series(np.zeros(120, bool))])
def test_an_empty_mask_is_refused(fitted, root):
    with pytest.raises(ValueError, match=r"root marks no cell"):
        fitted.orient(root)


def test_two_dimensions_have_no_pseudotime():
    model = fit(small_counts(), n_latent=2, max_epochs=1)
    with pytest.raises(ValueError, match=r"Pseudotime needs n_latent=1, but the model has 2"):
        model.get_pseudotime()
    with pytest.raises(ValueError, match=r"Only a one-dimensional z has two ends"):
        model.orient("cell0")
