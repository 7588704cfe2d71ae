"""nf-core modules: what can be told without Nextflow, and nf-test where there is one."""

import fnmatch
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from typer.main import get_command
from wrapper_options import WRAPPERS

from basisvae_scvi import __version__
from basisvae_scvi.cli._app import app

REPOSITORY = WRAPPERS / "nf-core"
MODULES = REPOSITORY / "modules" / "basisvae-scvi" / "basisvaescvi"
COMMANDS = ("fit", "project", "assign", "report")


def section(source: str, name: str) -> str:
    """Text of one section of a process."""
    return re.search(rf"\n    {name}:\n(.*?)(?=\n    \w+:\n|\n}})", source, re.DOTALL)[1]


def outputs(source: str) -> dict[str, str]:
    """Path by the name it is emitted under."""
    return dict(
        (name, path)
        for path, name in re.findall(
            r'path\("([^"]+)"\)\s*, emit: (\w+)', section(source, "output")
        )
    )


def rendered(source: str, name: str, values: dict[str, str]) -> str:
    """The bash of a section as Nextflow would write it."""
    [text] = re.findall(r'"""\n(.*?)"""', section(source, name), re.DOTALL)
    for key, value in values.items():
        text = re.sub(rf"(?<!\\)\$\{{{re.escape(key)}\}}", value, text)
    assert not re.findall(r"(?<!\\)\$\{", text), text
    return text.replace("\\$", "$").replace("\\\\\n", "\\\n")


def values_for(source: str) -> dict[str, str]:
    """What the variables of a module stand for in these tests: inputs bear their own names."""
    inputs = re.findall(r"path\((\w+)\)", section(source, "input"))
    fixed = {"prefix": "out", "task.cpus": "2", "args": "", "accelerator": "cpu"}
    return fixed | {name: name for name in inputs}


@pytest.fixture(params=COMMANDS)
def module(request) -> Path:
    return MODULES / request.param


@pytest.fixture
def source(module) -> str:
    return (module / "main.nf").read_text(encoding="utf-8")


@pytest.fixture
def meta(module) -> dict:
    return yaml.safe_load((module / "meta.yml").read_text(encoding="utf-8"))


def test_layout_is_that_of_a_modules_repository(module):
    config = yaml.safe_load((REPOSITORY / ".nf-core.yml").read_text())
    assert config == {"repository_type": "modules", "org_path": "basisvae-scvi"}
    names = {str(p.relative_to(module)) for p in module.rglob("*") if p.is_file()}
    assert {"main.nf", "meta.yml", "environment.yml", "tests/main.nf.test"} <= names


def test_emits_are_those_of_meta(module, source, meta):
    assert f"process BASISVAESCVI_{module.name.upper()} {{" in source
    assert meta["name"] == f"basisvaescvi_{module.name}"
    versions = re.findall(r"topic: versions, emit: (\w+)", source)
    assert list(meta["output"]) == [*outputs(source), *versions]
    for name, path in outputs(source).items():
        assert list(meta["output"][name][0][1]) == [path]
    [[_, _, tool]] = meta["output"][versions[0]]
    assert f"eval('{next(iter(tool))}')" in source
    assert meta["topics"]["versions"] == meta["output"][versions[0]]


def test_inputs_are_those_of_meta(source, meta):
    said = [next(iter(entry)) for group in meta["input"] for entry in group]
    assert said == re.findall(r"(?:val|path)\((\w+)\)", section(source, "input"))


def test_stub_makes_every_output_and_nothing_else(source, tmp_path):
    script = rendered(source, "stub", values_for(source))
    subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, check=True)
    made = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")}
    claimed = set()
    for path in outputs(source).values():
        pattern = path.replace("${prefix}", "out")
        found = fnmatch.filter(made, pattern)
        assert found, f"the stub makes no {pattern}"
        claimed |= {name for name in made for f in found if name == f or name.startswith(f"{f}/")}
    assert {name for name in made if (tmp_path / name).is_file()} <= claimed


def test_script_calls_the_command_with_what_it_takes(module, source, tmp_path):
    """The script runs in bash; what it calls is parsed by the real parser."""
    record = tmp_path / "arguments"
    fake = tmp_path / "bin" / "basisvae-scvi"
    fake.parent.mkdir()
    fake.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\" >'{record}'\n")
    fake.chmod(0o755)
    script = rendered(source, "script", values_for(source))
    env = {"PATH": f"{fake.parent}:/usr/bin:/bin"}
    subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, env=env, check=True)
    name, *arguments = record.read_text().splitlines()
    assert name == module.name
    command = get_command(app).commands[name]
    parsed = command.make_context(name, list(arguments)).params
    made = {path.replace("${prefix}", "out") for path in outputs(source).values()}
    assert str(parsed["output"]) in made
    for value in (parsed.get("log_file"), parsed.get("model_dir")):
        assert value is None or str(value) in made | set(values_for(source))


def test_input_with_the_name_of_the_output_is_refused(module, source):
    if '${prefix}.h5ad"' in section(source, "output"):
        assert "Input and output names are the same" in section(source, "script")


def test_versions_are_pinned(module, source):
    environment = yaml.safe_load((module / "environment.yml").read_text())
    assert environment["dependencies"] == [f"bioconda::basisvae-scvi={__version__}"]
    containers = re.findall(r"basisvae-scvi:([\d.]+)--", source)
    assert containers == [__version__, __version__]


@pytest.mark.slow
@pytest.mark.skipif(
    not (shutil.which("nextflow") and shutil.which("nf-test")),
    reason="nextflow and nf-test are not on PATH",
)
def test_nf_test(command_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(command_folder), prepend=":")
    monkeypatch.setenv("NFT_WORKDIR", str(tmp_path / "work"))
    done = subprocess.run(
        ["nf-test", "test", "--verbose"], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
