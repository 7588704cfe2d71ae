"""The numba backend against the torch backend in float64, which gets the same float32 numbers."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from basisvae_scvi.likelihood import LIKELIHOODS, GridBasis, Pairs
from basisvae_scvi.likelihood import _numba as numba_backend
from basisvae_scvi.module import BasisFunctions

TILE = 256
UPSTREAM = ("mean", "cells", "pairs", "both")
KINDS = ("shift", "grid", "table", "direct")
COUNTS = ("zinb", "nb", "poisson")


@pytest.mark.parametrize("upstream", UPSTREAM)
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_sums_and_gradients(make_case, name, kind, wide, upstream):
    make_case(name, kind, wide).check(upstream)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_own_deviations_of_the_genes(make_case, name, kind, wide):
    case = make_case(name, kind, wide, n=TILE + 9, deviates=True)
    for upstream in ("mean", "both"):
        case.check(upstream)


def test_large_deviations(make_case):
    for size in (-40.0, 12.0):
        case = make_case("nb", wide=True, deviates=True)
        case.leaves["deviation"] += size
        case.check()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    name=st.sampled_from(list(LIKELIHOODS)),
    kind=st.sampled_from(KINDS),
    wide=st.booleans(),
    upstream=st.sampled_from(UPSTREAM),
    shape=st.tuples(st.integers(1, 290), st.integers(1, 8), st.integers(2, 6)),
    seed=st.integers(0, 2**31),
    deviates=st.booleans(),
)
def test_random_minibatches(make_case, name, kind, wide, upstream, shape, seed, deviates):
    n, p, k = shape
    make_case(name, kind, wide, n, p, k, seed, deviates).check(upstream, value=1e-5, gradient=1e-3)


@pytest.mark.parametrize("n", [1, 2, 15, 16, 17, TILE - 1, TILE, TILE + 1, 2 * TILE + 5])
@pytest.mark.parametrize("name", ["zinb", "gaussian"])
def test_numbers_of_cells_around_vectors_and_tiles(make_case, name, n):
    for kind in KINDS:
        make_case(name, kind, wide=True, n=n).check()


@pytest.mark.parametrize("kind", KINDS[:3])
def test_many_blocks_and_one_basis(make_case, monkeypatch, kind):
    monkeypatch.setattr(numba_backend._backend, "_ENTRIES_PER_BLOCK", 100)
    make_case("zinb", kind, wide=True, n=40, p=70, k=3).check()
    make_case("nb", kind, n=40, p=70, k=1).check("mean")


@pytest.mark.parametrize("kind", KINDS[:3])
def test_some_pairs_in_any_order_within_their_gene(make_case, kind):
    case = make_case("zinb", kind, wide=True, p=6, k=4)
    order = torch.tensor([3, 1, 9, 8, 11, 15, 12, 22])  # genes 0, 2, 3 and 5
    case.pairs = Pairs(case.pairs.gene[order], case.pairs.basis[order])
    for name in {"weight", "scale", "shift"} & set(case.leaves):
        case.leaves[name] = case.leaves[name][order]
    case.leaves["weight"][2] = 0.0
    for upstream in UPSTREAM:
        case.check(upstream)


def test_tables_of_one_row_beside_tables_of_several(make_case):
    for name in ("offset", "dispersion", "dropout"):
        case = make_case("zinb", wide=True)
        case.leaves[name] = case.leaves[name][:1]
        case.check()


def test_chunks_of_directly_evaluated_bases(make_case):
    case = make_case("zinb", "direct", wide=True)
    for chunk in (1, 37, 80):
        case.check("mean", chunk_elements=chunk)
        case.check("both", chunk_elements=chunk)


def test_empty_cells_and_genes(make_case):
    for name in COUNTS:
        case = make_case(name, wide=True, p=6)
        case.x[:, :2] = 0.0
        case.x[3:9] = 0.0
        case.check()
        case.x[:] = 0.0
        case.check()


def test_counts_of_all_magnitudes_in_one_gene(make_case):
    for name in COUNTS:
        case = make_case(name, wide=True, n=60)
        values = torch.tensor([0.0, 1.0, 63.0, 64.0, 2.5, 0.25, 1e5, 4e4])
        case.x = values[torch.randint(0, len(values), case.x.shape)]
        case.leaves["scale"] *= 1e4
        case.check(value=1e-5)


def test_nothing_to_sum(make_case):
    for kind in KINDS:
        case = make_case("nb", kind)
        case.pairs = Pairs(case.pairs.gene[:0], case.pairs.basis[:0])
        leaves = {n: t.clone() for n, t in case.leaves.items()}
        leaves |= {n: leaves[n][:0] for n in ("weight", "scale", "shift") if n in leaves}
        leaves["scale"].requires_grad_()
        sums = case.sums(leaves)
        assert sums.per_cell.tolist() == [0.0] * 37
        assert sums.per_pair.shape == (0,)
    for shape in ((0, 3), (5, 0)):
        case = make_case("nb", "grid", n=shape[0], p=shape[1])
        leaves = {n: t.requires_grad_() for n, t in case.leaves.items()}
        sums = case.sums(leaves)
        (sums.per_cell.sum() + sums.per_pair.sum()).backward()
        assert sums.per_cell.tolist() == [0.0] * shape[0]
        assert sums.per_pair.tolist() == [0.0] * shape[1] * 3
        assert not leaves["scale"].grad.any()


@pytest.mark.parametrize("name", ["zinb", "bernoulli"])
def test_points_beyond_and_exactly_on_the_grid(make_case, name):
    case = make_case(name, n=9)
    step = 6.0 / (case.n_grid - 1)
    inside = 3 - 1e-4  # at the very ends the slope has two values, and rounding takes its pick
    z = torch.tensor([-40, -3 - step, -inside, -3 + step, 0, 3 - step, inside, 3.1, 1e30])
    case.leaves["z"] = z[:, None]
    case.leaves["shift"][:] = 0.0
    case.check()
    case.leaves["shift"] = torch.tensor([step / 2, -step / 2, 0.0, 9.0, -9.0]).repeat(3)
    case.leaves["z"][-1] = 30.0
    case.check()


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_values_at_the_very_ends_of_the_grid(make_case, name):
    case = make_case(name, n=4)
    case.leaves["z"] = torch.tensor([-3.0, 3.0, -3 - 1e-6, 3 + 1e-6])[:, None]
    case.leaves["shift"][:] = 0.0
    for found, expected in zip(
        case.run("numba", "cells")[0], case.run("torch", "cells")[0], strict=True
    ):
        torch.testing.assert_close(found.double(), expected.double(), rtol=1e-5, atol=1e-5)


def test_no_gradient_where_the_curve_is_continued_as_a_constant(make_case):
    case = make_case("nb", n=20)
    case.leaves["z"] = torch.linspace(3.01, 9.0, 20)[:, None]
    case.leaves["shift"].abs_()
    sums, gradients = case.run("numba", "cells")
    assert not gradients["z"].any()
    assert not gradients["shift"].any()
    assert gradients["values"][-1].all()
    assert not gradients["values"][:-1].any()
    case.leaves["z"] += 100.0
    for a, b in zip(case.run("numba", "cells")[0], sums, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("lost", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["shift", "grid"])
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_positions_that_are_no_numbers_end_in_nan(make_case, name, kind, lost):
    case = make_case(name, kind, n=40)
    case.leaves["z"][7] = lost
    sums, gradients = case.run("numba", "cells")
    assert torch.isnan(sums.per_cell).nonzero().tolist() == [[7]]
    assert torch.isnan(sums.per_pair).all()
    assert torch.isnan(gradients["z"]).nonzero().tolist() == [[7, 0]]


@pytest.mark.parametrize("leaf", ["weight", "scale", "shift", "dispersion", "dropout", "size"])
def test_parameters_that_are_no_numbers_end_in_nan(make_case, leaf):
    case = make_case("zinb", "shift", wide=True)
    case.leaves[leaf].view(-1)[0] = np.nan
    sums, _ = case.run("numba", "cells")
    assert torch.isnan(sums.per_cell).any()
    if leaf in ("scale", "shift"):
        assert torch.isnan(sums.per_pair).nonzero().tolist() == [[0]]
    elif leaf != "weight":
        assert torch.isnan(sums.per_pair).any()


@pytest.mark.parametrize("kind", ["shift", "table"])
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_a_failed_basis_does_not_touch_the_pairs_of_others(make_case, name, kind):
    case = make_case(name, kind, n=TILE + 3, p=4, k=3)
    case.leaves["values"][: TILE if kind == "table" else None, 2] = np.nan
    sums, gradients = case.run("numba", "pairs")
    failed = torch.isnan(sums.per_pair)
    assert failed.tolist() == [False, False, True] * 4
    assert not torch.isnan(gradients["scale"][~failed]).any()


def test_layouts_and_types_of_inputs_do_not_matter(make_case):
    case = make_case("zinb", wide=True, n=40)
    expected = case.sums()
    case.x = case.x.t().contiguous().t()
    for name, leaf in case.leaves.items():
        wider = torch.empty((*leaf.shape, 2), dtype=leaf.dtype)
        wider[..., 1] = leaf
        case.leaves[name] = wider[..., 1]
        assert not case.leaves[name].is_contiguous()
    case.batch = torch.stack([case.batch, case.batch], 1)[:, 0]
    for a, b in zip(case.sums(), expected, strict=True):
        assert torch.equal(a, b)
    case.check()
    doubles = {n: t.double().requires_grad_() for n, t in case.leaves.items()}
    sums = case.sums(doubles)
    assert sums.per_cell.dtype == torch.float64
    (sums.per_cell.sum() + sums.per_pair.sum()).backward()
    assert {t.grad.dtype for t in doubles.values()} == {torch.float64}
    torch.testing.assert_close(sums.per_cell.float(), expected.per_cell, rtol=1e-6, atol=1e-6)


def test_what_a_family_does_not_use_has_no_effect(make_case):
    """As with the oracle: size factors of a Gaussian, dispersion of Poisson, dropout of NB."""
    gaussian, poisson, nb = (make_case(n) for n in ("gaussian", "poisson", "nb"))
    gaussian.leaves["size"] = torch.rand(37, 1) + 0.3
    gaussian.leaves["offset"] = torch.randn(1, 5)
    poisson.leaves["dispersion"] = torch.rand(1, 5) + 0.3
    nb.leaves["dropout"] = torch.randn(37, 5)
    for case in (gaussian, poisson, nb):
        case.check("both")
        case.check("mean")


@pytest.mark.parametrize("guard", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("kind", KINDS)
def test_values_without_gradients_are_the_same(make_case, kind, guard, monkeypatch):
    case = make_case("zinb", kind, wide=True)
    expected, _ = case.run("numba", "mean")
    leaves = {n: t.clone().requires_grad_() for n, t in case.leaves.items()}
    asked, empty_sums = [], numba_backend._backend._Problem.empty_sums
    monkeypatch.setattr(
        numba_backend._backend._Problem,
        "empty_sums",
        lambda self, n, gradient: asked.append(gradient) or empty_sums(self, n, gradient),
    )
    with guard():
        alone = case.sums(leaves)
    assert asked == [False]
    assert not alone.per_cell.requires_grad
    for a, b in zip(alone, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


def test_backward_twice_and_never_through_a_gradient(make_case):
    case = make_case("nb")
    leaves = dict(case.leaves)
    leaf = leaves["scale"] = leaves["scale"].clone().requires_grad_()
    sums = case.sums(leaves)
    first, other, again = (
        torch.autograd.grad(objective, leaf, retain_graph=True)[0]
        for objective in (sums.per_cell.sum(), sums.per_pair[2], sums.per_cell.sum())
    )
    assert torch.equal(first, again)
    assert other.nonzero().tolist() == [[2]]
    (by,) = torch.autograd.grad(sums.per_cell.square().sum(), leaf, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        by.sum().backward()


def test_inputs_changed_before_the_backward_pass_are_noticed(make_case):
    case = make_case("nb")
    leaves = dict(case.leaves)
    leaves["scale"] = leaves["scale"].clone().requires_grad_()
    sums = case.sums(leaves)
    with torch.no_grad():
        leaves["scale"] *= 2.0
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        sums.per_pair.sum().backward()


def trained_like():
    """Basis functions with steep and with flat parts, as training leaves them."""
    torch.manual_seed(3)
    functions = BasisFunctions(12, 1, 16)
    with torch.no_grad():
        functions.direction *= 1.5
        functions.amplitude *= 4.0
    return functions


def test_interpolation_on_the_default_grid(make_case):
    functions = trained_like().double()
    n, k = 400, functions.n_basis
    z, shift = torch.randn(n, 1).double(), torch.randn(k).double()
    grid = functions.evaluator(z, shift)
    assert isinstance(grid, GridBasis)
    assert grid.values.shape == (513, k)
    functions.n_grid = 0
    direct = functions.evaluator(z, shift)
    basis = torch.arange(k)
    exact = direct.at_pairs(z, shift, basis)
    extent = exact.max(0).values - exact.min(0).values
    error = (grid.at_pairs(z, shift, basis) - exact).abs().max(0).values
    assert (error[1:] < 1e-5 * extent[1:]).all()
    case = make_case("zinb", n=n, p=4, k=k)
    results = []
    for backend, n_grid in (("torch", 0), ("numba", 513)):
        networks = trained_like().to(torch.float64 if backend == "torch" else torch.float32)
        networks.n_grid = n_grid
        leaves = {m: t.to(networks.level.dtype).requires_grad_() for m, t in case.leaves.items()}
        case.evaluator = lambda leaves, _, f=networks: f.evaluator(leaves["z"], leaves["shift"])
        sums = case.sums(leaves, backend=backend)
        sums.per_cell.mean().backward()
        by_networks = torch.cat([t.grad.ravel() for t in networks.parameters()])
        by = [leaves[m].grad for m in ("z", "shift", "scale")] + [by_networks]
        results.append([*sums, *by])
    for i, (b, a) in enumerate(zip(*results, strict=True)):
        assert (a.double() - b).norm() < (1e-5 if i < 2 else 1e-3) * b.norm()


def test_what_does_not_fit_is_refused(make_case):
    def refuses(error, match, **changes):
        case = make_case("nb", "grid", wide=True)
        for name, value in changes.items():
            (case.leaves if name in case.leaves else vars(case))[name] = value
        with pytest.raises(error, match=match):
            case.sums()

    pairs = Pairs.all(5, 3)
    refuses(ValueError, "sorted by gene", pairs=Pairs(pairs.gene.flip(0), pairs.basis))
    refuses(IndexError, "pairs.gene", pairs=Pairs(pairs.gene + 1, pairs.basis))
    refuses(IndexError, "pairs.basis", pairs=Pairs(pairs.gene, pairs.basis + 1))
    refuses(IndexError, "pairs.basis", pairs=Pairs(pairs.gene, pairs.basis - 1))
    refuses(IndexError, "batch", batch=torch.full((37,), 3))
    refuses(ValueError, "needs the batch of every cell", batch=None)
    refuses(ValueError, "scale has the shape", scale=torch.ones(4))
    refuses(ValueError, "4 points", values=torch.ones(3, 3))
    refuses(ValueError, "z has the shape", z=torch.ones(36, 1))
