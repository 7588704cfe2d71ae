"""Simulated data as the structure search takes them."""

import numpy as np

from basisvae_scvi.inference import pool_cells, start_latent
from basisvae_scvi.inference.structure import (
    CurveGrid,
    GroupPrior,
    SettledGenes,
    working_evidence,
)
from basisvae_scvi.likelihood import get_likelihood
from basisvae_scvi.model._constants import feature_constants


def settled(adata, name, shift, seed=0, n_basis=20, *, deviation=0.0, learns_deviation=False):
    """Genes and cells of simulated data, and where the cells start."""
    family = get_likelihood(name)
    x = adata.X.astype(float)
    size = None
    if family.is_count:
        library = np.asarray(x.sum(1)).ravel()
        size = library / np.median(library)
    z = start_latent(x, size, family, n_latent=1, init="manifold", seed=seed)[:, 0]
    grid = CurveGrid(shift)
    evidence = working_evidence(
        family,
        x,
        np.ones(len(z)) if size is None else size,
        pool_cells(x, z[:, None], size).variance,
        grid,
        feature_constants(x, family, size),
        True,
        deviation=deviation,
    )
    genes = SettledGenes(
        evidence,
        learns_deviation=learns_deviation,
        log_z_prior=grid.log_z_prior,
        fixed_cells=False,
        prior=GroupPrior(n_basis, 0.1),
        composes=family.is_count,
    )
    return genes, z
