"""Rebuild the bone marrow data set that ships with ``basisvae_scvi.datasets``.

The source distribution of palantir 1.4.2 (MIT licence) carries a UMI count matrix of human
CD34+ bone marrow (Setty et al. 2019). It has no lineage labels, so the path from stem cell to
erythrocyte is cut out of the counts themselves, by a fixed rule:

1. normalise, log, keep the most variable genes, PCA, exact k nearest neighbours;
2. score six blood programmes, each the mean of its marker genes averaged over neighbours;
3. drop cells in which another programme than stem or erythroid is on;
4. keep every remaining erythroid cell, and a fixed-seed sample of the many stem cells;
5. keep the marker genes and the genes most variable among the kept cells.

Run it as ``python scripts/build_marrow_subset.py SDIST -o OUT.h5ad``; without SDIST the source
distribution is fetched by pip. The same inputs and library versions give the same bytes.
"""

import argparse
import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
import scipy.sparse as sp
from sklearn.neighbors import NearestNeighbors

PACKAGE, VERSION = "palantir", "1.4.2"
MEMBER = f"{PACKAGE}-{VERSION}/data/marrow_sample_scseq_counts.h5ad"
SDIST_SHA256 = "e29efcb790ab27a9aa2c83bcdcbc53dd06a28ef4573506ee35c7b8de29be219e"
MEMBER_SHA256 = "be4f8603826dfe4d0a8289a6a868d75bd1ceaa190b32b42fa9c72b85e9fffe34"

PROGRAMMES = {
    "stem": ["CD34", "AVP", "HLF", "CRHBP"],
    "erythroid": ["GATA1", "KLF1", "HBB", "CA1"],
    "myeloid": ["MPO", "ELANE", "CEBPD"],
    "dendritic": ["IRF8", "SPIB", "IRF7", "CST3"],
    "lymphoid": ["DNTT", "VPREB1", "CD79A", "CD79B", "IGLL1", "JCHAIN"],
    "megakaryocyte": ["PF4", "ITGA2B", "PPBP"],
    "basophil": ["CLC", "HDC", "MS4A2"],
}
BLOOD_GENES = [
    "GATA2", "TAL1", "GFI1B", "EPOR", "TFRC", "HBA1", "HBA2", "HBD", "AHSP", "ALAS2", "BLVRB",
    "CA2", "FECH", "HMBS", "GYPA", "GYPB", "ANK1", "SPTA1", "TFR2", "MYB", "MEIS1", "SPINK2",
    "MLLT3", "CD38", "KIT", "LMO2", "FLI1", "RUNX1", "MYC", "CDK6", "TOP2A", "MKI67", "SPI1",
]  # fmt: skip

# A score is 0 where a programme is silent and 1 near its 99th percentile over all cells. The
# myeloid limit is the tightest: its three markers are off in every stem and erythroid cell.
ON = {"stem": 0.35, "erythroid": 0.12}
LIMIT = {
    "myeloid": 0.12,
    "dendritic": 0.25,
    "lymphoid": 0.25,
    "megakaryocyte": 0.6,
    "basophil": 0.6,
}
N_NEIGHBORS, N_COMPS, N_VARIABLE = 30, 30, 2000
MIN_CELLS, SEED = 20, 0


def digest(data: bytes, *, expected: str, what: str) -> None:
    """Compare the SHA-256 of ``data`` with ``expected``; raise ValueError where it differs."""
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise ValueError(f"{what}: SHA-256 is {found}, expected {expected}")


def download(folder: Path) -> Path:
    """Fetch the source distribution with pip into ``folder`` and return its path."""
    options = ["--no-deps", "--no-binary", ":all:", "--dest", str(folder)]
    command = [sys.executable, "-m", "pip", "download", f"{PACKAGE}=={VERSION}", *options]
    subprocess.run(command, check=True)
    return folder / f"{PACKAGE}-{VERSION}.tar.gz"


def read_counts(sdist: Path) -> ad.AnnData:
    """Read the cells × genes count matrix out of the archive, both checksums verified."""
    archive = sdist.read_bytes()
    digest(archive, expected=SDIST_SHA256, what=sdist.name)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        data = tar.extractfile(MEMBER).read()
    digest(data, expected=MEMBER_SHA256, what=MEMBER)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "counts.h5ad"
        path.write_bytes(data)
        return ad.read_h5ad(path)


def neighbour_average(log_counts: ad.AnnData) -> sp.csr_matrix:
    """Return the row-stochastic cells × cells matrix that averages over nearest neighbours."""
    variable = log_counts.copy()
    sc.pp.highly_variable_genes(variable, n_top_genes=N_VARIABLE)
    variable = variable[:, variable.var["highly_variable"]].copy()
    sc.pp.scale(variable, max_value=10)
    sc.pp.pca(variable, n_comps=N_COMPS, svd_solver="arpack", random_state=SEED)
    points = variable.obsm["X_pca"]
    # Brute force is exact: an approximate search could give other cells on another machine.
    search = NearestNeighbors(n_neighbors=N_NEIGHBORS, algorithm="brute").fit(points)
    graph = search.kneighbors_graph(points, mode="connectivity")
    return sp.csr_matrix(graph / N_NEIGHBORS)


def programme_scores(counts: ad.AnnData) -> pd.DataFrame:
    """Score each programme in each cell, in [0, 1] (cells × programmes)."""
    log_counts = counts.copy()
    sc.pp.filter_genes(log_counts, min_cells=10)
    sc.pp.normalize_total(log_counts)
    sc.pp.log1p(log_counts)
    average = neighbour_average(log_counts)
    scores = {}
    for name, markers in PROGRAMMES.items():
        level = average @ log_counts[:, markers].X.toarray()
        low, high = level.min(axis=0), np.quantile(level, 0.99, axis=0)
        scores[name] = np.clip((level - low) / (high - low), 0, 1).mean(axis=1)
    return pd.DataFrame(scores, index=counts.obs_names)


def select_cells(scores: pd.DataFrame, *, n_cells: int) -> np.ndarray:
    """Return the sorted positions of ``n_cells`` cells on the stem-to-erythroid path."""
    pure = np.all([scores[name] <= limit for name, limit in LIMIT.items()], axis=0)
    erythroid = pure & (scores["erythroid"] > ON["erythroid"]).to_numpy()
    stem = pure & ~erythroid & (scores["stem"] > ON["stem"]).to_numpy()
    n_stem = n_cells - int(erythroid.sum())
    if not 0 <= n_stem <= stem.sum():
        raise ValueError(
            f"n_cells must lie between {erythroid.sum()} and {erythroid.sum() + stem.sum()}"
        )
    # Stem cells outnumber the rest and look alike: all of them would weigh the path down.
    sample = np.random.default_rng(SEED).choice(np.flatnonzero(stem), n_stem, replace=False)
    return np.sort(np.concatenate([np.flatnonzero(erythroid), sample]))


def residual_variance(counts: sp.csr_matrix, totals: np.ndarray) -> np.ndarray:
    """Variance per gene of Pearson residuals, negative binomial with inverse dispersion 100."""
    y = counts.toarray().astype(np.float64)
    mean = totals[:, None] / totals.sum() * y.sum(axis=0)
    residual = (y - mean) / np.sqrt(np.maximum(mean + mean**2 / 100, 1e-12))
    bound = np.sqrt(len(totals))  # one cell cannot make a gene variable on its own
    return np.clip(residual, -bound, bound).var(axis=0)


def select_genes(counts: ad.AnnData, score: np.ndarray, *, n_genes: int) -> np.ndarray:
    """Return the sorted positions of the named genes and of those with the highest scores."""
    named = [gene for genes in PROGRAMMES.values() for gene in genes] + BLOOD_GENES
    seen = np.asarray((counts.X > 0).sum(axis=0)).ravel() >= MIN_CELLS
    score = np.where(counts.var_names.isin(named), np.inf, score)
    score[~seen] = -1.0
    order = np.argsort(-score, kind="stable")[:n_genes]
    return np.sort(order[score[order] >= 0])


def assemble(counts: ad.AnnData, *, n_cells: int, n_genes: int) -> ad.AnnData:
    """Cut the subset out of the full counts and describe where it comes from."""
    scores = programme_scores(counts)
    kept = select_cells(scores, n_cells=n_cells)
    cells = counts[kept]
    totals = np.asarray(cells.X.sum(axis=1)).ravel().astype(np.int64)
    score = residual_variance(cells.X, totals)
    genes = select_genes(cells, score, n_genes=n_genes)
    subset = cells[:, genes]
    x = sp.csr_matrix(subset.X, dtype=np.float32)
    x.sort_indices()
    fraction = np.asarray(x.multiply(1 / totals[:, None]).mean(axis=0)).ravel()
    obs = pd.DataFrame(index=pd.Index(subset.obs_names.astype(str)))
    obs["run"] = pd.Categorical([name.split("_")[0] for name in obs.index])
    obs["total_counts"] = totals
    for name in ("stem", "erythroid"):
        obs[f"{name}_score"] = scores[name].to_numpy()[kept].astype(np.float32)
    var = pd.DataFrame(index=pd.Index(subset.var_names.astype(str)))
    var["n_cells"] = x.getnnz(axis=0).astype(np.int64)
    var["mean_fraction"] = fraction.astype(np.float32)
    var["variability_rank"] = np.argsort(np.argsort(-score[genes], kind="stable"))
    return ad.AnnData(x, obs=obs, var=var, uns={"source": source(counts)})


def source(counts: ad.AnnData) -> dict[str, str | int]:
    """Describe the origin of the counts, as plain strings and numbers."""
    return {
        "title": "Human CD34+ bone marrow, stem cell to erythrocyte",
        "citation": (
            "Setty M, Kiseliovas V, Levine J, Gayoso A, Mazutis L, Pe'er D. Characterization of "
            "cell fate probabilities in single-cell data with Palantir. Nature Biotechnology "
            "37, 451-460 (2019). doi:10.1038/s41587-019-0068-4"
        ),
        "licence": "MIT; the notice is in ATTRIBUTION.md beside this file",
        "package": PACKAGE,
        "version": VERSION,
        "file": MEMBER,
        "sha256": MEMBER_SHA256,
        "n_obs_source": counts.n_obs,
        "n_vars_source": counts.n_vars,
    }


def main() -> None:
    """Read the arguments, build the subset and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sdist", nargs="?", type=Path, help="source archive; default: pip")
    parser.add_argument("-o", "--output", type=Path, required=True, help="h5ad file to write")
    parser.add_argument("--n-cells", type=int, default=1000)
    parser.add_argument("--n-genes", type=int, default=2000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        counts = read_counts(args.sdist or download(Path(folder)))
    subset = assemble(counts, n_cells=args.n_cells, n_genes=args.n_genes)
    subset.write_h5ad(args.output, compression="gzip", compression_opts=9)
    print(f"{args.output}: {subset.n_obs} × {subset.n_vars}, {args.output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
