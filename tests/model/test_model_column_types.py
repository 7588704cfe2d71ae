"""Columns of any type make the same model, and cells of other files meet it under their names."""

import numpy as np
import pandas as pd
import pytest
from model_helpers import build, fit, small_counts

from basisvae_scvi import BasisVAE

HALF = np.arange(100) % 2
TYPES = {
    "bool": HALF == 1,
    "boolean": pd.array(HALF == 1, dtype="boolean"),
    "objects of truth": pd.Series(list(HALF == 1), dtype=object).array,
    "int8": HALF.astype(np.int8),
    "Int64": pd.array(HALF, dtype="Int64"),
    "objects of integers": pd.Series(list(HALF), dtype=object).array,
    "categorical": pd.Categorical(HALF),
    "text": np.where(HALF, "b", "a"),
    "string": pd.array(np.where(HALF, "b", "a"), dtype="string"),
}
ALIKE = [
    ("bool", "boolean", "objects of truth"),
    ("int8", "Int64", "objects of integers", "categorical"),
    ("text", "string"),
]


def cells(kind, key="donor"):
    adata = small_counts()
    adata.obs[key] = pd.Series(TYPES[kind], index=adata.obs_names)
    return adata


def codes(manager, field):
    return manager.get_from_registry(field).astype(int)[:, 0].tolist()


SETUPS = [
    ({"batch_key": "donor"}, "batch"),
    ({"categorical_covariate_keys": ["donor"]}, "extra_categorical_covs"),
    ({"categorical_covariate_keys": "donor"}, "extra_categorical_covs"),
]


@pytest.mark.parametrize(("setup", "field"), SETUPS)
@pytest.mark.parametrize("kind", TYPES)
def test_categories_of_any_type_are_registered_and_the_column_is_left(kind, setup, field):
    adata = cells(kind)
    before = adata.obs["donor"].copy()
    model = build(adata, setup=setup)
    assert codes(model.adata_manager, field) == HALF.tolist()
    pd.testing.assert_series_equal(adata.obs["donor"], before)
    for other in next(group for group in ALIKE if kind in group):
        manager = model.adata_manager.transfer_fields(cells(other))
        assert codes(manager, field) == HALF.tolist(), other


@pytest.mark.parametrize(("setup", "field"), SETUPS)
@pytest.mark.parametrize("kind", ["bool", "int8", "text"])
def test_a_value_that_is_new_is_refused_also_where_it_is_nothing(kind, setup, field):
    """0, False and an empty text are values as all others."""
    adata = cells(kind)
    empty = {"bool": False, "int8": 0, "text": ""}[kind]
    known = adata[HALF == 1].copy()
    manager = build(known, setup=setup).adata_manager
    new = cells(kind)
    new.obs["donor"] = [known.obs["donor"].iloc[0]] * 99 + [empty]
    with pytest.raises(ValueError, match=r"'donor'\] has values that are new.*load_query_data"):
        manager.transfer_fields(new)


def test_missing_values_of_new_cells_are_counted():
    manager = build(cells("text"), setup={"batch_key": "donor"}).adata_manager
    new = cells("text")
    new.obs["donor"] = new.obs["donor"].where(HALF == 1)
    with pytest.raises(ValueError, match=r"batch_key='donor': 50 cell\(s\) have no value"):
        manager.transfer_fields(new)


NUMBERS = {
    "Float64": lambda x: pd.array(x, dtype="Float64"),
    "objects": lambda x: pd.Series(list(x), dtype=object).array,
    "categorical": pd.Categorical,
}


@pytest.mark.parametrize("kind", NUMBERS)
def test_numbers_of_any_type_make_the_same_model(kind):
    """Size factors, covariates and guesses at z."""
    results = []
    for convert in (np.asarray, NUMBERS[kind]):
        adata = small_counts()
        values = np.random.default_rng(0).uniform(0.5, 2.0, (3, 100))
        for name, column in zip(("size", "age", "guess"), values, strict=True):
            adata.obs[name] = pd.Series(convert(column), index=adata.obs_names)
        setup = {
            "size_factor_key": "size",
            "continuous_covariate_keys": "age",
            "latent_prior_key": "guess",
        }
        model = fit(adata, setup=setup, max_epochs=1)
        results.append((model.get_latent_representation(), model.get_assignments().to_numpy()))
    for found, expected in zip(*results, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_guesses_that_are_missing_leave_cells_free_in_any_type():
    known = []
    for column in (
        np.where(HALF, 1.5, np.nan),
        pd.array([1.5 if one else None for one in HALF], dtype="Float64"),
        pd.Series([1.5 if one else pd.NA for one in HALF], dtype=object).array,
    ):
        adata = small_counts()
        adata.obs["guess"] = pd.Series(column, index=adata.obs_names)
        model = build(adata, setup={"latent_prior_key": "guess"})
        known.append(model._latent_prior().is_known[:, 0].tolist())
    assert known == [(HALF == 1).tolist()] * 3


def test_a_model_of_nullable_batches_is_saved_and_maps_new_cells(tmp_path):
    adata = cells("Int64")
    fit(adata, setup={"batch_key": "donor"}, max_epochs=1).save(str(tmp_path / "model"))
    new = cells("categorical")
    new.obs["donor"] = pd.Series(pd.array(HALF + 1, dtype="Int64"), index=new.obs_names)
    query = BasisVAE.load_query_data(new, str(tmp_path / "model"), accelerator="cpu")
    assert codes(query.adata_manager, "batch") == (HALF + 1).tolist()
    assert query.summary_stats.n_batch == 3
