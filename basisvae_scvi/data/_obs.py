"""Columns of ``.obs`` and entries of ``.obsm`` that arguments name: reading and checks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set

import numpy as np
import pandas as pd
from anndata import AnnData

from ._checks import shortened
from ._values import categories, kind_of, numbers, table_of_numbers

# The model calculates in single precision, with squares of numbers.
_SMALLEST, _LARGEST = 1e-18, 1e18


def _as_is(argument: str) -> str:
    return argument


def names_of_columns(keys: Iterable[str] | str | None, argument: str) -> list[str] | None:
    """Names of columns as a list, each once, whether one, several or none were given.

    Raises
    ------
    ValueError
        For anything but text.
    """
    if keys is None:
        return None
    given = [keys] if isinstance(keys, str) or not isinstance(keys, Iterable) else list(keys)
    if wrong := [key for key in given if not isinstance(key, str)]:
        raise ValueError(
            f"{argument}={keys!r}: {wrong[0]!r} is no name of a column; give a list of text, e.g. "
            f"{argument}=['donor'], or leave it out."
        )
    return sorted(set(given)) if isinstance(keys, Set) else list(dict.fromkeys(given))


def check_obs_key(adata: AnnData, key: str | None, argument: str) -> None:
    """Raise KeyError if ``key`` is no column of ``adata.obs``, ValueError if it is several."""
    if key is None:
        return
    if not isinstance(key, str) or key not in adata.obs:
        raise KeyError(
            f"{argument}={key!r} is not a column of adata.obs; "
            f"there are: {shortened(adata.obs.columns, 12) or 'none'}."
        )
    if isinstance(adata.obs[key], pd.DataFrame):
        raise ValueError(
            f"{argument}={key!r}: adata.obs has several columns of this name. Keep the first with "
            "adata.obs = adata.obs.loc[:, ~adata.obs.columns.duplicated()]."
        )


def read_numbers(adata: AnnData, key: str, argument: str) -> np.ndarray:
    """Numbers of a column, float64, NaN where missing, shape ``(N,)``.

    Raises
    ------
    KeyError
        For a missing column.
    ValueError
        For one that does not hold numbers.
    """
    check_obs_key(adata, key, argument)
    found = numbers(adata.obs[key])
    if found is not None:
        _check_range(found, f"{argument}={key!r}: adata.obs[{key!r}]")
        return found
    if _is_text_of_numbers(adata.obs[key]):
        cure = f"Convert it: adata.obs[{key!r}] = pandas.to_numeric(adata.obs[{key!r}])."
    else:
        others = [c for c in adata.obs.columns if numbers(adata.obs[c]) is not None]
        cure = f"Name a column of numbers; there are: {shortened(others, 12) or 'none'}."
    raise ValueError(
        f"{argument}={key!r}: adata.obs[{key!r}] must hold numbers, but holds "
        f"{kind_of(adata.obs[key])}. {cure}"
    )


def _check_range(values: np.ndarray, what: str) -> None:
    """Raise ValueError for finite numbers whose squares single precision cannot hold."""
    size = np.abs(values[np.isfinite(values)])
    if size.max(initial=0.0) > _LARGEST or 0.0 < size.max(initial=0.0) < _SMALLEST:
        raise ValueError(
            f"{what} has values of about {size.max():.0e}, too "
            f"{'large' if size.max() > 1 else 'small'} to calculate with. Divide them by "
            f"{size.max():.0e}."
        )


def _is_text_of_numbers(column: pd.Series) -> bool:
    try:
        return numbers(pd.to_numeric(column.astype(object))) is not None
    except (TypeError, ValueError):
        return False


def read_categories(adata: AnnData, key: str, argument: str) -> pd.Series:
    """Names in a column, all of one kind and none missing.

    Raises
    ------
    KeyError
        For a missing column.
    ValueError
        For cells without a value, or values that cannot be told apart or sorted.
    """
    check_obs_key(adata, key, argument)
    column = adata.obs[key]
    if n_missing := int(column.isna().sum()):
        raise ValueError(
            f"{argument}={key!r}: {n_missing} cell(s) have no value in adata.obs[{key!r}]. Give "
            "them one, or remove them: "
            f"adata = adata[adata.obs[{key!r}].notna()].copy()."
        )
    found = categories(column)
    if found is None:
        raise ValueError(
            f"{argument}={key!r}: adata.obs[{key!r}] holds {kind_of(column)}, which cannot be "
            f"sorted into categories. Make it text: adata.obs[{key!r}] = "
            f"adata.obs[{key!r}].astype(str)."
        )
    return found


def read_latent(adata: AnnData, key: str, argument: str) -> np.ndarray:
    """Values of a column of ``.obs`` or an entry of ``.obsm``, float64, shape ``(N, J)``."""
    if not isinstance(key, str) or key not in adata.obsm:
        if not isinstance(key, str) or key not in adata.obs:
            raise KeyError(
                f"{argument}={key!r} is not a column of adata.obs; there are: "
                f"{shortened(adata.obs.columns, 12) or 'none'}; nor a key of adata.obsm: "
                f"{shortened(adata.obsm, 12) or 'none'}."
            )
        return read_numbers(adata, key, argument)[:, None]
    values = table_of_numbers(adata.obsm[key])
    if values is None:
        raise ValueError(
            f"{argument}={key!r}: adata.obsm[{key!r}] must hold numbers. Convert it, or name "
            "another entry or a column of adata.obs."
        )
    _check_range(values, f"{argument}={key!r}: adata.obsm[{key!r}]")
    return values


def check_size_factors(adata: AnnData, key: str, argument: str = "size_factor_key") -> None:
    """Raise ValueError unless all size factors are positive and finite."""
    values = read_numbers(adata, key, argument)
    if n_bad := int((~(np.isfinite(values) & (values > 0))).sum()):
        raise ValueError(
            f"{argument}={key!r}: adata.obs[{key!r}] must be positive and finite; "
            f"{n_bad} value(s) are not. Recompute it, or leave {argument} out to use the "
            "observed library size."
        )


def check_covariate(adata: AnnData, key: str, argument: str) -> None:
    """Raise ValueError if a column of numbers has missing or infinite values."""
    values = read_numbers(adata, key, argument)
    if n_bad := int((~np.isfinite(values)).sum()):
        raise ValueError(
            f"{argument}={key!r}: adata.obs[{key!r}] has {n_bad} missing or infinite value(s). "
            f"Fill them, or remove these cells: {_only_finite(adata, key, values)}."
        )


def check_latent(
    adata: AnnData,
    key: str,
    argument: str,
    *,
    naming: Callable[[str], str] = _as_is,
    is_new: bool = False,
) -> None:
    """Raise ValueError for values that cannot be places, or guesses at places, of the cells."""
    values = read_latent(adata, key, argument)
    is_bad = ~np.isfinite(values) if argument == naming("latent_key") else np.isinf(values)
    prior, is_prior = naming("latent_prior_key"), argument == naming("latent_prior_key")
    if is_prior and not is_new and np.isnan(values).all():
        raise ValueError(
            f"{argument}={key!r} has no value at all. Leave it out, or give some cells a guess."
        )
    if not is_bad.any():
        return
    what = "missing or infinite" if not is_prior else "infinite"
    freed = f"{_place(adata, key)} = {_with_gaps(adata, key)}"
    free = f"a missing value (NaN) leaves a cell free: {freed}" if np.isinf(values).any() else ""
    if is_prior:
        raise ValueError(f"{argument}={key!r} has {int(is_bad.sum())} {what} values; {free}.")
    raise ValueError(
        f"{argument}={key!r} has {what} values. Keep only the cells that have one: "
        f"{_only_finite(adata, key, values)}; or give it as {prior}, where "
        f"{free or 'a missing value leaves a cell free'}."
    )


def check_columns(
    adata: AnnData,
    *,
    batch_key: str | None = None,
    size_factor_key: str | None = None,
    categorical_covariate_keys: Sequence[str] | None = None,
    continuous_covariate_keys: Sequence[str] | None = None,
    latent_key: str | None = None,
    latent_prior_key: str | None = None,
    naming: Callable[[str], str] = _as_is,
    is_new: bool = False,
) -> None:
    """Raise KeyError or ValueError for what ``setup_anndata`` cannot read.

    Parameters
    ----------
    adata
        The cells.
    batch_key, size_factor_key, categorical_covariate_keys, continuous_covariate_keys
        Arguments of ``setup_anndata``.
    latent_key, latent_prior_key
        The same.
    naming
        What an argument is called where the user gave it.
    is_new
        Whether the cells are new to a trained model, which needs no guess at their z.
    """
    if latent_key is not None and latent_prior_key is not None:
        raise ValueError(
            f"{naming('latent_key')}={latent_key!r} fixes z and "
            f"{naming('latent_prior_key')}={latent_prior_key!r} lets it move; give one of them."
        )
    if batch_key is not None:
        read_categories(adata, batch_key, naming("batch_key"))
    if size_factor_key is not None:
        check_size_factors(adata, size_factor_key, naming("size_factor_key"))
    for key in categorical_covariate_keys or []:
        read_categories(adata, key, naming("categorical_covariate_keys"))
    for key in continuous_covariate_keys or []:
        check_covariate(adata, key, naming("continuous_covariate_keys"))
    for argument, key in (("latent_key", latent_key), ("latent_prior_key", latent_prior_key)):
        if key is not None:
            check_latent(adata, key, naming(argument), naming=naming, is_new=is_new)


def _place(adata: AnnData, key: str) -> str:
    return f"adata.obsm[{key!r}]" if key in adata.obsm else f"adata.obs[{key!r}]"


def _with_gaps(adata: AnnData, key: str) -> str:
    """Code that gives the values with NaN in place of infinite ones."""
    if key not in adata.obsm or isinstance(adata.obsm[key], pd.DataFrame):
        return f"{_place(adata, key)}.replace([np.inf, -np.inf], np.nan)"
    return f"np.where(np.isinf({_place(adata, key)}), np.nan, {_place(adata, key)})"


def _only_finite(adata: AnnData, key: str, values: np.ndarray) -> str:
    """Code that leaves out the cells whose value is missing, or infinite where some are."""
    place = _place(adata, key)
    if key in adata.obsm:
        return f"adata = adata[np.isfinite({place}).all(axis=1)].copy()"
    if np.isinf(values).any():
        return f"adata = adata[np.isfinite({place}.astype(float))].copy()"
    return f"adata = adata[{place}.notna()].copy()"
