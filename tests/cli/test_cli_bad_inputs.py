"""Whatever goes in: a correct result, or exit status 1 or 2 and one line that says what to do."""

import hashlib
from dataclasses import fields
from enum import StrEnum
from typing import get_args

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from bad_inputs import FILES, GOOD_KEYS, GOOD_MATRICES, KEYS, MATRICES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_helpers import brief_start

from basisvae_scvi import datasets
from basisvae_scvi.cli._settings import (
    AssignSettings,
    DemoSettings,
    FitSettings,
    ProjectSettings,
    SimulateSettings,
)

FIT = ("--n-basis", "4", "--max-epochs", "1", "--n-restarts", "1", "--n-hidden", "4")
RUN = ("--accelerator", "cpu", "--threads", "1", "--quiet")
SETTINGS = {
    "fit": FitSettings,
    "project": ProjectSettings,
    "assign": AssignSettings,
    "simulate": SimulateSettings,
    "demo": DemoSettings,
}


@pytest.fixture(autouse=True, scope="module")
def brief():
    with brief_start():
        yield


@pytest.fixture(scope="module")
def cells():
    """40 cells in two batches and 12 genes; not to be changed."""
    adata = datasets.simulate_counts(n_obs=40, n_vars=12, mean_count=2.0, n_batches=2, seed=1)
    adata.layers["counts"] = adata.X.copy()
    return adata


@pytest.fixture(scope="module")
def good(cells, tmp_path_factory):
    """The same as a file."""
    path = tmp_path_factory.mktemp("good") / "good.h5ad"
    cells.write_h5ad(path)
    return path


def contents(folder):
    """Digest of every file below a folder."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def assert_finite(path, n_modelled):
    """Results of all cells and of the genes that were modelled are numbers."""
    adata = ad.read_h5ad(path)
    assert np.isfinite(adata.obsm["X_basisvae"]).all()
    assert adata.obs["basisvae_pseudotime"].between(0, 1).all()
    for name in ("assignment", "scale"):
        values = adata.varm[f"basisvae_{name}"].dropna()
        assert len(values) >= n_modelled
        assert np.isfinite(values.to_numpy(dtype=float)).all()


@pytest.fixture
def check(run, tmp_path):
    """Run a command in a folder that holds its input; assert that it is honest and tidy."""

    def call(command, *arguments, said=None, n_modelled=4):
        before = contents(tmp_path)
        output = tmp_path / ("out.html" if command == "report" else "out.h5ad")
        result = run(command, *arguments, "-o", output)
        after = contents(tmp_path)
        assert result.out == []
        if result.status == 0:
            assert said is None, "no error"
            new = {path.name for path in after.keys() - before.keys()}
            assert new == {output.name, f"{output.name}.run.json"}
            assert {path: after[path] for path in before} == before
            assert_finite(output, n_modelled)
            return
        assert result.status in (1, 2)
        assert after == before
        [line] = result.err
        assert line.startswith("basisvae-scvi: error: ")
        assert "--debug" not in line, line  # the error of another package, not meant for users
        assert said is not None, line
        assert said in line
        assert line.endswith((".", ".)", "?"))

    return call


# Reports read no counts: what the others miss is not missed, the results are.
NOT_OF_REPORTS = ("no indptr", "zarr without data")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("command", ["fit", "project", "assign", "report"])
def test_files(check, good, fitted, tmp_path, command, name):
    file, write, said = FILES[name]
    write(good, tmp_path / file)
    model = () if command in ("fit", "report") else ("--model-dir", fitted / "model")
    options = RUN
    if command == "report":
        options, said = ("--quiet",), "is missing" if name in NOT_OF_REPORTS else said
        said = "no results" if "10x mtx" in name else said
    check(command, tmp_path / file, *model, *options, said=said)


@pytest.mark.parametrize("name", [name for name in FILES if not name.startswith("10x")])
def test_files_that_stay_on_disk(check, good, tmp_path, name):
    file, write, said = FILES[name]
    write(good, tmp_path / file)
    check("fit", tmp_path / file, "--backed", *RUN, said=said)


@pytest.mark.parametrize("name", MATRICES | KEYS)
def test_matrices_keys_and_names(check, cells, tmp_path, name):
    case = (MATRICES | KEYS)[name]
    fit_edited(check, cells, tmp_path, case)


@pytest.mark.slow
@pytest.mark.parametrize("name", GOOD_MATRICES | GOOD_KEYS)
def test_unusual_inputs_that_are_good(check, cells, tmp_path, name):
    case = (GOOD_MATRICES | GOOD_KEYS)[name]
    fit_edited(check, cells, tmp_path, case)


def fit_edited(check, cells, folder, case):
    adata = cells.copy()
    edited = case.edit(adata)
    adata = adata if edited is None else edited
    adata.write_h5ad(folder / "in.h5ad")
    check("fit", folder / "in.h5ad", *FIT, *RUN, *case.options, said=case.said)


def _bad_values(kinds, info):
    """Texts that an option cannot take."""
    if int in kinds:
        bounds = [None if info.min is None else info.min - 1, info.max and info.max + 1]
        yield from ("x", "1.5", "", "nan", "1e3", *(str(b) for b in bounds if b is not None))
    elif float in kinds:
        yield from ("x", "", "nan", "inf", "-1")
    elif any(isinstance(kind, type) and issubclass(kind, StrEnum) for kind in kinds):
        yield from ("x", "")


def _options():
    for command, kind in SETTINGS.items():
        for field in fields(kind):
            value_type, info = get_args(field.type)
            name = next(iter(info.param_decls or ()), f"--{field.name.replace('_', '-')}")
            for value in _bad_values({value_type, *get_args(value_type)}, info):
                yield command, name, value


OPTIONS = [*_options()]


def test_every_kind_of_option_has_bad_values():
    assert {"--n-basis", "--concentration", "--likelihood", "--seed", "--dropout"} <= {
        option for _, option, _ in OPTIONS
    }
    assert len(OPTIONS) > 150


@pytest.mark.parametrize(("command", "option", "value"), OPTIONS)
def test_options(run, tmp_path, command, option, value):
    needed = {"fit": ("in.h5ad",), "project": ("in.h5ad", "--model-dir", "m")}
    needed["assign"] = needed["project"]
    call = (command, *needed.get(command, ()), "-o", tmp_path / "out.h5ad", f"{option}={value}")
    result = run(*call)
    assert result.status == 2
    [line] = result.err
    assert line.startswith("basisvae-scvi: error: ")
    assert option in line
    assert line.endswith("--help.")
    assert list(tmp_path.iterdir()) == []


# A model with more bases than genes is refused last of all: what comes this far is read well.
LAST = ("--n-basis", "99")
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
KEY_OPTIONS = ("--layer", "--batch-key", "--size-factor-key", "--latent-key", "--init", "--root")
FEW = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@FEW
@given(option=st.sampled_from(KEY_OPTIONS), text=TEXT)
def test_keys_of_any_text(check, good, tmp_path, option, text):
    path = tmp_path / "in.h5ad"
    path.write_bytes(good.read_bytes())
    said = "--n-basis 99" if option == "--init" and text in ("pca", "random") else ""
    check("fit", path, *RUN, *LAST, f"{option}={text}", said=said)


# Bytes by which a file of HDF5 is known.
SIGNATURE = 8


@FEW
@given(share=st.floats(0.0, 1.0, exclude_max=True))
def test_files_cut_anywhere(check, good, tmp_path, share):
    content = good.read_bytes()
    part = content[: int(share * len(content))]
    (tmp_path / "in.h5ad").write_bytes(part)
    unsigned = "of no kind that is read here" if part else "is empty"
    said = "cannot be read as an h5ad file" if len(part) >= SIGNATURE else unsigned
    check("fit", tmp_path / "in.h5ad", *RUN, *LAST, said=said)


VALUES = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True), st.integers(-3, 2**40), st.just(-0.0)
)


@FEW
@given(values=st.lists(VALUES, min_size=1, max_size=4), kind=st.sampled_from(["f4", "f8"]))
def test_matrices_of_any_numbers(check, cells, tmp_path, values, kind):
    adata = cells.copy()
    matrix = adata.X.toarray().astype(kind)
    with np.errstate(over="ignore"):
        matrix[0, : len(values)] = np.asarray(values, dtype=float).astype(kind)
    adata.X = matrix
    adata.write_h5ad(tmp_path / "in.h5ad")
    check("fit", tmp_path / "in.h5ad", *RUN, *LAST, said=_judge(matrix))


def _judge(matrix):
    """What the error must speak of."""
    if not np.isfinite(matrix).all():
        return "NaN or infinite"
    if (matrix < 0).any():
        return "negative"
    return "99" if (matrix == np.rint(matrix)).all() else "integer"


COLUMN = st.lists(
    st.one_of(st.none(), st.floats(), st.text(max_size=3), st.booleans()), min_size=40, max_size=40
)


@FEW
@given(
    column=COLUMN,
    option=st.sampled_from(["--batch-key", "--size-factor-key", "--latent-key", "--root"]),
)
def test_columns_of_any_values(check, cells, tmp_path, column, option):
    adata = cells.copy()
    text = [None if value is None else str(value).replace("\0", "") for value in column]
    adata.obs["k"] = pd.Categorical(text)
    adata.write_h5ad(tmp_path / "in.h5ad")
    check("fit", tmp_path / "in.h5ad", *RUN, *LAST, option, "k", said="")
