"""Train with so many processes of Lightning's DDP; the first writes what came out.

python ddp_script.py N_PROCESSES SEED OUTPUT.npz
"""

import os
import sys

import numpy as np
import torch

import basisvae_scvi as bv

STEP = 128


def cells():
    """Counts whose groups are known."""
    adata = bv.datasets.simulate_counts(n_obs=320, n_vars=48, mean_count=4.0, seed=7)
    bv.BasisVAE.setup_anndata(adata)
    return adata


def train(n_processes: int, seed: int) -> dict:
    """Train so that a step takes the same cells, by however many processes."""
    parallel = {"strategy": "ddp_find_unused_parameters_true"} if n_processes > 1 else {}
    adata = cells()
    model = bv.BasisVAE(adata, n_basis=8, gene_likelihood="poisson")
    model.train(
        max_epochs=30,
        seed=seed,
        n_restarts=1,
        accelerator="cpu",
        devices=n_processes,
        batch_size=STEP // n_processes,
        enable_progress_bar=False,
        **parallel,
    )
    torch.manual_seed(0)
    return {
        # Drawn from q(z): one draw is off by a thousandth, the mean of twenty by less.
        "bound": np.mean([float(model.get_elbo()) for _ in range(20)]),
        "cluster": model.get_clusters()["cluster"].to_numpy(dtype=str),
        "z": model.get_latent_representation(),
        "assignment": model.get_assignments().to_numpy(),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    n_processes, seed, output = sys.argv[1:]
    found = train(int(n_processes), int(seed))
    rank = os.environ.get("LOCAL_RANK", "0")
    np.savez(f"{output}.{rank}.npz", **found)
