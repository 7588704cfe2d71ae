"""What is public is in the reference, with an example."""

import inspect
from pathlib import Path

import pytest

import basisvae_scvi as bv

REFERENCE = Path(__file__).parents[1] / "docs" / "api.md"
NAMES = [f"{room}.{name}" for room in ("tl", "get", "pl") for name in getattr(bv, room).__all__]


def _object(name):
    room, attribute = name.split(".")
    return getattr(getattr(bv, room), attribute)


@pytest.mark.parametrize("name", [n for n in NAMES if callable(_object(n))])
def test_has_an_example_and_a_place_in_the_reference(name):
    doc = inspect.getdoc(_object(name))
    assert "Examples\n--------" in doc
    assert ">>>" in doc
    if not REFERENCE.exists():
        pytest.skip("the source archive has no docs/api.md")
    assert f"   {name}\n" in REFERENCE.read_text(encoding="utf-8")
