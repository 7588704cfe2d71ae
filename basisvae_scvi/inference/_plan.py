"""Training plan: joint gradient steps on everything but q(w), closed-form refreshes of q(w)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import torch
from scvi.train import TrainingPlan

if TYPE_CHECKING:
    from basisvae_scvi.module import BasisVAEModule

    from ._warm_start import AssignmentRefresher

AssignmentUpdate = Literal["closed_form", "gradient"]


class BasisVAETrainingPlan(TrainingPlan):
    """scvi-tools' plan with two learning rates, two warm-ups and closed-form refreshes of q(w).

    Parameters
    ----------
    module
        The module to train.
    lr
        Learning rate of the encoder.
    lr_genes
        Learning rate of gene parameters and basis functions.
    weight_decay, eps
        As in :class:`torch.optim.Adam`; no decay by default, since the priors do that work.
    n_epochs_kl_warmup
        Epochs over which β_z grows from 0; ``None`` for none.
    n_epochs_assignment_warmup
        Epochs over which β_w grows from 0; ``None`` for none.
    assignment_update
        ``"closed_form"`` refreshes φ every ``refresh_every`` epochs by coordinate ascent; in
        between, every step draws one basis per gene from φ, which makes its cost independent of K;
        ``"gradient"`` trains its logits with the rest, as the paper does.
    refresh_every
        Epochs between two refreshes.
    refresher
        Performs the refreshes; required for ``"closed_form"``.
    *args, **kwargs
        Passed on to :class:`scvi.train.TrainingPlan`.
    """

    def __init__(
        self,
        module: BasisVAEModule,
        *args,
        lr: float = 1e-3,
        lr_genes: float = 1e-2,
        weight_decay: float = 0.0,
        eps: float = 1e-6,
        n_epochs_kl_warmup: int | None = None,
        n_epochs_assignment_warmup: int | None = None,
        assignment_update: AssignmentUpdate = "closed_form",
        refresh_every: int = 10,
        refresher: AssignmentRefresher | None = None,
        **kwargs,
    ):
        super().__init__(
            module,
            *args,
            lr=lr,
            weight_decay=weight_decay,
            eps=eps,
            n_epochs_kl_warmup=n_epochs_kl_warmup,
            **kwargs,
        )
        if assignment_update not in ("closed_form", "gradient"):
            raise ValueError(
                f"assignment_update={assignment_update!r} is unknown; "
                "choose 'closed_form' or 'gradient'."
            )
        self.lr_genes, self.refresh_every = lr_genes, refresh_every
        self.n_epochs_assignment_warmup = n_epochs_assignment_warmup
        self.assignment_update = assignment_update
        self.refresher = refresher

    @property
    def is_closed_form(self) -> bool:
        """Whether this plan refreshes φ itself."""
        return self.assignment_update == "closed_form" and self.refresher is not None

    @property
    def assignment_kl_weight(self) -> float:
        """Warm-up factor on β_w in the current epoch."""
        if not self.n_epochs_assignment_warmup:
            return 1.0
        return min(1.0, self.current_epoch / self.n_epochs_assignment_warmup)

    def _parameter_groups(self) -> list[dict]:
        """Encoder and gene side, each with its own rate; frozen parameters are left out."""
        q_w = set(self.module.assignment.parameters()) if self.is_closed_form else set()
        encoder = set()
        if not self.module.observed_latent:
            encoder = set(self.module.z_encoder.parameters())
        free = [p for p in self.module.parameters() if p.requires_grad and p not in q_w]
        groups = [
            {"params": [p for p in free if p in encoder], "lr": self.lr},
            {"params": [p for p in free if p not in encoder], "lr": self.lr_genes},
        ]
        return [group for group in groups if group["params"]]

    def get_optimizer_creator(self) -> Callable:
        """As in scvi-tools, but over the parameter groups of this plan."""
        create = super().get_optimizer_creator()
        return lambda params: create(self._parameter_groups())

    def on_train_start(self) -> None:
        """Draw w in each gradient step where φ needs no gradient; otherwise sum over all bases."""
        super().on_train_start()
        self.module.sample_assignments = not self.module.assignment.logits.requires_grad or (
            self.is_closed_form
        )

    def on_train_epoch_start(self) -> None:
        """Refresh φ at intervals; pass the warm-up of β_w on to the loss."""
        super().on_train_epoch_start()
        self.loss_kwargs["assignment_kl_weight"] = self.assignment_kl_weight
        if (
            self.is_closed_form
            and self.current_epoch
            and (self.current_epoch % self.refresh_every == 0)
        ):
            self.refresher(self.module)

    def on_train_end(self) -> None:
        """A last refresh, so that φ belongs to the final bases; then the bound is exact again."""
        super().on_train_end()
        if self.is_closed_form:
            self.refresher(self.module)
        self.module.sample_assignments = False

    def training_step(self, batch, batch_idx) -> torch.Tensor:
        """A gradient step; records how many bases are the most probable of some gene."""
        loss = super().training_step(batch, batch_idx)
        used = self.module.assignment.logits.argmax(1).unique().numel()
        self.log(
            "n_used_bases",
            float(used),
            on_step=False,
            on_epoch=True,
            sync_dist=self.use_sync_dist,
            batch_size=1,
        )
        return loss
