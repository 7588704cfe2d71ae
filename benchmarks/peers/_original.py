"""The code that the authors of BasisVAE released with their paper, from a checkout."""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path

import numpy as np
from _peer import Grouping, Problem, Unavailable, need, warm_nothing
from scipy.stats import spearmanr

N_HIDDEN = 32
BATCH_SIZE = 64
LEARNING_RATE = 0.01

warm = warm_nothing


def load() -> None:
    """Import what is needed; the checkout itself is looked at by :func:`group`."""
    need("torch")


def _network(problem: Problem):
    """The authors' encoder, decoder and optimiser; the release leaves their sizes to the user."""
    if problem.original is None:
        raise Unavailable("no checkout of the authors' code; pass --original PATH")
    if not (Path(problem.original) / "BasisVAE" / "VAE.py").exists():
        raise Unavailable("the path given as --original holds no BasisVAE/VAE.py")
    sys.path.insert(0, problem.original)
    from BasisVAE.decoder import BasisDecoder
    from BasisVAE.encoder import Encoder
    from BasisVAE.VAE import VAE

    n_genes = problem.adata.n_vars
    decoder = BasisDecoder(
        n_genes,
        N_HIDDEN,
        1,
        problem.n_basis,
        scale_invariance=True,
        translation_invariance=problem.has_shifts,
        likelihood={"gaussian": "Gaussian", "nb": "NB", "zinb": "ZINB"}[problem.likelihood],
        inference="collapsed",
    )
    return VAE(Encoder(n_genes, N_HIDDEN, 1), decoder, lr=LEARNING_RATE)


def group(problem: Problem, n_groups: int | None, seed: int) -> Grouping:
    """Groups and shifts; ``n_groups`` is not used, since the model chooses."""
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    torch.manual_seed(seed)
    model = _network(problem)
    values = problem.adata.X
    values = values.toarray() if hasattr(values, "toarray") else np.asarray(values)
    data = torch.as_tensor(values, dtype=torch.float32)
    loader = DataLoader(TensorDataset(data), batch_size=BATCH_SIZE, shuffle=True)
    with contextlib.redirect_stdout(io.StringIO()):
        model.optimize(loader, problem.original_epochs, verbose=False)
    with torch.no_grad():
        labels = model.decoder.get_phi().argmax(dim=1).numpy()
        if not problem.has_shifts:
            return Grouping(labels)
        z = model.encoder(data)[0][:, 0].numpy()
        shifts = model.decoder.get_delta()[np.arange(len(labels)), labels, 0].numpy()
    sign = np.sign(spearmanr(z, problem.pseudotime).statistic)
    return Grouping(labels, sign * shifts)
