"""Machine code on disk: never stale, never another function's, and missed by nobody."""

import importlib.util
import os
import pickle
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numba
import pytest

import basisvae_scvi
from basisvae_scvi.likelihood._numba import _cache

PACKAGE = Path(basisvae_scvi.__file__).parent

# Compares the numba backend with float64 and says where its code came from.
PROGRAM = """
import sys, torch, numba
torch.set_num_threads(1)
import basisvae_scvi.likelihood as bl
from basisvae_scvi.likelihood._numba._kernel import visit_block
for name in sys.argv[1:]:
    torch.manual_seed(0)
    family, grid = bl.get_likelihood(name), torch.rand(9, 2)
    x, theta, logit = torch.tensor([[0., 1.], [1., 0.]]), torch.rand(1, 2) + 0.5, torch.zeros(1, 2)
    def cells(backend, dtype):
        with bl.use_backend(backend):
            return bl.expected_log_likelihood(
                family,
                bl.Observations(
                    x.to(dtype),
                    dispersion=theta.to(dtype) if family.has_dispersion else None,
                    dropout_logits=logit.to(dtype) if family.has_dropout else None,
                ),
                torch.tensor([[-0.5], [0.7]], dtype=dtype),
                bl.GridBasis(grid.to(dtype), -1.0, 1.0),
                bl.Pairs.all(2, 2),
                torch.full((4,), 0.5, dtype=dtype),
                torch.full((4,), 1.5, dtype=dtype),
            ).per_cell.double()
    error = (cells("numba", torch.float32) - cells("torch", torch.float64)).abs().max()
    assert error < 1e-5, (name, error)
print("loaded", sum(visit_block.stats.cache_hits.values()))
"""

# Prints a digest of values and gradients of a problem in which every sum has many terms.
DIGEST_PROGRAM = """
import hashlib, sys, torch
torch.set_num_threads(1)
import basisvae_scvi.likelihood as bl
from basisvae_scvi.likelihood._numba._kernel import visit_block
digest = hashlib.sha256()
for name in sys.argv[1:]:
    torch.manual_seed(0)
    family = bl.get_likelihood(name)
    free = [torch.rand(1, 9) + 0.5, torch.zeros(1, 9), torch.rand(301, 4), torch.randn(300, 1)]
    free += [torch.rand(36) + 0.5, torch.randn(36)]
    theta, logit, grid, z, scale, shift = (tensor.requires_grad_() for tensor in free)
    observations = bl.Observations(
        torch.poisson(2 * torch.rand(300, 9)),
        dispersion=theta if family.has_dispersion else None,
        dropout_logits=logit if family.has_dropout else None,
    )
    evaluator, weight = bl.GridBasis(grid, -3.0, 3.0), torch.rand(36)
    with bl.use_backend("numba"):
        sums = bl.expected_log_likelihood(
            family, observations, z, evaluator, bl.Pairs.all(9, 4), weight, scale, shift
        )
    (sums.per_cell.sum() + sums.per_pair.sum()).backward()
    for value in [sums.per_cell, sums.per_pair, *(p.grad for p in free if p.grad is not None)]:
        digest.update(value.detach().numpy().tobytes())
print(digest.hexdigest(), sum(visit_block.stats.cache_hits.values()))
"""


def start(*names, program=PROGRAM, **environment):
    """Start the program with only the given places for machine code."""
    environment = {k: str(v) for k, v in environment.items()}
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")}
    return subprocess.Popen(
        [sys.executable, "-W", "error::UserWarning:numba", "-c", program, *names],
        env={"PYTHONPATH": str(PACKAGE.parent), **inherited, **environment},
        cwd=environment.get("PYTHONPATH", PACKAGE.parent),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def output_of(process):
    """What a program printed that failed in nothing."""
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert errors == ""
    return output


def finish(process):
    """Number of functions whose code was found, of a program that said nothing else."""
    return int(output_of(process).removeprefix("loaded "))


def code_files(folder):
    return sorted(folder.rglob("*.nbc"))


@pytest.fixture
def files(tmp_path):
    return _cache.CodeFiles(str(tmp_path), "function-7.py3", ("0.60", "digest"))


def test_a_file_holds_the_code_of_one_signature(files):
    files.save(("a", 1), "code of a")
    files.save(("b", 2), "code of b")
    assert files.load(("a", 1)) == "code of a"
    assert files.load(("b", 2)) == "code of b"
    assert files.load(("c", 3)) is None
    # What a clash of names would do.
    shutil.copy(files.path(("a", 1)), files.path(("b", 2)))
    assert files.load(("b", 2)) is None
    files.flush()
    assert files.load(("a", 1)) is None


def test_code_of_other_sources_or_of_another_numba_is_not_used(files, tmp_path):
    files.save("key", "code")
    for stamp in (("0.60", "other"), ("0.61", "digest"), None):
        other = _cache.CodeFiles(str(tmp_path), "function-7.py3", stamp)
        assert other.load("key") is None
    with files.path("key").open("wb") as file:  # what does not even unpickle here
        pickle.dump(("0.61", "digest"), file)
        file.write(b"not a pickle")
    assert files.load("key") is None
    files.save("key", "code")
    assert files.load("key") == "code"


def test_a_failed_write_leaves_nothing_behind(files, tmp_path, monkeypatch):
    files.save("key", "code")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        files.save("key", "new code")
    monkeypatch.undo()
    assert files.load("key") == "code"
    assert len(list(tmp_path.iterdir())) == 1


def test_the_digest_sees_every_source_file(tmp_path):
    for path in Path(_cache.__file__).parent.glob("*.py"):
        shutil.copy(path, tmp_path)
    assert _cache._digest_of_sources(tmp_path) == _cache.SOURCES
    digests = {_cache.SOURCES}
    for path in sorted(tmp_path.glob("*.py")):
        original = path.read_bytes()
        path.write_bytes(original + b"\n")
        digests.add(_cache._digest_of_sources(tmp_path))
        path.write_bytes(original)
    assert len(digests) == 1 + len(list(tmp_path.glob("*.py")))
    (tmp_path / "_cache.py").unlink()
    assert _cache._digest_of_sources(tmp_path) is None


def test_without_numbas_cache_as_it_is_known_nothing_is_kept(monkeypatch):
    def kept():
        dispatcher = numba.njit(lambda x: x + 1)
        _cache.keep_on_disk(dispatcher)
        return isinstance(dispatcher._cache, _cache._Cache)

    assert kept()
    for name, value in (("SOURCES", None), ("FunctionCache", None), ("IndexDataCacheFile", str)):
        with monkeypatch.context() as patch:
            patch.setattr(_cache, name, value)
            assert not kept()


@pytest.mark.slow
def test_code_from_disk_computes_what_the_process_that_compiled_it_did(tmp_path):
    """Bit for bit: a first run and a later one must end with the same model."""

    def run(name):
        process = start(name, program=DIGEST_PROGRAM, NUMBA_CACHE_DIR=tmp_path)
        return output_of(process).split()

    compiled, loaded = run("zinb"), run("zinb")  # the one with all kinds of loops
    assert (int(compiled[1]), int(loaded[1])) == (0, 1)
    assert compiled[0] == loaded[0]


@pytest.mark.slow
def test_changed_sources_are_compiled_anew(tmp_path):
    """Also where only a file has changed that the outermost function is not defined in."""
    ignored = shutil.ignore_patterns("__pycache__", "*.h5ad")
    shutil.copytree(PACKAGE, tmp_path / PACKAGE.name, ignore=ignored)
    places = {"NUMBA_CACHE_DIR": tmp_path / "cache", "PYTHONPATH": tmp_path}
    assert finish(start("bernoulli", **places)) == 0
    assert code_files(tmp_path / "cache")
    densities = tmp_path / PACKAGE.name / "likelihood" / "_numba" / "_densities.py"
    source = densities.read_text()
    wrong = source.replace("log_p = constant + x * odds", "log_p = constant - x * odds")
    assert wrong != source
    densities.write_text(wrong)
    process = start("bernoulli", **places)
    assert "AssertionError: ('bernoulli'" in process.communicate(timeout=300)[1]


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Makes a small function that is kept in ``tmp_path``; how often it was found there."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))

    def compile_and_run():
        dispatcher = numba.njit(lambda x: x + 1)
        _cache.keep_on_disk(dispatcher)
        assert dispatcher(1) == 2
        return sum(dispatcher.stats.cache_hits.values())

    return compile_and_run


def test_a_full_disk(small, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        assert small() == 0
    assert code_files(tmp_path) == []
    assert [small(), small()] == [0, 1]


@pytest.mark.parametrize("damage", [lambda c: c[: len(c) // 2], lambda c: b"", lambda c: c[::-1]])
def test_damaged_files_are_written_anew(small, tmp_path, damage):
    assert [small(), small()] == [0, 1]
    (path,) = code_files(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    assert [small(), small()] == [0, 1]


def test_a_place_that_is_gone_when_the_code_is_ready(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(folder))
    dispatcher = numba.njit(lambda x: x + 1)
    _cache.keep_on_disk(dispatcher)
    assert isinstance(dispatcher._cache, _cache._Cache)
    shutil.rmtree(folder)
    folder.write_text("")
    assert dispatcher(1) == 2
    assert code_files(tmp_path) == []


def test_nowhere_to_write(tmp_path, monkeypatch):
    """Read-only sources and home: paths below regular files, which even root cannot create."""
    for name in ("file", "__pycache__"):
        (tmp_path / name).write_text("")
    (tmp_path / "sums.py").write_text("def increased(x):\n    return x + 1\n")
    nowhere = str(tmp_path / "file" / "below")
    monkeypatch.setattr(numba.config, "CACHE_DIR", nowhere)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, nowhere)
    spec = importlib.util.spec_from_file_location("sums", tmp_path / "sums.py")
    sums = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sums)
    dispatcher = numba.njit(sums.increased)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _cache.keep_on_disk(dispatcher)
        assert dispatcher(1) == 2
    assert not isinstance(dispatcher._cache, _cache._Cache)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["__pycache__", "file", "sums.py"]


# Compiles a function for three types, and says for how many of them it found the code.
SIGNATURES_PROGRAM = """
import numba
from basisvae_scvi.likelihood._numba import _cache

@numba.njit
def increased(x):
    return x + 1

_cache.keep_on_disk(increased)
assert [increased(x) for x in (1, 1.5, 1j)] == [2, 2.5, 1 + 1j]
print("loaded", sum(increased.stats.cache_hits.values()))
"""


@pytest.mark.slow
def test_processes_that_compile_at_the_same_time(tmp_path):
    """Three processes with an empty folder; then one more, which finds the code of all types."""
    script, cache = tmp_path / "script.py", tmp_path / "cache"
    script.write_text(SIGNATURES_PROGRAM)
    program = f"import runpy; runpy.run_path({str(script)!r})"

    def begin():
        return start(program=program, NUMBA_CACHE_DIR=cache)

    for process in [begin() for _ in range(3)]:
        finish(process)
    assert finish(begin()) == 3
    assert len(code_files(cache)) == 3
    assert all(path.suffix == ".nbc" for path in cache.rglob("*") if path.is_file())
