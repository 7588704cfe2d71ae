# %% [markdown]
# # Quick start
#
# From counts to genes by shape, with the human marrow cells that ship with the package: 1,000
# cells on the way from the stem cell to the erythrocyte (Setty et al. 2019).

# %%
import basisvae_scvi as bv

adata = bv.datasets.marrow_erythroid()
adata = adata[:, adata.var["variability_rank"] < 400].copy()  # fewer genes, to be quick
adata.obs["size_factor"] = adata.obs["total_counts"] / adata.obs["total_counts"].median()
print(adata)

# %% [markdown]
# The matrix must hold raw counts. The subset holds only some of the genes of every cell, so the
# size factors come from the cell's whole library. With all genes at hand leave `size_factor_key`
# out.
#
# `n_basis` is an upper limit: basis functions that no gene needs stay empty.
# `translation_invariant=True` lets genes of one group run ahead or lag behind. The root is the
# cell where the process starts.

# %%
bv.BasisVAE.setup_anndata(adata, size_factor_key="size_factor")
model = bv.BasisVAE(adata, n_basis=20, gene_likelihood="nb", translation_invariant=True)
model.train(max_epochs=40, seed=1, enable_progress_bar=False)
model.annotate(root=adata.obs["stem_score"].idxmax())

# %% [markdown]
# ## The groups
#
# Each group of genes follows one basis function. The table gives its shape, and its genes of
# highest confidence.

# %%
bv.get.clusters(adata)

# %%
_ = bv.pl.basis_functions(adata, clusters=bv.get.clusters(adata).index[:8].tolist())

# %% [markdown]
# All genes at once, cells from left to right in the order that was found, genes by group and
# from early to late:

# %%
_ = bv.pl.heatmap(adata, size_factor_key="size_factor")

# %% [markdown]
# ## Single genes
#
# Dots are means of cells that are neighbours along z; the line is the model, with its band. AVP
# marks the stem cell, GATA2 the progenitor; CA1 and HBB are made by the maturing red cell.

# %%
genes = ["AVP", "GATA2", "HBB", "CA1"]
_ = bv.pl.gene_trends(adata, genes, size_factor_key="size_factor")

# %% [markdown]
# The table of the genes tells how sure all this is. Read a shift only where `shift_identified`
# is true.

# %%
columns = [
    "cluster",
    "shape",
    "peak",
    "shift",
    "shift_lower",
    "shift_upper",
    "shift_identified",
    "scale",
    "confidence",
]
bv.get.genes(adata).loc[genes, columns].round(2)

# %% [markdown]
# ## Keep it
#
# The results live in `adata` and survive `write_h5ad`; the model is saved as any scvi-tools
# model. The report is one HTML file with all of this and a judgement of whether the run can be
# trusted.

# %%
adata.write_h5ad("marrow.h5ad")
model.save("marrow_model")
bv.report.write_report(adata, "report.html")
