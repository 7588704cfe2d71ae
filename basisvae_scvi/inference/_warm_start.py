"""Make the module agree with the starting values, so that training does not un-learn them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from basisvae_scvi.module import (
    OUTPUT_KEYS,
    BasisFunctions,
    BasisVAEModule,
    FeatureConstants,
    SmoothBasis,
)

from ._pooling import PooledCells, pool_cells
from ._profile import working_model
from ._shapes import CurveSpace, ShapeSearch, shift_grid

_BASIS_FIT_STEPS = 400
_BASIS_FIT_RATE = 0.03
# Enough to tell unused bases apart, little enough to leave them level.
_UNUSED_AMPLITUDE = 1e-2
ENCODER_STEPS = 600
ENCODER_RATE = 2e-3


def fit_basis_functions(
    functions: BasisFunctions | SmoothBasis,
    points: np.ndarray,
    curves: np.ndarray,
    *,
    level_unused: bool,
) -> None:
    """Fit the first networks to curves by least squares; smooth bases take them over.

    Parameters
    ----------
    functions
        Basis functions; basis k + 1 is fitted to ``curves[k]``.
    points
        Support points, shape ``(G, Q)``.
    curves
        Values, shape ``(K', G)`` with K' ≤ K − 1.
    level_unused
        Whether the other networks start level. A random one would attract genes that happen to
        fluctuate like it.
    """
    if isinstance(functions, SmoothBasis):
        functions.set_curves(np.log(curves) if functions.positive else curves)
        return
    if level_unused:
        with torch.no_grad():
            functions.amplitude[len(curves) :] *= _UNUSED_AMPLITUDE
            if not functions.positive:
                functions.level[len(curves) :] = 1.0
    if len(curves) == 0:
        return
    target = curves
    if functions.normalize:
        size = np.abs(curves).mean(axis=1, keepdims=True)
        target = curves / np.maximum(size, 1e-8)
    z = torch.as_tensor(points, dtype=torch.float32)
    goal = torch.as_tensor(target.T, dtype=torch.float32)
    optimizer = torch.optim.Adam(functions.parameters(), lr=_BASIS_FIT_RATE, fused=True)
    for step in range(_BASIS_FIT_STEPS):
        optimizer.param_groups[0]["lr"] = _BASIS_FIT_RATE * (1.0 - step / _BASIS_FIT_STEPS)
        optimizer.zero_grad()
        fitted = functions._link(functions._raw(z, slice(len(curves))))
        (fitted - goal).square().mean(0).sum().backward()
        optimizer.step()


def fit_encoder(
    module: BasisVAEModule, batches: Iterable[tuple[np.ndarray, dict[str, Tensor]]], z: np.ndarray
) -> Iterator[float]:
    """Train the encoder to predict z⁰, with its own error as variance; yields the loss.

    Parameters
    ----------
    module
        Module whose encoder is trained.
    batches
        Minibatches as ``(cell indices, tensors)``; as many steps are made as there are batches.
    z
        Starting values of all cells, shape ``(N, Q)``.
    """
    target = torch.as_tensor(z, dtype=torch.float32)
    optimizer = torch.optim.Adam(module.z_encoder.parameters(), lr=ENCODER_RATE, fused=True)
    module.train()
    for step, (cells, tensors) in enumerate(batches):
        optimizer.param_groups[0]["lr"] = ENCODER_RATE * max(0.05, 1.0 - step / ENCODER_STEPS)
        qz = module.inference(**module._get_inference_input(tensors))[OUTPUT_KEYS.QZ]
        loss = -qz.log_prob(target[cells].to(qz.loc.device)).sum(-1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()


def start_shapes(
    module: BasisVAEModule,
    pooled: PooledCells,
    constants: FeatureConstants,
    *,
    n_obs: int,
    seed: int,
) -> int:
    """Find the shapes of the genes on pooled cells and fit the basis functions to them.

    Returns
    -------
    Number of bases that were given a shape, the flat one not counted.
    """
    genes = module.genes
    model = working_model(module.likelihood, pooled, constants, genes.scale_invariant)
    space = CurveSpace.over(pooled.z, shift_grid(genes.translation_invariant))
    search = ShapeSearch(
        model,
        space,
        positive=module.likelihood.is_count,
        n_obs=n_obs,
        rng=np.random.default_rng(seed),
    )
    curves = search.run(module.n_basis - 1)
    fit_basis_functions(
        module.basis, space.points, curves, level_unused=not genes.translation_invariant
    )
    return len(curves)


def pooled_start(matrix, z: np.ndarray, size_factor: np.ndarray | None, seed: int) -> PooledCells:
    """Pool the cells for the search of shapes: more pools for more latent dimensions."""
    n_pools = 60 if z.shape[1] == 1 else 200
    return pool_cells(matrix, z, size_factor, n_pools=n_pools, seed=seed)
