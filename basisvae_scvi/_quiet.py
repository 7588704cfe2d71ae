"""What Lightning and those below it say to each other is kept from users."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# Where they tell of devices, tips and epochs.
_CHATTERING = ("lightning", "lightning.pytorch", "lightning.fabric", "scvi")
# Modules that warn of each other; a warning belongs to the module whose line it points to.
_WARNING = r"(lightning|lightning_utilities|lightning_fabric|torchmetrics|torch|scvi)(\.|$)"


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep back messages and warnings of Lightning, torch and scvi-tools.

    Warnings that point to any other module, as to the user's own code, are shown as ever.
    """
    loggers = [logging.getLogger(name) for name in _CHATTERING]
    levels = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=_WARNING)
            yield
    finally:
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)
