"""Own deviations of the genes from their groups, as tables over places along z."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.interpolate import CubicSpline

from basisvae_scvi.inference import OwnCourse, gene_tables, own_course
from basisvae_scvi.module import LATENT_REACH, deviation_functions, latent_grid

from ._canonical import CanonicalView

if TYPE_CHECKING:
    from ._model import BasisVAE

# Even places over the cells: closer than deviations bend.
_N_PLACES = 41
# Bases that a gene hardly follows have no part in its mean course.
_NEGLIGIBLE_SHARE = 1e-4
_TINY = 1e-12


def has_deviations(model: BasisVAE) -> bool:
    """Whether genes deviate from their groups."""
    genes = model.module.genes
    return genes.deviation is not None and float(genes.shape_deviation) > 0.0


def trained_deviations(model: BasisVAE, *, return_sd: bool) -> dict[str, pd.DataFrame]:
    """ε of the trained genes, and with ``return_sd`` how well courses are known; see below."""
    own, names, genes = model.module.genes.deviation, model._gene_names(), model.module.genes
    weight = own.weight.double().cpu().numpy()
    level = (genes.feature_level / genes.feature_scale).double().cpu().numpy()
    values = weight @ _functions(model, float(own.unit)).T
    values += _from_mean_to_own(model, model._view(), level)
    tables = {"deviation": _framed(model, values, names)}
    if return_sd:
        pairs, _ = model._pair_evidence()
        found = own_course(pairs.working, pairs.curves, *gene_tables(model.module))
        tables["course_sd"] = _sd_table(model, found.course_sd, names)
    return tables


def further_deviations(
    model: BasisVAE, own: OwnCourse, view: CanonicalView, level: np.ndarray, names: pd.Index
) -> dict[str, pd.DataFrame]:
    """ε of further genes, and standard deviations of their courses, genes × places.

    ε is that from the most probable basis of each gene: a gene that is between two bases has a
    course of its own all the same. ``level``, ``(P,)``, is the flat basis in units of the others.

    Columns are places in the oriented z, as text. ε adds to the log of the course of counts; of
    other data to the course in units of the data's root mean square.
    """
    values = own.weight @ _functions(model).T + _from_mean_to_own(model, view, level)
    return {
        "deviation": _framed(model, values, names),
        "course_sd": _sd_table(model, own.course_sd, names),
    }


def _places(model: BasisVAE) -> np.ndarray:
    """In the oriented z, ascending."""
    low, high = np.sort(model.orientation_ * np.asarray(model.latent_range_))
    return np.linspace(low, max(high, low + 1e-3), _N_PLACES)


def _functions(model: BasisVAE, unit: float = 1.0) -> np.ndarray:
    """τ v_r at the places, shape ``(n_places, R)``."""
    at = model.orientation_ * _places(model) * unit
    at = np.clip(at, -LATENT_REACH, LATENT_REACH)
    tau = float(model.module.genes.shape_deviation)
    return tau * CubicSpline(latent_grid(), deviation_functions())(at)


def _framed(model: BasisVAE, values: np.ndarray, names: pd.Index) -> pd.DataFrame:
    columns = [f"{place:.4f}" for place in _places(model)]
    return pd.DataFrame(values, index=names, columns=columns)


def _from_mean_to_own(model: BasisVAE, view: CanonicalView, level: np.ndarray) -> np.ndarray:
    """What the mean course over q(w) has more than that of the most probable basis, ``(P, n)``.

    0 for genes that are most probably flat. ``level``, ``(P,)``, is the flat basis in units of the
    others.
    """
    z, phi = _places(model), view.assignment
    label, is_count = phi.argmax(1), model.module.likelihood.is_count
    own, mean = np.zeros((2, len(phi), len(z)))
    for k in range(phi.shape[1]):
        genes = np.flatnonzero(phi[:, k] > _NEGLIGIBLE_SHARE)
        at = (z[:, None] + view.shift[genes, k]).reshape(-1, 1)
        course = view.basis_at(k, at).reshape(len(z), -1).T * view.scale[genes, k, None]
        if k == 0:
            course *= level[genes, None]
        if is_count:
            course = np.log(np.maximum(course, _TINY))
        mean[genes] += phi[genes, k, None] * course
        own[label == k] = course[label[genes] == k]
    return np.where(label[:, None] > 0, mean - own, 0.0)


def _sd_table(model: BasisVAE, course_sd: np.ndarray, names: pd.Index) -> pd.DataFrame:
    at = np.clip(model.orientation_ * _places(model), -LATENT_REACH, LATENT_REACH)
    grid = latent_grid()
    left = np.clip(np.searchsorted(grid, at) - 1, 0, len(grid) - 2)
    share = (at - grid[left]) / (grid[left + 1] - grid[left])
    values = course_sd[:, left] * (1.0 - share) + course_sd[:, left + 1] * share
    return _framed(model, values, names)
