"""Training that goes non-finite: stop, say where, and go back to the last good epoch."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor

_MAX_NAMED = 3


class FiniteGuard(Callback):
    """Lightning callback that lets no step with a gradient that is not finite be taken.

    At the start of every epoch the parameters, then all finite, are copied. Such a gradient, or a
    parameter that is not finite after the epoch's last step, brings that copy back.

    Attributes
    ----------
    n_good_epochs
        Number of epochs that ended well.

    Raises
    ------
    FloatingPointError
        With the first parameters concerned, and what to try.
    """

    def __init__(self):
        self.n_good_epochs = -1
        self._good: dict[str, Tensor] | None = None

    def on_train_epoch_start(self, trainer: Trainer, pl_module) -> None:
        """Keep the parameters; those of the end of an epoch are looked at here as well."""
        module = pl_module.module
        if names := _not_finite((name, p.detach()) for name, p in module.named_parameters()):
            self._stop(trainer, pl_module, names, "left values that are not finite in")
        self._good = {name: value.clone() for name, value in module.state_dict().items()}
        self.n_good_epochs += 1

    def on_before_optimizer_step(self, trainer: Trainer, pl_module, optimizer) -> None:
        """Look at the gradients before they are used."""
        gradients = (
            (name, p.grad) for name, p in pl_module.module.named_parameters() if p.grad is not None
        )
        if names := _not_finite(gradients):
            self._stop(trainer, pl_module, names, "has a gradient that is not finite for")

    def on_train_end(self, trainer: Trainer, pl_module) -> None:
        """Look at what the last step left."""
        named = pl_module.module.named_parameters()
        if names := _not_finite((name, p.detach()) for name, p in named):
            self._stop(trainer, pl_module, names, "left values that are not finite in")

    def _stop(self, trainer: Trainer, pl_module, names: list[str], what: str) -> None:
        if self._good is not None:
            pl_module.module.load_state_dict(self._good)
        listed = ", ".join(names[:_MAX_NAMED])
        if len(names) > _MAX_NAMED:
            listed += f" and {len(names) - _MAX_NAMED} more"
        raise FloatingPointError(
            f"Training stopped at step {trainer.global_step} (epoch {trainer.current_epoch}), "
            f"which {what} {listed}. The model keeps the parameters of the last good epoch. Try "
            f"smaller learning rates, e.g. plan_kwargs={{'lr': {pl_module.lr / 10:g}, 'lr_genes': "
            f"{pl_module.lr_genes / 10:g}}}, or look for cells and genes of extreme counts."
        )


def _not_finite(named: Iterator[tuple[str, Tensor]]) -> list[str]:
    """Names of the tensors that hold anything but numbers."""
    names, tensors = zip(*named, strict=True)
    is_finite = torch.stack([tensor.isfinite().all() for tensor in tensors])
    if is_finite.all():  # the one look at the device
        return []
    return [name for name, good in zip(names, is_finite.tolist(), strict=True) if not good]
