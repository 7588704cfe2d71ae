"""Figures of a run and warnings computed from it: one JSON file, and lines on stderr."""

import json
import logging
import re
from pathlib import Path

from anndata import AnnData

from basisvae_scvi.report import run_findings

logger = logging.getLogger(__name__)

# What differs between two equal runs stands in the run-info file alone.
_NOT_FIGURES = ("command", "started", "duration_seconds", "platform", "python")
_ARGUMENT = re.compile(r"\b(init|[a-z]+(?:_[a-z]+)+)(= ?)?")


def in_options(advice: str) -> str:
    """Advice in the words of the command line, e.g. ``--n-basis 8`` for ``n_basis=8``."""
    return _ARGUMENT.sub(
        lambda found: f"--{found[1].replace('_', '-')}{' ' if found[2] else ''}", advice
    )


def write_metrics(adata: AnnData, key: str, info: dict, path: Path | None) -> None:
    """Say what is wrong with a run, and write its figures if they are wanted.

    Parameters
    ----------
    adata
        Annotated data.
    key
        Prefix of the keys of the results.
    info
        Record of the run.
    path
        Where to write; ``None`` for nowhere.
    """
    found = run_findings(adata, key=key)
    for finding in found:
        if finding.level == "warning":
            advice = in_options(finding.advice)
            logger.warning("%s: %s %s", finding.title, finding.text, advice)
    if path is None:
        return
    figures = {name: value for name, value in info.items() if name not in _NOT_FIGURES}
    figures["findings"] = [
        {"level": f.level, "title": f.title, "text": f.text, "advice": f.advice} for f in found
    ]
    text = json.dumps(figures, indent=2, allow_nan=False, ensure_ascii=False)
    path.write_text(f"{text}\n", encoding="utf-8")
