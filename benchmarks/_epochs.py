"""Training epochs of BasisVAE and of scVI, every run in a process of its own."""

from __future__ import annotations

import logging
import resource
import statistics
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

REFRESH_EVERY = 10  # epochs between two refreshes of q(w), the default of the package


def simulated(directory: str | Path, n_obs: int, n_vars: int, seed: int = 3) -> Path:
    """Path of simulated counts in ``directory``, drawn if they are not there yet.

    About a fifth of the entries are positive; genes are shifted along four shapes.
    """
    from basisvae_scvi.datasets import simulate_counts

    path = Path(directory) / f"counts_{n_obs}_{n_vars}_{seed}.h5ad"
    if not path.exists():
        adata = simulate_counts(
            n_obs=n_obs,
            n_vars=n_vars,
            mean_count=0.4,
            log_mean_sd=1.2,
            max_shift=1.0,
            seed=seed,
        )
        adata.write_h5ad(path)
    return path


def _clock():
    from lightning.pytorch import Callback

    class Clock(Callback):
        """Seconds of every epoch, refreshes of q(w) included."""

        def __init__(self):
            self.seconds, self.first = [], None

        def on_train_epoch_start(self, *_):
            self.began = time.perf_counter()
            self.first = self.began if self.first is None else self.first

        def on_train_epoch_end(self, *_):
            self.seconds.append(time.perf_counter() - self.began)

    return Clock()


def _quiet() -> None:
    warnings.filterwarnings("ignore")
    for name in ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _peak_mib() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def _train(model, **arguments) -> dict:
    clock = _clock()
    began = time.perf_counter()
    model.train(callbacks=[clock], enable_progress_bar=False, train_size=1.0, **arguments)
    total = time.perf_counter() - began
    return {
        "epochs": clock.seconds,
        "before_and_after_seconds": total - sum(clock.seconds),
        "peak_mib": _peak_mib(),
    }


def run_scvi(path: Path, *, epochs: int, batch_size: int, accelerator: str) -> dict:
    """Train ``SCVI(n_latent=1)``."""
    import anndata as ad
    import scvi

    adata = ad.read_h5ad(path)
    scvi.model.SCVI.setup_anndata(adata)
    model = scvi.model.SCVI(adata, n_latent=1)
    return _train(model, max_epochs=epochs, batch_size=batch_size, accelerator=accelerator)


def run_basisvae(
    path: Path,
    *,
    epochs: int,
    batch_size: int,
    accelerator: str,
    n_basis: int = 50,
    shift: bool = True,
    backed: bool = False,
) -> dict:
    """Train BasisVAE with its defaults."""
    import anndata as ad

    from basisvae_scvi import BasisVAE

    adata = ad.read_h5ad(path, backed="r" if backed else None)
    BasisVAE.setup_anndata(adata)
    model = BasisVAE(adata, n_basis=n_basis, translation_invariant=shift)
    result = _train(
        model, max_epochs=epochs, batch_size=batch_size, accelerator=accelerator, seed=0
    )
    active = model.module.assignment.active(1e-4)
    return {**result, "active_pairs_per_gene": len(active.pairs) / adata.n_vars}


def _in_child(function, path, arguments):
    _quiet()
    return function(path, **arguments)


def alone(function, path: Path, **arguments) -> dict:
    """Run a function of this module in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_in_child, function, path, arguments).result()


def settled(epochs: list[float]) -> float:
    """Mean seconds of the last ten epochs (of all but the first if there are fewer).

    A mean, not a median, since one epoch in ten refreshes q(w).
    """
    return statistics.mean(epochs[-REFRESH_EVERY:] if len(epochs) > REFRESH_EVERY else epochs[1:])
