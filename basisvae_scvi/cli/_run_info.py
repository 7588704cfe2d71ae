"""The record of a run, beside its output: what differs between equal runs stands only here."""

import json
import platform
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from basisvae_scvi._version import __version__

from ._outcome import Outcome

_PACKAGES = ("scvi-tools", "torch", "anndata")


class Stopwatch:
    """Time at which a run began, and seconds since."""

    def __init__(self):
        self.started = datetime.now(UTC)
        self._begin = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._begin


def run_info_path(output: Path) -> Path:
    """Where the record of ``output`` lies: its name with ``.run.json`` added."""
    return output.with_name(f"{output.name}.run.json")


def run_info(outcome: Outcome, line: str, watch: Stopwatch) -> dict:
    """Describe a run.

    Parameters
    ----------
    outcome
        Fitted model and data.
    line
        The command as it was called.
    watch
        Started with the run.
    """
    model = outcome.model
    history = model.history or {}
    final = {
        f"final_{name}": float(history[name].iloc[-1, 0])
        for name in ("elbo_train", "elbo_validation")
        if name in history and len(history[name])
    }
    return {
        "command": line,
        "started": watch.started.isoformat(timespec="seconds"),
        "duration_seconds": round(watch.seconds, 1),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": {"basisvae_scvi": __version__, **{p: version(p) for p in _PACKAGES}},
        "seed": int(model.seed_),
        "n_cells": outcome.adata.n_obs,
        "n_genes": outcome.adata.n_vars,
        "n_genes_modelled": model.adata.n_vars,
        "n_epochs": outcome.n_epochs,
        "interrupted": outcome.interrupted,
        **final,
        "n_used_bases": outcome.n_used_bases,
    }


def write_run_info(info: dict, path: Path) -> None:
    """Write the record as JSON."""
    path.write_text(json.dumps(info, indent=2, allow_nan=False) + "\n", encoding="utf-8")
