"""Genes with smooth deviations of their own from the course of their group stay in it."""

import warnings

import anndata as ad
import numpy as np
import pytest
from model_helpers import build, small_counts
from sklearn.metrics import adjusted_rand_score

from basisvae_scvi import BasisVAE
from basisvae_scvi.inference.structure import DEVIATIONS

N_OBS, N_VARS = 400, 60


def deviating(deviation, likelihood, seed=4):
    """Two shapes, every gene with a deviation of its own of the model's kernel."""
    rng = np.random.default_rng(seed)
    z = np.sort(rng.standard_normal(N_OBS))
    group = np.arange(N_VARS) % 2
    course = np.where(group == 0, 1.0, -1.0) * np.tanh(z)[:, None]
    kernel = 1.0 / (1.0 + 0.5 * (z[:, None] - z) ** 2)
    centred = np.eye(N_OBS) - 1.0 / N_OBS
    root = np.linalg.cholesky(centred @ kernel @ centred.T + 1e-8 * np.eye(N_OBS))
    own = deviation * root @ rng.standard_normal((N_OBS, N_VARS))
    if likelihood == "nb":
        x = rng.poisson(30.0 * np.exp(0.8 * course + own))
    else:
        x = course + own + 0.2 * rng.standard_normal(own.shape)
    adata = ad.AnnData(x.astype(np.float32))
    adata.obs["z"], adata.obs["ones"], adata.var["group"] = z, 1.0, group
    adata.uns["own"] = own
    return adata


def find(adata, *, z_given=True, likelihood="nb", n_basis=12, **arguments):
    """Model after the search, its warnings aside."""
    sizes = {"size_factor_key": "ones"} if likelihood == "nb" and "ones" in adata.obs else {}
    BasisVAE.setup_anndata(adata, **({"latent_key": "z"} if z_given else {}), **sizes)
    model = BasisVAE(adata, n_basis=n_basis, gene_likelihood=likelihood, **arguments)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No gene changes along z")
        model.train(1, seed=0, n_restarts=1, accelerator="cpu", enable_progress_bar=False)
    return model


def clusters(model):
    return model.get_clusters()["cluster"].astype(str)


@pytest.fixture(scope="module")
def adata():
    return deviating(0.2, "nb")


@pytest.mark.parametrize("likelihood", ["nb", "gaussian"])
@pytest.mark.parametrize("deviation", [0.1, 0.3])
def test_deviations_are_learned_and_make_no_groups(likelihood, deviation):
    """Scales of Gaussian data are units of the model: those of deviations are, too."""
    adata = deviating(deviation, likelihood)
    model = find(adata, likelihood=likelihood)
    assert adjusted_rand_score(adata.var["group"], clusters(model)) == 1.0
    unit = 1.0 if likelihood == "nb" else float(np.median(model.module.genes.feature_scale))
    learned = float(model.module.genes.shape_deviation)
    assert learned == pytest.approx(deviation / unit, abs=0.07)
    assert model.search_["shape_deviation"] == pytest.approx(learned)
    # 0.3 is where learning begins.
    moves = "+".join(model.get_search_history()["move"])
    assert ("deviate" in moves) == (learned != pytest.approx(0.3))


def test_without_deviations_groups_fall_apart(adata):
    """The two true groups come apart where every gene has to follow one course."""
    assert clusters(find(adata, shape_deviation=0.0)).nunique() >= 6


def test_a_deviation_that_is_given_is_kept(adata):
    model = find(adata, shape_deviation=0.35)
    assert float(model.module.genes.shape_deviation) == pytest.approx(0.35)
    assert "deviate" not in "+".join(model.get_search_history()["move"])
    assert clusters(model).nunique() == 2


def test_groups_without_deviations_teach_none():
    adata = deviating(0.0, "nb")
    model = find(adata)
    assert float(model.module.genes.shape_deviation) <= DEVIATIONS[1]
    assert adjusted_rand_score(adata.var["group"], clusters(model)) == 1.0


def test_nothing_becomes_no_trajectory_by_deviations():
    adata = small_counts(120, 24, proportions=[0.0, 0.0, 0.0, 1.0])
    for deviation in ("learned", 0.4):
        model = find(adata, z_given=False, n_basis=4, shape_deviation=deviation)
        assert clusters(model).unique().tolist() == ["0"]
        assert float(model.module.genes.shape_deviation) == 0.0


def test_a_small_trajectory_is_not_lost_to_deviations():
    model = find(small_counts(120, 24), z_given=False, n_basis=4, shape_deviation=0.2)
    assert clusters(model).nunique() > 1


@pytest.mark.parametrize("deviation", [-0.1, np.nan, np.inf, "much", "0.3"])
def test_impossible_deviations_are_refused(adata, deviation):
    """A sentence that names the argument."""
    with pytest.raises(ValueError, match=r"shape_deviation=.* must be 'learned', 0 or a positive"):
        build(adata, shape_deviation=deviation)


@pytest.mark.parametrize("arguments", [{"objective": "paper"}, {"n_latent": 2}])
@pytest.mark.parametrize("deviation", [0.2, "learned"])
def test_deviations_that_nothing_would_heed_are_refused(adata, arguments, deviation):
    with pytest.raises(ValueError, match=r"shape_deviation=.* takes objective='evidence'"):
        build(adata, shape_deviation=deviation, **arguments)
    build(adata, shape_deviation=0.0, **arguments)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, "learned"),
        ({"gene_likelihood": "gaussian"}, "learned"),
        ({"objective": "paper"}, 0.0),
        ({"n_latent": 2}, 0.0),
        ({"shape_deviation": 0.0}, 0.0),
    ],
)
def test_deviations_are_learned_by_default(adata, arguments, expected):
    model = build(adata, **arguments)
    assert model.module.shape_deviation == expected
    assert model.init_params_["non_kwargs"]["shape_deviation"] == expected
    assert float(model.module.genes.shape_deviation) == 0.0  # before training


def test_learned_deviations_are_saved(adata, tmp_path):
    model = find(adata, shape_deviation=0.25)
    model.save(str(tmp_path / "model"), save_anndata=True)
    loaded = BasisVAE.load(str(tmp_path / "model"), accelerator="cpu")
    assert float(loaded.module.genes.shape_deviation) == pytest.approx(0.25)


def test_intervals_know_of_deviations(adata):
    """A gene with a course of its own tells its scale less surely: never more so."""
    model = find(adata, shape_deviation=0.2)
    wide = model.get_gene_intervals()["scale_sd"]
    model.module.genes.shape_deviation.fill_(0.0)
    narrow = model.get_gene_intervals()["scale_sd"]
    assert (wide > narrow).all()


@pytest.mark.parametrize("likelihood", ["nb", "gaussian"])
def test_own_courses_are_those_of_the_genes(likelihood):
    """Deviations of 0.3 are found; the course of the group misses them."""
    adata = deviating(0.3, likelihood)
    model = find(adata, likelihood=likelihood)
    truth = adata.uns["own"]
    at = adata.obs["z"].to_numpy()
    inner = np.abs(at) < 2.0
    z = model.orientation_ * model.get_latent_representation()[:, 0]
    own = model.get_gene_trends(z=model.orientation_ * z).to_numpy()
    group = np.where(adata.var["group"] == 0, 1.0, -1.0) * np.tanh(at)[:, None]
    found = np.log(own) - 0.8 * group if likelihood == "nb" else own - group
    common = model.get_gene_trends(z=model.orientation_ * z, own_course=False)
    assert np.abs(own - common).to_numpy().mean() > 0.05
    found, truth = (values[inner] - values[inner].mean(0) for values in (found, truth))
    slope = (found * truth).sum() / (truth**2).sum()
    assert np.corrcoef(found.ravel(), truth.ravel())[0, 1] > 0.9
    assert slope == pytest.approx(1.0, abs=0.2)


def test_saved_models_and_further_genes_keep_their_courses(adata, tmp_path):
    model = find(adata)
    trends = model.get_gene_trends()
    model.save(tmp_path / "model", save_anndata=True)
    again = BasisVAE.load(tmp_path / "model", accelerator="cpu")
    np.testing.assert_array_equal(again.get_gene_trends(), trends)
    # The same genes as further ones deviate alike, and so they stand in the annotation.
    copy = adata.copy()
    model.annotate(copy)
    written = copy.varm["basisvae_deviation"].to_numpy()
    found = model.assign_genes(adata, silent=True).deviations["deviation"].to_numpy()
    assert written.std() > 0.05
    assert np.abs(found - written).mean() < 0.2 * np.abs(written).mean()


def test_the_weight_of_groups_decides_how_many_the_search_finds(adata):
    """β_w is heeded by the search: rigid genes fall into fewer groups, the larger it is."""
    n_groups = [
        clusters(find(adata, shape_deviation=0.0, assignment_weight=weight)).nunique()
        for weight in (1.0, 100.0)
    ]
    assert n_groups[0] >= 6
    assert n_groups[1] <= n_groups[0] - 2
