"""``basisvae-scvi fit``: what it writes."""

import json

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from pandas.testing import assert_frame_equal

import basisvae_scvi
from basisvae_scvi import BasisVAE
from basisvae_scvi.cli._choices import GeneLikelihood
from basisvae_scvi.cli._genes import library_size_factors, most_variable, prepare
from basisvae_scvi.cli._settings import ModelSettings
from basisvae_scvi.data import Keys

KEYS = {
    "obs": {"basisvae_pseudotime", "basisvae_other_order"},
    "var": {
        *("basisvae_cluster", "basisvae_confidence"),
        *("basisvae_gene_shift", "basisvae_gene_scale"),
        *Keys().optional["var"],
    },
    "obsm": {"X_basisvae"},
    "varm": {
        *("basisvae_assignment", "basisvae_shift", "basisvae_scale", "basisvae_restarts"),
        *("basisvae_deviation", "basisvae_course_sd"),
    },
    "uns": {"basisvae"},
    "layers": set(),
    "obsp": set(),
    "varp": set(),
}


def _read(path) -> ad.AnnData:
    return ad.read_zarr(path) if path.suffix == ".zarr" else ad.read_h5ad(path)


def _strings(value) -> list[str]:
    if isinstance(value, dict):
        return [text for part in value.values() for text in _strings(part)]
    return [value] if isinstance(value, str) else []


def test_output_is_the_input_and_the_documented_keys(counts, fitted):
    before, after = _read(counts), _read(fitted / "out.h5ad")
    for name, keys in KEYS.items():
        assert set(getattr(after, name)) == set(getattr(before, name)) | keys, name
    assert_frame_equal(after.obs[before.obs.columns], before.obs)
    assert_frame_equal(after.var[before.var.columns], before.var)
    assert (after.X != before.X).nnz == 0
    assert (after.layers["counts"] != before.layers["counts"]).nnz == 0


def test_genes_that_were_not_modelled_are_missing(fitted):
    adata = _read(fitted / "out.h5ad")
    is_modelled = adata.var["basisvae_cluster"].notna()
    assert is_modelled.sum() == 12
    assert adata.n_vars == 24
    for name in ("basisvae_confidence", "basisvae_gene_shift", "basisvae_gene_scale"):
        assert (adata.var[name].notna() == is_modelled).all()
    assert np.isfinite(adata.varm["basisvae_assignment"][is_modelled]).all(axis=None)
    assert adata.varm["basisvae_assignment"][~is_modelled].isna().all(axis=None)
    assert np.isfinite(adata.obsm["X_basisvae"]).all()


def test_annotation_has_neither_paths_nor_times_nor_private_names(fitted):
    uns = _read(fitted / "out.h5ad").uns["basisvae"]
    of_search = {"search", "restart_bounds", "best_restart", "flat_bound"}
    of_search |= {"order", "other_order", "order_bounds", "order_agreement"}
    described = {"params", "version", "grid", "basis", "history", "seed", "depth"}
    assert set(uns) == described | of_search
    assert uns["params"]["size_factor_key"] == "None"
    assert uns["params"]["batch_key"] == "batch"
    assert not [text for text in _strings(uns) if "/" in text or "_basisvae" in text]
    assert not [name for name in uns["history"] if "time" in name]


def test_root_is_where_pseudotime_starts(fitted):
    obs = _read(fitted / "out.h5ad").obs
    assert obs.loc[obs["is_start"], "basisvae_pseudotime"].mean() < 0.5


def test_run_info_tells_what_differs_between_runs(fitted):
    info = json.loads((fitted / "out.h5ad.run.json").read_text())
    adata = _read(fitted / "out.h5ad")
    assert info["command"].startswith("basisvae-scvi fit ")
    assert "--n-top-genes 12" in info["command"]
    assert (info["n_cells"], info["n_genes"], info["n_genes_modelled"]) == (80, 24, 12)
    assert (info["seed"], info["n_epochs"], info["interrupted"]) == (3, 2, False)
    assert info["n_used_bases"] == adata.var["basisvae_cluster"].nunique()
    assert info["final_elbo_train"] == pytest.approx(
        adata.uns["basisvae"]["history"]["elbo_train"][-1]
    )
    assert info["versions"]["basisvae_scvi"] == basisvae_scvi.__version__
    assert {"scvi-tools", "torch", "anndata"} < set(info["versions"])
    assert info["duration_seconds"] > 0
    assert pd.Timestamp(info["started"]).tz is not None


def test_tables_agree_with_the_annotation(fitted):
    adata = _read(fitted / "out.h5ad")
    tables = {
        name: pd.read_csv(fitted / "tables" / f"{name}.tsv", sep="\t", index_col=0)
        for name in ("genes", "assignments", "cells")
    }
    var = adata.var[adata.var["basisvae_cluster"].notna()]
    genes = tables["genes"]
    assert list(genes.index) == list(var.index)
    assert genes["cluster"].astype(str).tolist() == var["basisvae_cluster"].tolist()
    for column, key in (("shift", "gene_shift"), ("scale", "gene_scale")):
        np.testing.assert_allclose(genes[column], var[f"basisvae_{key}"], rtol=1e-5, atol=1e-6)
    assert genes["peak_pseudotime"].dropna().between(0, 1).all()
    np.testing.assert_allclose(tables["assignments"].sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(tables["cells"]["z"], adata.obsm["X_basisvae"][:, 0], rtol=1e-5)
    assert tables["cells"]["pseudotime"].agg(["min", "max"]).tolist() == [0, 1]


def test_peak_is_where_the_trend_is_highest(fitted):
    model = BasisVAE.load(str(fitted / "model"))
    genes = pd.read_csv(fitted / "tables" / "genes.tsv", sep="\t", index_col=0)
    trends = model.get_gene_trends()
    is_flat = genes["cluster"] == 0
    assert genes.loc[is_flat, "peak"].isna().all()
    np.testing.assert_allclose(
        genes.loc[~is_flat, "peak"], trends.idxmax()[~is_flat.to_numpy()], rtol=1e-5
    )


def test_saved_model_loads_on_its_own_and_gives_the_same_z(fitted):
    model = BasisVAE.load(str(fitted / "model"))
    np.testing.assert_allclose(
        model.get_latent_representation(),
        _read(fitted / "out.h5ad").obsm["X_basisvae"],
        atol=1e-5,
    )


def test_same_seed_gives_equal_arrays(fit, counts, tmp_path):
    outputs = []
    for name in ("a.h5ad", "b.zarr"):
        assert fit(counts, "-o", tmp_path / name, "--layer", "counts", "--seed", "5").status == 0
        outputs.append(_read(tmp_path / name))
    first, second = outputs
    np.testing.assert_array_equal(first.obsm["X_basisvae"], second.obsm["X_basisvae"])
    for name in KEYS["varm"]:
        assert_frame_equal(first.varm[name], second.varm[name])
    for name in ("grid", "basis"):
        np.testing.assert_array_equal(first.uns["basisvae"][name], second.uns["basisvae"][name])
    assert first.uns["basisvae"]["params"] == second.uns["basisvae"]["params"]
    assert first.uns["basisvae"]["params"]["layer"] == "counts"


def test_every_option_reaches_the_model(fit, counts, tmp_path):
    options = {
        "--size-factor-key": "true_size_factor",
        "--categorical-covariate-key": "batch",
        "--continuous-covariate-key": "true_z",
        "--n-basis": "5",
        "--n-latent": "2",
        "--likelihood": "nb",
        "--dispersion": "gene-batch",
        "--batch-key": "batch",
        "--inference": "non-collapsed",
        "--concentration": "0.5",
        "--latent-weight": "0.7",
        "--assignment-weight": "3",
        "--objective": "paper",
        "--latent-prior-scale": "0.7",
        "--init": "pca",
        "--batch-size": "40",
    }
    words = [word for pair in options.items() for word in pair]
    output = tmp_path / "x.h5ad"
    flags = ["--no-scale-invariant", "--translation-invariant", "--allow-non-integer"]
    result = fit(counts, "-o", output, "--tables", tmp_path, *flags, *words)
    assert result.status == 0, result.err
    adata = _read(output)
    params = adata.uns["basisvae"]["params"]
    expected = {
        "size_factor_key": "true_size_factor",
        "categorical_covariate_keys": "['batch']",
        "continuous_covariate_keys": "['true_z']",
        "n_basis": 5,
        "n_latent": 2,
        "gene_likelihood": "nb",
        "dispersion": "gene-batch",
        "batch_key": "batch",
        "inference": "non-collapsed",
        "concentration": 0.5,
        "latent_weight": 0.7,
        "assignment_weight": 3.0,
        "objective": "paper",
        "latent_prior_scale": 0.7,
        "scale_invariant": False,
        "translation_invariant": True,
        "allow_non_integer": True,
    }
    assert {name: params[name] for name in expected} == expected
    assert not [c for c in adata.obs if c.startswith("_scvi")]
    assert not [c for c in adata.obsm if c.startswith("_scvi")]
    cells = pd.read_csv(tmp_path / "cells.tsv", sep="\t", index_col=0)
    assert list(cells) == ["z0", "z1"]
    assert "peak" not in pd.read_csv(tmp_path / "genes.tsv", sep="\t")


@pytest.mark.parametrize(("given", "expected"), [("0.2", 0.2), ("learned", "learned")])
def test_deviations_of_genes_are_a_number_or_learned(fit, counts, tmp_path, given, expected):
    output = tmp_path / "x.h5ad"
    result = fit(counts, "-o", output, "--shape-deviation", given)
    assert result.status == 0, result.err
    assert _read(output).uns["basisvae"]["params"]["shape_deviation"] == expected


def test_a_guess_at_z_fixes_its_direction(fit, counts, tmp_path):
    """Restarts and the search work from the command line as from Python."""
    output = tmp_path / "x.h5ad"
    adata = _read(counts)
    adata.obs["guess"] = -adata.obs["true_z"]
    adata.write_h5ad(tmp_path / "guessed.h5ad")
    options = ("--latent-prior-key", "guess", "--latent-prior-scale", "0.1", "--n-restarts", "1")
    result = fit(tmp_path / "guessed.h5ad", "-o", output, *options)
    assert result.status == 0, result.err
    found = _read(output)
    pseudotime = found.obs["basisvae_pseudotime"]
    assert pseudotime.corr(adata.obs["guess"], method="spearman") > 0.9
    assert found.uns["basisvae"]["params"]["latent_prior_key"] == "guess"


def test_observed_latent_and_other_key_and_early_stopping(fit, counts, tmp_path):
    output = tmp_path / "x.h5ad"
    options = ("--latent-key", "true", "--key-added", "run2", "--early-stopping")
    assert fit(counts, "-o", output, *options).status == 0
    adata = _read(output)
    z = adata.obs["true_z"]
    np.testing.assert_allclose(
        np.abs(np.corrcoef(adata.obsm["X_run2"][:, 0], z)[0, 1]), 1, atol=1e-5
    )
    assert "run2_cluster" in adata.var
    assert "elbo_validation" in adata.uns["run2"]["history"]
    assert "final_elbo_validation" in json.loads((tmp_path / "x.h5ad.run.json").read_text())


def test_simulated_gaussian_data_can_be_fitted(run, fit, tmp_path):
    toy, output = tmp_path / "toy.h5ad", tmp_path / "x.h5ad"
    assert run("simulate", "-o", toy, "--kind", "toy-groups", "--n-obs", 60).status == 0
    options = ("--likelihood", "gaussian", "--n-top-genes", "10")
    assert fit(toy, "-o", output, *options).status == 0
    adata = _read(output)
    chosen = adata.var_names[adata.var["basisvae_cluster"].notna()]
    variance = pd.Series(adata.X.var(axis=0), index=adata.var_names)
    assert set(chosen) == set(variance.nlargest(10).index)


def test_figures_are_drawn(fit, counts, tmp_path):
    output, figures = tmp_path / "x.h5ad", tmp_path / "figures"
    options = ("--figures", figures, "--n-top-genes", "12", "--key-added", "mine")
    result = fit(counts, "-o", output, *options)
    assert result.status == 0, result.err
    names = {"basis_functions.png", "gene_trends.png", "heatmap.png", "latent.png"}
    assert {path.name for path in figures.iterdir()} == names
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in figures.iterdir())


# -- genes and size factors ---------------------------------------------------------------------


def _settings(**options) -> ModelSettings:
    return ModelSettings(output="x.h5ad", n_basis=4, **options)


def test_size_factors_are_those_of_all_genes(counts):
    adata = _read(counts)
    work = prepare(adata, _settings(n_top_genes=10, layer="counts"))
    library = np.asarray(adata.X.sum(axis=1)).ravel()
    factors = work.obs["_basisvae_size_factor"]
    np.testing.assert_allclose(factors, library / np.median(library))
    assert work.n_vars == 10
    assert "_basisvae_size_factor" not in adata.obs
    assert not [name for name in (*adata.obs, *adata.uns) if name.startswith("_scvi")]


def test_size_factors_of_the_user_are_kept_and_all_genes_need_none(counts):
    adata = _read(counts)
    given = prepare(adata, _settings(n_top_genes=10, size_factor_key="true_size_factor"))
    assert "_basisvae_size_factor" not in given.obs
    everything = prepare(adata, _settings(n_top_genes=24))
    assert everything.n_vars == 24
    assert "_basisvae_size_factor" not in everything.obs


def test_a_cell_without_counts_has_a_positive_size_factor():
    matrix = np.array([[2.0, 2.0], [0.0, 0.0], [3.0, 5.0]])
    np.testing.assert_allclose(library_size_factors(matrix), np.array([4.0, 1.0, 8.0]) / 6.0)


def test_the_root_gene_is_modelled_whatever_its_variance(counts):
    adata = _read(counts)
    without = prepare(adata, _settings(n_top_genes=8))
    left_out = adata.var_names.difference(without.var_names)[0]
    work = prepare(adata, _settings(n_top_genes=8, root=left_out))
    assert set(work.var_names) == {*without.var_names, left_out}
    assert list(work.var_names) == [g for g in adata.var_names if g in set(work.var_names)]


def test_variable_genes_are_those_of_scanpy_within_batches_and_of_the_layer(counts):
    adata = _read(counts)
    adata.X = adata.X[:, ::-1].copy()  # the layer is what counts
    chosen = {}
    for batch_key in (None, "batch"):
        table = sc.pp.highly_variable_genes(
            adata,
            layer="counts",
            flavor="seurat_v3",
            n_top_genes=6,
            batch_key=batch_key,
            inplace=False,
        )
        expected = set(table.index[table["highly_variable"]])
        work = prepare(adata, _settings(n_top_genes=6, layer="counts", batch_key=batch_key))
        assert set(work.var_names) == expected
        chosen[batch_key] = expected
    assert chosen[None] != chosen["batch"]


def test_most_variable_breaks_ties_by_order():
    matrix = np.array([[0.0, 0, 0, 0], [1, 2, 2, 2]])
    assert most_variable(matrix, 2).tolist() == [False, True, True, False]


def test_count_likelihoods_are_known():
    is_count = {likelihood.value for likelihood in GeneLikelihood if likelihood.is_count}
    assert is_count == {"zinb", "nb", "poisson"}
