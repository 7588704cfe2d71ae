"""Training plan: joint gradient steps on everything but q(w), closed-form refreshes of q(w)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from scvi.train import TrainingPlan

if TYPE_CHECKING:
    from basisvae_scvi.module import BasisVAEModule

    from ._refresh import AssignmentRefresher

# What is left of the learning rates at the end of training.
_LAST_RATE = 0.01
# Gradient steps between two that visit every pair, where φ is trained by gradient.
_STEPS_PER_FULL_VISIT = 10

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
    anneal
        Whether both rates fall to a hundredth of these along half a cosine over the epochs of
        training, so that it ends at an optimum and not in the noise around it. Of no effect
        together with ``reduce_lr_on_plateau``.
    weight_decay, eps
        As in :class:`torch.optim.Adam`; no decay by default, since the priors do that work.
    n_epochs_kl_warmup
        Epochs over which β_z grows from 0; ``None`` for none.
    n_epochs_assignment_warmup
        Epochs over which β_w grows from 0; ``None`` for none.
    assignment_update
        ``"closed_form"`` refreshes φ by coordinate ascent, every ``refresh_every`` epochs and at
        the end, and holds it in between; ``"gradient"`` trains its logits with the rest, as the
        paper does.
    refresh_every
        Epochs between two refreshes; ``None`` for none but that at the end.
    active_threshold
        Gradient steps visit the (gene, basis) pairs with φ above this, whose weights are divided
        by their sum over the gene: a lower bound than the full one by at most about
        K · ``active_threshold`` · β_w nats a gene. Every refresh looks at all pairs again, and
        under ``"gradient"`` every tenth step does. 0 visits all pairs in every step.
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
        anneal: bool = True,
        weight_decay: float = 0.0,
        eps: float = 1e-6,
        n_epochs_kl_warmup: int | None = None,
        n_epochs_assignment_warmup: int | None = None,
        assignment_update: AssignmentUpdate = "closed_form",
        refresh_every: int | None = 10,
        active_threshold: float = 1e-4,
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
        self.lr_genes, self.anneal, self.refresh_every = lr_genes, anneal, refresh_every
        self.n_epochs_assignment_warmup = n_epochs_assignment_warmup
        if not 0.0 <= active_threshold < 1.0:
            raise ValueError(f"active_threshold={active_threshold} must lie in [0, 1).")
        self.assignment_update, self.active_threshold = assignment_update, active_threshold
        self.refresher = refresher
        # scvi-tools 1.5 lets the user choose.
        self._is_fused = kwargs.get("fused_optimizer", True)

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
        parts = [
            ([p for p in free if p in encoder], self.lr),
            ([p for p in free if p not in encoder], self.lr_genes),
        ]
        groups = [{"params": part, "lr": rate, "first_lr": rate} for part, rate in parts if part]
        # One pass over each parameter in place of a dozen, where torch has such an update.
        kinds = {parameter.device.type for parameter in free}
        can_fuse = kinds <= {"cpu", "cuda"} and self.optimizer_name in ("Adam", "AdamW")
        extra = {"fused": True} if can_fuse and self._is_fused else {}
        return [{**group, **extra} for group in groups]

    def get_optimizer_creator(self) -> Callable:
        """As in scvi-tools, but over the parameter groups of this plan."""
        create = super().get_optimizer_creator()
        return lambda params: create(self._parameter_groups())

    @property
    def holds_assignment(self) -> bool:
        """Whether φ is a constant of the gradient steps."""
        return self.is_closed_form or not self.module.assignment.logits.requires_grad

    def on_train_start(self) -> None:
        """Cut q(w) down to the pairs that matter, if it stays as it is in gradient steps."""
        super().on_train_start()
        if self.holds_assignment:
            self.module.assignment.hold(self.active_threshold)

    def on_train_epoch_start(self) -> None:
        """Refresh φ at intervals; pass the warm-up of β_w on to the loss."""
        super().on_train_epoch_start()
        self.loss_kwargs["assignment_kl_weight"] = self.assignment_kl_weight
        if (
            self.is_closed_form
            and self.refresh_every
            and self.current_epoch
            and self.current_epoch % self.refresh_every == 0
        ):
            self.refresher(self.module)
            self.module.assignment.hold(self.active_threshold)

    def on_train_batch_start(self, batch, batch_idx) -> None:
        """Lower the rates; visit all pairs at intervals, so that no basis is lost for good."""
        self._lower_rates(batch_idx)
        if not self.holds_assignment:
            visits_all = self.global_step % _STEPS_PER_FULL_VISIT == 0
            self.module.assignment.active_threshold = 0.0 if visits_all else self.active_threshold

    def _lower_rates(self, batch_idx: int) -> None:
        """Set the learning rates of this step, which depend on nothing but its number."""
        n_epochs = self.trainer.max_epochs
        if not self.anneal or self.reduce_lr_on_plateau or not n_epochs or n_epochs < 0:
            return
        done = (self.current_epoch + batch_idx / self.trainer.num_training_batches) / n_epochs
        left = _LAST_RATE + (1.0 - _LAST_RATE) * 0.5 * (1.0 + math.cos(math.pi * done))
        for group in self.optimizers().param_groups:
            group["lr"] = group["first_lr"] * left

    def on_train_epoch_end(self) -> None:
        """Record how many bases are the most probable of some gene."""
        super().on_train_epoch_end()
        used = self.module.assignment.logits.argmax(1).unique().numel()
        self.log("n_used_bases", float(used), sync_dist=self.use_sync_dist)

    def on_train_end(self) -> None:
        """A last refresh, so that φ belongs to the final bases; then the bound is exact again."""
        super().on_train_end()
        if self.is_closed_form:
            self.refresher(self.module)
        self.module.assignment.release()
