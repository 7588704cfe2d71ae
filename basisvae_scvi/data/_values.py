"""What a column holds, whatever the type it is stored in: numbers, categories or flags."""

from __future__ import annotations

from numbers import Real

import numpy as np
import pandas as pd
from scipy import sparse

# Kinds of values that serve as names of batches, and the type in which they are compared.
_CATEGORIES = {
    "string": None,
    "boolean": bool,
    "integer": np.int64,
    "floating": np.float64,
    "mixed-integer-float": np.float64,
}


def kind_of(values: pd.Series) -> str:
    """What a column holds, in words, e.g. for a message."""
    present = _without_type(values).dropna()
    kinds = {_word(type(value)) for value in present}
    return " and ".join(sorted(kinds)) or "nothing"


def _word(kind: type) -> str:
    if issubclass(kind, str):
        return "text"
    if issubclass(kind, bool | np.bool_):
        return "True/False"
    return "numbers" if issubclass(kind, Real) else f"values of type {kind.__name__}"


def _without_type(values: pd.Series) -> pd.Series:
    return pd.Series(values).astype(object)


def numbers(values: pd.Series) -> np.ndarray | None:
    """A column of numbers as float64, NaN where there are none; ``None`` for anything else.

    Truth values are 0 and 1. Numbers may be those of a categorical, of pandas' nullable types, or
    of a column of objects.
    """
    values = pd.Series(values)
    if isinstance(values.dtype, pd.CategoricalDtype):
        known = numbers(pd.Series(values.cat.categories))
        return None if known is None else np.append(known, np.nan)[values.cat.codes]
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_complex_dtype(values):
        return values.to_numpy(dtype=np.float64, na_value=np.nan)
    is_there = values.notna().to_numpy()
    present = values[is_there]
    if not pd.api.types.is_object_dtype(values) or not all(
        isinstance(value, Real | np.bool_) for value in present
    ):
        return None if is_there.any() else np.full(len(values), np.nan)
    found = np.full(len(values), np.nan)
    found[is_there] = [float(value) for value in present]
    return found


def table_of_numbers(values) -> np.ndarray | None:
    """An array, sparse matrix or data frame of numbers as float64, shape ``(N, J)``."""
    if sparse.issparse(values):
        values = values.toarray()
    if not isinstance(values, pd.DataFrame):
        values = np.asarray(values)
        values = pd.DataFrame(values.reshape(len(values), -1))
    columns = [numbers(values.iloc[:, j]) for j in range(values.shape[1])]
    if not columns or any(column is None for column in columns):
        return None
    return np.stack(columns, axis=1)


def flags(values: pd.Series) -> np.ndarray | None:
    """A column of truth values as a mask, missing ones False; ``None`` for anything else."""
    values = pd.Series(values)
    if values.dtype == bool:
        return values.to_numpy()
    is_flag = values.notna().any() and pd.api.types.infer_dtype(_without_type(values)) == "boolean"
    return _without_type(values).eq(True).fillna(False).to_numpy(bool) if is_flag else None


def categories(values: pd.Series) -> pd.Series | None:
    """A column of names of one kind, text, numbers or truth values; ``None`` for a mixture.

    Types that say the same in other ways become one, so that cells of different files meet.
    """
    is_categorical = isinstance(values.dtype, pd.CategoricalDtype)
    names = pd.Series(values.cat.categories) if is_categorical else values
    kind = pd.api.types.infer_dtype(_without_type(names), skipna=True)
    if kind not in _CATEGORIES:
        return None
    if (to := _CATEGORIES[kind]) is None:
        return values
    if is_categorical:
        return values.cat.rename_categories(pd.Index(_without_type(names).astype(to)))
    return values.astype(to)
