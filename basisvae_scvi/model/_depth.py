"""Is the order one of sequencing depth? Cells thinned to one depth tell, placed again.

Blood cells grow as they mature, so an order that follows the counts of cells may well be right.
If it is one of depth alone, nothing is left of it once every cell has the same number of counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from basisvae_scvi.data import row_sums, to_dense
from basisvae_scvi.likelihood import expected_log_likelihood

if TYPE_CHECKING:
    from ._model import BasisVAE

_MAX_CELLS = 500
_N_POINTS = 61
# Cells are thinned to the depth that all but a tenth of them have; those are left out.
_SHALLOW = 0.1


def describe_depth(model: BasisVAE) -> dict[str, float]:
    """How the order goes with the counts of the cells, before and after all have as many.

    Returns
    -------
    ``correlation``, the rank correlation of z with the counts of the modelled genes, and
    ``at_one_depth``, that of z with the posterior mean of z of the thinned cells, given their
    composition alone. Empty where there is nothing to thin.
    """
    module = model.module
    if not module.likelihood.is_count or module.n_latent > 1 or model.adata is None:
        return {}
    matrix, rng = model._matrix(), np.random.default_rng(0)
    total = row_sums(matrix).astype(np.float64)
    filled = np.flatnonzero(total > 0)
    if len(filled) < 3:
        return {}
    z = model.orientation_ * model.get_latent_representation()[:, 0].astype(np.float64)
    depth = np.quantile(total[filled], _SHALLOW)
    deep = filled[total[filled] >= depth]
    cells = np.sort(rng.choice(deep, min(len(deep), _MAX_CELLS), replace=False))
    counts = np.rint(to_dense(matrix[cells])).astype(np.int64)
    thinned = rng.binomial(counts, np.minimum(depth / counts.sum(1, keepdims=True), 1.0))
    batch = model.adata_manager.get_from_registry("batch").ravel()[cells]
    places = np.zeros(len(cells))
    for one in np.unique(batch):
        places[batch == one] = _place(model, thinned[batch == one], int(one), z)
    return {
        "correlation": model.orientation_ * _rank_correlation(z[filled], total[filled]),
        "at_one_depth": _rank_correlation(z[cells], places),
    }


@torch.no_grad()
def _place(model: BasisVAE, counts: np.ndarray, batch: int, z: np.ndarray) -> np.ndarray:
    """Posterior mean of z of cells of one batch, shape ``(N,)``, given the composition of each."""
    module = model.module
    low, high = z.min(), z.max()
    points = torch.linspace(low, high, _N_POINTS, device=module.device)[:, None]
    x = torch.as_tensor(counts, dtype=torch.float32, device=module.device)
    depth = x.sum(1, keepdim=True)
    genes = np.arange(module.genes.n_genes)
    totals = module.expected_expression(points, batch, genes).sum(1)
    log_posterior = [
        _log_likelihood(module, x, point, depth / total, batch) - 0.5 * point.double() ** 2
        for point, total in zip(points, totals, strict=True)
    ]
    share = torch.stack(log_posterior, 1).softmax(1)
    return (share @ points[:, 0].double()).cpu().numpy()


def _log_likelihood(module, x: Tensor, point: Tensor, size: Tensor, batch: int) -> Tensor:
    """Log p of cells with these size factors, were all of them at one place; shape ``(N,)``."""
    z = point.expand(len(x), 1)
    batch_index = torch.full((len(x), 1), batch, device=x.device)
    phi = module.assignment()
    pairs = module.pairs(phi, threshold=1e-8)
    scale, shift = module.pair_parameters(pairs)
    return expected_log_likelihood(
        module.likelihood,
        module.observations(x, z, size, batch_index, composes=False),
        z,
        module.basis.evaluator(z, shift, pairs.basis),
        pairs,
        pairs.select(phi),
        scale,
        shift,
    ).per_cell.double()


def _rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's ρ; 0 where one of both is constant."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(spearmanr(first, second).statistic)
