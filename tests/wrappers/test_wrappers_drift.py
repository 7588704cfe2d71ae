"""Every option that a wrapper of any kind uses is one of the command line, with its default."""

import pytest
from wrapper_options import (
    UNSTATED,
    Use,
    cwl_uses,
    galaxy_uses,
    nfcore_uses,
    parser_defaults,
    snakemake_uses,
)

KINDS = {
    "galaxy": galaxy_uses,
    "nf-core": nfcore_uses,
    "snakemake": snakemake_uses,
    "cwl": cwl_uses,
}
COMMANDS = {"fit", "project", "assign", "report"}
# Required options whose value in CWL is the name of a file that the tool makes.
NAMED = {"--output"}


def drift(uses: list[Use], parser: dict[str, dict[str, object]]) -> list[str]:
    """What is wrong with options that are used."""
    wrong = []
    for use in uses:
        options = parser.get(use.command, {})
        if use.option not in options:
            wrong.append(f"{use.file}: {use.command} has no option {use.option}")
        elif use.default is not UNSTATED and use.option not in NAMED:
            default = options[use.option]
            if use.default != (False if default is None and use.default is False else default):
                wrong.append(f"{use.file}: {use.option} is {default!r}, not {use.default!r}")
    return wrong


@pytest.mark.parametrize("kind", KINDS)
def test_options_and_defaults_are_those_of_the_command_line(kind):
    assert drift(KINDS[kind](), parser_defaults()) == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_command_is_wrapped_with_its_output(kind):
    uses = KINDS[kind]()
    assert {use.command for use in uses} == COMMANDS
    outputs = {use.command for use in uses if use.option == "--output"}
    assert outputs == COMMANDS


@pytest.mark.parametrize("kind", ["galaxy", "cwl"])
def test_defaults_are_stated_where_a_form_shows_them(kind):
    stated = {u.option: u.default for u in KINDS[kind]() if u.default is not UNSTATED}
    assert stated["--n-basis"] == 50
    assert stated["--likelihood"] == "zinb"
    assert stated["--seed"] is None
    assert stated["--translation-invariant"] is False


@pytest.mark.parametrize(
    ("use", "expected"),
    [
        (Use("x", "fit", "--colour"), "x: fit has no option --colour"),
        (Use("x", "paint", "--seed"), "x: paint has no option --seed"),
        (Use("x", "fit", "--n-basis", 10), "x: --n-basis is 50, not 10"),
        (Use("x", "fit", "--seed", 0), "x: --seed is None, not 0"),
        (Use("x", "fit", "--scale-invariant", False), "x: --scale-invariant is True, not False"),
    ],
)
def test_the_guard_sees_drift(use, expected):
    assert drift([use], parser_defaults()) == [expected]
