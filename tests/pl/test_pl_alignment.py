"""Genes before and after shifting."""

import numpy as np
import pytest

from basisvae_scvi import get, pl


def lines(panel):
    return [np.asarray(segment) for segment in panel.collections[0].get_segments()]


def test_the_same_lines_are_moved_by_their_shifts(certain):
    before, after = pl.alignment(certain, clusters="2", n_bins=10, show=False)[0]
    var = certain.var
    own = var.index[(var["basisvae_cluster"] == "2") & var["basisvae_shift_identified"]]
    assert len(lines(before)) == len(own)
    shifts = before.collections[0].get_array()
    assert sorted(shifts) == sorted(var.loc[own, "basisvae_gene_shift"])
    for one, other, shift in zip(lines(before), lines(after), shifts, strict=True):
        np.testing.assert_allclose(other[:, 0], one[:, 0] + shift)
        np.testing.assert_allclose(other[:, 1], one[:, 1])


def test_lines_are_bin_means_in_units_of_the_scale(certain):
    before, _ = pl.alignment(certain, clusters="2", n_bins=8, show=False)[0]
    gene = certain.var.index[
        certain.var["basisvae_gene_shift"] == before.collections[0].get_array()[0]
    ][0]
    x = certain[:, gene].X.toarray().ravel().astype(float)
    z, size = certain.obsm["X_basisvae"][:, 0], certain.obs["size"].to_numpy()
    bins = np.array_split(np.argsort(z), 8)
    mean = np.array([x[cells].sum() / size[cells].sum() for cells in bins])
    overall = np.average(mean, weights=[len(cells) for cells in bins])
    expected = mean / overall / certain.var.loc[gene, "basisvae_gene_scale"]
    np.testing.assert_allclose(lines(before)[0][:, 1], expected)


def test_shifting_brings_the_genes_together(annotated):
    adata = annotated(n_obs=2000, n_vars=80, seed=3)
    adata.uns["basisvae"]["params"]["translation_invariant"] = True
    before, after = pl.alignment(adata, clusters="2", show=False)[0]

    def spread(panel):
        x = np.linspace(-1, 1, 20)
        return np.std([np.interp(x, *line.T) for line in lines(panel)], axis=0).mean()

    assert spread(after) < 0.6 * spread(before)


def test_the_basis_is_drawn_over_both(certain):
    for panel in pl.alignment(certain, clusters="3", show=False)[0]:
        x, y = panel.get_lines()[0].get_data()
        annotation = get.Annotation.of(certain)
        np.testing.assert_allclose(y, annotation.basis_at("3", x))


def test_by_default_the_largest_clusters_that_change(certain):
    values = certain.var["basisvae_cluster"].astype(str).to_numpy()
    values[certain.var_names.get_loc("gene1")] = "3"
    certain.var["basisvae_cluster"] = values
    panels = pl.alignment(certain, n_clusters=2, show=False)
    titles = [row[0].get_title(loc="left").split(" ·")[0] for row in panels]
    assert titles == ["cluster 2", "cluster 3"]
    assert panels[0, 1].get_title(loc="left") == "after shifting"


def test_what_cannot_be_aligned_is_refused(certain):
    with pytest.raises(ValueError, match="n_clusters=0"):
        pl.alignment(certain, n_clusters=0, show=False)
    with pytest.raises(ValueError, match=r"4 panel|1 Axes"):
        pl.alignment(certain, n_clusters=2, ax=pl.latent(certain, show=False), show=False)
    certain.uns["basisvae"]["params"]["translation_invariant"] = False
    with pytest.raises(ValueError, match="translation_invariant=True"):
        pl.alignment(certain, show=False)
