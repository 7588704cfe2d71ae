"""Comparison of settings by cells that the model has not seen."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd
from anndata import AnnData

from basisvae_scvi._compat import register_cells
from basisvae_scvi._progress import track
from basisvae_scvi.data import check_layer, pointing_to_counts
from basisvae_scvi.model import BasisVAE

from ._basisvae import light_copy

_MIN_HELD_OUT_CELLS = 2


class _Fold(NamedTuple):
    """One split of the cells, as indices."""

    trained: np.ndarray
    held_out: np.ndarray


class _Result(NamedTuple):
    """What one fit is worth: log p of every held-out cell, bases in use, seconds."""

    log_likelihood: np.ndarray
    n_used_bases: int
    seconds: float


def compare(
    adata: AnnData,
    vary: Mapping[str, Sequence],
    *,
    layer: str | None = None,
    batch_key: str | None = None,
    size_factor_key: str | None = None,
    latent_key: str | None = None,
    latent_prior_key: str | None = None,
    n_folds: int = 1,
    held_out: float = 0.1,
    n_samples: int = 25,
    seed: int = 0,
    max_epochs: int | None = None,
    train_kwargs: dict | None = None,
    **model_kwargs,
) -> pd.DataFrame:
    """Compare settings by the log likelihood of cells that were held out.

    Every combination of the values in ``vary`` is trained on the same cells and judged by the
    same others, which tells how many bases, whether shifts and which likelihood the data bear.
    Search, starting values and training see the training cells alone.

    Where genes deviate from their bases (``shape_deviation``), they follow courses of their own
    whatever the bases, so that fewer bases, or none that shift, predict nearly as well. Pass
    ``shape_deviation=0`` to compare bases and shifts by themselves.

    Parameters
    ----------
    adata
        Cells × genes; left as it is.
    vary
        Arguments of :class:`basisvae_scvi.BasisVAE` and the values to try, e.g.
        ``{"n_basis": [5, 10, 20], "translation_invariant": [False, True]}``.
    layer, batch_key, size_factor_key, latent_key, latent_prior_key
        As in :meth:`basisvae_scvi.BasisVAE.setup_anndata`.
    n_folds
        Number of disjoint sets of cells that are held out in turn.
    held_out
        Share of the cells in each.
    n_samples
        Draws of z per cell over which log p is importance-weighted.
    seed
        Seed of the split and of every fit.
    max_epochs
        Passes over the cells.
    train_kwargs
        Passed on to :meth:`basisvae_scvi.BasisVAE.train`.
    **model_kwargs
        Arguments of the model that stay the same.

    Returns
    -------
    Data frame, one row per combination, best first: the varied arguments; ``log_likelihood``,
    mean log p of a held-out cell in nats (z integrated out, q(w) held); ``difference`` from the
    best and its standard error ``difference_se`` over the held-out cells; ``n_used_bases``, the
    flat one included, and ``seconds``, means over the folds.

    Raises
    ------
    ValueError
        If ``vary`` is empty or names an argument twice, one of its values is out of range, or the
        folds leave too few cells. All of it is looked at before the first fit.

    Examples
    --------
    >>> import basisvae_scvi as bv
    >>> adata = bv.datasets.simulate_counts(n_obs=300, n_vars=60, mean_count=3.0)
    >>> train_kwargs = {"enable_progress_bar": False, "n_restarts": 1}
    >>> table = bv.tl.compare(
    ...     adata,
    ...     {"n_basis": [2, 4]},
    ...     gene_likelihood="nb",
    ...     max_epochs=2,
    ...     train_kwargs=train_kwargs,
    ... )
    >>> list(table.columns)[:3]
    ['n_basis', 'log_likelihood', 'difference']
    """
    check_layer(adata, layer)
    combinations = list(_combinations(vary, model_kwargs))
    if n_samples < 1:
        raise ValueError(f"n_samples={n_samples} must be at least 1.")
    folds = _folds(adata.n_obs, n_folds, held_out, seed)
    setup = {
        "layer": layer,
        "batch_key": batch_key,
        "size_factor_key": size_factor_key,
        "latent_key": latent_key,
        "latent_prior_key": latent_prior_key,
    }
    training = {"max_epochs": max_epochs, "seed": seed, **(train_kwargs or {})}
    quiet = not training.get("enable_progress_bar", True)
    training.setdefault("enable_progress_bar", False)
    work = light_copy(adata, layer)
    tasks = list(product(combinations, folds))
    with pointing_to_counts(adata, layer):
        _check_combinations(work, setup, combinations, model_kwargs)
        results = [
            _judge(work, fold, setup, {**model_kwargs, **varied}, training, n_samples)
            for varied, fold in track(
                tasks, "Comparing settings", total=len(tasks), unit="fit", silent=quiet
            )
        ]
    per_combination = [results[i : i + n_folds] for i in range(0, len(results), n_folds)]
    return _table(combinations, per_combination)


def _combinations(vary: Mapping[str, Sequence], fixed: dict) -> Iterator[dict]:
    if not vary or any(isinstance(values, str) or not len(values) for values in vary.values()):
        raise ValueError(
            "vary must name arguments of BasisVAE with a list of values each, e.g. "
            "vary={'n_basis': [5, 10, 20]}."
        )
    if twice := sorted(set(vary) & set(fixed)):
        raise ValueError(f"{twice} are given both in vary and as arguments; leave one out.")
    for values in product(*vary.values()):
        yield dict(zip(vary, values, strict=True))


def _check_combinations(
    adata: AnnData, setup: dict, combinations: list[dict], fixed: dict
) -> None:
    """Raise what a model would raise, for all settings before the first of them is trained."""
    BasisVAE.setup_anndata(adata, **setup)
    for varied in combinations:
        model = BasisVAE(adata, **{**fixed, **varied})
    model.deregister_manager(adata)


def _folds(n_obs: int, n_folds: int, held_out: float, seed: int) -> list[_Fold]:
    n_held_out = round(held_out * n_obs)
    enough = n_folds >= 1 and n_held_out >= _MIN_HELD_OUT_CELLS
    if not enough or n_folds * n_held_out > n_obs or n_obs - n_held_out < _MIN_HELD_OUT_CELLS:
        raise ValueError(
            f"n_folds={n_folds} times held_out={held_out:g} of {n_obs} cells is not possible: "
            f"every fold needs at least {_MIN_HELD_OUT_CELLS} cells of its own, and as many to "
            "train on."
        )
    order = np.random.default_rng(seed).permutation(n_obs)
    starts = n_held_out * np.arange(n_folds)
    parts = [np.sort(order[start : start + n_held_out]) for start in starts]
    return [_Fold(np.setdiff1d(order, part), part) for part in parts]


def _judge(
    adata: AnnData, fold: _Fold, setup: dict, arguments: dict, training: dict, n_samples: int
) -> _Result:
    """Train on one part of the cells, and predict the other."""
    trained, unseen = adata[fold.trained].copy(), adata[fold.held_out].copy()
    began = time.perf_counter()
    BasisVAE.setup_anndata(trained, **setup)
    model = BasisVAE(trained, **arguments)
    try:
        model.train(**training)
        seconds = time.perf_counter() - began
        register_cells(model, unseen)
        log_p = model.get_marginal_ll(unseen, n_mc_samples=n_samples, return_mean=False)
        used = model.get_clusters()["cluster"].nunique()
    finally:
        # scvi-tools would otherwise keep the data alive as long as Python runs.
        model.deregister_manager()
    return _Result(np.asarray(log_p, dtype=np.float64), used, seconds)


def _table(combinations: list[dict], results: list[list[_Result]]) -> pd.DataFrame:
    log_p = np.stack([np.concatenate([r.log_likelihood for r in row]) for row in results])
    difference = log_p - log_p[log_p.mean(1).argmax()]
    table = pd.DataFrame(combinations)
    table["log_likelihood"] = log_p.mean(1)
    table["difference"] = difference.mean(1)
    table["difference_se"] = difference.std(1, ddof=1) / np.sqrt(log_p.shape[1])
    table["n_used_bases"] = [np.mean([r.n_used_bases for r in row]) for row in results]
    table["seconds"] = [np.mean([r.seconds for r in row]) for row in results]
    return table.sort_values("log_likelihood", ascending=False, ignore_index=True)
