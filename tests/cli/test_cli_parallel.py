"""Fits side by side on one machine do not disturb each other."""

import os
import subprocess
import sys

import anndata as ad
import numpy as np
import pytest

FIT = (
    *("--likelihood", "poisson", "--init", "pca", "--n-restarts", "1", "--max-epochs", "2"),
    *("--n-basis", "4", "--accelerator", "cpu", "--threads", "1", "--seed", "1", "--quiet"),
)


@pytest.mark.slow
def test_four_fits_that_share_an_empty_cache_end_with_equal_arrays(counts, tmp_path):
    cache = tmp_path / "cache"
    environment = {
        **os.environ,
        "NUMBA_CACHE_DIR": str(cache),
        "OMP_NUM_THREADS": "1",
        "NUMBA_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "basisvae_scvi", "fit", str(counts), *FIT]
    names = [f"{i}.h5ad" for i in range(4)]
    fits = [
        subprocess.Popen(
            [*command, "-o", name],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name in names
    ]
    said = [fit.communicate(timeout=1200)[0] for fit in fits]
    assert [fit.returncode for fit in fits] == [0] * 4, said
    assert not [text for text in said if "Traceback" in text]
    compiled = list(cache.rglob("*.nbc"))
    assert compiled  # the cache was in use, and nothing half-written stays in it
    assert not [path for path in cache.rglob("*.nbc.*")]
    first, *others = (ad.read_h5ad(tmp_path / name) for name in names)
    for other in others:
        np.testing.assert_array_equal(other.obsm["X_basisvae"], first.obsm["X_basisvae"])
        for key in first.varm:
            np.testing.assert_array_equal(np.asarray(other.varm[key]), np.asarray(first.varm[key]))
        np.testing.assert_array_equal(
            other.uns["basisvae"]["basis"], first.uns["basisvae"]["basis"]
        )
