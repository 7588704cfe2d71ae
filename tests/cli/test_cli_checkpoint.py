"""``fit --checkpoint``: the same call goes on after a kill, and cleans up after itself."""

import anndata as ad
import numpy as np
import pytest

from basisvae_scvi.cli import _fit

SHIFTED = (
    *("--likelihood", "nb", "--translation-invariant"),
    *("--max-epochs", "6", "--batch-size", "32", "--n-restarts", "1"),
)


def assert_same_results(first, second):
    one, other = ad.read_h5ad(first), ad.read_h5ad(second)
    np.testing.assert_array_equal(one.obsm["X_basisvae"], other.obsm["X_basisvae"])
    for name in ("assignment", "shift", "scale"):
        key = f"basisvae_{name}"
        np.testing.assert_array_equal(one.varm[key], other.varm[key], err_msg=name)
    np.testing.assert_array_equal(one.uns["basisvae"]["basis"], other.uns["basisvae"]["basis"])
    assert one.uns["basisvae"]["seed"] == other.uns["basisvae"]["seed"]


def test_a_fit_that_failed_goes_on_and_ends_like_an_unbroken_one(
    fit, counts, tmp_path, monkeypatch
):
    call = (counts, *SHIFTED, "--checkpoint", tmp_path / "state")
    with monkeypatch.context() as patch:
        patch.setattr(_fit.Outputs, "write", lambda *arguments: 1 / 0)
        assert fit(*call, "-o", tmp_path / "out.h5ad").status == 1
    assert [path.name for path in tmp_path.iterdir()] == ["state"]
    assert (tmp_path / "state" / "training.ckpt").is_file()
    resumed = fit(*call, "-o", tmp_path / "out.h5ad")
    assert resumed.status == 0
    assert any("Going on from" in line for line in resumed.err)
    assert not (tmp_path / "state").exists()
    kept = ad.read_h5ad(tmp_path / "out.h5ad").uns["basisvae"]["seed"]
    unbroken = fit(counts, *SHIFTED, "--seed", kept, "-o", tmp_path / "other.h5ad")
    assert unbroken.status == 0
    assert_same_results(tmp_path / "out.h5ad", tmp_path / "other.h5ad")


def test_a_checkpoint_of_another_call_is_one_line(fit, counts, tmp_path, monkeypatch):
    call = (counts, "-o", tmp_path / "out.h5ad", "--checkpoint", tmp_path / "state")
    with monkeypatch.context() as patch:
        patch.setattr(_fit.Outputs, "write", lambda *arguments: 1 / 0)
        fit(*call, "--seed", "1")
    result = fit(*call, "--seed", "1", "--n-basis", "5", "--quiet")
    assert result.status == 1
    [line] = result.err
    assert "is of another run: n_basis was 4 and is 5. Call as before to go on" in line
    (tmp_path / "state" / "training.ckpt").write_bytes(b"")
    [line] = fit(*call, "--seed", "1", "--quiet").err
    assert "is no checkpoint of this version; delete it or name another folder." in line
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


@pytest.mark.parametrize("taken", ["counts.h5ad", "out.h5ad", "model", "a file"])
def test_a_folder_that_is_taken_is_a_wrong_call(fit, tmp_path, taken):
    (tmp_path / "a file").write_text("mine")
    result = fit(
        *(tmp_path / "counts.h5ad", "-o", tmp_path / "out.h5ad"),
        *("--model-dir", tmp_path / "model", "--checkpoint", tmp_path / taken),
    )
    assert result.status == 2
    [line] = result.err
    assert f"--checkpoint {tmp_path / taken} is" in line
