"""The Triton kernels compile for a GPU, down to machine code, though there is none here.

The interpreter forgives types that a compiler does not. So the backend is called as for a GPU, and
each launch compiles its kernel for the arguments at hand instead of running it.
"""

import re

import pytest
import torch

from basisvae_scvi.likelihood import (
    LIKELIHOODS,
    GridBasis,
    Observations,
    Pairs,
    TabulatedBasis,
    _triton,
    get_likelihood,
)

triton = pytest.importorskip("triton")

from basisvae_scvi.likelihood._triton import (  # noqa: E402
    _backend,
    _densities,
    _kernels,
    _layout,
)

pytestmark = [
    pytest.mark.skipif(_densities.INTERPRETED, reason="the interpreter has no compiler"),
    pytest.mark.skipif(torch.version.hip is not None, reason="for NVIDIA's devices"),
]

TYPES = {torch.float32: "*fp32", torch.int32: "*i32", torch.int64: "*i64"}


class Compiler:
    """Stands in for a kernel: compiles where it would be launched."""

    def __init__(self, kernel, capability):
        self.kernel, self.capability, self.built = kernel, capability, []

    def __getitem__(self, grid):
        assert all(0 < n < 2**16 for n in grid)
        return self.launch

    def launch(self, *arguments, num_warps, maxnreg, enable_fp_fusion, **constants):
        names = self.kernel.arg_names
        given = dict(zip(names, arguments, strict=False)) | constants
        assert set(given) == set(names)
        signature, values = {}, dict(constants)
        for name in names:
            value = given[name]
            if isinstance(value, torch.Tensor):
                assert value.is_contiguous(), name
                signature[name] = TYPES[value.dtype]
            elif name in constants or value == 1:  # as Triton's own launcher does
                signature[name], values[name] = "constexpr", value
            else:
                signature[name] = "fp32" if isinstance(value, float) else "i32"
                assert isinstance(value, float) or abs(value) < 2**31, name
        self.built.append(
            triton.compile(
                triton.compiler.ASTSource(self.kernel, signature, constexprs=values),
                target=triton.backends.compiler.GPUTarget("cuda", self.capability, 32),
                options={
                    "num_warps": num_warps,
                    "maxnreg": maxnreg,
                    "enable_fp_fusion": enable_fp_fusion,
                },
            )
        )


@pytest.fixture
def compiled(monkeypatch, tmp_path):
    """The kernels that calls of the backend compile."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(_backend, "_check", lambda observations: None)
    compilers = [Compiler(getattr(_kernels, name), 90) for name in ("pair_sums", "gene_sums")]
    for name, compiler in zip(("pair_sums", "gene_sums"), compilers, strict=True):
        monkeypatch.setattr(_kernels, name, compiler)
    return compilers


class Direct:
    """An evaluator of which the backend knows nothing."""

    def __init__(self, values):
        self.values = values

    def at_pairs(self, z, shift, basis):
        return self.values


def call(name, kind, gradients=True, upstream=False, wide=True, n=20, p=3, k=2, deviates=False):
    """Call the backend, and backward too; what comes out is memory nobody has written to."""
    family, rows = get_likelihood(name), 2 if wide else 1

    def leaf(*shape):
        return torch.rand(shape).requires_grad_(gradients)

    basis = {
        "grid": lambda: GridBasis(leaf(33, k), -1.0, 1.0),
        "table": lambda: TabulatedBasis(leaf(n, k)),
        "direct": lambda: Direct(leaf(n, p * k)),
    }[kind]()
    observations = Observations(
        torch.ones(n, p),
        leaf(n, 1) if family.is_count else None,
        leaf(2, p) if wide else None,
        leaf(rows, p) if family.has_dispersion else None,
        leaf(n if wide else 1, p) if family.has_dropout else None,
        torch.arange(n) % 2 if wide else None,
        leaf(n, p) if deviates else None,
    )
    sums = _triton.expected_log_likelihood(
        family,
        observations,
        leaf(n, 1),
        basis,
        Pairs.all(p, k),
        leaf(p * k),
        leaf(p * k),
        leaf(p * k) if kind == "grid" else None,
    )
    if gradients:
        (sums.per_cell.sum() + (sums.per_pair.sum() if upstream else 0.0)).backward()


def check(compiled, n_pair_sums, n_gene_sums):
    pairs, genes = compiled
    assert len(pairs.built) == n_pair_sums
    assert len(genes.built) == n_gene_sums
    for kernel in pairs.built + genes.built:
        ptx = kernel.asm["ptx"]
        assert ".target sm_90" in ptx
        assert len(kernel.asm["cubin"]) > 1000
        assert ".f64" not in ptx, "a constant has turned single precision into double"
        assert kernel.metadata.num_warps == 1


@pytest.mark.parametrize(
    ("name", "kind", "upstream", "wide", "expected"),
    [
        ("zinb", "grid", False, True, (1, 2)),
        ("poisson", "table", True, False, (2, 2)),
        ("gaussian", "grid", False, False, (1, 0)),
        ("bernoulli", "direct", False, True, (2, 0)),  # which the backward pass evaluates again
    ],
)
def test_compiles(compiled, name, kind, upstream, wide, expected):
    call(name, kind, upstream=upstream, wide=wide)
    check(compiled, *expected)


@pytest.mark.parametrize(("name", "kind"), [("nb", "grid"), ("gaussian", "table")])
def test_own_deviations_compile(compiled, name, kind):
    call(name, kind, upstream=True, deviates=True)
    check(compiled, 2, 2 if name == "nb" else 0)


@pytest.mark.slow
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("kind", ["grid", "table", "direct"])
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_everything_compiles(compiled, name, kind, wide):
    call(name, kind, gradients=False, wide=wide)
    call(name, kind, upstream=True, wide=wide)
    count = get_likelihood(name).is_count
    check(compiled, 4 if kind == "direct" else 3, 3 if count else 0)


def test_a_single_gene_and_pair(compiled):
    """Arguments of value 1 become constants."""
    call("nb", "grid", p=1, k=1)
    check(compiled, 1, 2)


def test_offsets_of_large_tables_have_64_bits(compiled):
    """1,024 cells × 30,000 genes × 100 bases: 3 × 10⁹ entries, of which 32 bits hold 2 × 10⁹."""
    call("zinb", "direct")
    call("zinb", "table", deviates=True)
    narrow = re.compile(r"tt\.addptr (%\w+), .*, (?:tensor<\d+x)?i32")
    tables = ("x", "values", "by_values", "by_pair", "by_cell", "by_gene", "by_logit", "logit")
    tables += ("by_offset",)
    seen = set()
    for compiler in compiled:
        for kernel in compiler.built:
            source = kernel.asm["ttir"]
            spread = dict(re.findall(r"(%\w+) = tt\.splat (%\w+_ptr) :", source))
            for pointer in narrow.findall(source):
                name = spread.get(pointer, pointer).strip("%").removesuffix("_ptr")
                assert name not in tables, name
            seen |= set(re.findall(r"tt\.(?:splat|addptr) %(\w+)_ptr", source))
    assert seen >= set(tables)


def test_chunks_of_the_largest_minibatch_fit_a_launch():
    from basisvae_scvi.likelihood._triton._launch import _chunks

    for n_items in (1, 16, 10**5, 3 * 10**6):
        for n_cells in (1, 128, 1024, 10**5):
            n_blocks = -(-n_cells // _layout._MAX_BLOCK)
            per_chunk, n_chunks = _chunks(n_items, n_blocks)
            assert n_chunks < 2**16  # the second dimension of a grid of programs
            assert (n_chunks - 1) * per_chunk < n_items <= n_chunks * per_chunk
