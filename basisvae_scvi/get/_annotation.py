"""The results that an AnnData carries, checked and in the form that tables and figures need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.interpolate import CubicSpline

from basisvae_scvi.data import DEFAULT_KEY, Keys, is_run

# Columns that not every fit has, in the order of tables.
_SIGNED = ("gaussian", "bernoulli")  # likelihoods whose bases may be negative
CERTAINTY = (
    "shift_sd",
    "shift_lower",
    "shift_upper",
    "shift_identified",
    "scale_sd",
    "scale_lower",
    "scale_upper",
    "is_dynamic",
    "stability",
)


@dataclass(frozen=True)
class Annotation:
    """Results of one fit, as ``model.annotate(adata)`` left them.

    Attributes
    ----------
    keys
        The AnnData keys of this fit.
    params
        Arguments of the model, and ``latent_min`` and ``latent_max`` for one latent dimension.
    latent
        z, shape (n_obs, Q); NaN for cells that were not modelled.
    genes
        Modelled genes in the order of ``adata.var_names``: ``cluster`` (str), ``confidence``,
        ``shift`` (units of z) and ``scale``; where ``annotate`` has written them also
        ``shift_sd``, ``shift_lower``, ``shift_upper``, ``shift_identified``, ``scale_sd``,
        ``scale_lower``, ``scale_upper``, ``is_dynamic`` and ``stability``.
    grid
        Points of the basis functions, shape (G,) for Q = 1, else (G, Q).
    basis
        Basis functions at the points, shape (G, K); column k belongs to cluster ``str(k)``.
    deviation, course_sd
        Own deviations of the genes from their bases, and standard deviations of their own (for
        counts log) courses, genes × places along z, which columns name; ``None`` without.

    Examples
    --------
    >>> import basisvae_scvi as bv
    >>> adata = bv.datasets.simulate_counts(n_obs=80, n_vars=20)
    >>> train_kwargs = {"enable_progress_bar": False}
    >>> bv.tl.basisvae(adata, n_basis=4, max_epochs=2, train_kwargs=train_kwargs)
    >>> bv.get.Annotation.of(adata).latent.shape
    (80, 1)
    """

    # Basis 0 is the constant 1 in every model.
    FLAT: ClassVar[str] = "0"

    keys: Keys
    params: Mapping
    latent: np.ndarray
    genes: pd.DataFrame
    grid: np.ndarray
    basis: np.ndarray
    deviation: pd.DataFrame | None = None
    course_sd: pd.DataFrame | None = None

    @classmethod
    def of(cls, adata: AnnData, *, key: str = DEFAULT_KEY) -> Annotation:
        """Read the results stored under ``key``.

        Parameters
        ----------
        adata
            Annotated data.
        key
            The ``key_added`` they were written under.

        Raises
        ------
        KeyError
            If one of the entries is missing; the message names it and the cure.
        """
        keys = Keys(key)
        _check_present(adata, keys)
        columns = {
            "cluster": keys.cluster,
            "confidence": keys.confidence,
            "shift": keys.gene_shift,
            "scale": keys.gene_scale,
        }
        columns |= {n: getattr(keys, n) for n in CERTAINTY if getattr(keys, n) in adata.var}
        var = adata.var.loc[adata.var[keys.cluster].notna(), list(columns.values())]
        genes = var.set_axis(list(columns), axis=1)
        genes = genes.astype({"cluster": object, "confidence": float, "scale": float})
        genes["shift"] = genes["shift"].astype(float) + 0.0  # no "-0.0"
        run = adata.uns[keys.uns]
        return cls(
            keys=keys,
            params=run["params"],
            latent=np.asarray(adata.obsm[keys.latent], dtype=np.float64),
            genes=genes,
            grid=np.asarray(run["grid"], dtype=np.float64),
            basis=np.asarray(run["basis"], dtype=np.float64),
            **_deviations(adata, keys, genes.index),
        )

    @property
    def n_latent(self) -> int:
        """Number of latent dimensions Q."""
        return self.latent.shape[1]

    @property
    def clusters(self) -> list[str]:
        """Clusters that have genes, in the order of their numbers."""
        return sorted(self.genes["cluster"].unique(), key=int)

    def parameter(self, name: str):
        """Argument of the model; ``None`` where it was ``None`` or is not recorded."""
        value = self.params.get(name)
        return None if value is None or str(value) == "None" else value

    def require_one_dimension(self, what: str) -> None:
        """Raise ValueError unless Q = 1."""
        if self.n_latent != 1:
            raise ValueError(
                f"{what} need one latent dimension, but adata.obsm[{self.keys.latent!r}] has "
                f"{self.n_latent}; fit a model with n_latent=1."
            )

    def points(self, n_points: int) -> np.ndarray:
        """Even grid over the z of the cells that the model was fitted to, ``(n_points,)``."""
        self.require_one_dimension("Courses along z")
        if n_points < 2:
            raise ValueError(f"n_points={n_points} must be at least 2.")
        return np.linspace(self.params["latent_min"], self.params["latent_max"], n_points)

    def basis_at(self, cluster: str, z: np.ndarray, *, slope: bool = False) -> np.ndarray:
        """Basis of a cluster, or its slope, at z of any shape, by a spline through the grid."""
        nodes = self.basis[:, int(cluster)]
        inside = np.clip(z, self.grid[0], self.grid[-1])
        if slope:
            return CubicSpline(self.grid, nodes)(inside, 1)
        values = CubicSpline(self.grid, nodes)(inside)
        # A spline may swing past zero by a hair where the basis is next to nothing.
        return np.maximum(values, 0.0) if nodes.min() >= 0 else values

    @property
    def is_positive(self) -> bool:
        """Whether bases are non-negative, so that deviations add to the log of a course."""
        return self.parameter("gene_likelihood") not in _SIGNED

    def _at(self, table: pd.DataFrame, genes: pd.Index, z: np.ndarray, order: int) -> np.ndarray:
        """Rows of a table over places at z ``(G,)``, or their slope; level beyond, ``(G, J)``."""
        places = table.columns.to_numpy(dtype=float)
        values = np.nan_to_num(table.loc[genes].to_numpy(dtype=float))
        inside = np.clip(z, places[0], places[-1])
        found = CubicSpline(places, values.T)(inside, order)
        return found if order == 0 else found * (inside == z)[:, None]

    def deviations(self, genes: pd.DataFrame, z: np.ndarray, *, slope: bool = False) -> np.ndarray:
        """Own deviations of genes, or their slope, shape (G, J); 0 where there are none."""
        if self.deviation is None:
            return np.zeros((len(z), len(genes)))
        return self._at(self.deviation, genes.index, z, int(slope))

    def course_sds(self, genes: pd.DataFrame, z: np.ndarray) -> np.ndarray:
        """Standard deviations of own courses (logs of counts), ``(G, J)``; NaN if not known."""
        if self.course_sd is None:
            return np.full((len(z), len(genes)), np.nan)
        is_known = self.course_sd.loc[genes.index].notna().all(axis=1).to_numpy()
        found = np.maximum(self._at(self.course_sd, genes.index, z, 0), 0.0)
        return np.where(is_known, found, np.nan)

    def courses(
        self, genes: pd.DataFrame, z: np.ndarray, *, slope: bool = False, own_course: bool = True
    ) -> np.ndarray:
        """λ b(z + δ) exp ε(z) of genes under their own basis, or its slope.

        Where bases may be negative, ε(z) is added.

        Parameters
        ----------
        genes
            Rows of :attr:`genes`, J of them.
        z
            Points, shape (G,).
        slope
            Whether to return the derivative by z.
        own_course
            Whether the own deviation ε of a gene takes part.

        Returns
        -------
        Shape (G, J).
        """
        if own_course and self.deviation is not None:
            return self._own_courses(genes, z, slope)
        values = np.empty((len(z), len(genes)))
        labels = genes["cluster"].to_numpy()
        shift, scale = genes["shift"].to_numpy(), genes["scale"].to_numpy()
        for cluster in np.unique(labels):
            own = labels == cluster
            points = z[:, None] + shift[own]
            values[:, own] = scale[own] * self.basis_at(cluster, points, slope=slope)
        return values

    def _own_courses(self, genes: pd.DataFrame, z: np.ndarray, slope: bool) -> np.ndarray:
        own = self.deviations(genes, z)
        common = self.courses(genes, z, own_course=False)
        if not slope:
            return common * np.exp(own) if self.is_positive else common + own
        steep = self.courses(genes, z, slope=True, own_course=False)
        bent = self.deviations(genes, z, slope=True)
        return (steep + common * bent) * np.exp(own) if self.is_positive else steep + bent

    def require(self, *columns: str, what: str) -> None:
        """Raise KeyError unless :attr:`genes` has the columns, with the cure."""
        for column in columns:
            if column not in self.genes:
                cure = (
                    "train with n_restarts=2 or more and run model.annotate(adata)"
                    if column == "stability"
                    else "run model.annotate(adata) with one latent dimension and intervals=True"
                )
                raise KeyError(
                    f"{what} need adata.var[{getattr(self.keys, column)!r}], which is missing: "
                    f"{cure}{_key_argument(self.keys)}."
                )

    def require_shifts(self, what: str) -> None:
        """Raise ValueError for a model without shifts."""
        if self.parameter("translation_invariant") is False or not self.genes["shift"].any():
            raise ValueError(
                f"{what} need shifts, but all are 0: fit a model with translation_invariant=True."
            )

    def table(self, adata: AnnData, name: str, *, what: str, cure: str) -> pd.DataFrame:
        """Rows of the modelled genes of ``adata.varm``; ``name`` as in :class:`Keys`.

        Raises
        ------
        KeyError
            If it is missing; the message says ``what`` needs it and the ``cure``.
        """
        key = getattr(self.keys, name)
        if key not in adata.varm:
            raise KeyError(f"{what} need adata.varm[{key!r}], which is missing: {cure}.")
        return pd.DataFrame(adata.varm[key], index=adata.var_names).loc[self.genes.index]

    def select(self, genes: Sequence[str] | str) -> pd.DataFrame:
        """Rows of :attr:`genes`, in the order asked for.

        Raises
        ------
        KeyError
            For genes that are not there or were not modelled.
        """
        names = [genes] if isinstance(genes, str) else list(genes)
        missing = [str(name) for name in names if name not in self.genes.index]
        if missing:
            listed = ", ".join(missing[:10]) + (", …" if len(missing) > 10 else "")
            raise KeyError(
                f"Not among the {len(self.genes)} modelled genes of adata.var_names (those with "
                f"a value in adata.var[{self.keys.cluster!r}]): {listed}."
            )
        return self.genes.loc[names]


def _deviations(adata: AnnData, keys: Keys, genes: pd.Index) -> dict[str, pd.DataFrame]:
    """Tables of own deviations of some genes, where they are annotated."""
    found = {}
    for name in ("deviation", "course_sd"):
        if getattr(keys, name) in adata.varm:
            table = adata.varm[getattr(keys, name)]
            found[name] = pd.DataFrame(table, index=adata.var_names).loc[genes]
    return found


def _check_present(adata: AnnData, keys: Keys) -> None:
    if keys.uns not in adata.uns:
        known = [name for name, entry in adata.uns.items() if is_run(entry)]
        hint = f" Annotated under: {', '.join(known)}." if known else ""
        raise KeyError(
            f"adata.uns[{keys.uns!r}] is missing: run model.annotate(adata), or pass key=... "
            f"if it was annotated under another name.{hint}"
        )
    run = adata.uns[keys.uns]
    places = [(f"uns[{keys.uns!r}]", run, name) for name in ("params", "grid", "basis")]
    places += [("obsm", adata.obsm, keys.latent)]
    columns = (keys.cluster, keys.confidence, keys.gene_shift, keys.gene_scale)
    places += [("var", adata.var, name) for name in columns]
    for place, container, name in places:
        if name not in container:
            raise KeyError(
                f"adata.{place}[{name!r}] is missing: run model.annotate(adata) once more"
                f"{_key_argument(keys)}."
            )


def _key_argument(keys: Keys) -> str:
    return "" if keys.key_added == DEFAULT_KEY else f" with key_added={keys.key_added!r}"
