"""Every AnnData key that the package writes, in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from anndata import AnnData

from basisvae_scvi._key_names import key_problem

DEFAULT_KEY = "basisvae"


@dataclass(frozen=True)
class Keys:
    """Names of what :meth:`basisvae_scvi.BasisVAE.annotate` writes under ``key_added``.

    Attributes
    ----------
    key_added
        Common prefix, ``"basisvae"`` unless the user asks for another.

    Raises
    ------
    ValueError
        For a prefix that files cannot keep.

    Examples
    --------
    >>> from basisvae_scvi.data import Keys
    >>> Keys().latent, Keys("run2").cluster
    ('X_basisvae', 'run2_cluster')
    """

    key_added: str = DEFAULT_KEY

    def __post_init__(self):
        if problem := key_problem(self.key_added):
            raise ValueError(f"key_added={self.key_added!r} {problem}.")

    @property
    def latent(self) -> str:
        """``obsm``: z, shape (n_obs, Q), float32."""
        return f"X_{self.key_added}"

    @property
    def pseudotime(self) -> str:
        """``obs``: z rescaled to [0, 1], for one latent dimension."""
        return f"{self.key_added}_pseudotime"

    @property
    def other_order(self) -> str:
        """``obs``: the best order that tells another process, as ranks from 0 to 1."""
        return f"{self.key_added}_other_order"

    @property
    def assignment(self) -> str:
        """``varm``: φ, genes × K."""
        return f"{self.key_added}_assignment"

    @property
    def shift(self) -> str:
        """``varm``: δ, genes × K."""
        return f"{self.key_added}_shift"

    @property
    def scale(self) -> str:
        """``varm``: λ, genes × K."""
        return f"{self.key_added}_scale"

    @property
    def deviation(self) -> str:
        """``varm``: own deviations ε from the group, genes × places along z."""
        return f"{self.key_added}_deviation"

    @property
    def course_sd(self) -> str:
        """``varm``: posterior standard deviation of log courses, genes × places along z."""
        return f"{self.key_added}_course_sd"

    @property
    def cluster(self) -> str:
        """``var``: label of the most probable basis, categorical of str."""
        return f"{self.key_added}_cluster"

    @property
    def confidence(self) -> str:
        """``var``: max φ."""
        return f"{self.key_added}_confidence"

    @property
    def gene_shift(self) -> str:
        """``var``: δ under the assigned basis."""
        return f"{self.key_added}_gene_shift"

    @property
    def gene_scale(self) -> str:
        """``var``: λ under the assigned basis."""
        return f"{self.key_added}_gene_scale"

    @property
    def shift_sd(self) -> str:
        """``var``: posterior standard deviation of δ, units of z; for one latent dimension."""
        return f"{self.key_added}_gene_shift_sd"

    @property
    def shift_lower(self) -> str:
        """``var``: lower end of the 90 % interval of δ."""
        return f"{self.key_added}_gene_shift_lower"

    @property
    def shift_upper(self) -> str:
        """``var``: upper end of the 90 % interval of δ."""
        return f"{self.key_added}_gene_shift_upper"

    @property
    def shift_identified(self) -> str:
        """``var``: whether the data tell δ, bool; ``False`` where not modelled."""
        return f"{self.key_added}_shift_identified"

    @property
    def scale_sd(self) -> str:
        """``var``: posterior standard deviation of λ; for one latent dimension."""
        return f"{self.key_added}_gene_scale_sd"

    @property
    def scale_lower(self) -> str:
        """``var``: lower end of the 90 % interval of λ."""
        return f"{self.key_added}_gene_scale_lower"

    @property
    def scale_upper(self) -> str:
        """``var``: upper end of the 90 % interval of λ."""
        return f"{self.key_added}_gene_scale_upper"

    @property
    def is_dynamic(self) -> str:
        """``var``: whether the gene changes along z at an FDR of 0.05, bool."""
        return f"{self.key_added}_is_dynamic"

    @property
    def stability(self) -> str:
        """``var``: agreement of the restarts about the gene, from 0 to 1."""
        return f"{self.key_added}_stability"

    @property
    def restarts(self) -> str:
        """``varm``: most probable group in each restart of the search, genes × restarts."""
        return f"{self.key_added}_restarts"

    @property
    def uns(self) -> str:
        """``uns``: parameters, version, grid, basis functions, history, search, seed."""
        return self.key_added

    @property
    def optional(self) -> dict[str, tuple[str, ...]]:
        """What a fit may lack, such as intervals and pseudotime, by attribute of AnnData."""
        return {
            "obs": (self.pseudotime, self.other_order),
            "var": (
                self.shift_sd,
                self.shift_lower,
                self.shift_upper,
                self.shift_identified,
                self.scale_sd,
                self.scale_lower,
                self.scale_upper,
                self.is_dynamic,
                self.stability,
            ),
            "varm": (self.deviation, self.course_sd, self.restarts),
        }

    @property
    def places(self) -> dict[str, tuple[str, ...]]:
        """All keys, by attribute of AnnData."""
        optional = self.optional
        var = (self.cluster, self.confidence, self.gene_shift, self.gene_scale)
        return {
            "obsm": (self.latent,),
            "obs": optional["obs"],
            "varm": (self.assignment, self.shift, self.scale, *optional["varm"]),
            "var": (*var, *optional["var"]),
            "uns": (self.uns,),
        }


def is_run(entry) -> bool:
    """Whether an entry of ``.uns`` is what ``annotate`` writes there."""
    return isinstance(entry, Mapping) and {"params", "grid", "basis"} <= set(entry)


def taken_keys(adata: AnnData, keys: Keys) -> list[str]:
    """What stands under the keys and is not of a fit, as code: ``"adata.obsm['X_umap']"``."""
    if is_run(adata.uns.get(keys.uns)):
        return []
    return [
        f"adata.{attribute}[{name!r}]"
        for attribute, names in keys.places.items()
        for name in names
        if name in getattr(adata, attribute)
    ]


def check_free(adata: AnnData, keys: Keys) -> None:
    """Raise ValueError where results would replace what is not of a fit."""
    if taken := taken_keys(adata, keys):
        raise ValueError(
            f"key_added={keys.key_added!r}: {' and '.join(taken)} would be overwritten and is not "
            f"of BasisVAE. Choose another key_added, or remove it first: del {taken[0]}."
        )


def check_table_key(adata: AnnData, key: str | None, columns: Sequence[str]) -> None:
    """Raise ValueError unless a table with these columns may be written to ``adata.uns[key]``."""
    if key is None:
        return
    if problem := key_problem(key):
        raise ValueError(f"key_added={key!r} {problem}.")
    entry = adata.uns.get(key)
    if key in adata.uns and not (isinstance(entry, pd.DataFrame) and {*columns} <= {*entry}):
        raise ValueError(
            f"key_added={key!r}: adata.uns[{key!r}] would be overwritten and is another thing. "
            f"Choose another key_added, or remove it first: del adata.uns[{key!r}]."
        )
