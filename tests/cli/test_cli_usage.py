"""What the command line answers before it looks at any data."""

import ast
import inspect
import re
import subprocess
import sys
from dataclasses import fields
from typing import get_args, get_type_hints

import pytest

from basisvae_scvi import BasisVAE, __version__
from basisvae_scvi.cli._choices import (
    CountLikelihood,
    Dispersion,
    GeneLikelihood,
    GenePrior,
    Inference,
    Objective,
    ZeroInflation,
)
from basisvae_scvi.cli._metrics import in_options
from basisvae_scvi.cli._settings import FitSettings, ModelSettings
from basisvae_scvi.datasets._counts import LIKELIHOODS
from basisvae_scvi.report import _trust, _trust_cells

# Options of the command line alone.
OWN = {
    *(
        "input",
        "backed",
        "output",
        "n_top_genes",
        "threads",
        "root",
        "key_added",
        "model_dir",
        "tables",
    ),
    *("figures", "report", "metrics", "overwrite", "quiet", "verbose", "debug", "log_file"),
}


# Arguments that are objects of Python, or that belong to Lightning.
NOT_OPTIONS = {
    *("self", "adata", "registry", "kwargs", "devices", "datamodule"),
    *("datasplitter_kwargs", "plan_kwargs", "trainer_kwargs"),
}


@pytest.mark.parametrize(
    "arguments", [["--version"], ["--help"], ["fit", "--help"], ["project", "--help"]]
)
def test_help_and_version_import_nothing_heavy(run_lightly, arguments):
    done = run_lightly(*arguments)
    assert (done.returncode, done.stderr) == (0, "")


def test_version_is_the_number_alone(run):
    assert run("--version") == (0, [__version__], [])


def test_python_dash_m_runs_the_command_line():
    done = subprocess.run(
        [sys.executable, "-m", "basisvae_scvi", "--version"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, f"{__version__}\n")


@pytest.mark.parametrize("command", ["fit", "project", "assign", "simulate", "demo"])
def test_help_names_every_option_in_full(run, command):
    text = "\n".join(run(command, "--help").out)
    for option in ("--output", "--seed", "--overwrite", "--quiet", "--debug", "--log-file"):
        assert option in text
    if command == "fit":
        for name in ("--categorical-covariate-key", "--no-translation-invariant", "--likelihood"):
            assert name in text
        assert "zinb|nb|poisson|gaussian|bernoulli" in text


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "Missing command"),
        (["frobnicate"], "frobnicate"),
        (["fit"], "input"),
        (["fit", "missing.h5ad"], "--output"),
        (["fit", "missing.h5ad", "-o", "x.h5ad", "--n-basis", "1"], "--n-basis"),
        (["fit", "missing.h5ad", "-o", "x.h5ad", "--n-basis", "many"], "--n-basis"),
        (["fit", "missing.h5ad", "-o", "x.h5ad", "--likelihood", "cauchy"], "'zinb', 'nb'"),
        (["fit", "missing.h5ad", "-o", "x.h5ad", "--concentration", "0"], "--concentration"),
        (["fit", "missing.h5ad", "-o", "x.h5ad", "--latent-weight", "nan"], "--latent-weight"),
        (["fit", "missing.h5ad", "-o", "x.h5ad", "--shape-deviation", "-1"], "--shape-deviation"),
        (["fit", "missing.h5ad", "-o", "x.h5ad", "--shape-deviation", "much"], "learned"),
        (["fit", "missing.h5ad", "-o", "x.h5ad", "--seed", "-1"], "--seed"),
        (["fit", "missing.h5ad", "-o", "x.h5ad", "--threads", "0"], "--threads"),
        (["fit", "missing.h5ad", "-o", "x.h5ad", "--colour"], "--colour"),
        (["fit", "missing.h5ad", "-o", "x.csv"], ".h5ad or .zarr"),
        (["fit", "same.h5ad", "-o", "./same.h5ad"], "is the input"),
        (["fit", "missing.h5ad", "-o", "x.h5ad", "--n-top-genes", "20"], "--n-basis 50"),
        (["fit", "a.h5ad", "-o", "x.h5ad", "--root", "c", "--n-latent", "2"], "--n-latent 1"),
        (["fit", "missing.h5ad", "-o", "x.h5ad", "--key-added", "a/b"], "--key-added"),
        (["fit", "missing.h5ad", "-o", "x.h5ad", "-q", "-v"], "--quiet and --verbose"),
        (["fit", "a.h5ad", "-o", "x.zarr", "--model-dir", "x.zarr"], "--model-dir"),
        (["fit", "missing.h5ad", "-o", "x.h5ad", "--train-size", "0"], "--train-size"),
        (["fit", "missing.h5ad", "-o", "x.h5ad", "--dropout-rate", "1"], "--dropout-rate"),
        (["project", "a.h5ad", "-o", "x.h5ad"], "--model-dir"),
        (["project", "a.h5ad", "-o", "./a.h5ad", "--model-dir", "m"], "is the input"),
        (["assign", "a.h5ad", "-o", "m.h5ad", "--model-dir", "m.h5ad"], "is --model-dir"),
        (["assign", "a.h5ad", "-o", "x.h5ad", "--model-dir", "m", "--max-cells", "0"], "--max"),
        (["simulate", "-o", "x.h5ad", "--dropout", "1"], "--dropout"),
        (["simulate", "-o", "x.h5ad", "--max-shift", "-1"], "--max-shift"),
        (["demo", "-o", "x", "--n-genes", "20", "--n-basis", "30"], "--n-basis 30"),
    ],
)
def test_wrong_calls_exit_with_2_and_one_line(run, tmp_path, monkeypatch, arguments, expected):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.status == 2
    assert result.out == []
    [line] = result.err
    assert expected in line
    assert line.startswith("basisvae-scvi: error: ")
    assert list(tmp_path.iterdir()) == []


def _model_defaults() -> dict:
    defaults = {}
    for function in (BasisVAE.annotate, BasisVAE.train, BasisVAE.setup_anndata, BasisVAE.__init__):
        for name, parameter in inspect.signature(function).parameters.items():
            defaults[name] = parameter.default
    return defaults


def test_defaults_are_those_of_the_model():
    theirs = _model_defaults()
    ours = {field.name: field.default for field in fields(FitSettings) if field.name not in OWN}
    assert set(ours) <= set(theirs)
    assert ours == {name: theirs[name] for name in ours}
    key = next(field for field in fields(ModelSettings) if field.name == "key_added")
    assert key.default == theirs["key_added"]


def test_every_option_of_the_model_and_of_training_can_be_given():
    functions = BasisVAE.__init__, BasisVAE.setup_anndata, BasisVAE.train
    theirs = {name for f in functions for name in inspect.signature(f).parameters}
    ours = {field.name for field in fields(FitSettings)}
    assert theirs - ours == NOT_OPTIONS


@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("gene_likelihood", GeneLikelihood),
        ("dispersion", Dispersion),
        ("zero_inflation", ZeroInflation),
        ("inference", Inference),
        ("gene_prior", GenePrior),
        ("objective", Objective),
    ],
)
def test_choices_are_those_of_the_model(name, choices):
    assert set(get_args(get_type_hints(BasisVAE.__init__)[name])) == {c.value for c in choices}


def test_choices_of_simulated_counts_are_those_of_the_simulator():
    assert {c.value for c in CountLikelihood} == set(LIKELIHOODS)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["fit", "", "-o", "b.h5ad"], "an argument"),
        (["fit", "a.h5ad", "-o", ""], "-o"),
        (["fit", "a.h5ad", "-o", "b.h5ad", "--model-dir", ""], "--model-dir"),
        (["fit", "a.h5ad", "-o", "b.h5ad", "--tables="], "--tables"),
        (["project", " ", "-o", "b.h5ad", "--model-dir", "m"], "an argument"),
        (["report", "a.h5ad", "-o", "r.html", "--key-added", ""], "--key-added"),
    ],
)
def test_an_argument_that_is_empty_is_no_folder(run, arguments, name):
    """The empty path would be the folder one is in."""
    said = (
        f"basisvae-scvi: error: {name} is empty; is a variable not set? See basisvae-scvi --help."
    )
    assert run(*arguments) == (2, [], [said])


def test_a_value_that_ends_in_an_equals_sign_is_not_empty(run):
    status, _, said = run("fit", "nowhere.h5ad", "-o", "b.h5ad", "--root=stage=")
    assert (status, said) == (1, ["basisvae-scvi: error: nowhere.h5ad does not exist."])


@pytest.mark.parametrize("is_empty", [True, False])
def test_a_folder_is_no_output_file(run, tmp_path, is_empty):
    (tmp_path / "out.h5ad").mkdir()
    if not is_empty:
        (tmp_path / "out.h5ad" / ".zgroup").write_text("{}")
    output = str(tmp_path / "out.h5ad")
    status, _, said = run("fit", "nowhere.h5ad", "-o", output, "--overwrite")
    assert status == 2
    assert said == [f"basisvae-scvi: error: --output {output} is a folder; name a file."]


@pytest.mark.parametrize(
    ("advice", "expected"),
    [
        ("Leave room: n_basis=8. Unused", "Leave room: --n-basis 8. Unused"),
        ("Train for longer, e.g. max_epochs=80.", "Train for longer, e.g. --max-epochs 80."),
        ("of your own (size_factor_key).", "of your own (--size-factor-key)."),
        ("Lower latent_weight, or (init= a column", "Lower --latent-weight, or (--init a column"),
        ("Use more cells.", "Use more cells."),
    ],
)
def test_advice_names_options(advice, expected):
    assert in_options(advice) == expected


def test_every_advice_names_options_that_there_are():
    options = {f"--{field.name.replace('_', '-')}" for field in fields(FitSettings)}
    named = set()
    for module in (_trust, _trust_cells):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            text = node.value if isinstance(node, ast.Constant) else None
            if isinstance(text, str) and " " in text and "\n" not in text:
                named |= set(re.findall("--[a-z-]+", in_options(text)))
    assert {"--n-basis", "--max-epochs", "--shape-deviation", "--init"} <= named
    assert named <= options
