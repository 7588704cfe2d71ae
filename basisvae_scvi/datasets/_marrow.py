"""The real data set that ships with the package."""

from importlib.resources import as_file, files

import anndata as ad


def marrow_erythroid() -> ad.AnnData:
    """Load human bone marrow cells from the stem cell to the erythrocyte.

    1,000 CD34+ cells and 2,000 genes of the sample that Setty et al. (2019) published with
    Palantir, cut out by the fixed rule in ``scripts/build_marrow_subset.py``. Licence (MIT) and
    citation are in ``ATTRIBUTION.md`` beside the file and in ``uns["source"]``.

    Returns
    -------
    AnnData of 1,000 × 2,000, X CSR float32 of raw UMI counts. ``obs``: "run" (sequencing run),
    "total_counts" (over all 16,106 genes of the source: divide by its median for size factors),
    "stem_score" and "erythroid_score" (marker level averaged over neighbours, in [0, 1]; the
    cell with the highest stem score is a sensible root). ``var``: "n_cells" in which the gene
    was seen, "mean_fraction" of a cell's total, "variability_rank" (0 is the most variable
    gene: keep ``variability_rank < 500`` for a smaller set).

    Raises
    ------
    FileNotFoundError
        The package was installed without its data files.

    Examples
    --------
    >>> adata = marrow_erythroid()
    >>> adata.shape, "GATA1" in adata.var_names
    ((1000, 2000), True)
    """
    with as_file(files(__package__) / "marrow_erythroid.h5ad") as path:
        return ad.read_h5ad(path)
