"""What a fit hands on to those who write and show it."""

from dataclasses import dataclass

from anndata import AnnData

from basisvae_scvi import BasisVAE


@dataclass(frozen=True)
class Outcome:
    """A fitted model and the data with its results.

    Attributes
    ----------
    model
        Fitted model; its own data hold the genes that were modelled.
    adata
        All cells and genes, annotated.
    n_epochs
        Epochs that were completed.
    interrupted
        Whether Ctrl-C ended the training.
    """

    model: BasisVAE
    adata: AnnData
    n_epochs: int
    interrupted: bool

    @property
    def n_used_bases(self) -> int:
        """Number of bases that are the most probable of some gene."""
        return int(self.model.get_clusters()["cluster"].nunique())
