"""All keys that the package writes come from one place."""

from dataclasses import FrozenInstanceError

import pytest

from basisvae_scvi.data import DEFAULT_KEY, Keys

EXPECTED = {
    "latent": "X_{}",
    "pseudotime": "{}_pseudotime",
    "assignment": "{}_assignment",
    "shift": "{}_shift",
    "scale": "{}_scale",
    "cluster": "{}_cluster",
    "confidence": "{}_confidence",
    "gene_shift": "{}_gene_shift",
    "gene_scale": "{}_gene_scale",
    "shift_sd": "{}_gene_shift_sd",
    "shift_lower": "{}_gene_shift_lower",
    "shift_upper": "{}_gene_shift_upper",
    "shift_identified": "{}_shift_identified",
    "scale_sd": "{}_gene_scale_sd",
    "scale_lower": "{}_gene_scale_lower",
    "scale_upper": "{}_gene_scale_upper",
    "is_dynamic": "{}_is_dynamic",
    "stability": "{}_stability",
    "restarts": "{}_restarts",
    "uns": "{}",
}


@pytest.mark.parametrize("key_added", ["basisvae", "run2"])
@pytest.mark.parametrize("name", EXPECTED)
def test_a_key_carries_the_prefix(name, key_added):
    assert getattr(Keys(key_added), name) == EXPECTED[name].format(key_added)


def test_no_key_is_left_out_of_the_list_above():
    properties = {name for name, v in vars(Keys).items() if isinstance(v, property)}
    assert properties - {"optional", "places"} == set(EXPECTED)
    every = {name for names in Keys("run2").places.values() for name in names}
    assert every == {name.format("run2") for name in EXPECTED.values()}
    optional = {name for names in Keys("run2").optional.values() for name in names}
    assert optional < {name.format("run2") for name in EXPECTED.values()}


def test_the_default_prefix_is_the_name_of_the_method():
    assert DEFAULT_KEY == "basisvae"
    assert Keys() == Keys("basisvae")


def test_keys_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        Keys().key_added = "other"
