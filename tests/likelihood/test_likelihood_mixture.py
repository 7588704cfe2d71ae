"""Sums over cells and over pairs against a triple loop; chunks; active pairs; gradients."""

import numpy as np
import pytest
import reference
import torch

from basisvae_scvi.likelihood import (
    LIKELIHOODS,
    Observations,
    Pairs,
    expected_log_likelihood,
    expected_observation,
    get_likelihood,
)
from basisvae_scvi.module import Z_LIMIT, BasisFunctions

N, P, K, B = 6, 4, 3, 2


class Case:
    """A minibatch in float64 with every nuisance table at its largest, and how to sum it."""

    def __init__(
        self, name, n_latent=1, shifted=True, n_grid=0, wide=True, seed=0, deviates=False
    ):
        torch.manual_seed(seed)
        self.name, self.family = name, get_likelihood(name)
        count = self.family.is_count
        x = torch.poisson(torch.full((N, P), 1.5)) if count else torch.randn(N, P)
        if count:
            x[:, 0], x[0] = 0.0, 0.0
        if name == "bernoulli":
            x = (x > 0).float()
        rows = B if wide else 1
        self.x, self.z = x.double(), torch.randn(N, n_latent).double()
        self.batch = torch.arange(N) % B
        self.size = torch.rand(N, 1).double() + 0.3 if count else None
        self.offset = 0.5 * torch.randn(B, P).double() if wide else None
        self.deviation = 0.4 * torch.randn(N, P).double() if deviates else None
        self.dispersion = torch.rand(rows, P).double() + 0.4
        self.dropout = torch.randn(N if wide else 1, P).double()
        self.dispersion = self.dispersion if self.family.has_dispersion else None
        self.dropout = self.dropout if self.family.has_dropout else None
        self.basis = BasisFunctions(K, n_latent, 3, positive=count, n_grid=n_grid).double()
        self.weight = torch.softmax(torch.randn(P, K), -1).double().reshape(-1)
        self.scale = torch.rand(P * K).double() + 0.3
        self.shift = torch.randn(P * K).double() if shifted else None

    def sums(self, pairs=None, weight=None, **changes):
        """The package's answer, with some tensors exchanged."""
        get = {**vars(self), **changes}.__getitem__
        observations = Observations(
            x=self.x,
            size_factor=self.size,
            offset=get("offset"),
            dispersion=get("dispersion"),
            dropout_logits=get("dropout"),
            batch=self.batch,
            deviation=get("deviation"),
        )
        pairs = Pairs.all(P, K) if pairs is None else pairs
        shift = get("shift")
        return expected_log_likelihood(
            self.family,
            observations,
            get("z"),
            self.basis.evaluator(get("z"), shift),
            pairs,
            get("weight") if weight is None else weight,
            get("scale"),
            shift,
            **({"chunk_elements": changes["chunk"]} if "chunk" in changes else {}),
        )

    def table(self):
        """log p(y_nj | k) by a triple loop, and the location behind every entry."""
        networks = reference.Networks.of(self.basis)
        value, location = np.empty((N, P, K)), np.empty((N, P, K))

        def entry(table, n, j, per_cell=False):
            if table is None:
                return None
            row = n if per_cell else self.batch[n]
            return table[row if len(table) > 1 else 0, j].item()

        for n, j, k in np.ndindex(value.shape):
            m = j * K + k
            delta = 0.0 if self.shift is None else self.shift[m].item()
            signal = self.scale[m].item() * networks(k, self.z[n].numpy() + delta)
            location[n, j, k] = reference.mean_of_signal(
                self.name,
                signal,
                1.0 if self.size is None else self.size[n].item(),
                (entry(self.offset, n, j) or 0.0)
                + (entry(self.deviation, n, j, per_cell=True) or 0.0),
            )
            value[n, j, k] = reference.log_prob(
                self.name,
                self.x[n, j].item(),
                location[n, j, k],
                entry(self.dispersion, n, j),
                entry(self.dropout, n, j, per_cell=True),
            )
        return value, location


def use_reference_norms(case):
    """Divide by exact prior means, so that the sums are compared to the last digits."""
    norms = [1.0, *reference.Networks.of(case.basis).norms]
    case.basis.norms = lambda: torch.tensor(norms, dtype=torch.float64)


@pytest.mark.parametrize("deviates", [False, True])
@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize(("n_latent", "shifted"), [(1, True), (1, False), (2, True), (2, False)])
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_sums_equal_a_triple_loop(name, n_latent, shifted, wide, deviates):
    case = Case(name, n_latent, shifted, wide=wide, deviates=deviates)
    use_reference_norms(case)
    with torch.no_grad():
        sums = case.sums()
    table, _ = case.table()
    weight = case.weight.numpy().reshape(P, K)
    np.testing.assert_allclose(sums.per_cell.numpy(), (table * weight).sum((1, 2)), rtol=1e-10)
    np.testing.assert_allclose(sums.per_pair.numpy(), table.sum(0).ravel(), rtol=1e-10)


@pytest.mark.parametrize("deviates", [False, True])
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_expected_observation_equals_a_triple_loop(name, deviates):
    case = Case(name, 2, deviates=deviates)
    use_reference_norms(case)
    observations = Observations(
        case.x, case.size, case.offset, batch=case.batch, deviation=case.deviation
    )
    location = case.table()[1]
    weight = case.weight.numpy().reshape(P, K)

    def observed(at):
        return 1.0 / (1.0 + np.exp(-at)) if name == "bernoulli" else at

    expected = (observed(location) * weight).sum(2)
    if deviates:
        there, back = (np.log, np.exp) if case.family.is_count else (np.copy, np.copy)
        expected = observed(back((there(location) * weight).sum(2)))
    for chunk in (1, 2**20):
        with torch.no_grad():
            mean = expected_observation(
                case.family,
                observations,
                case.z,
                case.basis.evaluator(case.z, case.shift),
                Pairs.all(P, K),
                case.weight,
                case.scale,
                case.shift,
                chunk_elements=chunk,
            )
        np.testing.assert_allclose(mean.numpy(), expected, rtol=1e-10)


@pytest.mark.parametrize(("shifted", "n_grid"), [(True, 0), (True, 33), (False, 0)])
def test_chunks_change_neither_value_nor_gradient(shifted, n_grid):
    def run(chunk):
        case = Case("zinb", shifted=shifted, n_grid=n_grid)
        names = ["z", "weight", "scale", "offset", "dispersion", "dropout"]
        names += ["shift"] if shifted else []
        leaves = [getattr(case, name).requires_grad_() for name in names]
        sums = case.sums(chunk=chunk)
        total = sums.per_cell.sum() + (sums.per_pair * torch.arange(P * K)).sum()
        leaves += list(case.basis.parameters())
        return [*sums, *torch.autograd.grad(total, leaves)]

    whole = run(2**20)
    assert all(g.abs().max() > 1e-3 for g in whole)
    for chunk in (1, N, 3 * N + 1):
        for a, b in zip(run(chunk), whole, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_active_pairs_equal_all_pairs_with_zero_weights():
    case = Case("zinb")
    phi = case.weight.reshape(P, K).clone()
    phi[phi < 0.3] = 0.0
    phi[2] = torch.tensor([0.0, 1.0, 0.0])
    active = Pairs.active(phi, 0.25)
    assert 0 < len(active) < P * K
    index = active.gene * K + active.basis
    with torch.no_grad():
        dense = case.sums(weight=phi.reshape(-1))
        few = case.sums(
            pairs=active,
            weight=active.select(phi),
            scale=case.scale[index],
            shift=case.shift[index],
        )
    torch.testing.assert_close(few.per_cell, dense.per_cell, rtol=1e-12, atol=0)
    torch.testing.assert_close(few.per_pair, dense.per_pair[index], rtol=1e-12, atol=0)


def test_no_pair_at_all_sums_to_nothing():
    case = Case("poisson", shifted=False)
    none = Pairs.active(torch.zeros(P, K), 0.5)
    sums = case.sums(pairs=none, weight=case.weight[:0], scale=case.scale[:0])
    assert sums.per_cell.tolist() == [0.0] * N
    assert sums.per_pair.shape == (0,)


def test_pairs_select_and_scatter():
    table = torch.arange(6.0).reshape(2, 3)
    pairs = Pairs.active(table, 2.5)
    assert list(zip(pairs.gene.tolist(), pairs.basis.tolist(), strict=True)) == [
        (1, 0),
        (1, 1),
        (1, 2),
    ]
    assert pairs.select(table).tolist() == [3.0, 4.0, 5.0]
    assert pairs.scatter(torch.tensor([7.0, 8.0, 9.0]), 2, 3, fill=-1.0).tolist() == [
        [-1.0, -1.0, -1.0],
        [7.0, 8.0, 9.0],
    ]
    everything = Pairs.all(2, 3)
    assert everything.select(table).tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


@pytest.mark.parametrize(
    ("n_latent", "shifted", "n_grid"),
    [(1, True, 33), (1, True, 0), (1, False, 0), (2, True, 0), (2, False, 0)],
)
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_gradients_by_finite_differences(name, n_latent, shifted, n_grid):
    case = Case(name, n_latent, shifted, n_grid)
    if name in reference.COUNTS:
        case.x[:, 1] = torch.tensor([0.0, 1, 5, 0, 2, 9]).double()
    names = ["z", "weight", "scale", "shift", "offset", "dispersion", "dropout"]
    names = [n for n in names if getattr(case, n) is not None]
    networks = dict(case.basis.named_parameters())

    def sums(*leaves):
        given = dict(zip([*names, *networks], leaves, strict=True))
        basis = {n: given.pop(n) for n in networks}
        original = case.basis
        case.basis = _Functional(original, basis)
        try:
            result = case.sums(**given)
        finally:
            case.basis = original
        return result.per_cell, result.per_pair

    leaves = [getattr(case, n).detach().clone().requires_grad_() for n in names]
    leaves += [p.detach().clone().requires_grad_() for p in networks.values()]
    # Fast mode: a random projection of the Jacobian, wrong with probability zero.
    assert torch.autograd.gradcheck(sums, leaves, fast_mode=True)


class _Functional:
    """Basis functions with their parameters given from outside."""

    def __init__(self, functions, parameters):
        self.functions, self.parameters = functions, parameters

    def evaluator(self, z, shift):
        stand_in = BasisFunctions(
            self.functions.n_basis,
            self.functions.n_latent,
            3,
            positive=self.functions.positive,
            n_grid=self.functions.n_grid,
        ).double()
        for name, value in self.parameters.items():
            delattr(stand_in, name)
            setattr(stand_in, name, value)
        if self.functions.n_latent == 2:  # a coarser rule has the same derivative, sooner
            for name in ("quadrature_nodes", "quadrature_weights"):
                setattr(stand_in, name, getattr(stand_in, name)[::9])
        # Finite differences must not see the grid follow the points.
        stand_in._grid_range = lambda z, shift: (-Z_LIMIT, Z_LIMIT)
        return stand_in.evaluator(z, shift)


def test_observations_give_every_cell_its_batch():
    table = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    observations = Observations(torch.zeros(3, 2), batch=torch.tensor([1, 0, 1]))
    assert observations.per_cell(table).tolist() == [[3.0, 4.0], [1.0, 2.0], [3.0, 4.0]]
    assert observations.per_cell(table[:1]).tolist() == [[1.0, 2.0]]
    assert observations.per_cell(None) is None
