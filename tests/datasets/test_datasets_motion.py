"""Recorded motion: numbers of small files arrive where they belong; broken files are named."""

import re

import anndata as ad
import numpy as np
import pytest

from basisvae_scvi import datasets

BVH = """HIERARCHY
ROOT Hips
{
    OFFSET 0.0 0.0 0.0
    CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
    JOINT Left/Knee
    {
        OFFSET 0.0 -4.5 0.0
        CHANNELS 1 Xrotation
        End Site
        {
            OFFSET 0.0 -4.0 0.0
        }
    }
}
MOTION
Frames: 3
Frame Time: 0.025
0 10 0 1 2 3 40
0.5 10.5 0 1.5 2.5 3.5 45.25
1 11 -1e1 2 3 4 50
"""

AMC = """#!OML:ASF subject
:FULLY-SPECIFIED
:DEGREES
1
root 9.5 17.0 -17.5 -2.0 -7.5 -3.0
rtibia 30.5
rfemur 1.0 -2.0 20.0
2
root 9.6 17.1 -17.6 -2.1 -7.6 -3.1
rtibia 33.5
rfemur 1.5 -2.5 22.0
"""

ASF = """:version 1.10
:root
   order TX TY TZ RX RY RZ
   axis XYZ
:bonedata
  begin
     id 1
     name rfemur
     dof rx ry rz
  end
  begin
     id 2
     name rtibia
     dof rx
  end
  begin
     id 3
     name rhipjoint
  end
:hierarchy
  begin
    root rhipjoint
  end
"""


@pytest.fixture
def write(tmp_path):
    def to(name, text):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return to


def test_bvh_values_names_and_time(write):
    adata = datasets.read_motion(write("walk.BVH", BVH))
    assert list(adata.var_names) == [
        "Hips.Xposition",
        "Hips.Yposition",
        "Hips.Zposition",
        "Hips.Zrotation",
        "Hips.Xrotation",
        "Hips.Yrotation",
        "Left_Knee.Xrotation",
    ]
    expected = [[0, 10, 0, 1, 2, 3, 40], [0.5, 10.5, 0, 1.5, 2.5, 3.5, 45.25]]
    np.testing.assert_array_equal(adata.X, [*expected, [1, 11, -10, 2, 3, 4, 50]])
    assert adata.X.dtype == np.float32
    np.testing.assert_allclose(adata.obs["time"], [0.0, 0.025, 0.05])
    assert adata.var["joint"].tolist() == ["Hips"] * 6 + ["Left/Knee"]
    assert adata.uns["motion"] == {"format": "bvh", "frame_time": 0.025, "angle": "degree"}


def test_amc_without_a_skeleton_numbers_the_channels(write):
    adata = datasets.read_motion(write("golf.amc", AMC))
    assert list(adata.var_names) == [
        *[f"root.{i}" for i in range(1, 7)],
        "rtibia.1",
        *[f"rfemur.{i}" for i in range(1, 4)],
    ]
    np.testing.assert_allclose(adata[:, "rfemur.3"].X.ravel(), [20.0, 22.0])
    np.testing.assert_allclose(adata[:, "root.3"].X.ravel(), [-17.5, -17.6], rtol=1e-6)
    np.testing.assert_allclose(adata.obs["time"], [0.0, 1 / 120])


def test_amc_with_a_skeleton_has_its_names(write):
    path, skeleton = write("golf.amc", AMC), write("golf.asf", ASF)
    adata = datasets.read_motion(path, skeleton=skeleton, frames_per_second=60)
    assert list(adata.var_names) == [
        *[f"root.{c}" for c in ("tx", "ty", "tz", "rx", "ry", "rz")],
        "rtibia.rx",
        *[f"rfemur.{c}" for c in ("rx", "ry", "rz")],
    ]
    np.testing.assert_array_equal(adata.X, datasets.read_motion(path).X)
    np.testing.assert_allclose(adata.obs["time"], [0.0, 1 / 60])


def test_amc_in_radians_says_so(write):
    adata = datasets.read_motion(write("a.amc", AMC.replace(":DEGREES", ":RADIANS")))
    assert adata.uns["motion"]["angle"] == "radian"


def test_line_ends_and_byte_order_mark_do_not_matter(write, tmp_path):
    path = tmp_path / "dos.bvh"
    path.write_bytes(b"\xef\xbb\xbf" + BVH.replace("\n", "\r\n").encode())
    np.testing.assert_array_equal(
        datasets.read_motion(path).X, datasets.read_motion(write("unix.bvh", BVH)).X
    )


def test_brackets_may_stand_on_the_line_of_the_joint(write):
    text = re.sub(r"\n\s*{", " {", BVH)
    adata = datasets.read_motion(write("short.bvh", text))
    assert adata.shape == (3, 7)
    assert adata.X[2, 6] == 50


@pytest.mark.parametrize("store", ["h5ad", "zarr"])
def test_round_trip(write, tmp_path, store):
    adata, path = datasets.read_motion(write("walk.bvh", BVH)), tmp_path / f"motion.{store}"
    getattr(adata, f"write_{store}")(path)
    back = getattr(ad, f"read_{store}")(path)
    np.testing.assert_array_equal(back.X, adata.X)
    assert list(back.var_names) == list(adata.var_names)
    assert back.obs["time"].tolist() == adata.obs["time"].tolist()


BROKEN_BVH = {
    "no motion": (BVH.split("MOTION", maxsplit=1)[0], 16, "no MOTION section"),
    "too few values": (BVH.replace("1 2 3 40", "1 2 3"), 19, "6 values where 7 are expected"),
    "no number": (BVH.replace("45.25", "4S.25"), 20, "'4S.25' is no number"),
    "not finite": (BVH.replace("45.25", "nan"), 20, "nan is not finite"),
    "cut off": (BVH.replace("1 11 -1e1 2 3 4 50\n", ""), 17, "3 frames are announced, but 2"),
    "no frames line": (BVH.replace("Frames: 3\n", ""), 17, "'Frames' is missing"),
    "half a frame": (BVH.replace("Frames: 3", "Frames: 2.5"), 17, "2.5 is no number of frames"),
    "no frame time": (BVH.replace("0.025", "0"), 18, "0 is no time between frames"),
    "header alone": (BVH.split("Frame Time", maxsplit=1)[0], 17, "'Frame Time' is missing"),
    "open bracket": (BVH.replace("}\nMOTION", "MOTION"), 15, "bracket of 'Hips' is not closed"),
    "a bracket too many": (BVH.replace("MOTION", "}\nMOTION"), 16, "'}' does not belong here"),
    "unknown word": (BVH.replace("OFFSET 0.0 -4.5", "OFSET 0.0 -4.5"), 8, "'OFSET' does not"),
    "channels": (BVH.replace("CHANNELS 1", "CHANNELS one"), 9, "CHANNELS one is not a number"),
    "joint twice": (BVH.replace("Left/Knee", "Hips"), 6, "joint 'Hips' appears twice"),
    "no channels": ("HIERARCHY\nMOTION\nFrames: 1\nFrame Time: 1\n", 2, "no joint has channels"),
    "ends in a joint": ("HIERARCHY\nROOT Hips\nMOTION\n", 3, "ends within a joint"),
}

BROKEN_AMC = {
    "no frames": (":DEGREES\n", 1, "there are no frames"),
    "joint first": (AMC.replace("1\nroot 9.5", "root 9.5"), 4, "'root' comes before the number"),
    "frame lost": (AMC.replace("\n2\n", "\n3\n"), 8, "frame 3 follows frame 1"),
    "joint lost": (AMC.replace("rtibia 33.5\n", ""), 8, "it lacks 'rtibia'"),
    "joint added": (AMC + "head 1 2 3\n", 8, "'head' is new"),
    "joint twice": (AMC.replace("rtibia 30.5", "root 30.5"), 6, "joint 'root' appears twice"),
    "value lost": (AMC.replace("1.5 -2.5 22.0", "1.5 -2.5"), 11, "2 values where 3 are"),
    "no values": (AMC.replace("rtibia 30.5", "rtibia"), 6, "joint 'rtibia' has no values"),
    "empty frame": (":DEGREES\n1\n2\nroot 1\n", 2, "the first frame has no joints"),
    "no number": (AMC.replace("33.5", "33,5"), 10, "'33,5' is no number"),
}


@pytest.mark.parametrize(
    ("suffix", "text", "line", "problem"),
    [
        *[pytest.param("bvh", *case, id=f"bvh: {name}") for name, case in BROKEN_BVH.items()],
        *[pytest.param("amc", *case, id=f"amc: {name}") for name, case in BROKEN_AMC.items()],
    ],
)
def test_a_broken_file_is_named_with_line_and_cure(write, suffix, text, line, problem):
    path = write(f"broken.{suffix}", text)
    with pytest.raises(ValueError, match=re.escape(problem)) as caught:
        datasets.read_motion(path)
    message = str(caught.value)
    assert message.startswith(f"{path}, line {line}: ")
    cure = message.split("; ", 1)[1]
    assert len(cure) > 5
    assert cure.endswith(".")


def test_a_skeleton_of_another_subject_is_refused(write):
    path = write("golf.amc", AMC)
    other = write("other.asf", ASF.replace("dof rx ry rz", "dof rx ry"))
    with pytest.raises(ValueError, match=r"golf.amc, line 7: .*'rfemur' has 3 values.*2 channels"):
        datasets.read_motion(path, skeleton=other)
    unknown = write("unknown.asf", ASF.replace("name rtibia", "name ltibia"))
    with pytest.raises(ValueError, match=r"line 6: .*'rtibia'.*no such joint"):
        datasets.read_motion(path, skeleton=unknown)
    with pytest.raises(ValueError, match=r"empty.asf, line 1: there are no bones"):
        datasets.read_motion(path, skeleton=write("empty.asf", ":root\n"))


def test_arguments_that_do_not_fit(write):
    with pytest.raises(ValueError, match="leave skeleton"):
        datasets.read_motion(write("walk.bvh", BVH), skeleton="golf.asf")
    with pytest.raises(ValueError, match="frames_per_second=0"):
        datasets.read_motion(write("golf.amc", AMC), frames_per_second=0)
    with pytest.raises(ValueError, match=r"line 1: the ending '.c3d' is neither"):
        datasets.read_motion(write("walk.c3d", "x"))
    with pytest.raises(FileNotFoundError):
        datasets.read_motion("absent.bvh")


def test_names_that_only_a_slash_tells_apart_are_refused(write):
    text = BVH.replace("Left/Knee", "a/b").replace("ROOT Hips", "ROOT a_b")
    text = text.replace("CHANNELS 1 Xrotation", "CHANNELS 1 Zrotation")
    with pytest.raises(ValueError, match=r"channel 'a_b.Zrotation' appears twice"):
        datasets.read_motion(write("walk.bvh", text))
