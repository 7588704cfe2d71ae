"""The typer application: commands, their help, and errors of usage."""

import inspect
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, fields
from itertools import pairwise
from typing import Annotated, Any

import typer
from typer.main import get_command

from basisvae_scvi._version import __version__

from ._checks import check_backed, check_model_dir, check_usage, check_usage_of_model
from ._errors import EXIT_USAGE, PROGRAM, flatten
from ._log import run_logged
from ._paths import check_input, check_report
from ._settings import (
    PANELS,
    AssignSettings,
    DemoSettings,
    FitSettings,
    LogSettings,
    ProjectSettings,
    ReportSettings,
    SimulateSettings,
)

# Newer versions of typer bring a click of their own, older ones
# use the public one: this finds either's base class of usage errors.
CLICK_ERROR: type[Exception] = typer.BadParameter.__mro__[2]

app = typer.Typer(name=PROGRAM, add_completion=False, rich_markup_mode=None)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback(
    epilog="Exit status: 0 done, 1 data or run error, 2 usage error, 130 interrupted, "
    "143 terminated."
)
def _program(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Order cells along a process and group genes by the shape of their expression."""


def add_command(name: str, settings: type[LogSettings], text: str) -> Callable:
    """Make a function of settings a command whose options are the fields of the settings.

    Parameters
    ----------
    name
        Name of the command.
    settings
        Dataclass with one annotated field per option.
    text
        Help.
    """

    def decorate(job: Callable[[Any, str], int]) -> Callable:
        def command(context: typer.Context, **values) -> None:
            chosen = settings(**values)
            line = shlex.join([PROGRAM, *(context.obj or [])])
            raise typer.Exit(run_logged(lambda: job(chosen, line), chosen))

        command.__signature__ = _signature(settings)
        command.__annotations__ = {
            p.name: p.annotation for p in command.__signature__.parameters.values()
        }
        app.command(name, help=text)(command)
        return job

    return decorate


def _signature(settings: type[LogSettings]) -> inspect.Signature:
    context = inspect.Parameter(
        "context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context
    )
    options = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=field.type,
        )
        for field in sorted(fields(settings), key=_place_in_help)
    ]
    return inspect.Signature([context, *options])


def _place_in_help(field: Field) -> int:
    """Arguments first, then the options by panel."""
    [info] = field.type.__metadata__
    return -1 if info.rich_help_panel is None else PANELS.index(info.rich_help_panel)


# What can be known before torch is imported, which takes seconds, is known before.


@add_command(
    "fit",
    FitSettings,
    "Fit the model to the cells of a file; write all cells and genes with the results added.",
)
def _fit(settings: FitSettings, line: str) -> int:
    check_usage(settings, settings.input)
    check_backed(settings)
    check_input(settings.input)
    from ._fit import fit

    return fit(settings, line)


@add_command(
    "project",
    ProjectSettings,
    "Place new cells on the course of a saved model.",
)
def _project(settings: ProjectSettings, line: str) -> int:
    _check_use_of_model(settings)
    from ._project import project

    return project(settings, line)


@add_command(
    "assign",
    AssignSettings,
    "Assign further genes of a saved model's cells to its bases.",
)
def _assign(settings: AssignSettings, line: str) -> int:
    _check_use_of_model(settings)
    from ._assign import assign

    return assign(settings, line)


@add_command(
    "report",
    ReportSettings,
    "Show the results of a file in one HTML page: can they be trusted, figures, all genes.",
)
def _report(settings: ReportSettings, line: str) -> int:
    check_report(settings.output, [settings.input])
    check_input(settings.input)
    from ._report import report

    return report(settings)


def _check_use_of_model(settings: ProjectSettings | AssignSettings) -> None:
    check_usage_of_model(settings)
    check_backed(settings)
    check_model_dir(settings.model_dir)
    check_input(settings.input)


@add_command("simulate", SimulateSettings, "Simulate data of which the truth is known.")
def _simulate(settings: SimulateSettings, line: str) -> int:
    from ._simulate import simulate

    return simulate(settings)


@add_command(
    "demo",
    DemoSettings,
    "Fit 1,000 bone marrow cells on their way to the erythrocyte, and say what was found.",
)
def _demo(settings: DemoSettings, line: str) -> int:
    from ._demo import demo

    return demo(settings, line)


def run_command_line(arguments: Sequence[str] | None = None) -> int:
    """Parse the arguments, run the command, return the exit status."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if (name := _empty(arguments)) is not None:
        said = f"{name} is empty; is a variable not set? See {PROGRAM} --help."
        print(f"{PROGRAM}: error: {said}", file=sys.stderr)
        return EXIT_USAGE
    try:
        status = get_command(app).main(
            args=arguments, prog_name=PROGRAM, standalone_mode=False, obj=arguments
        )
    except CLICK_ERROR as error:
        print(f"{PROGRAM}: error: {_usage(error)}", file=sys.stderr)
        return EXIT_USAGE
    return int(status or 0)


def _empty(arguments: Sequence[str]) -> str | None:
    """Which argument is empty, as by a shell's variable that is not set; a path would be ``.``."""
    for before, word in pairwise(["", *arguments]):
        if not word.strip():
            return before if before.startswith("-") else "an argument"
        if word.startswith("--") and word.endswith("=") and word.count("=") == 1:
            return word[:-1]
    return None


def _usage(error: Exception) -> str:
    context = getattr(error, "ctx", None)
    where = context.command_path if context is not None else PROGRAM
    return f"{flatten(error.format_message()).rstrip('.')}. See {where} --help."
