"""BasisVAE with its default training; it finds an order of the cells of its own."""

from __future__ import annotations

import numpy as np
from _peer import Grouping, Problem, need, warm_neighbors
from scipy.stats import spearmanr


def load() -> None:
    """Import what is needed."""
    need("basisvae_scvi")


def warm() -> None:
    """Compile scanpy's part of the start and the package's kernels, on a tiny case."""
    from basisvae_scvi import BasisVAE, datasets

    warm_neighbors()
    few = datasets.simulate_counts(n_obs=60, n_vars=20, max_shift=0.5, seed=0)
    BasisVAE.setup_anndata(few)
    model = BasisVAE(few, n_basis=4, gene_likelihood="nb", translation_invariant=True)
    model.train(max_epochs=1, n_restarts=1, seed=0, accelerator="cpu", enable_progress_bar=False)


def group(problem: Problem, n_groups: int | None, seed: int) -> Grouping:
    """Groups and shifts; ``n_groups`` is not used, since the model chooses."""
    from basisvae_scvi import BasisVAE

    key = "size_factor" if "size_factor" in problem.adata.obs else None
    BasisVAE.setup_anndata(problem.adata, size_factor_key=key)
    model = BasisVAE(
        problem.adata,
        n_basis=problem.n_basis,
        gene_likelihood=problem.likelihood,
        translation_invariant=problem.has_shifts,
    )
    model.train(seed=seed, accelerator="cpu", enable_progress_bar=False)
    genes = model.get_clusters()
    labels = genes["cluster"].astype(str).to_numpy()
    if not problem.has_shifts:
        return Grouping(labels)
    # z may run against pseudotime; a gene that is early in one is late in the other.
    z = model.get_latent_representation()[:, 0]
    sign = np.sign(spearmanr(z, problem.pseudotime).statistic)
    return Grouping(labels, sign * genes["shift"].to_numpy())
