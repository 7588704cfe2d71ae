"""``basisvae-scvi simulate``: data of which the truth is known."""

import logging

from anndata import AnnData

from basisvae_scvi import datasets

from ._choices import CountLikelihood, SimulationKind
from ._errors import UsageError
from ._files import write_anndata
from ._paths import check_output
from ._settings import SimulateSettings
from ._staging import Staging, is_zarr

logger = logging.getLogger(__name__)

_TOY_GROUPS = 5
_ZINB_DROPOUT = 0.1
# Options that a kind of data does not have, by the name of the field.
_UNKNOWN = {
    SimulationKind.counts: (),
    SimulationKind.toy_groups: ("likelihood", "dropout", "n_batches", "max_shift"),
    SimulationKind.toy_shifts: ("likelihood", "dropout", "n_batches"),
}


def simulate(settings: SimulateSettings) -> int:
    """Run the command.

    Parameters
    ----------
    settings
        Its arguments.

    Returns
    -------
    Exit status.
    """
    check_output(settings.output)
    _check_options(settings)
    with Staging(overwrite=settings.overwrite) as staging:
        path = staging.claim(settings.output, is_zarr)
        adata = draw(settings)
        write_anndata(adata, path)
        staging.commit()
    logger.info("Wrote %s: %d cells × %d genes", settings.output, *adata.shape)
    return 0


def draw(settings: SimulateSettings) -> AnnData:
    """Draw the data; options that were not given keep the simulator's default."""
    given = {
        name: getattr(settings, name)
        for name in ("n_obs", "n_vars", "max_shift", "n_batches", "dropout")
        if getattr(settings, name) is not None
    }
    if settings.kind is SimulationKind.toy_shifts:
        return datasets.toy_shifts(**given, seed=settings.seed)
    if settings.kind is SimulationKind.toy_groups:
        if "n_vars" in given:
            given["n_per_group"] = given.pop("n_vars") // _TOY_GROUPS
        return datasets.toy_groups(**given, seed=settings.seed)
    if settings.likelihood is not None:
        given["likelihood"] = settings.likelihood.value
    if settings.likelihood is CountLikelihood.zinb:
        given.setdefault("dropout", _ZINB_DROPOUT)
    return datasets.simulate_counts(**given, seed=settings.seed)


def _check_options(settings: SimulateSettings) -> None:
    for name in _UNKNOWN[settings.kind]:
        if getattr(settings, name) is not None:
            option = name.replace("_", "-")
            raise UsageError(f"--{option} does not apply to --kind {settings.kind}.")
    if settings.kind is SimulationKind.toy_groups and (settings.n_vars or 0) % _TOY_GROUPS:
        raise UsageError(
            f"--n-vars {settings.n_vars} must be a multiple of {_TOY_GROUPS} for --kind "
            f"{settings.kind}, which has {_TOY_GROUPS} equal groups."
        )
    if settings.dropout and settings.likelihood is not CountLikelihood.zinb:
        raise UsageError("--dropout needs --likelihood zinb.")
