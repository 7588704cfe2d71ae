"""Columns that arguments name: every type is read, or refused with a cure that works."""

import re

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from basisvae_scvi.data import (
    check_columns,
    check_obs_key,
    flags,
    names_of_columns,
    numbers,
    read_categories,
    read_latent,
    read_numbers,
)

N = 12
HALF = np.arange(N) % 2
NAMES = np.where(HALF, "late", "early")


def objects(values):
    return pd.Series(list(values), dtype=object)


def nullable(values, dtype):
    return pd.Series(pd.array(values, dtype=dtype))


def with_column(column, name="k"):
    adata = AnnData(np.ones((N, 3), np.float32))
    adata.obs[name] = pd.Series(column).set_axis(adata.obs_names)
    adata.obs["age"] = np.linspace(20, 60, N)
    return adata


def cured(adata, message, start):
    """The data after the code in a message has been run, literally."""
    code = next(
        line for line in re.split(r"(?:[:;]|where|with) ", message) if line[: len(start)] == start
    )
    scope = {"adata": adata, "np": np, "pandas": pd}
    exec(code.rstrip("."), scope)
    return scope["adata"]


# -- names ----------------------------------------------------------------------------------------

CATEGORIES = {
    "text": (NAMES, ["early", "late"]),
    "objects of text": (objects(NAMES), ["early", "late"]),
    "nullable text": (nullable(NAMES, "string"), ["early", "late"]),
    "categorical": (pd.Categorical(NAMES), ["early", "late"]),
    "ordered categorical": (
        pd.Categorical(NAMES, ["late", "early"], ordered=True),
        ["late", "early"],
    ),
    "truth": (HALF == 1, [False, True]),
    "nullable truth": (nullable(HALF == 1, "boolean"), [False, True]),
    "objects of truth": (objects(HALF == 1), [False, True]),
    "categorical truth": (pd.Categorical(HALF == 1), [False, True]),
    "int8": (HALF.astype(np.int8), [0, 1]),
    "nullable integers": (nullable(HALF, "Int64"), [0, 1]),
    "objects of integers": (objects(HALF), [0, 1]),
    "categorical integers": (pd.Categorical(HALF), [0, 1]),
    "categorical of nullable integers": (nullable(HALF, "Int64").astype("category"), [0, 1]),
    "fractions": (HALF / 2, [0.0, 0.5]),
    "nullable fractions": (nullable(HALF / 2, "Float64"), [0.0, 0.5]),
    "integers and fractions": (objects([0.5 if one else 0 for one in HALF]), [0.0, 0.5]),
}


@pytest.mark.parametrize("name", CATEGORIES)
def test_names_of_one_kind_are_read_whatever_their_type(name):
    column, expected = CATEGORIES[name]
    adata = with_column(column)
    before = adata.obs["k"].copy()
    found = read_categories(adata, "k", "batch_key").astype("category")
    assert found.cat.categories.tolist() == expected
    assert found.cat.categories.dtype.kind in "bifO"
    assert found.tolist() == before.tolist()
    pd.testing.assert_series_equal(adata.obs["k"], before)


MIXTURES = {
    "numbers and text": (objects([1 if one else "1" for one in HALF]), "numbers and text"),
    "a categorical of both": (
        pd.Categorical(objects([1 if one else "b" for one in HALF])),
        "numbers and text",
    ),
    "truth and text": (objects([True if one else "b" for one in HALF]), "True/False and text"),
    "truth and numbers": (objects([True if one else 2 for one in HALF]), "True/False and numbers"),
    "bytes": (objects([b"a" if one else b"b" for one in HALF]), "values of type bytes"),
    "intervals": (pd.Series(pd.cut(HALF, 2)), "values of type Interval"),
    "dates": (pd.to_datetime(np.where(HALF, "2020-01-01", "2021-01-01")), "Timestamp"),
    "tuples": (objects([(1, 2) if one else (3,) for one in HALF]), "values of type tuple"),
}


@pytest.mark.parametrize("name", MIXTURES)
def test_names_that_cannot_be_told_apart_are_refused_with_a_cure(name):
    column, held = MIXTURES[name]
    adata = with_column(column)
    with pytest.raises(ValueError, match=rf"batch_key='k': adata\.obs\['k'\] holds .*{held}") as e:
        read_categories(adata, "k", "batch_key")
    adata = cured(adata, str(e.value), "adata.obs['k'] = ")
    assert read_categories(adata, "k", "batch_key").nunique() in (1, 2)


GAPS = {
    "NaN": np.where(HALF, 1.0, np.nan),
    "None": objects([None if one else "a" for one in HALF]),
    "pd.NA": objects([pd.NA if one else "a" for one in HALF]),
    "nullable text": nullable([None if one else "a" for one in HALF], "string"),
    "nullable truth": nullable([None if one else True for one in HALF], "boolean"),
    "nullable integers": nullable([None if one else 1 for one in HALF], "Int64"),
    "categorical": pd.Categorical([None if one else "a" for one in HALF]),
}


@pytest.mark.parametrize("name", GAPS)
def test_cells_without_a_name_are_counted_and_can_be_left_out(name):
    adata = with_column(GAPS[name])
    with pytest.raises(ValueError, match=r"batch_key='k': 6 cell\(s\) have no value") as e:
        read_categories(adata, "k", "batch_key")
    adata = cured(adata, str(e.value), "adata = ")
    assert len(read_categories(adata, "k", "batch_key")) == 6


# -- numbers --------------------------------------------------------------------------------------

VALUES = np.arange(N) / 4.0
NUMBERS = {
    "float32": VALUES.astype(np.float32),
    "nullable": nullable(VALUES, "Float64"),
    "objects": objects(VALUES),
    "objects of numpy": objects(np.float32(value) for value in VALUES),
    "categorical": pd.Categorical(VALUES),
    "categorical of nullable": nullable(VALUES, "Float64").astype("category"),
    "sparse": pd.arrays.SparseArray(VALUES),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_are_read_whatever_their_type(name):
    found = read_numbers(with_column(NUMBERS[name]), "k", "latent_key")
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, VALUES)


@pytest.mark.parametrize(
    "column",
    [
        np.where(HALF, 1.0, np.nan),
        nullable([1 if one else None for one in HALF], "Int64"),
        nullable([1.0 if one else None for one in HALF], "Float64"),
        nullable([True if one else None for one in HALF], "boolean"),
        objects([1 if one else None for one in HALF]),
        objects([1.0 if one else pd.NA for one in HALF]),
        pd.Categorical([1 if one else None for one in HALF]),
    ],
)
def test_missing_numbers_are_nan(column):
    np.testing.assert_array_equal(numbers(pd.Series(column)), np.where(HALF, 1.0, np.nan))


@pytest.mark.parametrize(
    "column",
    [
        VALUES.astype(str),
        nullable(VALUES.astype(str), "string"),
        pd.Categorical(VALUES.astype(str)),
        objects([str(value) if value else None for value in VALUES]),
        objects([str(value) if one else value for value, one in zip(VALUES, HALF, strict=True)]),
    ],
)
def test_numbers_that_are_text_are_refused_with_a_cure(column):
    adata = with_column(column)
    with pytest.raises(ValueError, match=r"latent_prior_key='k': .* must hold numbers") as e:
        read_numbers(adata, "k", "latent_prior_key")
    adata = cured(adata, str(e.value), "adata.obs['k'] = ")
    found = read_numbers(adata, "k", "latent_prior_key")
    np.testing.assert_array_equal(found[1:], VALUES[1:])


@pytest.mark.parametrize(
    ("column", "held"),
    [
        (NAMES, "text"),
        (VALUES * 1j, "complex"),
        (pd.date_range("2020-01-01", periods=N), "Timestamp"),
        (pd.Categorical(NAMES), "text"),
        (objects(["a", *VALUES[1:]]), "numbers and text"),
    ],
)
def test_what_is_no_number_is_named_with_columns_that_are(column, held):
    expected = rf"init='k': .* must hold numbers, but holds .*{held}\. .*there are: age"
    with pytest.raises(ValueError, match=expected):
        read_numbers(with_column(column), "k", "init")


NOT_FINITE = {
    "missing": [np.nan, *VALUES[1:]],
    "infinite": [np.inf, *VALUES[1:]],
    "both": [np.inf, np.nan, *VALUES[2:]],
    "nullable, missing": nullable([None, *VALUES[1:]], "Float64"),
    "nullable, infinite": nullable([-np.inf, *VALUES[1:]], "Float64"),
    "nullable, both": nullable([np.inf, None, *VALUES[2:]], "Float64"),
    "objects": objects([np.inf, None, *VALUES[2:]]),
    "categorical": pd.Categorical([np.inf, None, *VALUES[2:]]),
}


@pytest.mark.parametrize("argument", ["latent_key", "continuous_covariate_keys"])
@pytest.mark.parametrize("name", NOT_FINITE)
def test_cells_without_a_number_can_be_left_out(name, argument):
    adata = with_column(NOT_FINITE[name])
    given = {argument: "k" if argument == "latent_key" else ["k"]}
    with pytest.raises(ValueError, match=rf"{argument}='k'.*missing or infinite") as e:
        check_columns(adata, **given)
    adata = cured(adata, str(e.value), "adata = ")
    assert adata.n_obs in (N - 1, N - 2)
    assert check_columns(adata, **given) is None


@pytest.mark.parametrize("argument", ["latent_key", "latent_prior_key"])
@pytest.mark.parametrize(
    "name", [n for n in NOT_FINITE if n not in ("missing", "nullable, missing")]
)
def test_an_infinite_guess_can_be_given_up(name, argument):
    adata = with_column(NOT_FINITE[name])
    with pytest.raises(ValueError, match=rf"{argument}='k'.*infinite") as e:
        check_columns(adata, **{argument: "k"})
    adata = cured(adata, str(e.value), "adata.obs['k'] = ")
    assert check_columns(adata, latent_prior_key="k") is None
    assert np.isnan(read_latent(adata, "k", "latent_prior_key")[0, 0])


@pytest.mark.parametrize("bad", [0.0, -2.0, np.nan, np.inf, -np.inf, None])
@pytest.mark.parametrize("dtype", ["float64", "Float64", object])
def test_size_factors_must_be_positive_and_finite(bad, dtype):
    adata = with_column(pd.Series([bad, *np.ones(N - 1)], dtype=dtype))
    with pytest.raises(ValueError, match=r"size_factor_key='k'.*; 1 value\(s\) are not"):
        check_columns(adata, size_factor_key="k")
    adata.obs["k"] = pd.Series([2, *np.ones(N - 1)], dtype=dtype).set_axis(adata.obs_names)
    assert check_columns(adata, size_factor_key="k") is None


# -- entries of obsm ------------------------------------------------------------------------------

TABLES = {
    "array": lambda x: x,
    "integers": lambda x: (4 * x).astype(int) / 4,
    "objects": lambda x: x.astype(object),
    "csr": sparse.csr_matrix,
    "csc_array": sparse.csc_array,
    "frame": pd.DataFrame,
    "nullable frame": lambda x: pd.DataFrame(x).astype("Float64"),
}


@pytest.mark.parametrize("name", TABLES)
def test_entries_of_obsm_are_read_whatever_their_type(name):
    adata, table = with_column(VALUES), np.stack([VALUES, VALUES[::-1]], axis=1)
    stored = TABLES[name](table)
    adata.obsm["k"] = (
        stored.set_axis(adata.obs_names) if isinstance(stored, pd.DataFrame) else stored
    )
    np.testing.assert_array_equal(read_latent(adata, "k", "init"), table)


def test_infinite_entries_of_obsm_can_be_left_out_or_given_up():
    adata = with_column(VALUES, "other")
    adata.obsm["k"] = np.where(np.arange(2 * N).reshape(N, 2) == 5, np.inf, 1.0)
    with pytest.raises(ValueError, match="latent_key='k' has missing or infinite") as e:
        check_columns(adata, latent_key="k")
    assert cured(adata, str(e.value), "adata = ").n_obs == N - 1
    adata = cured(adata, str(e.value), "adata.obsm['k'] = ")
    assert check_columns(adata, latent_prior_key="k") is None


# -- flags ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "column",
    [
        HALF == 1,
        nullable(HALF == 1, "boolean"),
        nullable([True if one else None for one in HALF], "boolean"),
        objects(HALF == 1),
        objects([True if one else np.nan for one in HALF]),
        objects([True if one else pd.NA for one in HALF]),
        pd.Categorical(HALF == 1),
        pd.Categorical([True if one else None for one in HALF]),
    ],
)
def test_flags_are_read_whatever_their_type(column):
    np.testing.assert_array_equal(flags(pd.Series(column)), HALF == 1)


@pytest.mark.parametrize("column", [HALF, NAMES, VALUES, objects([None] * N)])
def test_what_is_no_flag(column):
    assert flags(pd.Series(column)) is None


# -- keys -----------------------------------------------------------------------------------------


def test_a_column_that_is_there_passes():
    assert check_obs_key(with_column(VALUES), "age", "batch_key") is None
    assert check_obs_key(with_column(VALUES), None, "batch_key") is None


@pytest.mark.parametrize("key", ["sex", 3, ["age"]])
def test_a_column_that_is_not_there_is_named_with_those_that_are(key):
    with pytest.raises(KeyError, match=r"batch_key=.* is not a column.*there are: k, age"):
        check_obs_key(with_column(VALUES), key, "batch_key")
    with pytest.raises(KeyError, match=r"latent_key=.* is not a column.*there are: k, age"):
        read_latent(with_column(VALUES), key, "latent_key")


def test_where_there_is_no_column_the_message_says_so():
    with pytest.raises(KeyError, match=r"there are: none"):
        check_obs_key(AnnData(np.ones((2, 2))), "sex", "batch_key")


def test_a_name_of_several_columns_is_refused_with_a_cure():
    adata = with_column(VALUES)
    adata.obs = pd.concat([adata.obs, adata.obs[["age"]]], axis=1)
    with pytest.raises(ValueError, match=r"batch_key='age'.*several columns") as e:
        check_obs_key(adata, "age", "batch_key")
    adata = cured(adata, str(e.value), "adata.obs = ")
    assert check_obs_key(adata, "age", "batch_key") is None


# -- names of several columns, and numbers that single precision cannot hold ----------------------


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (None, None),
        ([], []),
        ({}, []),
        ("b", ["b"]),
        (("b", "a"), ["b", "a"]),
        (["b", "a", "b"], ["b", "a"]),
        ({"b", "a"}, ["a", "b"]),
        (np.array(["b"]), ["b"]),
        (pd.Index(["b", "a"]), ["b", "a"]),
        (pd.Series(["b"], index=[7]), ["b"]),
    ],
)
def test_names_of_columns_come_in_any_container(keys, expected):
    assert names_of_columns(keys, "keys") == expected


@pytest.mark.parametrize("keys", [0, False, True, 1.5, [None], ["a", 3], [["a"]], [b"a"]])
def test_what_is_no_name_of_a_column_is_refused(keys):
    with pytest.raises(ValueError, match=r"keys=.* is no name of a column; give a list of text"):
        names_of_columns(keys, "keys")


@pytest.mark.parametrize("factor", [1e300, 1e30, 1e-30, 1e-300])
@pytest.mark.parametrize(
    "argument", ["size_factor_key", "continuous_covariate_keys", "latent_key", "latent_prior_key"]
)
def test_numbers_beyond_single_precision_are_refused_with_a_cure(argument, factor):
    adata = with_column((VALUES + 1) * factor)
    given = {argument: ["k"] if argument == "continuous_covariate_keys" else "k"}
    said = rf"{argument}='k': adata\.obs\['k'\] has values of about .* Divide them by (\S+)\."
    with pytest.raises(ValueError, match=said) as error:
        check_columns(adata, **given)
    adata.obs["k"] /= float(re.search(r"by (\S+)\.$", str(error.value)).group(1))
    assert check_columns(adata, **given) is None


def test_entries_of_obsm_beyond_single_precision_are_refused():
    adata = with_column(VALUES)
    adata.obsm["X"] = np.stack([VALUES, VALUES * 1e300], axis=1)
    with pytest.raises(ValueError, match=r"init='X': adata\.obsm\['X'\] has values of about"):
        read_latent(adata, "X", "init")
