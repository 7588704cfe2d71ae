"""Choice of a backend; and what the CPU backend promises on threads, processes and memory."""

import multiprocessing
import os
import tracemalloc
from types import SimpleNamespace

import pytest
import torch

from basisvae_scvi.likelihood import BACKENDS, Pairs, _backends, choose_backend, use_backend
from basisvae_scvi.likelihood import _numba as numba_backend


@pytest.mark.parametrize(
    ("device", "dtype", "triton", "chosen"),
    [
        ("cpu", torch.float32, True, "numba"),
        ("cpu", torch.float64, True, "torch"),
        ("cpu", torch.float16, True, "torch"),
        ("cpu", torch.int64, True, "torch"),
        ("cuda", torch.float32, True, "triton"),
        ("cuda", torch.float32, False, "torch"),
        ("cuda", torch.float64, True, "torch"),
        ("mps", torch.float32, True, "torch"),
        ("meta", torch.float32, True, "torch"),
    ],
)
def test_choice(monkeypatch, device, dtype, triton, chosen):
    monkeypatch.setattr(_backends._triton, "is_available", lambda: triton)
    x = SimpleNamespace(dtype=dtype, device=SimpleNamespace(type=device))
    assert choose_backend(x) == chosen


def test_choice_for_tensors():
    assert choose_backend(torch.zeros(1, 1)) == "numba"
    assert choose_backend(torch.zeros(1, 1, device="meta")) == "torch"


def test_use_backend(make_case, monkeypatch):
    calls = []
    for name, sums in list(BACKENDS.items())[:2]:
        monkeypatch.setitem(
            BACKENDS, name, lambda *a, n=name, f=sums, **k: calls.append(n) or f(*a, **k)
        )
    case = make_case("poisson", "grid")

    def called(backend=None):
        case.sums(backend=backend) if backend else _direct(case)
        return calls.pop()

    assert called() == "numba"
    assert called("torch") == "torch"
    assert called() == "numba"
    with pytest.raises(ValueError, match=r"'cuda' is unknown; choose one of \['torch'"):
        called("cuda")
    with use_backend("torch"):
        with pytest.raises(KeyError), use_backend("numba"):
            raise KeyError
        assert called() == "torch"
        assert called("numba") == "numba"
        assert called() == "torch"
    assert called() == "numba"


def _direct(case):
    from basisvae_scvi.likelihood import Observations, expected_log_likelihood

    return expected_log_likelihood(
        case.family,
        Observations(case.x),
        case.leaves["z"],
        case.evaluator(case.leaves, None),
        case.pairs,
        case.leaves["weight"],
        case.leaves["scale"],
    )


@pytest.fixture
def threads():
    """Sets the number of torch's threads, until the test is over."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("kind", ["shift", "table", "direct"])
def test_results_are_the_same_for_any_number_of_threads(make_case, threads, monkeypatch, kind):
    monkeypatch.setattr(numba_backend._backend, "_ENTRIES_PER_BLOCK", 2000)
    case = make_case("zinb", kind, wide=True, n=70, p=80, k=4)
    results = []
    for n in (1, 2, 4, 1, 4):
        threads(n)
        sums, gradients = case.run("numba", "both")
        own = gradients if kind != "direct" else ("weight", "scale", "dispersion", "dropout")
        results.append([*sums, *(gradients[m] for m in own if gradients[m] is not None)])
    # Values of direct bases are torch's, which may depend on the number of threads.
    alike = [(1, 0), (2, 0), (3, 0), (4, 0)] if kind != "direct" else [(3, 0), (4, 2)]
    for i, j in alike:
        for a, b in zip(results[i], results[j], strict=True):
            assert torch.equal(a, b)


def _sums_in_a_fork(case, queue):
    torch.set_num_threads(2)
    queue.put(case.sums().per_cell.tolist())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_has_threads_of_its_own(make_case, threads, monkeypatch):
    monkeypatch.setattr(numba_backend._backend, "_ENTRIES_PER_BLOCK", 2000)
    case = make_case("zinb", "shift", n=70, p=80, k=4)
    threads(2)
    expected = case.sums().per_cell.tolist()
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=_sums_in_a_fork, args=(case, queue))
    process.start()
    try:
        assert queue.get(timeout=300) == expected
    finally:
        process.kill()
        process.join()


def peak(case, upstream):
    """Bytes that numpy allocates at most in a pass forward and backward."""
    case.run("numba", upstream)
    tracemalloc.start()
    try:
        case.run("numba", upstream)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("upstream", ["mean", "both"])
@pytest.mark.parametrize("kind", ["shift", "table"])
def test_memory_grows_with_pairs_and_not_with_cells_times_pairs(make_case, kind, upstream):
    n, p, few, many = 200, 100, 8, 64
    used = [peak(make_case("zinb", kind, n=n, p=p, k=k), upstream) for k in (few, many)]
    table = n * p * (many - few) * 4  # bytes, had every entry a float32
    width = make_case.n_grid if kind == "shift" else n
    # Per pair five sums in float64 and four inputs in float32, some of them twice; per block of
    # genes a table of gradients of the bases.
    pairs = p * (many - few) * 200
    tables = (many - few) * width * 4 * (numba_backend._backend._MAX_BLOCKS + 4)
    assert used[1] - used[0] < pairs + tables
    assert used[1] - used[0] < table


def test_directly_evaluated_bases_are_not_kept_for_the_backward_pass(make_case):
    """All chunks together would hold 4 × 10⁶ values and as many gradients."""
    case = make_case("poisson", "direct", n=200, p=200, k=20)
    leaves = {n: t.clone().requires_grad_() for n, t in case.leaves.items()}
    case.sums(leaves, chunk_elements=40_000)
    tracemalloc.start()
    try:
        sums = case.sums(leaves, chunk_elements=40_000)
        kept = tracemalloc.get_traced_memory()[0]
        sums.per_cell.mean().backward()
    finally:
        tracemalloc.stop()
    assert kept < 0.25 * 4 * case.x.shape[0] * len(case.pairs)


def test_gradients_of_another_objective_visit_the_pairs_again(make_case, monkeypatch):
    run, passes = numba_backend._backend._Problem.run, []
    monkeypatch.setattr(
        numba_backend._backend._Problem,
        "run",
        lambda self, gradient: passes.append(gradient) or run(self, gradient),
    )
    case = make_case("nb")
    for upstream, expected in (("mean", 1), ("cells", 2), ("pairs", 2), ("both", 2)):
        case.run("numba", upstream)
        assert passes == [True] * expected
        passes.clear()


def test_no_pairs_are_visited_twice_or_left_out(make_case, monkeypatch):
    for entries in (1, 7, 100, 10**9):
        monkeypatch.setattr(numba_backend._backend, "_ENTRIES_PER_BLOCK", entries)
        case = make_case("nb", "grid", n=3, p=11, k=2)
        case.pairs = Pairs(case.pairs.gene[5:9], case.pairs.basis[5:9])
        for name in ("weight", "scale"):
            case.leaves[name] = case.leaves[name][5:9]
        case.check()
