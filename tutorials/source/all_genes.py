# %% [markdown]
# # All genes after a fit on the variable ones
#
# Training on a few hundred or thousand variable genes finds the order and the shapes. With these
# held, every other gene is a small problem of its own, so that `assign_genes` can place all of
# them in one pass.

# %%
import pandas as pd

import basisvae_scvi as bv

everything = bv.datasets.marrow_erythroid()
everything.obs["size_factor"] = (
    everything.obs["total_counts"] / everything.obs["total_counts"].median()
)
variable = everything[:, everything.var["variability_rank"] < 200].copy()
print(variable.shape, everything.shape)

# %% [markdown]
# With your own data, `scanpy.pp.highly_variable_genes(adata, layer="counts", flavor="seurat_v3",
# n_top_genes=2000)` chooses. On the command line, `fit --n-top-genes 2000` does, and `assign`
# follows.

# %%
bv.BasisVAE.setup_anndata(variable, size_factor_key="size_factor")
model = bv.BasisVAE(variable, n_basis=12, gene_likelihood="nb", translation_invariant=True)
model.train(max_epochs=20, seed=1, n_restarts=1, enable_progress_bar=False)
model.orient(variable.obs["stem_score"].idxmax())
model.annotate()

# %% [markdown]
# Now all 2,000 genes of the same cells. `key_added` writes the results into `everything`, in the
# same columns as `annotate`. A sample of the cells is enough to be quick; leave `max_cells` out
# to use all.

# %%
found = model.assign_genes(everything, key_added="basisvae", max_cells=300, silent=True)
everything.var["was_trained"] = everything.var_names.isin(variable.var_names)
pd.crosstab(everything.var["basisvae_cluster"], everything.var["was_trained"])

# %% [markdown]
# The weights of the groups stay those of the trained genes. No trained gene is flat here, so
# that few others are called flat: train on some less variable genes as well where that matters.
#
# Genes that were trained on are assigned anew, which is a check: how many stay where they were?
# Not all do, with a third of the cells, few epochs and groups that resemble each other.

# %%
before = variable.var["basisvae_cluster"].astype(str)
after = everything.var.loc[variable.var_names, "basisvae_cluster"].astype(str)
print(f"trained genes in the same group: {(before == after).mean():.0%}")

# %% [markdown]
# Genes that were not trained on, in the groups they were given:

# %%
genes = bv.get.genes(everything)
further = genes[~everything.var.loc[genes.index, "was_trained"] & (genes["cluster"] != "0")]
best = further.sort_values("confidence", ascending=False).groupby("cluster", observed=True).head(1)
_ = bv.pl.gene_trends(everything, best.index[:8].tolist(), size_factor_key="size_factor")

# %%
_ = bv.pl.heatmap(everything, size_factor_key="size_factor")
