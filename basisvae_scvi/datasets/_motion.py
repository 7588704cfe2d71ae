"""Recordings of human motion: AMC files of the CMU database, and BVH files."""

from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import NoReturn

import anndata as ad
import numpy as np
import pandas as pd
from numpy.typing import NDArray

CMU_FRAMES_PER_SECOND = 120.0
N_OFFSETS = 3  # numbers after OFFSET in a BVH file


@dataclass(frozen=True)
class _Source:
    """Lines of a file, and how to complain about one of them (counted from 1)."""

    path: Path
    lines: list[str]

    @classmethod
    def of(cls, path: str | PathLike) -> "_Source":
        text = Path(path).read_text(encoding="utf-8-sig", errors="replace")
        return cls(Path(path), text.split("\n"))

    def words(self, first: int = 1) -> Iterator[tuple[int, list[str]]]:
        """Line number and words of every line from ``first`` on that is not empty."""
        for number, line in enumerate(self.lines[first - 1 :], start=first):
            if words := line.split():
                yield number, words

    def fail(self, line: int, problem: str, cure: str) -> NoReturn:
        raise ValueError(f"{self.path}, line {line}: {problem}; {cure}.")

    def numbers(self, line: int, words: list[str], n_expected: int) -> list[float]:
        """``n_expected`` finite numbers."""
        if len(words) != n_expected:
            problem = f"{len(words)} values where {n_expected} are expected"
            self.fail(line, problem, "restore the line, or delete its frame")
        values = []
        for word in words:
            try:
                value = float(word)
            except ValueError:
                self.fail(line, f"{word!r} is no number", "restore it, or delete its frame")
            if not np.isfinite(value):
                self.fail(line, f"{word} is not finite", "restore it, or delete its frame")
            values.append(value)
        return values


@dataclass(frozen=True)
class _Motion:
    """What any of the formats holds."""

    channels: list[tuple[str, str]]  # joint and channel
    values: NDArray[np.float64]  # frames × channels
    frame_time: float
    angle: str


def read_motion(
    path: str | PathLike,
    *,
    skeleton: str | PathLike | None = None,
    frames_per_second: float = CMU_FRAMES_PER_SECOND,
) -> ad.AnnData:
    r"""Read a recorded motion, one row a frame and one column a channel of a joint.

    Parameters
    ----------
    path
        File that ends in ".bvh" or ".amc".
    skeleton
        The ASF file that belongs to an AMC file: it names the channels. Without it they are
        numbered from 1. A BVH file has its own.
    frames_per_second
        Rate of an AMC file, which does not tell; the default is that of the CMU database. A BVH
        file has its own.

    Returns
    -------
    AnnData of frames × channels, X dense float32 as in the file: angles in degrees or radians, and
    positions of the root in the unit of the file. ``obs["time"]``: seconds from the first frame.
    ``var_names``: "joint.channel", with "_" for any "/". ``var``: "joint" and "channel", as in the
    files. ``uns["motion"]``: "format", "frame_time" in seconds and "angle", "degree" or "radian".

    Raises
    ------
    ValueError
        The file is of another kind or malformed; the message names file, line and cure.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> text = ":FULLY-SPECIFIED\n:DEGREES\n1\nrfemur 1.5 0 20\nrtibia 30\n"
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder) / "walk.amc"
    ...     _ = path.write_text(text + "2\nrfemur 1.4 0 22\nrtibia 33\n")
    ...     adata = read_motion(path, frames_per_second=100)
    >>> list(adata.var_names)
    ['rfemur.1', 'rfemur.2', 'rfemur.3', 'rtibia.1']
    >>> adata[:, "rtibia.1"].X.ravel().tolist(), adata.obs["time"].tolist()
    ([30.0, 33.0], [0.0, 0.01])
    """
    source, suffix = _Source.of(path), Path(path).suffix.lower()
    if suffix == ".bvh":
        if skeleton is not None:
            raise ValueError(f"{path} names its channels itself; leave skeleton={skeleton!r} out.")
        motion = _read_bvh(source)
    elif suffix == ".amc":
        if not (np.isfinite(frames_per_second) and frames_per_second > 0):
            raise ValueError(f"frames_per_second={frames_per_second} must be a positive number.")
        names = None if skeleton is None else _read_asf(_Source.of(skeleton))
        motion = _read_amc(source, names, 1.0 / frames_per_second)
    else:
        source.fail(1, f"the ending {suffix!r} is neither .amc nor .bvh", "convert the file")
    return _assemble(source, motion, suffix[1:])


def _assemble(source: _Source, motion: _Motion, kind: str) -> ad.AnnData:
    """Put frames and names together."""
    joints, channels = zip(*motion.channels, strict=True)
    # A "/" in a name would become a folder in h5ad and zarr.
    names = pd.Index([f"{j}.{c}".replace("/", "_") for j, c in motion.channels])
    if not names.is_unique:
        twice = names[names.duplicated()][0]
        source.fail(1, f"channel {twice!r} appears twice", "rename one of the joints")
    time = np.arange(len(motion.values)) * motion.frame_time
    return ad.AnnData(
        motion.values.astype(np.float32),
        obs=pd.DataFrame({"time": time}, index=[f"frame{i}" for i in range(len(time))]),
        var=pd.DataFrame({"joint": joints, "channel": channels}, index=names),
        uns={"motion": {"format": kind, "frame_time": motion.frame_time, "angle": motion.angle}},
    )


# -- AMC and ASF ----------------------------------------------------------------------------------


def _read_amc(source: _Source, names: dict[str, list[str]] | None, frame_time: float) -> _Motion:
    """Frames of an AMC file: a line with the number of the frame, then a line for each joint."""
    angle, layout, rows, last = "degree", None, [], 1
    frames = _amc_frames(source)
    for number, (line, joints) in enumerate(frames, start=1):
        if number == 1:
            layout = [(joint, len(words)) for _, joint, words in joints]
            _check_first_frame(source, line, joints, names)
        rows.append(_amc_frame(source, line, joints, layout))
        last = line
    if not rows:
        source.fail(last, "there are no frames", "the file is cut off or no AMC: export it anew")
    if any(words[0].upper() == ":RADIANS" for _, words in source.words()):
        angle = "radian"
    channels = [
        (joint, channel)
        for joint, n in layout
        for channel in (names[joint] if names else map(str, range(1, n + 1)))
    ]
    return _Motion(channels, np.array(rows), frame_time, angle)


def _amc_frames(source: _Source) -> Iterator[tuple[int, list[tuple[int, str, list[str]]]]]:
    """Line of the number of every frame, and the line, joint and words of its joints."""
    start, joints, previous = None, [], None
    for line, words in source.words():
        if words[0][0] in "#:":
            continue
        if len(words) == 1 and words[0].isdigit():
            if start is not None:
                yield start, joints
            frame = int(words[0])
            if previous is not None and frame != previous + 1:
                problem = f"frame {frame} follows frame {previous}"
                source.fail(line, problem, "restore the missing frames, or number them anew")
            start, joints, previous = line, [], frame
        elif start is None:
            source.fail(
                line,
                f"{words[0]!r} comes before the number of a frame",
                "a frame begins with a line that holds its number only; check that this is an AMC",
            )
        else:
            joints.append((line, words[0], words[1:]))
    if start is not None:
        yield start, joints


def _check_first_frame(
    source: _Source, line: int, joints: list, names: dict[str, list[str]] | None
) -> None:
    """The first frame fixes joints and their numbers of values; the skeleton must know them."""
    if not joints:
        source.fail(line, "the first frame has no joints", "restore them, or delete the frame")
    seen = set()
    for at, joint, words in joints:
        if joint in seen:
            source.fail(at, f"joint {joint!r} appears twice in a frame", "delete one of them")
        seen.add(joint)
        if names is not None and len(names.get(joint, ())) != len(words):
            known = f"{len(names[joint])} channels" if joint in names else "no such joint"
            source.fail(
                at,
                f"joint {joint!r} has {len(words)} values, but the skeleton has {known}",
                "give the ASF file of the same subject",
            )
        if not words:
            source.fail(at, f"joint {joint!r} has no values", "restore them, or delete the line")


def _amc_frame(source: _Source, line: int, joints: list, layout: list) -> list[float]:
    """All values of a frame, which must have the joints of the first one."""
    found, expected = [joint for _, joint, _ in joints], [joint for joint, _ in layout]
    if found != expected:
        missing = [joint for joint in expected if joint not in found]
        added = [joint for joint in found if joint not in expected]
        problem = f"it lacks {missing[0]!r}" if missing else "they stand in another order"
        problem = f"{added[0]!r} is new" if added and not missing else problem
        source.fail(
            line,
            f"the joints of this frame are not those of the first: {problem}",
            "restore or delete the frame",
        )
    values = []
    for (at, _, words), (_, n_expected) in zip(joints, layout, strict=True):
        values += source.numbers(at, words, n_expected)
    return values


def _read_asf(source: _Source) -> dict[str, list[str]]:
    """Channels of every joint that has any, from the sections :root and :bonedata."""
    names: dict[str, list[str]] = {}
    section, joint = "", None
    for line, (first, *rest) in source.words():
        word = first.lower()
        if word.startswith(":"):
            section = word
        elif section == ":root" and word == "order":
            names["root"] = [channel.lower() for channel in rest]
        elif section == ":bonedata" and word == "name":
            joint = " ".join(rest)
        elif section == ":bonedata" and word == "dof":
            if joint is None:
                source.fail(line, "dof comes before the name of its bone", "export the file anew")
            names[joint] = [channel.lower() for channel in rest]
    if not names:
        source.fail(1, "there are no bones", "give the ASF file that belongs to the AMC file")
    return names


# -- BVH ------------------------------------------------------------------------------------------


def _read_bvh(source: _Source) -> _Motion:
    """Hierarchy of joints, then the number of frames, their time, and a line for each."""
    motion = next((n for n, words in source.words() if words[0].upper() == "MOTION"), None)
    if motion is None:
        cure = "the file is cut off or no BVH: export it anew"
        source.fail(len(source.lines), "there is no MOTION section", cure)
    channels = _bvh_channels(source, motion)
    n_frames, frame_time, first = _bvh_header(source, motion)
    rows = [source.numbers(n, words, len(channels)) for n, words in source.words(first)]
    if len(rows) != n_frames:
        source.fail(
            motion + 1,
            f"{n_frames} frames are announced, but {len(rows)} follow",
            "correct the number, or restore the frames",
        )
    return _Motion(channels, np.array(rows), frame_time, "degree")


def _bvh_channels(source: _Source, end: int) -> list[tuple[str, str]]:
    """Joint and channel of every column, from the lines before ``end``."""
    stream = ((n, word) for n, words in source.words() if n < end for word in words)
    channels: list[tuple[str, str]] = []
    open_joints: list[str] = []
    seen: set[str] = set()

    def take() -> tuple[int, str]:
        found = next(stream, None)
        if found is None:
            source.fail(end, "the hierarchy ends within a joint", "export the file anew")
        return found

    for line, word in stream:
        match word.upper():
            case "HIERARCHY":
                pass
            case "ROOT" | "JOINT" | "END":
                words = []
                while (following := take()[1]) != "{":
                    words.append(following)
                name = " ".join(words)
                open_joints.append(name)
                if word.upper() != "END" and name in seen:
                    source.fail(line, f"joint {name!r} appears twice", "rename one of them")
                seen |= {name} if word.upper() != "END" else set()
            case "OFFSET":
                source.numbers(line, [take()[1] for _ in range(N_OFFSETS)], N_OFFSETS)
            case "CHANNELS":
                count = take()[1]
                if not count.isdigit() or not open_joints:
                    problem = f"CHANNELS {count} is not a number of channels of a joint"
                    source.fail(line, problem, "export the file anew")
                channels += [(open_joints[-1], take()[1]) for _ in range(int(count))]
            case "}" if open_joints:
                open_joints.pop()
            case _:
                source.fail(line, f"{word!r} does not belong here", "export the file anew")
    if open_joints:
        source.fail(end, f"the bracket of {open_joints[-1]!r} is not closed", "close it with }")
    if not channels:
        source.fail(end, "no joint has channels", "the file is no BVH: export it anew")
    return channels


def _bvh_header(source: _Source, motion: int) -> tuple[int, float, int]:
    """Number of frames, seconds between them, and the line on which they begin."""
    found = []
    at = motion
    for label in ("Frames", "Frame Time"):
        at, words = next(source.words(at + 1), (at, []))
        name, _, value = " ".join(words).partition(":")
        if name.lower() != label.lower():
            cure = f"write a line {label}: <number> below MOTION"
            source.fail(at, f"{label!r} is missing", cure)
        found.append((at, source.numbers(at, value.split(), 1)[0]))
    (line, n_frames), (time_line, frame_time) = found
    if n_frames < 1 or n_frames != int(n_frames):
        source.fail(line, f"{n_frames:g} is no number of frames", "correct it")
    if frame_time <= 0:
        source.fail(
            time_line, f"{frame_time:g} is no time between frames", "give seconds, above 0"
        )
    return int(n_frames), frame_time, at + 1
