"""Run the tests of Galaxy tools without a Galaxy server.

Galaxy's own library parses a tool and its tests, renders the command and checks the outputs; bash
runs the command in between. Needs the environment of scripts/wrapper_tools.sh and basisvae-scvi on
PATH:

    .venv-wrappers/bin/python scripts/run_galaxy_tests.py wrappers/galaxy/basisvae_scvi_fit.xml

Sections, selects, switches, filters and discovered files are understood, since these tools use
them; repeats and conditionals are not, and end with an error.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from galaxy.tool_util.parser import get_tool_source
from galaxy.tool_util.verify import verify
from galaxy.tool_util.verify.asserts import verify_assertions
from galaxy.util.template import fill_template

DISCOVERED = {"__name_and_ext__": r"(?P<name>.+)\.(?P<ext>[^.]+)"}


class Values(dict):
    """Parameters of a section, which templates reach as attributes."""

    def __getattr__(self, name: str):
        return self[name]


class Chosen(list):
    """Value of a select of several: a list for filters, joined by commas in templates."""

    def __str__(self) -> str:
        return ",".join(self) or "None"


def parameter(element, given: str | None, test_data: Path):
    """What a template sees for one parameter."""
    kind = element.get("type")
    if kind == "data":
        return str(test_data / given)
    if kind == "boolean":
        is_on = (given or element.get("checked", "false")).lower() == "true"
        return element.get("truevalue") if is_on else element.get("falsevalue")
    if kind == "select":
        options = [option.get("value") for option in element.iter("option")]
        chosen = [o.get("value") for o in element.iter("option") if o.get("selected") == "true"]
        if given is not None:
            chosen = [value for value in given.split(",") if value]
        if unknown := set(chosen) - set(options):
            raise SystemExit(f"no such option: {', '.join(unknown)}")
        return Chosen(chosen) if element.get("multiple") == "true" else (chosen or options)[0]
    if kind not in ("text", "integer", "float"):
        raise SystemExit(f"parameters of type {kind} are not understood")
    return given if given is not None else element.get("value", "")


def name_of(element) -> str:
    """Name of a parameter: its own, or that of its command line argument."""
    return element.get("name") or element.get("argument").lstrip("-").replace("-", "_")


def parameters(inputs, given: dict[str, str], test_data: Path, prefix: str = "") -> Values:
    """All parameters of a tool for one test; every given value must be taken up."""
    values = Values()
    for element in inputs:
        if element.tag == "param":
            name = name_of(element)
            values[name] = parameter(element, given.pop(prefix + name, None), test_data)
        elif element.tag == "section":
            name = element.get("name")
            values[name] = parameters(element, given, test_data, f"{prefix}{name}|")
        elif isinstance(element.tag, str):
            raise SystemExit(f"<{element.tag}> is not understood")
    if not prefix and given:
        raise SystemExit(f"the tool has no parameter {', '.join(given)}")
    return values


def kept_outputs(root, values: Values) -> dict:
    """Outputs whose filters let them through."""
    return {
        output.get("name"): output
        for output in root.find("outputs")
        if isinstance(output.tag, str)
        and all(eval(f.text, {}, dict(values)) for f in output.findall("filter"))
    }


def check_file(name: str, path: Path, attributes: dict) -> None:
    """Check one output as Galaxy would."""
    if not path.is_file():
        raise AssertionError(f"output {name}: there is no {path.name}")
    verify(name, path.read_bytes(), attributes=attributes, filename=None)


def check_outputs(test: dict, outputs: dict, folder: Path) -> None:
    """Check the number of outputs, and every output that the test names."""
    if test["expect_num_outputs"] is not None and len(outputs) != int(test["expect_num_outputs"]):
        raise AssertionError(f"{len(outputs)} outputs: {', '.join(outputs)}")
    for expected in test["outputs"]:
        name = expected["name"]
        check_file(name, folder / outputs[name].get("from_work_dir"), expected["attributes"])
    for expected in test["output_collections"]:
        discover = outputs[expected["name"]].find("discover_datasets")
        found = {
            match["name"]: path
            for path in (folder / discover.get("directory")).iterdir()
            if (match := re.fullmatch(DISCOVERED[discover.get("pattern")], path.name))
        }
        for name, (_, attributes) in expected["element_tests"].items():
            if name not in found:
                raise AssertionError(f"collection has no {name}, only {', '.join(sorted(found))}")
            check_file(name, found[name], attributes)


def run_test(source, test: dict, test_data: Path, folder: Path) -> None:
    """Render, run and check one test."""
    given = {entry["name"]: entry["value"] for entry in test["inputs"]}
    values = parameters(source.root.find("inputs"), given, test_data)
    command = fill_template(
        source.parse_command(), context=dict(values), python_template_version="3.7"
    )
    # Galaxy puts a command on one line.
    command = re.sub(r"[\r\n]+", " ", command).strip()
    done = subprocess.run(
        ["bash", "-e", "-c", command],
        cwd=folder,
        env=os.environ | {"GALAXY_SLOTS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    wanted = int(test["expect_exit_code"] or 0)
    if done.returncode != wanted:
        raise AssertionError(f"exit status {done.returncode}, not {wanted}:\n{done.stderr}")
    for stream, text in (("stdout", done.stdout), ("stderr", done.stderr)):
        if test[stream]:
            verify_assertions(text.encode(), test[stream])
    if not test["expect_failure"]:
        check_outputs(test, kept_outputs(source.root, values), folder)


def main() -> int:
    """Run the tests that are asked for; one line for each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("tool", type=Path)
    parser.add_argument("--test", type=int, action="append", help="Numbers of tests, from 0.")
    parser.add_argument("--count", action="store_true", help="Say how many tests there are.")
    arguments = parser.parse_args()
    source = get_tool_source(str(arguments.tool))
    tests = source.parse_tests_to_dict()["tests"]
    if arguments.count:
        print(json.dumps(len(tests)))
        return 0
    failed = 0
    for number in arguments.test if arguments.test is not None else range(len(tests)):
        with tempfile.TemporaryDirectory() as folder:
            try:
                run_test(
                    source,
                    tests[number],
                    arguments.tool.resolve().parent / "test-data",
                    Path(folder),
                )
            except AssertionError as error:
                failed += 1
                print(f"{arguments.tool.stem} test {number}: FAILED\n{error}")
            else:
                print(f"{arguments.tool.stem} test {number}: ok")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
