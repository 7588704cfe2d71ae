"""Every AnnData key that the package writes, in one place."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_KEY = "basisvae"


@dataclass(frozen=True)
class Keys:
    """Names of what :meth:`basisvae_scvi.BasisVAE.annotate` writes under ``key_added``.

    Attributes
    ----------
    key_added
        Common prefix, ``"basisvae"`` unless the user asks for another.

    Examples
    --------
    >>> from basisvae_scvi.data import Keys
    >>> Keys().latent, Keys("run2").cluster
    ('X_basisvae', 'run2_cluster')
    """

    key_added: str = DEFAULT_KEY

    @property
    def latent(self) -> str:
        """``obsm``: z, shape (n_obs, Q), float32."""
        return f"X_{self.key_added}"

    @property
    def pseudotime(self) -> str:
        """``obs``: z rescaled to [0, 1], for one latent dimension."""
        return f"{self.key_added}_pseudotime"

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
    def uns(self) -> str:
        """``uns``: parameters, version, grid, basis functions, history, seed."""
        return self.key_added
