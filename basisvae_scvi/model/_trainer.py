"""Arguments of train() that scvi-tools and Lightning use, checked before the long search."""

from __future__ import annotations

import difflib
import inspect
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from numbers import Real
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback
from lightning.pytorch import Trainer as LightningTrainer
from lightning.pytorch.loggers import Logger
from scvi.dataloaders import AnnDataLoader
from scvi.model.base import UnsupervisedTrainingMixin
from scvi.train import Trainer, TrainingPlan
from torch.utils.data import DataLoader

from basisvae_scvi._quiet import quiet_libraries
from basisvae_scvi.data import CellSplitter
from basisvae_scvi.inference import BasisVAETrainingPlan, processes_asked_for

from ._arguments import check_at_least, check_flag, check_number

# What the plan logs of validation cells, which is what one can wait for.
_METRICS = ("elbo", "reconstruction_loss", "kl_local", "kl_global")
_MONITORS = (*(f"{name}_validation" for name in _METRICS), "validation_loss")
# What train() sets itself.
_TRAINER_ARGUMENTS = {"self", "args", "kwargs", "max_epochs", "accelerator", "devices"}
_PLAN_ARGUMENTS = {"self", "args", "kwargs", "module", "loss_kwargs"}
_LOSS_ARGUMENTS = {"kl_weight", "assignment_kl_weight"}
_SPLIT_ARGUMENTS = {
    *("self", "kwargs", "adata_manager", "train_size", "validation_size", "shuffle_set_split"),
    *("external_indexing", "batch_size", "indices", "shuffle", "sampler", "dataset"),
}


def check_training(arguments: dict[str, Any]) -> None:
    """Raise ValueError for what training would refuse, if only after the search.

    Parameters
    ----------
    arguments
        Those of :meth:`basisvae_scvi.BasisVAE.train`, by name.
    """
    _check_numbers(arguments)
    given = arguments["trainer_kwargs"]
    known = _names(Trainer) | _names(LightningTrainer) | {"ckpt_path"}
    known |= _names(UnsupervisedTrainingMixin.train) - set(arguments)
    _check_names(given, known - _TRAINER_ARGUMENTS, "train()")
    known = _names(BasisVAETrainingPlan) | _names(TrainingPlan) | _LOSS_ARGUMENTS
    _check_names(arguments["plan_kwargs"], known - _PLAN_ARGUMENTS, "plan_kwargs")
    known = _names(CellSplitter) | _names(AnnDataLoader) | _names(DataLoader)
    _check_names(arguments["datasplitter_kwargs"], known - _SPLIT_ARGUMENTS, "datasplitter_kwargs")
    for name in ("early_stopping_monitor", "checkpointing_monitor"):
        if given.get(name, _MONITORS[0]) not in _MONITORS:
            raise ValueError(f"{name}={given[name]!r} is unknown; choose one of {[*_MONITORS]}.")
    _check_logger(given.get("logger"))
    _check_folder(arguments["checkpoint_dir"])
    _try_trainer(arguments)


def callbacks_of(trainer_kwargs: dict[str, Any]) -> list[Callback]:
    """The user's callbacks as a list: one alone, several, or none."""
    given = trainer_kwargs.get("callbacks")
    given = () if given is None else given
    callbacks = list(given) if isinstance(given, Iterable) else [given]
    for callback in callbacks:
        if not isinstance(callback, Callback):
            raise ValueError(f"callbacks has {callback!r}, which is no Callback of Lightning.")
    return callbacks


def _check_numbers(arguments: dict[str, Any]) -> None:
    # In Lightning, -1 leaves the end to max_steps or max_time.
    ends = {"max_steps", "max_time"} & set(arguments["trainer_kwargs"])
    if arguments["max_epochs"] is not None and not (arguments["max_epochs"] == -1 and ends):
        check_at_least(arguments["max_epochs"], 1, "max_epochs")
    for name in ("n_restarts", "batch_size"):
        check_at_least(arguments[name], 1, name)
    if (size := arguments["train_size"]) is not None:
        check_number(size, "train_size", above=0.0, maximum=1.0)
    if (size := arguments["validation_size"]) is not None:
        check_number(size, "validation_size", minimum=0.0, below=1.0)
    for name in ("shuffle_set_split", "early_stopping"):
        check_flag(arguments[name], name)
    # With none of these Lightning ends before the first step, and calls that a success.
    given = arguments["trainer_kwargs"]
    for name in ("max_steps", "limit_train_batches"):
        if name in given and isinstance(given[name], Real) and given[name] == 0:
            raise ValueError(f"{name}={given[name]!r} leaves no step to train; leave it out.")


def _names(function: Callable) -> set[str]:
    return set(inspect.signature(function).parameters)


def _check_names(given: Mapping[str, Any] | None, known: set[str], where: str) -> None:
    """Raise ValueError for an argument that nothing would take, with the one that may be meant."""
    if not isinstance(given, Mapping | None):
        raise ValueError(f"{where}={given!r} must be arguments by name, as a dict.")
    for name in given or ():
        if name not in known:
            close = difflib.get_close_matches(name, sorted(known), n=1)
            meant = f"; is {close[0]!r} meant?" if close else ", nor do scvi-tools or Lightning."
            raise ValueError(f"{where} knows no argument {name!r}{meant}")


def _check_logger(given) -> None:
    """Raise ValueError for what Lightning would take for a logger until it logs."""
    loggers = (
        given if isinstance(given, Iterable) else () if given in (None, True, False) else [given]
    )
    for logger in loggers:
        if not isinstance(logger, Logger):
            raise ValueError(f"logger={given!r} is neither True, False nor a Logger of Lightning.")


def _check_folder(folder: str | os.PathLike | None) -> None:
    """Raise ValueError for a folder that cannot be made or written to."""
    if folder is None:
        return
    if not isinstance(folder, str | os.PathLike) or not os.fspath(folder):
        raise ValueError(f"checkpoint_dir={folder!r} must be the name of a folder.")
    path = Path(folder).absolute()
    there = next(place for place in (path, *path.parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        what = "cannot be written to" if there.is_dir() else "is a file"
        raise ValueError(f"checkpoint_dir={str(folder)!r}: {there} {what}; name another folder.")


def _try_trainer(arguments: dict[str, Any]) -> None:
    """Raise ValueError if Lightning refuses the device or another argument of its trainer."""
    settings = {
        name: value
        for name, value in arguments["trainer_kwargs"].items()
        if name in _names(Trainer) | _names(LightningTrainer)
    }
    settings["callbacks"] = callbacks_of(settings)
    accelerator, devices = arguments["accelerator"], arguments["devices"]
    try:
        with warnings.catch_warnings(), quiet_libraries():
            warnings.simplefilter("ignore")
            with processes_asked_for(devices, settings) as settings:
                Trainer(accelerator=accelerator, devices=devices, **settings)
    except (MisconfigurationException, ImportError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        if accelerator in ("cpu", "auto"):
            raise ValueError(f"train() cannot go on with these arguments: {reason}") from error
        raise ValueError(
            f"accelerator={accelerator!r} cannot be used here ({reason}); pass 'cpu' or 'auto'."
        ) from error
