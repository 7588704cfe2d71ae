"""What is public is in the reference, with an example."""

import inspect
from pathlib import Path

import pytest

import basisvae_scvi as bv

REFERENCE = Path(__file__).parents[1] / "docs" / "api.md"
ROOMS = ("tl", "get", "pl", "datasets", "report")
METHODS = [
    f"BasisVAE.{name}"
    for name, method in inspect.getmembers(bv.BasisVAE, callable)
    if not name.startswith("_") and method.__module__.startswith("basisvae_scvi")
]
NAMES = [f"{room}.{name}" for room in ROOMS for name in getattr(bv, room).__all__]
NAMES += [name for name in bv.__all__ if name not in ROOMS] + METHODS


def _object(name):
    found = bv
    for part in name.split("."):
        found = getattr(found, part)
    return found


def test_the_methods_are_found():
    assert {"BasisVAE.train", "BasisVAE.annotate", "BasisVAE.load", "BasisVAE.orient"} <= {
        *METHODS
    }


@pytest.mark.parametrize("name", [name for name in NAMES if callable(_object(name))])
def test_has_an_example_and_a_place_in_the_reference(name):
    doc = inspect.getdoc(_object(name))
    assert "Examples\n--------" in doc
    assert ">>>" in doc
    if not REFERENCE.exists():
        pytest.skip("the source archive has no docs/api.md")
    listed = REFERENCE.read_text(encoding="utf-8").split()
    assert name in listed or f"module.{name}" in listed


@pytest.mark.parametrize("name", [name for name in NAMES if not callable(_object(name))])
def test_a_constant_is_named_in_the_reference(name):
    if not REFERENCE.exists():
        pytest.skip("the source archive has no docs/api.md")
    assert f"{name}`" in REFERENCE.read_text(encoding="utf-8")
