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
    "uns": "{}",
}


@pytest.mark.parametrize("key_added", ["basisvae", "run2"])
@pytest.mark.parametrize("name", EXPECTED)
def test_a_key_carries_the_prefix(name, key_added):
    assert getattr(Keys(key_added), name) == EXPECTED[name].format(key_added)


def test_no_key_is_left_out_of_the_list_above():
    properties = {name for name, v in vars(Keys).items() if isinstance(v, property)}
    assert properties == set(EXPECTED)


def test_the_default_prefix_is_the_name_of_the_method():
    assert DEFAULT_KEY == "basisvae"
    assert Keys() == Keys("basisvae")


def test_keys_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        Keys().key_added = "other"
