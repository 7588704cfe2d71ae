"""One way to read the fitted parameters, whatever order, sign and offset training left.

The likelihood does not change when bases are renumbered, when z and all δ change sign, or when a
basis is moved along z and its shifts the other way. Everything public goes through this view:

* z is oriented (``orientation``);
* δ has mean 0 over the genes of each basis (weighted with φ), and the basis moves along; the
  moved basis is brought back to mean 1 under the prior of z, and λ takes up the factor;
* the flat basis is ``"0"``, then the bases in use by the position of their peak, then the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from basisvae_scvi.module import BasisFunctions, BasisVAEModule


@dataclass(frozen=True)
class CanonicalView:
    """Fitted parameters in canonical order, sign and offset.

    Attributes
    ----------
    assignment, shift, scale
        φ, δ and λ, each of shape ``(P, K)``, float64.
    order
        Internal index of each canonical basis, shape ``(K,)``.
    centre
        Offset taken out of the shifts of each canonical basis, in internal units, ``(K,)``.
    norm
        Size under the prior of z of each basis so moved, ``(K,)``.
    orientation
        +1 or −1: the sign of z.
    functions
        The basis functions.
    """

    assignment: np.ndarray
    shift: np.ndarray
    scale: np.ndarray
    order: np.ndarray
    centre: np.ndarray
    norm: np.ndarray
    orientation: int
    functions: BasisFunctions

    @classmethod
    def of(cls, module: BasisVAEModule, orientation: int, reference: np.ndarray) -> CanonicalView:
        """View of a module.

        Parameters
        ----------
        module
            Fitted module.
        orientation
            Sign of z.
        reference
            Points that span the observed latent space in internal units, shape ``(G, Q)``.
        """
        with torch.no_grad():
            phi = module.assignment().double().cpu().numpy()
            scale = module.genes.scales(module.n_basis).double().cpu().numpy()
            shifts = module.genes.shifts()
        shift = np.zeros_like(phi) if shifts is None else shifts.double().cpu().numpy()
        phi = phi / phi.sum(1, keepdims=True)
        label = phi.argmax(1)
        centre = _mean_shift_per_basis(phi, shift, label)
        order = _order_bases(module, centre, label, orientation, reference)
        norm = _moved_norms(module.basis, centre)
        return cls(
            assignment=phi[:, order],
            shift=orientation * (shift - centre)[:, order] + 0.0,  # no negative zeros
            scale=(scale * norm)[:, order],
            order=order,
            centre=centre[order],
            norm=norm[order],
            orientation=orientation,
            functions=module.basis,
        )

    def of_further_genes(
        self, assignment: np.ndarray, shift: np.ndarray, scale: np.ndarray
    ) -> CanonicalView:
        """The same order, sign and offsets, for other genes than those that were trained.

        Parameters
        ----------
        assignment, shift, scale
            φ, δ and λ as the module has them, each of shape ``(P, K)``.
        """
        return replace(
            self,
            assignment=assignment[:, self.order],
            shift=self.orientation * (shift[:, self.order] - self.centre) + 0.0,
            scale=scale[:, self.order] * self.norm,
        )

    def basis(self, z: np.ndarray) -> np.ndarray:
        """Canonical basis functions at oriented ``z`` ``(G, Q)``, shape ``(G, K)``."""
        values = [self.basis_at(k, z) for k in range(len(self.order))]
        return np.stack(values, axis=1)

    def basis_at(self, k: int, z: np.ndarray) -> np.ndarray:
        """Canonical basis ``k`` at oriented points ``(G, Q)``, shape ``(G,)``."""
        values = _evaluate(self.functions, self.orientation * z + self.centre[k])
        return values[:, self.order[k]] / self.norm[k]


def _evaluate(functions: BasisFunctions, z: np.ndarray) -> np.ndarray:
    device = functions.quadrature_nodes.device
    with torch.no_grad():
        values = functions(torch.as_tensor(z, dtype=torch.float32, device=device))
    return values.double().cpu().numpy()


def _moved_norms(functions: BasisFunctions, centre: np.ndarray) -> np.ndarray:
    """Mean (for signed bases: root mean square) of b_k(z + centre_k) under the prior of z."""
    if not functions.normalize:
        return np.ones(len(centre))
    nodes = functions.quadrature_nodes.double().cpu().numpy()
    weights = functions.quadrature_weights.double().cpu().numpy()
    norms = np.ones(len(centre))
    for k in np.flatnonzero(centre):
        values = _evaluate(functions, nodes + centre[k])[:, k]
        norms[k] = weights @ values if functions.positive else np.sqrt(weights @ values**2)
    return norms


def _mean_shift_per_basis(phi: np.ndarray, shift: np.ndarray, label: np.ndarray) -> np.ndarray:
    member = np.eye(phi.shape[1])[label] * phi
    weight = member.sum(0)
    return np.divide((member * shift).sum(0), weight, out=np.zeros_like(weight), where=weight > 0)


def _order_bases(
    module: BasisVAEModule,
    centre: np.ndarray,
    label: np.ndarray,
    orientation: int,
    reference: np.ndarray,
) -> np.ndarray:
    n_basis = module.n_basis
    points = reference[np.argsort(orientation * reference[:, 0], kind="stable")]
    peak = np.array(
        [_evaluate(module.basis, points + centre[k])[:, k].argmax() for k in range(n_basis)]
    )
    is_unused = ~np.isin(np.arange(n_basis), label)
    is_dynamic = np.arange(n_basis) != BasisFunctions.flat
    return np.lexsort((np.arange(n_basis), peak, is_unused & is_dynamic, is_dynamic))
