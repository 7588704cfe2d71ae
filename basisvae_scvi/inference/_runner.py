"""Training by Lightning whose errors come back as they were raised, and with no word on stdout."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from lightning.pytorch.utilities.exceptions import SIGTERMException
from scvi import settings
from scvi.train import Trainer, TrainRunner

from basisvae_scvi._termination import Terminated


class ErrorKeepingTrainer(Trainer):
    """scvi-tools' trainer that keeps what ends the training early, to be raised later.

    Its runner would print the error on stdout.

    Attributes
    ----------
    error
        What was raised, or ``None``.
    """

    error: BaseException | None = None

    def fit(self, *args, **kwargs) -> None:
        """As in Lightning, but without raising."""
        try:
            super().fit(*args, **kwargs)
        except SIGTERMException:  # the signal was another's, and Lightning stopped for it
            self.error = Terminated(signal.SIGTERM)
        except BaseException as error:
            if settings.mlflow_set_tracking_uri:  # it is to learn of the error as well
                raise
            self.error = error


class Runner(TrainRunner):
    """scvi-tools' runner with that trainer."""

    _trainer_cls = ErrorKeepingTrainer


@contextmanager
def raising_errors(model) -> Iterator[None]:
    """Raise what ended the training of a model, which does not count as trained then."""
    was_trained = model.is_trained_
    model.trainer = None
    yield
    error = getattr(model.trainer, "error", None)
    if error is not None:
        model.is_trained_ = was_trained
        raise error
