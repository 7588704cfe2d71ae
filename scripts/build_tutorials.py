"""Run the tutorials and keep their output: tutorials/source/*.py becomes tutorials/*.ipynb.

A source is a Python file with a line `# %%` before every cell of code and `# %% [markdown]` before
every cell of text. `--check` writes nothing, and fails where a notebook does not hold the cells of
its source or where a cell raises an error.

    python scripts/build_tutorials.py [--check] [--jobs N] [NAME ...]
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[1] / "tutorials"
MAX_BYTES = 2_000_000
TIMEOUT = 600  # seconds a cell may take


def read_source(path: Path) -> nbformat.NotebookNode:
    """Notebook without output."""
    cells: list[tuple[bool, list[str]]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# %%"):
            cells.append((line.endswith("[markdown]"), []))
        elif cells:
            cells[-1][1].append(line)
        elif line.strip():
            raise ValueError(f"{path}: {line!r} stands before the first '# %%'; begin with one.")
    notebook = nbformat.v4.new_notebook()
    for number, (is_text, lines) in enumerate(cells):
        if is_text:
            text = "\n".join(line.removeprefix("#").removeprefix(" ") for line in lines).strip()
            cell = nbformat.v4.new_markdown_cell(text)
        else:
            cell = nbformat.v4.new_code_cell("\n".join(lines).strip())
        cell["id"] = f"cell-{number}"  # the same in every build
        notebook.cells.append(cell)
    notebook.metadata["kernelspec"] = {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    }
    notebook.metadata["language_info"] = {"name": "python"}
    return notebook


def run(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Execute in an empty folder; progress bars and log lines (stderr) are not kept."""
    with TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        NotebookClient(notebook, timeout=TIMEOUT, resources=resources).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell["outputs"] = [o for o in cell["outputs"] if o.get("name") != "stderr"]
    notebook.metadata["language_info"] = {"name": "python"}
    return notebook


def cells_of(notebook: nbformat.NotebookNode) -> list[tuple[str, str]]:
    """Kind and text of every cell."""
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def build(name: str, check: bool) -> str:
    """Run one tutorial, write it unless it is a check, and say how it went.

    Raises
    ------
    ValueError
        If the notebook does not hold the cells of its source, or becomes too large.
    """
    began, target = time.perf_counter(), FOLDER / f"{name}.ipynb"
    notebook = read_source(FOLDER / "source" / f"{name}.py")
    if check and cells_of(notebook) != cells_of(nbformat.read(target, 4)):
        raise ValueError(f"{target} is not of its source; run scripts/build_tutorials.py.")
    text = nbformat.writes(run(notebook)) + "\n"
    if len(text.encode()) > MAX_BYTES:
        raise ValueError(f"{target} would have {len(text.encode()):,} bytes; use fewer dots.")
    if not check:
        target.write_text(text, encoding="utf-8")
    return f"{name}: {time.perf_counter() - began:.0f} s, {len(text) / 1e6:.2f} MB"


def main() -> None:
    """Build or check the tutorials that are named, by default all."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help="tutorials, without the ending")
    parser.add_argument("--check", action="store_true", help="run, compare, write nothing")
    parser.add_argument("--jobs", type=int, default=1, help="tutorials at a time")
    arguments = parser.parse_args()
    names = arguments.names or sorted(p.stem for p in (FOLDER / "source").glob("*.py"))
    began = time.perf_counter()
    with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(build, name, arguments.check) for name in names]
        try:
            for job in as_completed(jobs):
                print(job.result(), flush=True)
        except Exception as error:
            pool.shutdown(wait=False, cancel_futures=True)
            raise SystemExit(f"{type(error).__name__}: {error}") from error
    print(f"all: {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
