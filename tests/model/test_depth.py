"""Orders of depth lose themselves in cells of one depth, and those of a process do not."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from model_helpers import build, fit, small_counts, train
from scipy import sparse
from scipy.stats import spearmanr

from basisvae_scvi.model._depth import describe_depth
from basisvae_scvi.report import run_findings


def of_counts(counts, **columns):
    obs = pd.DataFrame(columns, index=[f"cell{i}" for i in range(len(counts))])
    return ad.AnnData(sparse.csr_matrix(counts.astype(np.float32)), obs=obs)


def rising_process():
    """A process along which cells have ever more counts, up to twenty times as many."""
    adata = small_counts(250, 50, seed=3, mean_count=8.0)
    place = adata.obs["true_z"].rank(pct=True).to_numpy()
    counts = adata.X.toarray().astype(int)
    rng = np.random.default_rng(0)
    thinned = rng.binomial(counts, (0.05 + 0.95 * place**2)[:, None])
    return of_counts(thinned, true_z=adata.obs["true_z"].to_numpy())


def depth_alone():
    """Cells that differ in their depth and in nothing else, and a model that is not told it."""
    rng = np.random.default_rng(0)
    size, mean = np.exp(rng.normal(0.0, 0.8, 250)), np.exp(rng.normal(0.5, 1.0, 50))
    counts = rng.poisson(rng.gamma(5.0, np.outer(size, mean) / 5.0))
    return of_counts(counts, true_z=np.log(size), size_factor=np.ones(250))


def finding(adata):
    return next(f for f in run_findings(adata) if f.title == "Sequencing depth")


def test_a_process_along_which_counts_rise_is_no_order_of_depth():
    adata = rising_process()
    model = fit(adata, max_epochs=20, n_basis=6)
    z = model.get_latent_representation()[:, 0]
    assert abs(spearmanr(z, adata.obs["true_z"]).statistic) > 0.9
    model.annotate()
    found = adata.uns["basisvae"]["depth"]
    total = np.asarray(adata.X.sum(1)).ravel()
    assert found["correlation"] == pytest.approx(spearmanr(z, total).statistic)
    assert abs(found["correlation"]) > 0.8
    assert found["at_one_depth"] > 0.85
    assert finding(adata).level == "ok"
    assert "does not come from the depth" in finding(adata).text


def test_depth_alone_is_an_order_of_depth():
    adata = depth_alone()
    model = fit(
        adata, setup={"size_factor_key": "size_factor"}, max_epochs=30, n_basis=6, brief=False
    )
    model.annotate()
    found = adata.uns["basisvae"]["depth"]
    assert abs(found["correlation"]) > 0.9
    assert abs(found["at_one_depth"]) < 0.3
    assert finding(adata).level == "warning"


def test_turning_z_turns_the_correlation_alone(fitted):
    before = describe_depth(fitted)
    fitted.orientation_ = -fitted.orientation_
    try:
        after = describe_depth(fitted)
    finally:
        fitted.orientation_ = -fitted.orientation_
    assert after["correlation"] == pytest.approx(-before["correlation"])
    assert after["at_one_depth"] == pytest.approx(before["at_one_depth"])


def test_batches_and_shifts_are_placed_as_well(fitted_batches, tmp_path):
    adata = fitted_batches.annotate(copy=True)
    found = adata.uns["basisvae"]["depth"]
    assert all(np.isfinite(value) for value in found.values())
    adata.write_h5ad(tmp_path / "a.h5ad")
    again = ad.read_h5ad(tmp_path / "a.h5ad").uns["basisvae"]["depth"]
    assert {name: float(value) for name, value in again.items()} == found


def test_there_is_nothing_to_thin_in_other_data():
    adata = small_counts(60, 12)
    adata.X = np.log1p(adata.X.toarray())
    assert describe_depth(fit(adata, gene_likelihood="gaussian")) == {}
    model = build(small_counts(60, 12), n_latent=2)
    train(model)
    assert describe_depth(model) == {}
