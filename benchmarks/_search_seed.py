"""Give the search a seed of its own: `train` has the same one for every user."""

from __future__ import annotations

import sys


def set_search_seed(seed: int) -> None:
    """Set ``SEARCH_SEED`` wherever the package has it: the order of the cells, and the search.

    Raises
    ------
    RuntimeError
        If no module of the package has it, since all searches would then be the same one.
    """
    modules = [
        module
        for name, module in sys.modules.items()
        if name.startswith("basisvae_scvi.") and hasattr(module, "SEARCH_SEED")
    ]
    if not modules:
        raise RuntimeError("No module of basisvae_scvi has a SEARCH_SEED to set.")
    for module in modules:
        module.SEARCH_SEED = seed
