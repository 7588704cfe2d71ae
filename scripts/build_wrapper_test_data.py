"""Make the small files that the tests of all wrappers read: wrappers/galaxy/test-data.

Run it when the format of results or of saved models changes:

    python scripts/build_wrapper_test_data.py
"""

import argparse
import gzip
import tarfile
import tempfile
from pathlib import Path

from basisvae_scvi.cli import main
from basisvae_scvi.datasets import simulate_counts

DESTINATION = Path(__file__).resolve().parents[1] / "wrappers" / "galaxy" / "test-data"
N_MODELLED = 20
MAX_BYTES = 1_000_000


def simulate(n_obs: int, prefix: str):
    """Cells of one process, with the columns and the layer that the tests name."""
    adata = simulate_counts(n_obs=n_obs, n_vars=30, mean_count=2.0, n_batches=2, seed=1)
    adata.uns.clear()
    adata.obs_names = [f"{prefix}{i}" for i in range(n_obs)]
    adata.obs["is_start"] = adata.obs["true_z"] < -1.5
    adata.layers["counts"] = adata.X.copy()
    return adata


def pack(folder: Path, archive: Path) -> None:
    """Tar a saved model with neither times nor owners, so that equal models make equal files."""

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.mtime = member.uid = member.gid = 0
        member.uname = member.gname = ""
        return member

    with gzip.GzipFile(archive, "w", mtime=0) as file, tarfile.open(fileobj=file, mode="w") as tar:
        tar.add(folder, arcname="model", filter=plain)


def build(destination: Path) -> None:
    """Write counts, further cells, a model of some of the genes, and its results."""
    destination.mkdir(parents=True, exist_ok=True)
    counts, fitted = destination / "counts.h5ad", destination / "fitted.h5ad"
    both = simulate(120, "cell")
    both[:80].copy().write_h5ad(counts, compression="gzip")
    both[80:].copy().write_h5ad(destination / "new_cells.h5ad", compression="gzip")
    with tempfile.TemporaryDirectory() as scratch:
        model, out = Path(scratch) / "model", Path(scratch) / "fitted.h5ad"
        status = main(
            [
                *("fit", str(counts), "--output", str(out), "--model-dir", str(model)),
                *("--layer", "counts", "--batch-key", "batch", "--root", "is_start"),
                *("--n-top-genes", str(N_MODELLED), "--n-basis", "4", "--likelihood", "nb"),
                *("--translation-invariant", "--max-epochs", "20", "--seed", "1"),
                *("--accelerator", "cpu", "--threads", "1", "--quiet"),
            ]
        )
        if status:
            raise SystemExit(status)
        fitted.write_bytes(out.read_bytes())
        pack(model, destination / "model.tar.gz")
    for path in sorted(destination.iterdir()):
        print(f"{path.stat().st_size:>9,} {path.name}")
        if path.stat().st_size > MAX_BYTES:
            raise SystemExit(f"{path} is larger than {MAX_BYTES:,} bytes.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--destination", type=Path, default=DESTINATION)
    build(parser.parse_args().destination)
