"""What every backend of the mixture likelihood takes and returns.

The table log p(y_nj | basis k) has cells × genes × bases entries and is never stored. A backend
gets the (gene, basis) pairs that matter and returns only the two sums that inference needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


@dataclass(frozen=True)
class Pairs:
    """The M (gene, basis) pairs to visit, sorted by gene.

    Attributes
    ----------
    gene
        Gene of each pair, shape ``(M,)``, int64.
    basis
        Basis of each pair, shape ``(M,)``, int64.
    """

    gene: Tensor
    basis: Tensor

    def __len__(self) -> int:
        return self.gene.shape[0]

    @classmethod
    def all(cls, n_genes: int, n_basis: int, device: torch.device | str = "cpu") -> Pairs:
        """Every pair, gene by gene."""
        genes = torch.arange(n_genes, device=device).repeat_interleave(n_basis)
        return cls(genes, torch.arange(n_basis, device=device).repeat(n_genes))

    @classmethod
    def active(cls, responsibilities: Tensor, threshold: float) -> Pairs:
        """Pairs whose responsibility φ_jk (genes × bases) exceeds ``threshold``.

        What is left out weighs at most ``threshold * n_basis`` per gene in the objective.
        """
        gene, basis = torch.nonzero(responsibilities > threshold, as_tuple=True)
        return cls(gene, basis)

    def select(self, table: Tensor) -> Tensor:
        """Entries of a genes × bases table at the pairs, shape ``(M,)``."""
        return table[self.gene, self.basis]

    def scatter(self, values: Tensor, n_genes: int, n_basis: int, fill: float = 0.0) -> Tensor:
        """Genes × bases table that holds ``values`` at the pairs and ``fill`` elsewhere."""
        table = values.new_full((n_genes, n_basis), fill)
        table[self.gene, self.basis] = values
        return table


@dataclass(frozen=True)
class Observations:
    """A minibatch and the parameters of its observation model that do not depend on the basis.

    Attributes
    ----------
    x
        Observations, shape ``(N, P)``.
    size_factor
        Size factors s_n, shape ``(N, 1)``, or ``None`` where they do not apply.
    offset
        Batch offsets c_bj, shape ``(B, P)``, or ``None`` without batches.
    dispersion
        θ_j or σ_j, shape ``(1, P)`` or ``(B, P)``, or ``None``.
    dropout_logits
        Dropout logits, shape ``(1, P)`` or ``(N, P)``, or ``None``.
    batch
        Batch index of each cell, shape ``(N,)``, int64; used where a table has B > 1 rows.
    deviation
        Own deviations ε_j(z_n) of the genes from their basis, which add to the offsets, shape
        ``(N, P)``, or ``None``.
    """

    x: Tensor
    size_factor: Tensor | None = None
    offset: Tensor | None = None
    dispersion: Tensor | None = None
    dropout_logits: Tensor | None = None
    batch: Tensor | None = None
    deviation: Tensor | None = None

    def per_cell(self, table: Tensor | None) -> Tensor | None:
        """Rows of a per-batch table for every cell; tables of one row broadcast."""
        if table is None or table.shape[0] == 1:
            return table
        if self.batch is None:
            raise ValueError("A table with one row per batch needs the batch of every cell.")
        return table[self.batch]

    @property
    def total_offset(self) -> Tensor | None:
        """Offsets as they are, or with deviations those of every entry, ``(N, P)``."""
        if self.deviation is None or self.offset is None:
            return self.offset if self.deviation is None else self.deviation
        return self.per_cell(self.offset) + self.deviation


class MixtureLogLikelihood(NamedTuple):
    """The sums of log p that inference needs.

    Attributes
    ----------
    per_cell
        Σ_m w_m log p(y_n, pair m), shape ``(N,)``.
    per_pair
        Σ_n log p(y_n, pair m), shape ``(M,)``.
    """

    per_cell: Tensor
    per_pair: Tensor
