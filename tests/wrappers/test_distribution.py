"""What is written twice for packaging says the same twice: dependencies and versions."""

import re
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from wrapper_options import ROOT

from basisvae_scvi import __version__

CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base"}


def wanted() -> dict[str, SpecifierSet]:
    """Dependencies in pyproject.toml under their conda names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    requirements = [Requirement(text) for text in project["dependencies"]]
    return {CONDA_NAMES.get(r.name, r.name): r.specifier for r in requirements}


def listed(entries: list) -> dict[str, SpecifierSet]:
    """Packages of a conda list; Python and pip are not in pyproject's list."""
    pairs = [entry.partition(" ")[::2] for entry in entries if isinstance(entry, str)]
    others = {"python", "pip"}
    return {name: SpecifierSet(spec) for name, spec in pairs if name not in others}


def test_conda_recipe_has_the_dependencies():
    recipe = yaml.safe_load((ROOT / "recipe" / "recipe.yaml").read_text(encoding="utf-8"))
    assert listed(recipe["requirements"]["run"]) == wanted()


def test_conda_environment_has_the_dependencies():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert listed(environment["dependencies"]) == wanted()
    assert environment["dependencies"][-1] == {"pip": ["."]}


@pytest.mark.parametrize(
    ("path", "pattern"),
    [
        ("CITATION.cff", r"^version: (.*)$"),
        ("recipe/recipe.yaml", r'^  version: "(.*)"$'),
        ("recipe/scverse-ecosystem/meta.yaml", r"^version: (.*)$"),
        ("wrappers/galaxy/macros.xml", r'<token name="@TOOL_VERSION@">(.*)</token>'),
        ("docs/pipelines.md", r"name version (\d+\.\d+\.\d+) on Bioconda"),
    ],
)
def test_versions_are_that_of_the_package(path, pattern):
    text = (ROOT / path).read_text(encoding="utf-8")
    assert re.findall(pattern, text, re.MULTILINE) == [__version__]


def test_entry_for_the_scverse_registry_has_what_its_schema_requires():
    entry = yaml.safe_load((ROOT / "recipe" / "scverse-ecosystem" / "meta.yaml").read_text())
    required = {
        *("name", "description", "project_home", "documentation_home", "install", "license"),
        *("tags", "version", "category", "contact"),
    }
    assert required <= set(entry)
    assert (entry["license"], entry["category"]) == ("MIT", "ecosystem")
    assert entry["name"] == entry["install"]["pypi"] == "basisvae-scvi"
    assert len(set(entry["tags"])) == len(entry["tags"]) > 0
