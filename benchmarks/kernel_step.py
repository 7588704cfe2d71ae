"""One step of the mixture likelihood, forward and backward: every backend on the same minibatch.

The rivals are the plain torch backend (with shifts also without a grid: the networks evaluated at
every cell and pair), ``torch.compile`` of the plain expression, and, where a checkout of the
authors' code is given (github.com/kasparmartens/BasisVAE), the same step of theirs. Rivals take
turns in one process; the figure is the median.

    python benchmarks/kernel_step.py --original BasisVAE --output kernel_step.json
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import torch
from _machine import write

from basisvae_scvi.likelihood import (
    Observations,
    Pairs,
    expected_log_likelihood,
    get_likelihood,
    use_backend,
)
from basisvae_scvi.module import BasisFunctions

N_GRID, N_HIDDEN = 513, 16


class Step:
    """A minibatch of counts, four in five of them zero, and the parameters to differentiate by."""

    def __init__(self, n_cells: int, n_genes: int, n_basis: int, shift: bool, device: str):
        torch.manual_seed(0)
        self.family, self.device, self.shape = get_likelihood("zinb"), device, (n_genes, n_basis)
        rate = torch.distributions.LogNormal(-1.6, 1.0).sample((n_genes,))
        counts = torch.poisson(torch.distributions.Gamma(1.0, 1.0).sample((n_cells, 1)) * rate)
        self.x = counts.to(device)
        self.pairs = Pairs.all(n_genes, n_basis, device=device)
        self.basis = BasisFunctions(n_basis, 1, N_HIDDEN, n_grid=N_GRID).to(device)
        m = len(self.pairs)
        leaves = {
            "z": torch.randn(n_cells, 1),
            "weight": torch.softmax(torch.randn(n_genes, n_basis), 1).reshape(-1),
            "scale": rate.repeat_interleave(n_basis) * torch.rand(m),
            "dispersion": torch.rand(1, n_genes) + 0.5,
            "dropout": torch.randn(1, n_genes) - 3.0,
        }
        if shift:
            leaves["shift"] = 0.5 * torch.randn(m)
        self.leaves = {n: t.to(device).requires_grad_() for n, t in leaves.items()}
        self.size = (torch.rand(n_cells, 1) + 0.5).to(device)

    def _differentiate(self, loss: torch.Tensor) -> None:
        torch.autograd.grad(loss, [*self.leaves.values(), *self.basis.parameters()])

    def by_backend(self, name: str, grid: bool = True) -> Callable[[], None]:
        """The step as the package does it."""

        def step() -> None:
            leaves = self.leaves
            self.basis.n_grid = N_GRID if grid else 0
            observations = Observations(
                self.x,
                self.size,
                dispersion=leaves["dispersion"],
                dropout_logits=leaves["dropout"],
            )
            z, shift = leaves["z"], leaves.get("shift")
            evaluator = self.basis.evaluator(z, shift)
            with use_backend(name):
                sums = expected_log_likelihood(
                    self.family,
                    observations,
                    z,
                    evaluator,
                    self.pairs,
                    leaves["weight"],
                    leaves["scale"],
                    shift,
                )
            self._differentiate(sums.per_cell.sum() / len(z))

        return step

    def compiled(self) -> Callable[[], None]:
        """``torch.compile`` of the textbook expression, cells × genes × bases; no shifts."""

        def plain(x, size, values, weight, scale, theta, logit):
            x, theta, logit = x[:, :, None], theta[:, :, None], logit[:, :, None]
            mean = size[:, :, None] * values[:, None, :] * scale + 1e-8
            log_total = torch.log(theta + mean)
            log_nb_zero = theta * (torch.log(theta) - log_total)
            log_nb = (
                log_nb_zero
                + x * (torch.log(mean) - log_total)
                + torch.lgamma(x + theta)
                - torch.lgamma(theta)
                - torch.lgamma(x + 1.0)
            )
            softplus = torch.nn.functional.softplus
            zero = softplus(log_nb_zero - logit) - softplus(-logit)
            log_p = torch.where(x > 0, log_nb - softplus(logit), zero)
            return (log_p * weight).sum((1, 2)).mean()

        fast = torch.compile(plain)

        def step() -> None:
            leaves = self.leaves
            loss = fast(
                self.x,
                self.size,
                self.basis(leaves["z"]),
                leaves["weight"].reshape(self.shape),
                leaves["scale"].reshape(self.shape),
                leaves["dispersion"],
                leaves["dropout"],
            )
            self._differentiate(loss)

        return step

    def by_original(self, path: str) -> Callable[[], None]:
        """The step of the authors' decoder, ZINB with a one-dimensional z."""
        sys.path.insert(0, path)
        from BasisVAE.decoder import BasisDecoder

        n_genes, n_basis = self.shape
        decoder = BasisDecoder(
            n_genes,
            N_HIDDEN,
            1,
            n_basis,
            scale_invariance=True,
            translation_invariance="shift" in self.leaves,
            likelihood="ZINB",
            device=self.device,
        ).to(self.device)

        def step() -> None:
            z = self.leaves["z"]
            loss = decoder.loss(self.x, *decoder(z))
            torch.autograd.grad(loss, [z, *decoder.parameters()], allow_unused=True)

        return step


def time_in_turns(rivals: dict[str, Callable], turns: int, slow_turns: int, device: str) -> dict:
    """Median seconds of each rival; those that take more than two seconds run fewer turns."""
    seconds = {name: [] for name in rivals}

    def once(name: str) -> float:
        began = time.perf_counter()
        rivals[name]()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        return time.perf_counter() - began

    warm = {name: min(once(name) for _ in range(2)) for name in rivals}
    for turn in range(turns):
        for name in rivals:
            if warm[name] < 2.0 or turn < slow_turns:
                seconds[name].append(once(name))
    return {name: statistics.median(s) for name, s in seconds.items()}


def run(arguments: argparse.Namespace, shift: bool) -> dict:
    """Seconds of every rival, and the ratio to the fused kernel."""
    step = Step(arguments.cells, arguments.genes, arguments.bases, shift, arguments.device)
    fused = "triton" if arguments.device.startswith("cuda") else "numba"
    rivals = {fused: step.by_backend(fused), "torch": step.by_backend("torch")}
    if shift:
        rivals["torch_without_grid"] = step.by_backend("torch", grid=False)
    elif arguments.compile:
        rivals["torch_compile"] = step.compiled()
    if arguments.original:
        rivals["original"] = step.by_original(arguments.original)
    seconds = time_in_turns(rivals, arguments.turns, arguments.slow_turns, arguments.device)
    print("with shifts" if shift else "without shifts")
    for name, s in seconds.items():
        print(f"  {name:20} {s:9.4f} s  {s / seconds[fused]:7.1f} × {fused}", flush=True)
    return {
        "seconds": seconds,
        "ratio_to_fused": {name: s / seconds[fused] for name, s in seconds.items()},
    }


def main() -> None:
    """Run both variants, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=128)
    parser.add_argument("--genes", type=int, default=7000)
    parser.add_argument("--bases", type=int, default=50)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--slow-turns", type=int, default=2)
    parser.add_argument("--no-compile", dest="compile", action="store_false")
    parser.add_argument("--original", help="checkout of the authors' code, to compare with")
    parser.add_argument("--output")
    arguments = parser.parse_args()
    kept = {**vars(arguments), "output": None, "original": bool(arguments.original)}
    results = {"arguments": kept}
    for shift in (False, True):
        results["shift" if shift else "no_shift"] = run(arguments, shift)
    write(results, arguments.output)


if __name__ == "__main__":
    main()
