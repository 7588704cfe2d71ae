"""The Triton backend against the float64 torch backend.

With a CUDA device the tests run on it. Without one they run in Triton's interpreter, for which
TRITON_INTERPRET=1 must be set before triton is imported for the first time. Here that may have
happened long ago, so one test starts another process that runs this file with the variable set.
``TRITON_INTERPRET=1 pytest tests/likelihood/test_likelihood_triton.py`` shows them one by one.
"""

import os
import subprocess
import sys
from importlib.metadata import version

import pytest
import torch

from basisvae_scvi.likelihood import (
    LIKELIHOODS,
    GridBasis,
    Observations,
    Pairs,
    TabulatedBasis,
    _triton,
    expected_log_likelihood,
    get_likelihood,
)
from basisvae_scvi.module import BasisFunctions

INSTALLED = _triton.is_available()
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
RUNNABLE = INSTALLED and (INTERPRETED or torch.cuda.is_available())
DEVICE = "cpu" if INTERPRETED or not torch.cuda.is_available() else "cuda"
VERSION = tuple(map(int, version("triton").split(".")[:2])) if INSTALLED else (0, 0)
N_GRID = 33


class Direct:
    """An evaluator of which the backend knows nothing: a value for every cell and pair."""

    def __init__(self, values):
        self.values = values

    def at_pairs(self, z, shift, basis):
        return self.values[:, : len(basis)]


class Case:
    """A minibatch in float64 whose numbers float32 holds as well, and both backends on it."""

    def __init__(
        self, name, kind="grid", n=7, p=3, k=2, n_batch=2, latent_dropout=True, deviates=False
    ):
        torch.manual_seed(0)
        self.family, self.kind, self.p, self.k = get_likelihood(name), kind, p, k
        count, shapes = self.family.is_count, {"grid": (N_GRID, k), "table": (n, k)}
        x = torch.poisson(torch.full((n, p), 3.0)) if count else torch.randn(n, p)
        if count:
            x[:, 0] = x[0] = 0.0
        self.x = (x > 0).float() if name == "bernoulli" else x
        self.pairs, self.batch = Pairs.all(p, k), torch.randint(0, n_batch, (n,))
        values = 0.5 * torch.randn(shapes.get(kind, (n, p * k)))
        if kind == "grid":  # smooth, as the interpolating cubic of a rough one may be negative
            points = torch.linspace(-3, 3, N_GRID)[:, None]
            values = torch.sin(points * torch.rand(k) * 2 + torch.randn(k))
        leaves = {
            "weight": torch.softmax(torch.randn(p, k), -1).reshape(-1),
            "scale": torch.rand(p * k) + 0.3,
            "values": values.exp() if count else values,
            "z": torch.randn(n, 1),
        }
        if kind == "grid":
            leaves["shift"] = torch.randn(p * k)
        if count:
            leaves["size"] = torch.rand(n, 1) + 0.3
        if n_batch > 1:
            leaves["offset"] = 0.5 * torch.randn(n_batch, p)
        if deviates:
            leaves["deviation"] = 0.4 * torch.randn(n, p)
        if self.family.has_dispersion:
            leaves["dispersion"] = torch.rand(n_batch, p) + 0.4
        if self.family.has_dropout:
            leaves["dropout"] = torch.randn(n if latent_dropout else 1, p)
        self.leaves = leaves

    def evaluator(self, leaves):
        if self.kind == "grid":
            return GridBasis(leaves["values"], -3.0, 3.0)
        return (TabulatedBasis if self.kind == "table" else Direct)(leaves["values"])

    def sums(self, triton, leaves, **options):
        x = self.x.to(leaves["z"])
        nuisance = [leaves.get(n) for n in ("size", "offset", "dispersion", "dropout")]
        pairs = Pairs(self.pairs.gene.to(x.device), self.pairs.basis.to(x.device))
        backend = _triton.expected_log_likelihood if triton else expected_log_likelihood
        return backend(
            self.family,
            Observations(x, *nuisance, self.batch.to(x.device), leaves.get("deviation")),
            leaves["z"],
            self.evaluator(leaves),
            pairs,
            leaves["weight"],
            leaves["scale"],
            leaves.get("shift"),
            **options,
        )

    def run(self, triton, upstream):
        like = {"dtype": torch.float32, "device": DEVICE} if triton else {"dtype": torch.float64}
        leaves = {n: t.clone().to(**like).requires_grad_() for n, t in self.leaves.items()}
        sums = self.sums(triton, leaves)
        upstream(*sums).backward()
        gradients = {n: None if t.grad is None else t.grad for n, t in leaves.items()}
        return sums, gradients

    def check(self, upstream="both"):
        """Compare values and all gradients."""
        upstream = UPSTREAM[upstream]
        expected, expected_gradients = self.run(False, upstream)
        sums, gradients = self.run(True, upstream)
        for a, b in zip(sums, expected, strict=True):
            torch.testing.assert_close(a.double().cpu(), b, rtol=1e-5, atol=0)
        for name, b in expected_gradients.items():
            a = gradients[name]
            if b is None or not b.any():
                assert a is None or not a.any(), name
                continue
            assert a.dtype == torch.float32, name
            assert a.shape == b.shape, name
            # Devices take what is smaller than the least normal number for 0.
            size = b.norm().clamp_min(1e5 * torch.finfo(torch.float32).tiny)
            error = (a.double().cpu() - b).norm() / size
            assert error < 2e-5, f"gradient of {name}: relative error {error:.1e}"
        return sums, gradients


def ramp(t):
    return torch.linspace(-1.0, 2.0, len(t), dtype=t.dtype, device=t.device)


UPSTREAM = {
    "sum": lambda per_cell, per_pair: per_cell.sum(),  # constant, with stride 0
    "mean": lambda per_cell, per_pair: -per_cell.mean(),  # constant, but stored in full
    "cells": lambda per_cell, per_pair: per_cell @ ramp(per_cell),
    "pairs": lambda per_cell, per_pair: per_pair @ ramp(per_pair),
    "both": lambda per_cell, per_pair: per_cell @ ramp(per_cell) + per_pair @ ramp(per_pair),
}


@pytest.mark.skipif(
    VERSION < (3, 7), reason="needs triton ≥ 3.7, whose interpreter takes NumPy 2.4"
)
def test_everything_in_the_interpreter(request, tmp_path):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    # The workers of a parallel run must not be started again by the process within.
    kept = {n: v for n, v in os.environ.items() if not n.startswith("PYTEST_")}
    own = {"TRITON_INTERPRET": "1", "TRITON_CACHE_DIR": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""}
    environment = kept | own
    root = request.config.rootpath
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


test_everything_in_the_interpreter.__test__ = not RUNNABLE


class TestTriton:
    __test__ = RUNNABLE

    @pytest.mark.parametrize("kind", ["grid", "table", "direct"])
    @pytest.mark.parametrize("name", LIKELIHOODS)
    def test_values_and_all_gradients(self, name, kind):
        Case(name, kind).check()

    @pytest.mark.parametrize("n_batch", [1, 2])
    @pytest.mark.parametrize("kind", ["grid", "table", "direct"])
    @pytest.mark.parametrize("name", LIKELIHOODS)
    def test_own_deviations_of_the_genes(self, name, kind, n_batch):
        case = Case(name, kind, n_batch=n_batch, deviates=True)
        for upstream in ("mean", "both"):
            case.check(upstream)

    @pytest.mark.parametrize("upstream", ["sum", "mean", "cells", "pairs"])
    @pytest.mark.parametrize("kind", ["grid", "table"])
    def test_every_upstream_gradient(self, kind, upstream):
        Case("zinb", kind).check(upstream)

    @pytest.mark.parametrize("name", LIKELIHOODS)
    def test_one_batch(self, name):
        Case(name, "table", n_batch=1, latent_dropout=False).check("mean")

    def test_tables_of_one_row_beside_tables_of_several(self):
        case = Case("zinb", latent_dropout=False)
        case.leaves["dispersion"] = case.leaves["dispersion"][:1]
        case.check()
        case = Case("gaussian")
        case.leaves["offset"] = case.leaves["offset"][:1]
        case.check()

    def test_grid_without_shifts_and_table_in_spite_of_shifts(self):
        case = Case("nb", n_batch=1)
        case.leaves["shift"] = torch.zeros(len(case.pairs))
        case.check("sum")
        del case.leaves["shift"]
        case.check("sum")
        table = Case("nb", "table", n_batch=1)
        table.leaves["shift"] = torch.randn(len(table.pairs))
        table.check("sum")

    @pytest.mark.parametrize("n_batch", [1, 3])
    @pytest.mark.parametrize("kind", ["grid", "table"])
    def test_many_blocks_of_cells_and_chunks_of_pairs(self, kind, n_batch, monkeypatch):
        monkeypatch.setattr(_triton._backend, "_PARTIAL_SUMS", 25)  # more than one launch
        case = Case("nb", kind, n=150, p=5, k=3, n_batch=n_batch)
        case.batch[:3] = torch.arange(3) % n_batch
        # Shifts that share a grid cell, that lie one rounding apart, and that leave the grid.
        if kind == "grid":
            step = 6.0 / (N_GRID - 1)
            case.leaves["shift"] = torch.randn(15).div(step / 4).round() * step / 4
            case.leaves["shift"][:6] = torch.tensor([-9.0, 9.0, 0.0, 1e-7, 40.0, -40.0])
        case.check("mean")

    def test_a_shift_far_beyond_the_grid_does_not_disturb_the_others(self):
        case = Case("nb", n=40, p=3, k=3)
        case.leaves["shift"][:4] = torch.tensor([1e6, -3e7, 1e30, 200.0])
        case.check("mean")

    @pytest.mark.parametrize("name", LIKELIHOODS)
    @pytest.mark.parametrize("lost", [float("nan"), float("inf")])
    def test_positions_that_are_no_numbers_end_in_nan(self, name, lost):
        case = Case(name, n_batch=1)
        case.leaves["z"][2] = lost
        sums, gradients = case.run(True, UPSTREAM["cells"])
        assert torch.isnan(sums[0]).nonzero().tolist() == [[2]]
        assert torch.isnan(sums[1]).all()
        assert torch.isnan(gradients["z"]).nonzero().tolist() == [[2, 0]]
        case.leaves["z"][2] = 0.0
        case.leaves["shift"][1] = lost
        sums, _ = case.run(True, UPSTREAM["cells"])
        assert torch.isnan(sums[1]).nonzero().tolist() == [[1]]

    def test_a_failure_at_the_end_of_the_grid_stays_in_its_basis(self):
        case = Case("nb", n=5, k=3, n_batch=1)
        case.leaves["z"][:], case.leaves["shift"][:] = 3.0, 0.0
        case.leaves["scale"][0] = float("nan")
        _, gradients = case.run(True, UPSTREAM["sum"])
        assert torch.isnan(gradients["values"]).any(0).tolist() == [True, False, False]

    def test_a_batch_without_cells(self):
        case = Case("zinb", "table", n_batch=3)
        case.batch = torch.tensor([2, 0, 0, 2, 0, 2, 0])
        case.check()

    @pytest.mark.parametrize("kind", ["grid", "table"])
    def test_active_pairs(self, kind):
        case = Case("zinb", kind, p=4, k=3, n_batch=1)
        phi = case.leaves["weight"].reshape(4, 3).clone()
        phi[0], phi[2] = 0.0, torch.tensor([0.0, 1.0, 0.0])
        phi[3, 0] = 0.0
        case.pairs = Pairs.active(phi, 0.1)
        case.pairs = Pairs(  # and one of weight 0
            torch.cat([torch.tensor([0]), case.pairs.gene]),
            torch.cat([torch.tensor([1]), case.pairs.basis]),
        )
        index = case.pairs.gene * 3 + case.pairs.basis
        case.leaves["weight"] = phi.reshape(-1)[index]
        for name in {"scale", "shift"} & set(case.leaves):
            case.leaves[name] = case.leaves[name][index]
        assert 1 not in case.pairs.gene[:1]
        case.check("cells")

    @pytest.mark.parametrize("name", ["zinb", "nb", "poisson"])
    def test_extreme_counts_and_parameters(self, name):
        """Dispersions from e^-10 to e^14, counts to 1e5, empty cells and genes, means of 1e-8."""
        case = Case(name, "table", n=9, p=24, k=4, n_batch=1, latent_dropout=False)
        theta, magnitude = torch.cartesian_prod(
            torch.tensor([-10.0, -3.0, 0.0, 4.0, 8.0, 14.0]).exp(),
            torch.tensor([0.0, 2.0, 300.0, 1e5]),
        ).unbind(1)
        case.x = (magnitude * torch.rand(9, 24)).floor()
        case.x[0] = 0.0
        relative = torch.tensor([0.0, 1e-3, 0.5, 1.001])
        case.leaves["scale"] = (magnitude.clamp_min(1.0)[:, None] * relative).reshape(-1)
        if name != "poisson":
            case.leaves["dispersion"] = theta[None]
        if name == "zinb":
            case.leaves["dropout"] = torch.tensor([-80.0, -20.0, -3.0, 0.0, 5.0, 20.0]).repeat(4)
            case.leaves["dropout"] = case.leaves["dropout"][None]
        sums, gradients = case.check("sum")
        assert all(torch.isfinite(t).all() for t in (*sums, *gradients.values()) if t is not None)
        # Each on its own, however small beside the others.
        _, expected = case.run(False, UPSTREAM["sum"])
        for table in {"dispersion", "dropout"} & set(expected):
            a, b = gradients[table].double().cpu(), expected[table]
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-30)

    @pytest.mark.parametrize("logit", [-300.0, -60.0, -16.0, 30.0, 60.0])
    def test_zeros_that_nothing_explains(self, logit):
        case = Case("zinb", "table", n=5, p=2, k=2, n_batch=1, latent_dropout=False)
        case.x = torch.zeros(5, 2)
        case.leaves["dropout"] = torch.full((1, 2), logit)
        case.leaves["dispersion"] = torch.tensor([[1e6, 50.0]])
        case.leaves["scale"] = torch.tensor([1e-6, 3.0, 1e3, 1e5])
        case.check("sum")

    def test_values_alone_are_the_same(self):
        case = Case("zinb")
        leaves = {n: t.to(DEVICE).requires_grad_() for n, t in case.leaves.items()}
        with_gradients = case.sums(True, leaves)
        with torch.no_grad():
            alone = case.sums(True, leaves)
        assert not alone.per_cell.requires_grad
        for a, b in zip(with_gradients, alone, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=0)

    def test_backward_twice_and_with_few_leaves(self):
        case = Case("nb", "table")
        leaves = {n: t.to(DEVICE) for n, t in case.leaves.items()}
        leaf = leaves["scale"].requires_grad_()
        sums = case.sums(True, leaves)
        twice = [
            torch.autograd.grad(UPSTREAM[name](*sums), leaf, retain_graph=True)[0]
            for name in ("cells", "mean", "cells")
        ]
        torch.testing.assert_close(twice[0], twice[2], rtol=1e-6, atol=0)
        assert not torch.allclose(twice[0], twice[1])

    @pytest.mark.parametrize("n_latent", [1, 2])
    def test_networks_in_chunks_of_pairs(self, n_latent):
        torch.manual_seed(1)
        n, p, k = 5, 3, 3
        functions = BasisFunctions(k, n_latent, 3, n_grid=0)
        x, z = torch.poisson(torch.full((n, p), 2.0)), torch.randn(n, n_latent)
        shift, scale = torch.randn(p * k), torch.rand(p * k) + 0.3
        weight = torch.softmax(torch.randn(p, k), -1).reshape(-1)
        results = []
        for triton in (False, True):
            like = {"device": DEVICE} if triton else {"dtype": torch.float64}
            networks = BasisFunctions(k, n_latent, 3, n_grid=0).to(**like)
            networks.load_state_dict(functions.state_dict())
            leaves = [t.clone().to(**like).requires_grad_() for t in (z, weight, scale, shift)]
            pairs = Pairs.all(p, k, device=leaves[0].device)
            backend = _triton.expected_log_likelihood if triton else expected_log_likelihood
            sums = backend(
                get_likelihood("poisson"),
                Observations(x.to(**like)),
                leaves[0],
                networks.evaluator(leaves[0], leaves[3]),
                pairs,
                *leaves[1:],
                chunk_elements=4 * n,
            )
            UPSTREAM["both"](*sums).backward()
            leaves += networks.parameters()
            results.append([*sums, *(leaf.grad for leaf in leaves)])
        for b, a in zip(*results, strict=True):
            assert (a.double().cpu() - b).norm() <= 1e-4 * b.norm()

    def test_nothing_to_sum(self):
        case = Case("nb", "table", n_batch=1)
        leaves = {n: t.to(DEVICE) for n, t in case.leaves.items()}
        case.pairs = Pairs(case.pairs.gene[:0], case.pairs.basis[:0])
        none = leaves | {n: leaves[n][:0] for n in ("weight", "scale")}
        sums = case.sums(True, none)
        assert sums.per_cell.tolist() == [0.0] * 7
        assert sums.per_pair.shape == (0,)

    def test_only_float32_and_only_with_the_batch_of_every_cell(self):
        case = Case("nb", "table")
        doubles = {n: t.double().to(DEVICE) for n, t in case.leaves.items()}
        with pytest.raises(TypeError, match="float32"):
            case.sums(True, doubles)
        x = case.x.to(DEVICE)
        observations = Observations(x, offset=case.leaves["offset"].to(DEVICE))
        with pytest.raises(ValueError, match="batch of every cell"):
            _triton.expected_log_likelihood(
                case.family, observations, x[:, :1], None, case.pairs, x[0], x[0]
            )


@pytest.mark.skipif(INTERPRETED or not INSTALLED, reason="needs triton outside its interpreter")
def test_refuses_data_that_are_not_on_a_cuda_device():
    case = Case("nb", "table")
    with pytest.raises(ValueError, match="CUDA device; the data are on cpu"):
        case.sums(True, case.leaves)


def test_imports_without_triton():
    program = (
        "import sys; sys.modules['triton'] = None; import torch\n"
        "from basisvae_scvi.likelihood import Observations, _triton\n"
        "from basisvae_scvi.likelihood._triton import _kernels\n"
        "assert not _triton.is_available()\n"
        "observations = Observations(torch.zeros(1, 1))\n"
        "try: _triton.expected_log_likelihood(None, observations, *[None] * 5)\n"
        "except ImportError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "needs the package triton" in done.stdout, done.stderr
