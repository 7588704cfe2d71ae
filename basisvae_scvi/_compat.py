"""The only place that imports names of scvi-tools that are not public.

Each name is here because scvi-tools offers no public way; each was checked on 1.4.2 and 1.5.1.
"""

from scvi.data._constants import (
    _FIELD_REGISTRIES_KEY as FIELD_REGISTRIES_KEY,
)
from scvi.data._constants import (
    _SCVI_UUID_KEY as SCVI_UUID_KEY,
)
from scvi.data._constants import (
    _STATE_REGISTRY_KEY as STATE_REGISTRY_KEY,
)
from scvi.data._utils import _set_data_in_registry as set_data_in_registry
from scvi.model.base._archesmixin import _set_params_online_update as set_params_online_update

# Keys that scvi-tools leaves behind in an AnnData (uns and obs).
LEFTOVER_UNS_KEYS = (SCVI_UUID_KEY, "_scvi_manager_uuid")
LEFTOVER_OBS_PREFIX = "_scvi_"
LEFTOVER_OBSM_KEYS = ("_scvi_extra_categorical_covs", "_scvi_extra_continuous_covs")


def register_cells(model, adata) -> None:
    """Make other cells known to a model, without the log lines of doing so on first use."""
    model._register_manager_for_instance(model.adata_manager.transfer_fields(adata))


__all__ = [
    "FIELD_REGISTRIES_KEY",
    "LEFTOVER_OBSM_KEYS",
    "LEFTOVER_OBS_PREFIX",
    "LEFTOVER_UNS_KEYS",
    "STATE_REGISTRY_KEY",
    "register_cells",
    "set_data_in_registry",
    "set_params_online_update",
]
