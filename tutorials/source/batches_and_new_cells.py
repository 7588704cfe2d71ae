# %% [markdown]
# # Batches and new cells
#
# Two samples of one process differ in more than biology. A batch gives every gene a log offset
# of its own, while the order of the cells and the shapes are shared. Cells that come later are
# placed on the course of a trained model. Simulated counts show whether that works, since their
# truth is known.

# %%
from matplotlib import pyplot as plt
from scipy.stats import spearmanr

import basisvae_scvi as bv

everything = bv.datasets.simulate_counts(
    n_obs=900, n_vars=150, mean_count=2.0, max_shift=0.8, n_batches=3, batch_sd=0.5, seed=3
)
is_new = (everything.obs["batch"] == "batch2").to_numpy()
old, new = everything[~is_new].copy(), everything[is_new].copy()
old.obs["batch"].value_counts()

# %% [markdown]
# ## Two batches in one fit

# %%
bv.BasisVAE.setup_anndata(old, batch_key="batch")
model = bv.BasisVAE(old, n_basis=12, gene_likelihood="nb", translation_invariant=True)
model.train(max_epochs=60, seed=1, enable_progress_bar=False)
model.annotate()
rho = spearmanr(old.obsm["X_basisvae"][:, 0], old.obs["true_z"]).statistic
print(f"|rank correlation| with the truth: {abs(rho):.3f}")
print(
    old.obs.groupby("batch", observed=True)["basisvae_pseudotime"]
    .describe()[["mean", "std"]]
    .round(3)
)

# %%
_ = bv.pl.latent(old, color="batch")

# %% [markdown]
# Batches lie over each other. Had they not been declared, their offsets would have been taken
# for biology. Where batches *are* the process (each time point its own batch), no tool can tell
# the two apart: then leave `batch_key` out, and give the time to `latent_prior_key`.
#
# ## New cells of a new batch
#
# `load_query_data` keeps basis functions, groups, shifts and scales as they are. Only the new
# batch's offsets and the encoder's weights for it are trained. Genes must be those of the model,
# in its order; `prepare_query_anndata` sees to that.

# %%
bv.BasisVAE.prepare_query_anndata(new, model)
query = bv.BasisVAE.load_query_data(new, model)
query.train(max_epochs=100, seed=1, enable_progress_bar=False)
query.annotate()
rho = spearmanr(new.obsm["X_basisvae"][:, 0], new.obs["true_z"]).statistic
print(f"|rank correlation| of the new cells with the truth: {abs(rho):.3f}")

# %% [markdown]
# The new cells are on the old scale: at the same true place, old and new have the same z.

# %%
fig, ax = plt.subplots(figsize=(4.5, 3.5), layout="constrained")
for data, label, color in ((old, "trained on", "0.7"), (new, "new", "#D55E00")):
    ax.scatter(data.obs["true_z"], data.obsm["X_basisvae"][:, 0], s=6, c=color, label=label)
ax.set(xlabel="true z", ylabel="z found")
ax.legend(frameon=False)
plt.show()

# %%
same = (old.var["basisvae_cluster"].astype(str) == new.var["basisvae_cluster"].astype(str)).mean()
print(f"genes in the same group as before: {same:.0%}")

# %% [markdown]
# New cells of a batch that the model knows need no training at all:
# `model.get_latent_representation( more_cells)` is enough. On the command line, `basisvae-scvi
# project` does the same.
