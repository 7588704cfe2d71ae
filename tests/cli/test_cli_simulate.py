"""``basisvae-scvi simulate``."""

import anndata as ad
import numpy as np
import pytest

from basisvae_scvi import datasets


def test_counts_are_those_of_the_simulator(run, tmp_path):
    path = tmp_path / "deep" / "x.h5ad"
    options = ("--n-obs", 30, "--n-vars", 8, "--n-batches", 2, "--max-shift", 0.5, "--seed", 4)
    result = run("simulate", "-o", path, *options)
    assert (result.status, result.out) == (0, [])
    adata = ad.read_h5ad(path)
    expected = datasets.simulate_counts(n_obs=30, n_vars=8, n_batches=2, max_shift=0.5, seed=4)
    assert (adata.X != expected.X).nnz == 0
    assert set(adata.var) == set(expected.var)
    assert adata.var["true_shift"].abs().max() <= 0.5


def test_zinb_has_extra_zeros_and_the_share_can_be_chosen(run, tmp_path):
    for options, expected in (((), 0.1), (("--dropout", 0.4), 0.4)):
        path = tmp_path / "x.zarr"
        call = ("--n-obs", 10, "--n-vars", 4, "--likelihood", "zinb", "--overwrite", *options)
        assert run("simulate", "-o", path, *call).status == 0
        np.testing.assert_allclose(ad.read_zarr(path).var["true_dropout"], expected)


def test_toys_are_those_of_the_paper(run, tmp_path):
    path = tmp_path / "x.h5ad"
    run("simulate", "-o", path, "--kind", "toy-groups", "--n-obs", 20, "--n-vars", 15)
    np.testing.assert_array_equal(
        ad.read_h5ad(path).X, datasets.toy_groups(n_obs=20, n_per_group=3).X
    )
    options = ("--n-obs", 20, "--n-vars", 7, "--max-shift", 1, "--overwrite")
    run("simulate", "-o", path, "--kind", "toy-shifts", *options)
    np.testing.assert_array_equal(
        ad.read_h5ad(path).X, datasets.toy_shifts(n_obs=20, n_vars=7, max_shift=1.0).X
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--kind", "toy-groups", "--n-vars", 12), "multiple of 5"),
        (("--kind", "toy-groups", "--max-shift", 1), "--max-shift does not apply"),
        (("--kind", "toy-shifts", "--n-batches", 2), "--n-batches does not apply"),
        (("--dropout", 0.2), "--dropout needs --likelihood zinb"),
    ],
)
def test_options_of_other_kinds_are_usage_errors(run, tmp_path, options, expected):
    result = run("simulate", "-o", tmp_path / "x.h5ad", *options)
    assert result.status == 2
    [line] = result.err
    assert expected in line
    assert list(tmp_path.iterdir()) == []


def test_existing_file_is_kept(run, tmp_path):
    path = tmp_path / "x.h5ad"
    path.write_text("mine")
    result = run("simulate", "-o", path)
    assert (result.status, len(result.err)) == (1, 1)
    assert path.read_text() == "mine"
