"""Own deviations of the genes of a module, in closed form."""

from __future__ import annotations

import numpy as np
import torch

from basisvae_scvi.likelihood import Pairs
from basisvae_scvi.module import BasisVAEModule, GeneParameters

from .structure import OwnCourse, WorkingEvidence, best_scales, own_course

# Bases that a gene follows by less keep the λ that they have.
_ACTIVE = 1e-3
_MIN_SCALE = 1e-4


def gene_tables(module: BasisVAEModule) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """φ, λ and δ, each ``(P, K)``, float64."""
    phi, scale = module.assignment(), module.genes.scales(module.n_basis)
    shift = module.genes.shifts()
    shift = torch.zeros_like(phi) if shift is None else shift
    return tuple(values.detach().double().cpu().numpy() for values in (phi, scale, shift))


@torch.no_grad()
def set_own_courses(
    genes: GeneParameters,
    phi: np.ndarray,
    working: WorkingEvidence,
    curves: np.ndarray,
    z: np.ndarray,
) -> OwnCourse | None:
    """Give genes their own deviations, and the λ that goes along, for q(w) and δ as they are.

    λ that was trained beside other deviations would be off: where most of a gene's counts are on
    one side, its level and its deviations can stand in for one another. The counts that the
    working model sees have been through the dropout, of which λ is clear.

    Parameters
    ----------
    genes
        Parameters of P genes; changed in place.
    phi
        Responsibilities, shape ``(P, K)``; column 0 is the flat basis.
    working
        What the cells, at their places, say of these genes.
    curves
        Of the bases beside the flat one, shape ``(K - 1, C)``.
    z
        Places of these cells, shape ``(N,)``.

    Returns
    -------
    What was found; ``None`` where genes do not deviate.
    """
    if genes.deviation is None or float(genes.shape_deviation) == 0.0:
        return None
    n_basis = phi.shape[1]
    shift = genes.shifts()
    shift = np.zeros_like(phi) if shift is None else shift.double().cpu().numpy()[:, :n_basis]
    scale = np.ones_like(phi)
    scale[:, 1:] = np.maximum(best_scales(working, curves, shift[:, 1:]), _MIN_SCALE)
    found = own_course(working, curves, phi, scale, shift)
    genes.deviation.set(found.weight)
    if genes.scale_invariant:
        kept = 1.0 - genes.mean_dropout(torch.as_tensor(z)).double().cpu().numpy()
        gene, basis = np.nonzero(phi[:, 1:] > _ACTIVE)
        pairs = Pairs(*(torch.as_tensor(index) for index in (gene, basis + 1)))
        log_scale = np.log(scale[gene, basis + 1] / kept[gene])
        genes.log_scale[pairs.gene, pairs.basis] = torch.as_tensor(log_scale).to(genes.log_scale)
    return found
