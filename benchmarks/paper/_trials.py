"""Repeated recordings of a motion as one table: frames × (trials · channels)."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd

import basisvae_scvi as bv

PERIOD = 360.0  # of an angle in degrees
# Endings of channels that hold where the root is, which is where the subject walked to.
POSITIONS = ("position", ".tx", ".ty", ".tz", "root.1", "root.2", "root.3")


def load(paths: list[Path], skeleton: Path | None) -> tuple[dict[str, pd.DataFrame], float]:
    """Channels of every trial (frames × channels, degrees), and seconds between frames.

    Either one ".npz" file, with "channels", "frame_time" and an array for each trial, or AMC or
    BVH files, one for each trial.
    """
    if len(paths) == 1 and paths[0].suffix == ".npz":
        trials, frame_time = _from_arrays(paths[0])
    else:
        trials, frame_time = _from_motions(paths, skeleton)
    shared = set.intersection(*(set(trial.columns) for trial in trials.values()))
    first = next(iter(trials.values()))
    names = [c for c in first.columns if c in shared and not c.lower().endswith(POSITIONS)]
    prefix = _shared_start(names)
    return {
        trial: values[names].rename(columns=lambda name: name[prefix:])
        for trial, values in trials.items()
    }, frame_time


def _shared_start(names: list[str]) -> int:
    """Number of characters with which all names begin."""
    first, last = min(names), max(names)
    pairs = enumerate(zip(first, last, strict=False))
    return next((i for i, (a, b) in pairs if a != b), 0)


def _from_arrays(path: Path) -> tuple[dict[str, pd.DataFrame], float]:
    with np.load(path) as file:
        names = [str(name) for name in file["channels"]]
        trials = {
            key: pd.DataFrame(file[key].astype(np.float64), columns=names)
            for key in file.files
            if key not in ("channels", "frame_time")
        }
        return trials, float(file["frame_time"])


def _from_motions(
    paths: list[Path], skeleton: Path | None
) -> tuple[dict[str, pd.DataFrame], float]:
    motions = {path.stem: bv.datasets.read_motion(path, skeleton=skeleton) for path in paths}
    times = {motion.uns["motion"]["frame_time"] for motion in motions.values()}
    if len(times) > 1:
        raise SystemExit(f"The files have different frame times: {sorted(times)}.")
    trials = {}
    for name, motion in motions.items():
        values = motion.to_df().astype(np.float64)
        is_radian = motion.uns["motion"]["angle"] == "radian"
        trials[name] = np.degrees(values) if is_radian else values
    return trials, times.pop()


def table(
    trials: dict[str, pd.DataFrame],
    frame_time: float,
    *,
    n_frames: int | None,
    stretch: bool,
    min_sd: float,
    max_jump: float,
    max_copy: float,
) -> ad.AnnData:
    """Frames × (trials · channels), every feature with mean 0 and standard deviation 1.

    Parameters
    ----------
    trials, frame_time
        From :func:`load`.
    n_frames
        Frames to keep, from the first on; by default those of the shortest trial.
    stretch
        Bring all trials to one length instead of cutting them.
    min_sd
        Channels that move less than this in any trial are left out, degrees.
    max_jump
        Channels that change more than this between two frames of any trial are left out, degrees.
    max_copy
        Channels whose mean absolute correlation with an earlier one, over the trials, is above
        this are left out: a skeleton often has several bones for one joint.
    """
    n_frames = n_frames or min(len(trial) for trial in trials.values())
    values = {name: _on_grid(trial, n_frames, stretch) for name, trial in trials.items()}
    stack = np.array([trial.to_numpy() for trial in values.values()])
    names = next(iter(values.values())).columns
    keep = (stack.std(axis=1).min(axis=0) >= min_sd) & (
        np.abs(np.diff(stack, axis=1)).max(axis=(0, 1)) <= max_jump
    )
    stack, names = stack[:, :, keep], names[keep]
    keep = _originals(stack, max_copy)
    stack, names = stack[:, :, keep], names[keep]
    centred = stack - stack.mean(axis=1, keepdims=True)
    unit = centred / centred.std(axis=1, keepdims=True)
    var = pd.DataFrame(
        {
            "trial": np.repeat(list(values), len(names)),
            "channel": np.tile(names, len(values)),
            "sd": stack.std(axis=1).ravel(),
        }
    )
    var.index = var["trial"] + ":" + var["channel"]
    time = np.arange(n_frames) * frame_time
    obs = pd.DataFrame({"time": time}, index=[f"frame{i}" for i in range(n_frames)])
    x = unit.transpose(1, 0, 2).reshape(n_frames, -1)
    return ad.AnnData(x.astype(np.float32), obs=obs, var=var)


def _on_grid(trial: pd.DataFrame, n_frames: int, stretch: bool) -> pd.DataFrame:
    """A trial without jumps of a full turn, cut or stretched to a number of frames."""
    values = np.unwrap(trial.to_numpy(), period=PERIOD, axis=0)
    if stretch:
        old, new = np.linspace(0, 1, len(values)), np.linspace(0, 1, n_frames)
        values = np.column_stack([np.interp(new, old, column) for column in values.T])
    if len(values) < n_frames:
        raise SystemExit(f"A trial has {len(values)} frames; give --frames {len(values)} or less.")
    return pd.DataFrame(values[:n_frames], columns=trial.columns)


def _originals(stack: np.ndarray, max_copy: float) -> list[int]:
    """Channels of (trials, frames, channels) that are no copy of an earlier one."""
    correlation = np.mean([np.abs(np.corrcoef(trial.T)) for trial in stack], axis=0)
    kept: list[int] = []
    for j in range(stack.shape[2]):
        if all(correlation[j, i] <= max_copy for i in kept):
            kept.append(j)
    return kept
