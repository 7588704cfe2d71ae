"""Galaxy tools: linted, and every test rendered, run and checked without a server."""

import os
import subprocess
import tarfile
import xml.etree.ElementTree as ET

import pytest
from wrapper_options import ROOT, WRAPPERS

FOLDER = WRAPPERS / "galaxy"
TOOLS = sorted(FOLDER.glob("basisvae_scvi_*.xml"))
TESTS = [
    pytest.param(path, number, id=f"{path.stem}-{number}")
    for path in TOOLS
    for number in range(len(ET.parse(path).findall("tests/test")))
]


def test_test_data_are_small(data):
    sizes = {path.name: path.stat().st_size for path in data.iterdir()}
    assert {"counts.h5ad", "new_cells.h5ad", "fitted.h5ad", "model.tar.gz"} == set(sizes)
    assert max(sizes.values()) < 1_000_000
    with tarfile.open(data / "model.tar.gz") as archive:
        assert archive.getnames() == ["model", "model/adata.h5ad", "model/model.pt"]


@pytest.mark.slow
def test_planemo_finds_nothing_to_mend(call):
    # bio.tools can be asked only over the network.
    call("planemo", "lint", "--skip", "BioToolsValid", *TOOLS)


@pytest.mark.slow
@pytest.mark.parametrize(("path", "number"), TESTS)
def test_runs_without_a_server(tools, command_folder, tmp_path, path, number):
    script = ROOT / "scripts" / "run_galaxy_tests.py"
    found = os.pathsep.join([str(command_folder), "/usr/bin", "/bin"])
    done = subprocess.run(
        [tools / "python", script, path, "--test", str(number)],
        env={"PATH": found, "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == f"{path.stem} test {number}: ok"


@pytest.mark.slow
@pytest.mark.galaxy_server
@pytest.mark.skipif(
    "GALAXY_SERVER_FOLDER" not in os.environ,
    reason="takes half an hour and 1 GB: set GALAXY_SERVER_FOLDER to the folder for the server",
)
def test_runs_on_a_server():
    """All tests of the tools, or of those that the variable TOOLS names."""
    script = ROOT / "scripts" / "galaxy_server_test.sh"
    folder = os.environ["GALAXY_SERVER_FOLDER"]
    done = subprocess.run(
        ["bash", script, folder], capture_output=True, text=True, timeout=7200, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
