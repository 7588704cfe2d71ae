"""``basisvae-scvi demo``."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from basisvae_scvi.cli._demo import MARKERS, cluster_table, describe_marker, load_cells
from basisvae_scvi.cli._figures import leading_genes


@pytest.fixture
def genes() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "cluster": pd.Categorical(["0", "10", "2", "2", "2"], categories=["0", "2", "10"]),
            "confidence": [0.9, 1.0, 0.999, 1.0, 0.6],
            "shift": [0.0, 0.0, -0.5, 0.5, 0.0],
            "scale": [5.0, 1.0, 2.0, 1.0, 9.0],
            "peak": [np.nan, -1.0, 0.0, 1.0, 1.0],
            "peak_pseudotime": [np.nan, 0.1, 0.5, 0.9, 0.9],
        },
        index=["quiet", "early", "strong", "sure", "vague"],
    )


def test_cells_come_with_the_markers_and_size_factors():
    adata = load_cells(100)
    assert set(MARKERS) <= set(adata.var_names)
    is_marker = adata.var_names.isin(MARKERS)
    assert (adata.var["variability_rank"][~is_marker] < 100).all()
    assert (adata.var["variability_rank"] < 100).sum() == 100
    assert adata.obs["size_factor"].median() == pytest.approx(1.0)


def test_leading_genes_are_sure_and_strong(genes):
    assert list(leading_genes(genes, 2).index) == ["strong", "sure", "early"]
    assert list(leading_genes(genes).index) == ["strong", "early"]


def test_table_goes_from_early_to_late_with_flat_genes_last(genes):
    columns = [list(column.cells) for column in cluster_table(genes).columns]
    assert columns[:3] == [["10", "2", "0"], ["1", "3", "1"], ["0.10", "0.90", "flat"]]
    assert columns[3] == ["early", "strong, sure, vague", ""]


def test_markers_are_described(genes):
    assert describe_marker(genes, "quiet") == "quiet: flat (confidence 0.90)"
    assert describe_marker(genes, "sure") == (
        "sure: group 2 (confidence 1.00), peak at 0.90, shift +0.50"
    )


@pytest.mark.slow
def test_demo_writes_everything_and_says_what_it_found(run, tmp_path):
    folder = tmp_path / "demo"
    options = ("--n-genes", 40, "--max-epochs", 5, "--n-basis", 6, "--threads", 1)
    result = run("demo", "-o", folder, "--accelerator", "cpu", *options)
    assert result.status == 0, result.err
    adata = ad.read_h5ad(folder / "marrow_erythroid.h5ad")
    assert adata.n_obs == 1000
    assert {"genes.tsv", "basis_functions.png", "heatmap.png"} <= {
        path.name for path in folder.iterdir()
    }
    text = "\n".join(result.out)
    assert "leading genes" in text
    assert "basisvae-scvi fit CELLS.h5ad" in text
    for marker in MARKERS:
        assert f"  {marker}: " in text
    # The root is a gene of the stem cell: haemoglobin rises along pseudotime.
    time = adata.obs["basisvae_pseudotime"]
    assert np.corrcoef(time, np.log1p(adata[:, "HBB"].X.toarray()[:, 0]))[0, 1] > 0.5
    again = run("demo", "-o", folder, *options)
    assert (again.status, len(again.err)) == (1, 1)
