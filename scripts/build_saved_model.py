"""Train the small model that tests/model/test_model_save.py must always be able to read.

Run it only when the format of saved models changes on purpose: python scripts/build_saved_model.py
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from basisvae_scvi import BasisVAE
from basisvae_scvi.datasets import simulate_counts

DESTINATION = Path(__file__).resolve().parents[1] / "tests" / "assets" / "saved_model"
N_DIGITS = 6


def train_model() -> BasisVAE:
    """A model with every common part: two batches, a covariate, shifts and scales, ZINB."""
    torch.manual_seed(0)
    adata = simulate_counts(n_obs=60, n_vars=24, n_batches=2, mean_count=2.0, seed=7)
    adata.uns.clear()
    BasisVAE.setup_anndata(
        adata, batch_key="batch", continuous_covariate_keys=["true_size_factor"]
    )
    model = BasisVAE(adata, n_basis=4, n_hidden=8, n_hidden_basis=8, translation_invariant=True)
    model.train(max_epochs=20, seed=0, accelerator="cpu", enable_progress_bar=False)
    return model


def expected_values(model: BasisVAE) -> dict[str, list]:
    """A few numbers of each kind that the model gives."""
    z = np.linspace(-1.5, 1.5, 7)
    clusters = model.get_clusters()
    numbers = {
        "assignment": model.get_assignments(),
        "shift": clusters["shift"],
        "scale": clusters["scale"],
        "latent": model.get_latent_representation()[:, 0],
        "pseudotime": model.get_pseudotime(),
        "trend": model.get_gene_trends("gene3", z)["gene3"],
        "basis": model.get_basis_functions(z),
    }
    rounded = {
        name: np.round(np.asarray(values, dtype=float), N_DIGITS).tolist()
        for name, values in numbers.items()
    }
    return {"cluster": list(clusters["cluster"]), **rounded}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--destination", type=Path, default=DESTINATION)
    destination = parser.parse_args().destination
    model = train_model()
    model.save(str(destination), overwrite=True, save_anndata=True)
    text = json.dumps(expected_values(model), indent=1)
    (destination / "expected_values.json").write_text(text + "\n")
    size = sum(file.stat().st_size for file in destination.iterdir())
    print(f"{destination.name}: {size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
