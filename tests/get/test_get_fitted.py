"""Tables against the accessors of the model that wrote the annotation."""

import numpy as np

from basisvae_scvi import get


def test_trends_are_the_models_over_the_means(fitted):
    model, adata = fitted
    trends = get.trends(adata, n_points=60)
    model_trends = model.get_gene_trends(z=trends.index.to_numpy())
    mean = model.module.genes.feature_scale.numpy()
    sure = (adata.var["basisvae_confidence"] > 0.9999).to_numpy()
    assert sure.sum() >= 5
    np.testing.assert_allclose(
        trends.to_numpy()[:, sure], (model_trends / mean).to_numpy()[:, sure], rtol=5e-3, atol=1e-3
    )


def test_trends_are_scaled_and_shifted_bases_of_the_model(fitted):
    model, adata = fitted
    trends, clusters = get.trends(adata, n_points=40), model.get_clusters()
    z = trends.index.to_numpy()
    for gene, row in clusters.iterrows():
        basis = model.get_basis_functions(z + row["shift"])[row["cluster"]].to_numpy()
        common, annotation = row["scale"] * basis, get.Annotation.of(adata)
        found = annotation.courses(annotation.genes.loc[[gene]], z, own_course=False)[:, 0]
        np.testing.assert_allclose(found, common, rtol=2e-3, atol=1e-3)
        own = np.exp(annotation.deviations(annotation.genes.loc[[gene]], z)[:, 0])
        np.testing.assert_allclose(trends[gene], common * own, rtol=2e-3, atol=1e-3)


def test_trends_are_those_of_the_model(fitted):
    """Genes between two groups have a course of their own, too."""
    model, adata = fitted
    trends = get.trends(adata, n_points=40)
    expected = model.get_gene_trends(z=trends.index.to_numpy())
    unit = model.module.genes.feature_scale.numpy()
    is_moving = model.get_clusters()["cluster"].astype(str) != "0"
    found = trends[expected.columns] * unit
    assert is_moving.sum() > 3
    np.testing.assert_allclose(
        found.loc[:, is_moving.to_numpy()], expected.loc[:, is_moving.to_numpy()], rtol=0.05
    )


def test_trends_span_the_central_cells(fitted):
    _, adata = fitted
    index = get.trends(adata).index
    expected = np.quantile(adata.obsm["X_basisvae"], [0.005, 0.995])
    np.testing.assert_allclose([index[0], index[-1]], expected, rtol=1e-5)


def test_genes_repeat_the_models_clusters(fitted):
    model, adata = fitted
    table, clusters = get.genes(adata), model.get_clusters()
    assert sorted(table.index) == sorted(clusters.index)
    for column in ("confidence", "shift", "scale"):
        np.testing.assert_array_equal(table[column], clusters.loc[table.index, column])
    assert (table["cluster"].astype(str) == clusters.loc[table.index, "cluster"]).all()


def test_peaks_are_those_of_the_trends(fitted):
    _, adata = fitted
    table = get.genes(adata)
    trends = get.trends(adata, n_points=401)
    rising = table[table["shape"] != "flat"]
    np.testing.assert_allclose(rising["peak"], trends[rising.index].idxmax())
    order = table[["cluster", "peak"]].astype({"cluster": int}).reset_index(drop=True)
    assert (order.sort_values(["cluster", "peak"]).index == order.index).all()


def test_clusters_count_all_genes(fitted):
    _, adata = fitted
    table = get.clusters(adata)
    counts = adata.var["basisvae_cluster"].value_counts()
    assert table["n_genes"].to_dict() == counts[counts > 0].to_dict()
