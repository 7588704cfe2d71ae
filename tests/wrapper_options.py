"""Options of the command line, and those that each kind of wrapper uses."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import NamedTuple

import yaml
from typer.main import get_command

from basisvae_scvi.cli._app import app

ROOT = Path(__file__).resolve().parents[1]
WRAPPERS = ROOT / "wrappers"
UNSTATED = object()
# A call of the program up to the end of the string, block or statement that it stands in.
_CALL = re.compile(r"basisvae-scvi (\w+)(.*?)(?:\"\"\"|\]\]>|&&|\n\n|\n\)|\Z)", re.DOTALL)
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")


class Use(NamedTuple):
    """One option in one wrapper; its default is UNSTATED where the wrapper leaves it alone."""

    file: str
    command: str
    option: str
    default: object = UNSTATED


def parser_defaults() -> dict[str, dict[str, object]]:
    """Default of every option by command; a switch and its opposite each have an entry."""
    commands = get_command(app).commands
    return {name: _defaults(command.params) for name, command in commands.items()}


def _defaults(parameters) -> dict[str, object]:
    defaults = {}
    for parameter in parameters:
        default = getattr(parameter.default, "value", parameter.default)
        for option in parameter.opts:
            defaults[option] = default
        for option in parameter.secondary_opts:
            defaults[option] = not default
    return {name: value for name, value in defaults.items() if name.startswith("-")}


def called_options(path: Path, text: str) -> list[Use]:
    """Options of all calls of the program that stand in a text."""
    return [
        Use(path.relative_to(ROOT).as_posix(), command, option)
        for command, rest in _CALL.findall(text)
        for option in _OPTION.findall(rest)
    ]


def galaxy_uses() -> list[Use]:
    """Options in the commands of the Galaxy tools, and defaults of their parameters."""
    uses = []
    macros = {m.get("name"): m for m in ET.parse(WRAPPERS / "galaxy" / "macros.xml").iter("xml")}
    for path in sorted((WRAPPERS / "galaxy").glob("basisvae_scvi_*.xml")):
        tool = ET.parse(path).getroot()
        command = path.stem.rpartition("_")[2]
        uses += called_options(path, tool.findtext("command").replace("&& tar", "\n\n"))
        for param in _expanded(tool.find("inputs"), macros):
            if param.get("argument"):
                default = _galaxy_default(param)
                uses.append(Use(f"wrappers/galaxy/{path.name}", command, *default))
    return uses


def _expanded(element: ET.Element, macros: dict[str, ET.Element]):
    """All parameters below an element, those that macros bring included."""
    for child in element:
        if child.tag == "expand":
            yield from _expanded(macros[child.get("macro")], macros)
        elif child.tag == "param":
            yield child
        else:
            yield from _expanded(child, macros)


def _galaxy_default(param: ET.Element) -> tuple[str, object]:
    option, kind, value = param.get("argument"), param.get("type"), param.get("value")
    if kind == "boolean":
        return option, param.get("checked") == "true"
    if kind == "select":
        chosen = [o.get("value") for o in param.iter("option") if o.get("selected") == "true"]
        return option, (chosen or [None])[0]
    if kind == "data":
        return option, UNSTATED
    return option, {"integer": int, "float": float, "text": str}[kind](value) if value else None


def nfcore_uses() -> list[Use]:
    """Options in the scripts of the nf-core modules and of the tutorial workflow."""
    uses = []
    for path in sorted((WRAPPERS / "nf-core").rglob("main.nf")):
        uses += called_options(path, path.read_text(encoding="utf-8"))
    for path in sorted((WRAPPERS / "nf-core").rglob("nextflow.config")):
        text = path.read_text(encoding="utf-8")
        for command, block in re.findall(r"BASISVAESCVI_(\w+)'(.*?)\n    }", text, re.DOTALL):
            uses += called_options(path, f"basisvae-scvi {command.lower()} {block}")
    tutorial = ROOT / "tutorials" / "nextflow" / "nextflow.config"
    for command, words in re.findall(r"\n    (fit|report) += '(.*)'", tutorial.read_text()):
        uses += called_options(tutorial, f"basisvae-scvi {command} {words}")
    return uses


def snakemake_uses() -> list[Use]:
    """Options in the Snakemake wrappers and in the rules that test them."""
    uses = []
    for path in sorted((WRAPPERS / "snakemake").glob("*/wrapper.py")):
        options = _OPTION.findall(path.read_text(encoding="utf-8"))
        uses += [Use(path.relative_to(ROOT).as_posix(), path.parent.name, o) for o in options]
    rules = (WRAPPERS / "snakemake" / "test" / "Snakefile").read_text(encoding="utf-8")
    for command, block in re.findall(r"\nrule (\w+):\n(.*?)(?=\nrule |\Z)", rules, re.DOTALL):
        uses += [Use("Snakefile", command, option) for option in _OPTION.findall(block)]
    return uses


def cwl_uses() -> list[Use]:
    """Options in the CWL tools, with the defaults of their inputs."""
    uses = []
    for path in sorted((WRAPPERS / "cwl").glob("*.cwl")):
        tool = yaml.safe_load(path.read_text(encoding="utf-8"))
        name, command = path.relative_to(ROOT).as_posix(), tool["baseCommand"][1]
        for argument in tool.get("arguments", []):
            uses.append(Use(name, command, argument["prefix"]))
        for entry in tool["inputs"].values():
            uses += [Use(name, command, *pair) for pair in _cwl_input(entry)]
    return uses


def _cwl_input(entry: dict):
    kinds = entry["type"] if isinstance(entry["type"], list) else [entry["type"]]
    inner = [k for k in kinds if isinstance(k, dict) and "inputBinding" in k]
    for binding in (entry.get("inputBinding", {}), *(k["inputBinding"] for k in inner)):
        if "prefix" in binding:
            is_optional = "null" in kinds or str(kinds[0]).endswith("?")
            yield binding["prefix"], entry.get("default", None if is_optional else UNSTATED)
