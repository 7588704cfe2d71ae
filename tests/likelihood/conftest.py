"""Minibatches on which a backend in float32 is compared with the torch backend in float64."""

import copy

import pytest
import torch

from basisvae_scvi.likelihood import (
    GridBasis,
    Observations,
    Pairs,
    TabulatedBasis,
    expected_log_likelihood,
    get_likelihood,
    use_backend,
)
from basisvae_scvi.module import BasisFunctions

UPSTREAM = {
    "mean": lambda cells, pairs: cells.mean(),
    "cells": lambda cells, pairs: (ramp(cells) * cells).sum(),
    "pairs": lambda cells, pairs: (ramp(pairs) * pairs).sum(),
    "both": lambda cells, pairs: (ramp(cells) * cells).sum() + 0.1 * (ramp(pairs) * pairs).sum(),
}


def ramp(values):
    """Weights of both signs, different for every entry."""
    return torch.linspace(-0.4, 1.0, len(values), dtype=values.dtype).square() + 0.3


def relative(a, b):
    """Error of ``a`` in units of the norm of ``b``."""
    return ((a.double() - b).norm() / b.norm()).item()


class Case:
    """A minibatch of float32 numbers, and the sums of any backend on it.

    Parameters
    ----------
    name
        Likelihood.
    kind
        How the bases are given: "shift" and "grid" on a grid, with shifts and without, "table"
        at the cells, or "direct", networks of two latent dimensions with shifts.
    wide
        Whether offsets and dispersions differ between three batches, dropout between cells, and
        size factors are given.
    deviates
        Whether genes deviate from their basis.
    """

    n_grid = 33

    def __init__(self, name, kind="shift", wide=False, n=37, p=5, k=3, seed=0, deviates=False):
        torch.manual_seed(seed)
        self.family, self.kind = get_likelihood(name), kind
        count, n_batch = self.family.is_count, 3 if wide else 1
        rate = 3.0 * torch.rand(n, 1) * torch.rand(p)
        x = torch.poisson(rate) if count else torch.randn(n, p)
        self.x = (x > 0).float() if name == "bernoulli" else x
        self.pairs = Pairs.all(p, k)
        self.batch = torch.randint(0, n_batch, (n,)) if wide else None
        leaves = {
            "weight": torch.softmax(torch.randn(p, k), -1).reshape(-1),
            "scale": torch.rand(p * k) + 0.3,
            "z": torch.randn(n, 2 if kind == "direct" else 1),
        }
        if kind in ("shift", "direct"):
            leaves["shift"] = torch.randn(p * k)
        if kind != "direct":
            points = torch.linspace(-3, 3, self.n_grid)[:, None]
            points = points if kind != "table" else leaves["z"]
            values = torch.sin(points * torch.rand(k) * 2 + torch.randn(k))
            leaves["values"] = values.exp() if count else values
        self.networks = BasisFunctions(k, 2, 3, positive=count) if kind == "direct" else None
        if count and wide:
            leaves["size"] = torch.rand(n, 1) + 0.3
        if wide:
            leaves["offset"] = 0.5 * torch.randn(n_batch, p)
        if deviates:
            leaves["deviation"] = 0.4 * torch.randn(n, p)
        if self.family.has_dispersion:
            leaves["dispersion"] = torch.rand(n_batch, p) + 0.4
        if self.family.has_dropout:
            leaves["dropout"] = torch.randn(n if wide else 1, p)
        self.leaves = leaves

    def evaluator(self, leaves, networks):
        if self.kind == "direct":
            return networks.evaluator(leaves["z"], leaves["shift"])
        if self.kind == "table":
            return TabulatedBasis(leaves["values"])
        return GridBasis(leaves["values"], -3.0, 3.0)

    def sums(self, leaves=None, networks=None, backend="numba", **options):
        """Sums of the backend, by default on the numbers of this case."""
        leaves = self.leaves if leaves is None else leaves
        nuisance = [leaves.get(n) for n in ("size", "offset", "dispersion", "dropout")]
        with use_backend(backend):
            return expected_log_likelihood(
                self.family,
                Observations(
                    self.x.to(leaves["z"].dtype),
                    *nuisance,
                    self.batch,
                    leaves.get("deviation"),
                ),
                leaves["z"],
                self.evaluator(leaves, networks or self.networks),
                self.pairs,
                leaves["weight"],
                leaves["scale"],
                leaves.get("shift"),
                **options,
            )

    def run(self, backend, upstream, dtype=None, **options):
        """Sums and gradients; the torch backend in float64."""
        dtype = dtype or (torch.float64 if backend == "torch" else torch.float32)
        leaves = {n: t.clone().to(dtype).requires_grad_() for n, t in self.leaves.items()}
        networks = copy.deepcopy(self.networks)
        if networks is not None:
            networks.to(dtype)
        sums = self.sums(leaves, networks, backend, **options)
        UPSTREAM[upstream](*sums).backward()
        gradients = {n: t.grad for n, t in leaves.items()}
        if networks is not None:  # as one: the normalised bases hardly depend on some of them
            gradients["networks"] = torch.cat([t.grad.ravel() for t in networks.parameters()])
        return sums, gradients

    def errors(self, upstream="both", **options):
        """Errors of the two sums relative to max(1, |·|), and of all gradients in the norm."""
        expected, expected_gradients = self.run("torch", upstream)
        sums, gradients = self.run("numba", upstream, **options)
        errors = {
            name: ((a.double() - b).abs() / b.abs().clamp_min(1.0)).max().item() if len(b) else 0.0
            for name, a, b in zip(("cells", "pairs"), sums, expected, strict=True)
        }
        for name, b in expected_gradients.items():
            a = gradients[name]
            if b is None or not b.any():
                assert a is None or not a.any(), f"gradient of {name} is not 0"
                continue
            assert a.dtype == torch.float32, name
            assert a.shape == b.shape, name
            errors[f"gradient of {name}"] = relative(a, b)
        return errors

    def check(self, upstream="both", value=5e-6, gradient=2e-5, **options):
        """Compare the numba backend with the oracle; the bounds are below the promised ones."""
        errors = self.errors(upstream, **options)
        for name, error in errors.items():
            bound = gradient if name.startswith("gradient") else value
            bound = max(bound, 1e-4) if "networks" in name else bound  # torch in float32
            assert error <= bound, f"{name}: relative error {error:.1e}"
        return errors


@pytest.fixture(scope="session")
def make_case():
    """Class of the minibatches."""
    return Case
