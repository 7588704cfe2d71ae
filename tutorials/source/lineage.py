# %% [markdown]
# # A lineage from counts to the report
#
# Before: scanpy's neighbours, UMAP and diffusion pseudotime (DPT). Then: genes by shape and
# timing. The cells are from human bone marrow, stem cell to erythrocyte, and ship with the
# package.

# %%
import scanpy as sc
from scipy.stats import spearmanr

import basisvae_scvi as bv

adata = bv.datasets.marrow_erythroid()
adata = adata[:, adata.var["variability_rank"] < 300].copy()
adata.obs["size_factor"] = adata.obs["total_counts"] / adata.obs["total_counts"].median()
adata.layers["counts"] = adata.X.copy()

# %% [markdown]
# ## With scanpy
#
# scanpy works on normalised, logged values; the raw counts stay in a layer, where the model will
# read them.

# %%
sc.pp.normalize_total(adata, target_sum=1e4)
sc.pp.log1p(adata)
sc.pp.pca(adata, n_comps=30, random_state=0)
sc.pp.neighbors(adata, n_neighbors=30, random_state=0)
sc.tl.umap(adata, random_state=0)
sc.tl.diffmap(adata)
adata.uns["iroot"] = int(adata.obs["stem_score"].to_numpy().argmax())
sc.tl.dpt(adata)
sc.pl.umap(adata, color=["stem_score", "erythroid_score", "dpt_pseudotime"], frameon=False)

# %% [markdown]
# Is there *one* process here? The model takes the main signal for it. Cells of other lineages
# should be left out before, as was done for this subset.
#
# ## With basisvae-scvi

# %%
bv.tl.basisvae(
    adata,
    layer="counts",
    size_factor_key="size_factor",
    n_basis=20,
    gene_likelihood="nb",
    translation_invariant=True,
    root=adata.obs_names[adata.uns["iroot"]],
    seed=1,
    max_epochs=20,
    train_kwargs={"enable_progress_bar": False},
)
rho = spearmanr(adata.obs["basisvae_pseudotime"], adata.obs["dpt_pseudotime"]).statistic
print(f"rank correlation with DPT: {rho:.3f}")

# %%
sc.pl.umap(adata, color=["basisvae_pseudotime", "AVP", "CA1"], frameon=False)

# %% [markdown]
# The order agrees with DPT, but was found together with the courses of the genes. Now the genes.
# A summary of the groups first:

# %%
bv.get.clusters(adata)

# %%
_ = bv.pl.heatmap(adata, layer="counts", size_factor_key="size_factor")

# %% [markdown]
# ## Which gene comes first?
#
# Within a group, genes with a larger shift run ahead. The largest group whose shape is not flat,
# with the genes whose shift the data tell, from early to late:

# %%
genes = bv.get.genes(adata)
told = genes[genes["shift_identified"] & (genes["confidence"] > 0.9)]
largest = told["cluster"].value_counts().idxmax()
ranked = bv.tl.rank_genes_in_cluster(adata, str(largest), by="shift")
ranked = ranked[ranked["shift_identified"]]
ranked[["gene", "shift", "shift_lower", "shift_upper", "scale", "peak"]].head(8).round(2)

# %%
_ = bv.pl.shifts(adata, clusters=[str(largest)])

# %% [markdown]
# How probable is it that one gene of the group runs ahead of another? Three early genes against
# three late ones:

# %%
early, late = ranked["gene"].head(3).tolist(), ranked["gene"].tail(3).tolist()
bv.tl.timing(adata, early, late)[
    ["gene_a", "gene_b", "difference", "difference_sd", "probability"]
].round(3)

# %%
_ = bv.pl.gene_trends(adata, early + late, layer="counts", size_factor_key="size_factor", ncols=3)

# %% [markdown]
# ## Can it be trusted?
#
# The bound should have levelled off, and the restarts should agree. Neither is quite so after
# these few epochs: leave `max_epochs` out for results that you will use.

# %%
_ = bv.pl.history(adata)

# %%
_ = bv.pl.stability(adata)

# %% [markdown]
# The report holds all of this in one HTML file, with a table of all genes to sort and search,
# and warnings with what to try. `basisvae-scvi report marrow.h5ad -o report.html` writes the
# same.

# %%
bv.report.write_report(adata, "report.html", title="Marrow, stem cell to erythrocyte")
