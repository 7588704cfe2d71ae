# %% [markdown]
# # The first figure of the paper
#
# Märtens & Yau (2020) introduce the model with a toy: 50 features of five groups, three bumps at
# different places, one rising trend and one falling. Within a group features differ in their
# scale alone. The four panels of their figure 1 follow.

# %%
import numpy as np
from matplotlib import pyplot as plt
from scipy.stats import spearmanr
from sklearn.metrics import v_measure_score

import basisvae_scvi as bv

adata = bv.datasets.toy_groups(n_obs=500, n_per_group=10, seed=1)
adata.var["true_group"].value_counts()

# %% [markdown]
# ## A: the data
#
# Cells in their true order, which the model does not know, and features by their true group.

# %%
order = np.argsort(adata.obs["true_z"].to_numpy())
fig, ax = plt.subplots(figsize=(6, 4), layout="constrained")
image = ax.imshow(adata.X[order].T, aspect="auto", cmap="RdBu_r", vmin=-1.6, vmax=1.6)
ax.set(xlabel="cells by true z", ylabel="feature")
fig.colorbar(image, label="value")
plt.show()

# %% [markdown]
# ## B: the clusters
#
# Twenty basis functions are offered; five groups are true. The features are real numbers with
# noise, so the likelihood is Gaussian. Cells are shuffled in the data already.

# %%
bv.tl.basisvae(
    adata,
    n_basis=20,
    gene_likelihood="gaussian",
    seed=1,
    max_epochs=60,
    train_kwargs={"enable_progress_bar": False},
)
_ = bv.pl.heatmap(adata)

# %%
found, true = adata.var["basisvae_cluster"], adata.var["true_group"]
rho = spearmanr(adata.obsm["X_basisvae"][:, 0], adata.obs["true_z"]).statistic
print(f"groups in use: {found.nunique()}")
print(f"V-measure against the truth: {v_measure_score(true, found):.3f}")
print(f"|rank correlation| of z with the truth: {abs(rho):.3f}")

# %% [markdown]
# ## C: the basis functions
#
# Each panel is a basis function, with the courses of its features around it: the same shape,
# scaled.

# %%
_ = bv.pl.basis_functions(adata)

# %% [markdown]
# ## D: which features are alike
#
# Probability that two features share a group, from the restarts of the search. Blocks are crisp
# where the model is sure.

# %%
_ = bv.pl.coclustering(adata)

# %% [markdown]
# ## With shifts
#
# The three bumps differ only in their place. A translation-invariant model may therefore explain
# them by one basis function with shifts, which leaves three shapes: bump, up, and down.

# %%
shifted = bv.datasets.toy_groups(n_obs=500, n_per_group=10, seed=1)
bv.tl.basisvae(
    shifted,
    n_basis=20,
    gene_likelihood="gaussian",
    translation_invariant=True,
    seed=1,
    max_epochs=60,
    train_kwargs={"enable_progress_bar": False},
)
found, true = shifted.var["basisvae_cluster"], shifted.var["true_shape"]
print(f"groups in use: {found.nunique()}")
print(f"V-measure against the three shapes: {v_measure_score(true, found):.3f}")

# %%
_ = bv.pl.shifts(shifted)

# %% [markdown]
# One group before and after its features are moved by their shifts:

# %%
_ = bv.pl.alignment(shifted, n_clusters=3)

# %% [markdown]
# `benchmarks/paper/` repeats these experiments over many seeds, beside other methods.
