# %% [markdown]
# # Bring your own pseudotime
#
# You trust an order that another tool found, or know the time of each cell. Three arguments take
# it, from the strictest to the loosest:
#
# | argument | what happens to z |
# |---|---|
# | `setup_anndata(latent_key=...)` | z *is* the column; no encoder is trained |
# | `setup_anndata(latent_prior_key=...)` | z has the column as its prior mean, with a width |
# | `train(init=...)` | z starts at the column and moves freely |
#
# Where tools leave their pseudotime:
#
# | tool | where |
# |---|---|
# | scanpy | `obs["dpt_pseudotime"]` |
# | Palantir | `obs["palantir_pseudotime"]` |
# | CellRank | the column that the kernel was given as `time_key` |
# | slingshot (R) | `slingPseudotime(x)`: cells × lineages, `NA` off the lineage |
#
# This page has scanpy's pseudotime and a table as slingshot writes it.

# %%
import numpy as np
import pandas as pd
import scanpy as sc
from scipy.stats import spearmanr

import basisvae_scvi as bv

adata = bv.datasets.marrow_erythroid()
adata = adata[:, adata.var["variability_rank"] < 200].copy()
adata.obs["size_factor"] = adata.obs["total_counts"] / adata.obs["total_counts"].median()

logged = adata.copy()
sc.pp.normalize_total(logged, target_sum=1e4)
sc.pp.log1p(logged)
sc.pp.pca(logged, n_comps=30, random_state=0)
sc.pp.neighbors(logged, n_neighbors=30, random_state=0)
sc.tl.diffmap(logged)
logged.uns["iroot"] = int(logged.obs["stem_score"].to_numpy().argmax())
sc.tl.dpt(logged)
adata.obs["dpt_pseudotime"] = logged.obs["dpt_pseudotime"]

# %% [markdown]
# ## A table from slingshot
#
# In R: `write.csv(slingPseudotime(sds), "slingshot.csv")`. Here such a file is made from DPT,
# with a second lineage on which some cells do not lie. Each lineage is a fit of its own: take
# its cells and leave out those without a value.

# %%
table = pd.DataFrame({"Lineage1": adata.obs["dpt_pseudotime"] * 40.0, "Lineage2": np.nan})
table.iloc[::10, :] = np.nan  # cells that are on no lineage
table.to_csv("slingshot.csv")

pseudotime = pd.read_csv("slingshot.csv", index_col=0).reindex(adata.obs_names)
adata.obs["slingshot"] = pseudotime["Lineage1"]
lineage = adata[adata.obs["slingshot"].notna()].copy()
print(lineage.shape)

# %% [markdown]
# ## z is what you say: `latent_key`
#
# z is the column, standardised. Only the genes are fitted, which is quick. Ends in which few
# cells are spread over a long stretch make shapes there uncertain; ranks are the cure, at the
# price that shifts are then shifts of ranks.

# %%
settings = {
    "size_factor_key": "size_factor",
    "gene_likelihood": "nb",
    "n_basis": 12,
    "translation_invariant": True,
    "seed": 1,
    "max_epochs": 20,
    "train_kwargs": {"enable_progress_bar": False, "n_restarts": 1},
}
lineage.obs["slingshot_rank"] = lineage.obs["slingshot"].rank(pct=True)
bv.tl.basisvae(lineage, latent_key="slingshot_rank", key_added="given", **settings)
_ = bv.pl.basis_functions(lineage, key="given")

# %% [markdown]
# ## z is near what you say: `latent_prior_key`
#
# Each cell has a prior about its column, of width `latent_prior_scale` in standard deviations of
# the column. The direction is fixed, and z may still bend to the genes. Missing values are
# allowed here: these cells have the standard prior.

# %%
bv.tl.basisvae(
    adata, latent_prior_key="slingshot", key_added="guided", latent_prior_scale=0.3, **settings
)
known = adata.obs["slingshot"].notna().to_numpy()
z = adata.obsm["X_guided"][:, 0]
for name, cells in (("with a value", known), ("without", ~known)):
    rho = spearmanr(z[cells], adata.obs["dpt_pseudotime"][cells]).statistic
    print(f"cells {name}: rank correlation with DPT {rho:.3f}")

# %%
_ = bv.pl.latent(adata, key="guided", color="dpt_pseudotime")

# %% [markdown]
# Do the two agree about the genes? Groups are numbered by where they peak, so a table tells.

# %%
pd.crosstab(lineage.var["given_cluster"], adata.var["guided_cluster"])
