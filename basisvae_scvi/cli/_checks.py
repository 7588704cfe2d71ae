"""Checks of options: against each other before data are read, against the data before a fit."""

from pathlib import Path

from basisvae_scvi._key_names import key_problem

from ._errors import CommandError, UsageError, list_some
from ._paths import InputKind, check_output, check_report, input_kind, is_same_path
from ._settings import AssignSettings, FitSettings, LogSettings, ModelSettings, ProjectSettings
from ._staging import is_saved_model


def check_log_options(settings: LogSettings) -> None:
    """Raise UsageError for messages wanted both fewer and more."""
    if settings.quiet and settings.verbose:
        raise UsageError("--quiet and --verbose exclude each other.")


def check_usage(settings: ModelSettings, input_path: Path | None = None) -> None:
    """Raise UsageError for options that cannot go together.

    Parameters
    ----------
    settings
        Arguments of the command.
    input_path
        File that it reads.
    """
    check_output(settings.output, input_path)
    taken = [settings.output, *([] if input_path is None else [input_path])]
    if settings.model_dir and any(is_same_path(settings.model_dir, path) for path in taken):
        raise UsageError(f"--model-dir {settings.model_dir} is the input or output; name another.")
    if settings.checkpoint_dir is not None:
        _check_checkpoint(settings.checkpoint_dir, [*taken, settings.model_dir])
    if settings.report is not None:
        check_report(settings.report, taken)
    if settings.n_top_genes is not None and settings.n_top_genes < settings.n_basis:
        raise UsageError(
            f"--n-top-genes {settings.n_top_genes} is less than --n-basis {settings.n_basis}."
        )
    if settings.root is not None and settings.n_latent > 1:
        raise UsageError(f"--root needs --n-latent 1, not {settings.n_latent}.")
    _check_key_name(settings.key_added)


def _check_key_name(key_added: str) -> None:
    if problem := key_problem(key_added):
        raise UsageError(f"--key-added {key_added!r} {problem}.")


def _check_checkpoint(folder: Path, taken: list[Path | None]) -> None:
    if any(path is not None and is_same_path(folder, path) for path in taken):
        raise UsageError(f"--checkpoint {folder} is the input, output or model; name another.")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--checkpoint {folder} is a file; name a folder.")


def check_backed(settings: FitSettings | ProjectSettings | AssignSettings) -> None:
    """Raise UsageError for data that cannot stay on disk."""
    if not settings.backed:
        return
    kind = input_kind(settings.input)
    if kind not in (InputKind.h5ad, InputKind.zarr):
        raise UsageError(
            f"--backed reads .h5ad files and .zarr folders, and {settings.input} is {kind.value}; "
            "write it as .h5ad first, or leave out --backed."
        )
    if getattr(settings, "n_top_genes", None) is not None:
        raise UsageError(
            "--n-top-genes reads all counts into memory and does not go with --backed; write a "
            "file with the chosen genes, or leave out one of the two."
        )


def check_usage_of_model(settings: ProjectSettings | AssignSettings) -> None:
    """Raise UsageError for paths or a key that cannot be."""
    check_output(settings.output, settings.input)
    if is_same_path(settings.output, settings.model_dir):
        raise UsageError(f"--output {settings.output} is --model-dir; name another.")
    _check_key_name(settings.key_added)


def check_model_dir(folder: Path) -> None:
    """Raise CommandError if a folder holds no saved model."""
    if not folder.is_dir():
        raise CommandError(f"--model-dir {folder} is not a folder; fit --model-dir makes one.")
    if not is_saved_model(folder):
        there = list_some(sorted(path.name for path in folder.iterdir()))
        raise CommandError(
            f"--model-dir {folder} holds no model.pt but: {there}. Name the folder that fit "
            "--model-dir made."
        )


def check_data_options(adata, settings: ModelSettings, init_methods: tuple[str, ...]) -> None:
    """Raise an error of the user's for columns, keys, a start or a root that do not suit.

    Parameters
    ----------
    adata
        All cells and genes.
    settings
        Arguments of the command.
    init_methods
        Starts that need no key.
    """
    from basisvae_scvi.data import check_columns

    check_free_keys(adata, settings.key_added)
    names = (
        "batch_key",
        "size_factor_key",
        "categorical_covariate_keys",
        "continuous_covariate_keys",
        "latent_key",
        "latent_prior_key",
    )
    check_columns(adata, **{n: getattr(settings, n) for n in names}, naming=option_of)
    _check_varies(adata, settings.latent_key)
    _check_init(adata, settings.init, init_methods)
    _check_root(adata, settings.root)


def option_of(argument: str) -> str:
    """Option that stands for an argument of ``setup_anndata``."""
    return f"--{argument.replace('_', '-').removesuffix('s')}"


def check_free_keys(adata, key_added: str) -> None:
    """Raise CommandError where results would replace what is not of a fit."""
    from basisvae_scvi.data import Keys, taken_keys

    if taken := taken_keys(adata, Keys(key_added)):
        raise CommandError(
            f"--key-added {key_added!r}: {list_some(taken, 3)} of the input would be overwritten "
            "and is not of BasisVAE; choose another --key-added."
        )


def _check_varies(adata, latent_key: str | None) -> None:
    from basisvae_scvi.data import read_latent

    if latent_key is None or adata.n_obs < 2:
        return
    z = read_latent(adata, latent_key, "--latent-key")
    if (z == z[0]).all():
        raise CommandError(
            f"--latent-key {latent_key!r} is the same in every cell, which gives them no order; "
            "name another, or leave it out to find one."
        )


def _check_init(adata, init: str, init_methods: tuple[str, ...]) -> None:
    from basisvae_scvi.data import read_latent

    if init in init_methods:
        return
    if init not in adata.obs and init not in adata.obsm:
        raise CommandError(
            f"--init {init!r} is neither one of {', '.join(init_methods)}, nor a column of obs "
            f"({list_some(adata.obs.columns)}), nor a key of obsm "
            f"({list_some(adata.obsm.keys())})."
        )
    read_latent(adata, init, "--init")


def _check_root(adata, root: str | None) -> None:
    from basisvae_scvi.data import root_cells

    if root is not None:
        try:
            root_cells(adata, root)
        except ValueError as error:
            raise CommandError(f"--{error}") from None
