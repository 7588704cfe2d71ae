"""What a figure was measured on, and where it is written."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path

import torch

_PACKAGES = ("basisvae-scvi", "scvi-tools", "torch", "numba", "numpy", "anndata")


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def describe() -> dict:
    """Processor, cores, device, threads and versions, as they go into a file of results."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "cuda_device": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "versions": {name: version(name) for name in _PACKAGES},
    }


def write(results: dict, path: str | Path | None) -> None:
    """Write results with the machine to a JSON file, if a path is given."""
    if path is not None:
        report = {"machine": describe(), **results}
        Path(path).write_text(json.dumps(report, indent=2) + "\n")
