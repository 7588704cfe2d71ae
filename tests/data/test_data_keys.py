"""All keys that the package writes come from one place."""

import re
from dataclasses import FrozenInstanceError

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData, read_h5ad, read_zarr

from basisvae_scvi.data import DEFAULT_KEY, Keys, check_free, check_table_key

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
    "deviation": "{}_deviation",
    "course_sd": "{}_course_sd",
    "other_order": "{}_other_order",
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


BAD_NAMES = {
    "run/1": "has a slash",
    "a\\b": "has a slash",
    "/": "has a slash",
    "": "is empty",
    "  ": "is empty",
    "a\0b": "cannot be printed",
    "a\nb": "cannot be printed",
    "\ud800": "cannot be printed",
    ".": "meaning of its own",
    "..": "meaning of its own",
    "_scvi_run": "meaning of its own",
    "__run": "meaning of its own",
    "zarr.json": "meaning of its own",
    "x" * 250: "longer than 200 bytes",
    "é" * 101: "longer than 200 bytes",
    3: "is of type int",
    None: "is of type NoneType",
    ("a",): "is of type tuple",
}


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_prefix_that_files_cannot_keep_is_refused(name):
    with pytest.raises(ValueError, match=f"key_added=.*{BAD_NAMES[name]}"):
        Keys(name)
    if name is not None:  # no table is written then
        with pytest.raises(ValueError, match=f"key_added=.*{BAD_NAMES[name]}"):
            check_table_key(AnnData(np.ones((2, 2))), name, ())


@pytest.mark.parametrize("name", ["run 1", "é", "1", "a.b", "a=b", "run-1", "X", "x" * 200, "'q'"])
@pytest.mark.parametrize("suffix", [".h5ad", ".zarr"])
def test_what_is_written_under_any_other_prefix_is_read_back(name, suffix, tmp_path):
    adata, keys = AnnData(np.ones((2, 3), np.float32)), Keys(name)
    for attribute, names in keys.places.items():
        for number, key in enumerate(names):
            n = adata.n_obs if attribute.startswith("obs") else adata.n_vars
            values = np.full((n, 2), number) if attribute.endswith("m") else np.full(n, number)
            getattr(adata, attribute)[key] = {"a": 1} if attribute == "uns" else values
    path = tmp_path / f"x{suffix}"
    if suffix == ".zarr":
        adata.write_zarr(path)
        found = read_zarr(path)
    else:
        adata.write_h5ad(path)
        found = read_h5ad(path)
    for attribute, names in keys.places.items():
        assert set(names) <= set(getattr(found, attribute))


RUN = {"params": {}, "grid": np.zeros(2), "basis": np.zeros((2, 2))}


@pytest.mark.parametrize("attribute", ["obsm", "obs", "varm", "var", "uns"])
def test_what_is_not_of_a_fit_is_not_overwritten(attribute):
    for name in Keys("dpt").places[attribute]:
        adata = AnnData(np.ones((2, 2), np.float32))
        values = np.ones((2, 2)) if attribute.endswith("m") else np.ones(2)
        getattr(adata, attribute)[name] = {"params": {}} if attribute == "uns" else values
        code = re.escape(f"adata.{attribute}[{name!r}]")
        with pytest.raises(ValueError, match=rf"key_added='dpt': {code} would be .* del {code}"):
            check_free(adata, Keys("dpt"))
        assert check_free(adata, Keys("other")) is None
        adata.uns["dpt"] = RUN  # an earlier fit has written it
        assert check_free(adata, Keys("dpt")) is None


def test_a_table_replaces_tables_with_its_columns_only():
    adata = AnnData(np.ones((2, 2), np.float32))
    adata.uns["table"] = pd.DataFrame({"cluster": ["0"], "gene": ["a"], "score": [1.0]})
    adata.uns["other"] = pd.DataFrame({"score": [1.0]})
    adata.uns["umap"], adata.uns["nothing"], adata.uns["run"] = {"params": {}}, None, RUN
    assert check_table_key(adata, "table", ("cluster", "gene")) is None
    assert check_table_key(adata, "new", ("cluster", "gene")) is None
    assert check_table_key(adata, None, ("cluster", "gene")) is None
    for key in ("other", "umap", "nothing", "run"):
        expected = rf"adata\.uns\['{key}'\] would be .* del adata\.uns\['{key}'\]"
        with pytest.raises(ValueError, match=expected):
            check_table_key(adata, key, ("cluster", "gene"))
