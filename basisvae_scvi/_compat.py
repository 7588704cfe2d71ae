"""The only place that uses names of scvi-tools and annbatch that are not public.

Each name is here because there is no public way; each was checked on scvi-tools 1.4.2 and 1.5.1,
and on annbatch 0.3.1.
"""

import numpy as np
from scvi.data._constants import (
    _FIELD_REGISTRIES_KEY as FIELD_REGISTRIES_KEY,
)
from scvi.data._constants import (
    _SCVI_UUID_KEY as SCVI_UUID_KEY,
)
from scvi.data._constants import (
    _STATE_REGISTRY_KEY as STATE_REGISTRY_KEY,
)
from scvi.model.base._archesmixin import _set_params_online_update as set_params_online_update

# Keys that scvi-tools leaves behind in an AnnData (uns and obs).
LEFTOVER_UNS_KEYS = (SCVI_UUID_KEY, "_scvi_manager_uuid")
LEFTOVER_OBS_PREFIX = "_scvi_"
LEFTOVER_OBSM_KEYS = ("_scvi_extra_categorical_covs", "_scvi_extra_continuous_covs")


def register_cells(model, adata) -> None:
    """Make other cells known to a model, without the log lines of doing so on first use."""
    model._register_manager_for_instance(model.adata_manager.transfer_fields(adata))


def known_manager(model, adata):
    """Manager under which a model knows this very AnnData; ``None`` for others and for copies."""
    managers = type(model)._per_instance_manager_store.get(model.id, {})
    manager = managers.get(adata.uns.get(SCVI_UUID_KEY))
    return manager if manager is not None and manager.adata is adata else None


def forget_cells(model, adata) -> None:
    """Let a model know no longer of an AnnData; one loaded without data has none again."""
    for store in (
        type(model)._per_instance_manager_store.get(model.id, {}),
        type(model)._setup_adata_manager_store,
    ):
        store.pop(adata.uns.get(SCVI_UUID_KEY), None)
    if model.adata is adata:
        model._adata = model._adata_manager = None


def seed_sampler(loader, seed: int) -> None:
    """Let annbatch's loader draw the order of cells from a seed; other loaders stay as they are.

    scvi-tools makes its samplers without one, and torch's seed does not reach them.
    """
    sampler = getattr(loader, "_batch_sampler", None)
    if isinstance(getattr(sampler, "_rng", None), np.random.Generator):
        sampler._rng = np.random.default_rng(seed)


__all__ = [
    "FIELD_REGISTRIES_KEY",
    "LEFTOVER_OBSM_KEYS",
    "LEFTOVER_OBS_PREFIX",
    "LEFTOVER_UNS_KEYS",
    "STATE_REGISTRY_KEY",
    "forget_cells",
    "known_manager",
    "register_cells",
    "seed_sampler",
    "set_params_online_update",
]
