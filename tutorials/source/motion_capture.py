# %% [markdown]
# # Motion capture: features that are not genes
#
# Rows need not be cells, nor columns genes. Here rows are frames of a recorded motion, columns
# are the angles of the joints in several trials, and z is known: it is the time. The question is
# the same: which angles move alike, how far, and how early in each trial? `datasets.read_motion`
# reads AMC and BVH files, such as those of the CMU database. So that this page needs no
# download, it writes three small AMC files first: one swing, recorded three times, each a bit
# later than the one before.

# %%
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd

import basisvae_scvi as bv

rng = np.random.default_rng(0)
time = np.linspace(0.0, 2.0, 241)  # seconds, 120 frames in each
joints = {
    "rhumerus": 3,
    "lhumerus": 3,
    "rradius": 1,
    "lradius": 1,
    "thorax": 3,
    "rfemur": 3,
    "head": 2,
}
delays = {"swing1": -0.12, "swing2": 0.0, "swing3": 0.12}  # seconds


def course(kind, t):
    """Angle over time: a swing that goes and returns, a turn that stays, or nothing."""
    if kind == 0:
        return np.exp(-0.5 * ((t - 1.0) / 0.2) ** 2)
    if kind == 1:
        return np.tanh((t - 1.0) / 0.25)
    return 0.0 * t


channels = [(joint, i) for joint, n in joints.items() for i in range(n)]
kinds = {channel: i % 3 for i, channel in enumerate(channels)}
sizes = {channel: rng.uniform(10.0, 40.0) for channel in channels}
for trial, delay in delays.items():
    angles = {
        c: sizes[c] * course(kinds[c], time - delay) + rng.normal(0.0, 1.0, time.size)
        for c in channels
    }
    lines = [":FULLY-SPECIFIED", ":DEGREES"]
    for frame in range(time.size):
        lines.append(str(frame + 1))
        for joint, n in joints.items():
            values = " ".join(f"{angles[joint, i][frame]:.3f}" for i in range(n))
            lines.append(f"{joint} {values}")
    Path(f"{trial}.amc").write_text("\n".join(lines) + "\n")

# %% [markdown]
# ## Read the files
#
# Every channel of every trial becomes a feature. Trials must have the same frames; cut or
# resample them if they have not. A feature follows λ b(z + δ) with no level of its own, so
# angles are taken from the pose at the start: centred on their mean instead, an early and a late
# turn would differ by more than a shift. Angles are also divided by their spread, so that a
# quiet joint counts as much as a lively one; the spread has a floor, or channels that rest would
# become pure noise.

# %%
trials = []
for trial in delays:
    motion = bv.datasets.read_motion(f"{trial}.amc")
    motion.var["trial"], motion.var["channel_name"] = trial, motion.var_names
    motion.var_names = [f"{trial}.{name}" for name in motion.var_names]
    trials.append(motion)
adata = ad.concat(trials, axis="var", merge="same")
spread = np.maximum(adata.X.std(axis=0), 5.0)  # degrees
adata.X = (adata.X - adata.X[:20].mean(axis=0)) / spread
print(adata)

# %% [markdown]
# ## Fit
#
# The time is observed: `latent_key="time"`. Values are real: `gene_likelihood="gaussian"`.
# Trials of one channel shall differ by a shift: `translation_invariant=True`.

# %%
bv.tl.basisvae(
    adata,
    latent_key="time",
    gene_likelihood="gaussian",
    translation_invariant=True,
    n_basis=10,
    seed=1,
    max_epochs=80,
    train_kwargs={"enable_progress_bar": False},
)
bv.get.clusters(adata)

# %%
_ = bv.pl.basis_functions(adata)

# %% [markdown]
# ## Who is early?
#
# z is the standardised time, so a shift times the standard deviation of the time is in seconds.
# A positive shift is early; a trial that is 0.12 s late should be at −0.12.

# %%
genes = bv.get.genes(adata).join(adata.var[["trial", "channel_name"]])
genes["shift_seconds"] = genes["shift"] * adata.obs["time"].std(ddof=0)
moving = genes[genes["cluster"] != "0"]
seconds = moving.pivot(index="channel_name", columns="trial", values="shift_seconds")
pd.DataFrame({"found": -seconds.mean().round(3), "true delay": pd.Series(delays)})

# %%
_ = bv.pl.alignment(adata, n_clusters=2)

# %% [markdown]
# Angles that rest go to the flat group, `"0"`:

# %%
kind_of = {f"{joint}.{i + 1}": ("swing", "turn", "rest")[kinds[joint, i]] for joint, i in channels}
pd.crosstab(genes["cluster"], genes["channel_name"].map(kind_of))

# %% [markdown]
# `benchmarks/paper/motion_capture.py` does this for recorded trials, AMC or BVH.
