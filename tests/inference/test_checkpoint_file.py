"""The file of a checkpoint: whole or absent, and never code."""

import os
import pickle

import numpy as np
import pytest
import torch

from basisvae_scvi.inference import CheckpointFile
from basisvae_scvi.inference import _checkpoint_file as module

STATE = {
    "array": np.array([[1.5, np.nan]], dtype=np.float32),
    "flags": np.array([True, False]),
    "scalar": np.int64(3),
    "nested": {"pair": (1, [np.float64(0.5), "text", None])},
    "tensor": torch.arange(3),
}


@pytest.fixture
def file(tmp_path):
    return CheckpointFile(tmp_path / "new" / "folder")


def test_what_is_read_is_what_was_written(file):
    file.write(STATE)
    found = file.read()
    np.testing.assert_array_equal(found["array"], STATE["array"])
    assert found["array"].dtype == np.float32
    np.testing.assert_array_equal(found["flags"], STATE["flags"])
    assert found["scalar"] == 3
    assert found["nested"] == {"pair": (1, [0.5, "text", None])}
    torch.testing.assert_close(found["tensor"], STATE["tensor"])
    assert [path.name for path in file.path.parent.iterdir()] == ["training.ckpt"]


def test_no_file_is_no_state(file):
    assert file.read() is None


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_file_cut_short_is_an_error(file, share):
    file.write(STATE)
    content = file.path.read_bytes()
    file.path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match="delete it"):
        file.read()


@pytest.mark.parametrize("place", [30, 70, -400])
def test_one_changed_byte_is_an_error(file, place):
    file.write(STATE)
    content = bytearray(file.path.read_bytes())
    content[place] ^= 1
    file.path.write_bytes(content)
    with pytest.raises(ValueError, match="is damaged or cut short; delete it to start anew"):
        file.read()


def test_a_file_of_something_else_is_an_error(file):
    file.path.parent.mkdir(parents=True)
    torch.save({"epoch": 1}, file.path)
    with pytest.raises(ValueError, match="is no checkpoint of this version; delete it"):
        file.read()


class Touch:
    """Makes a file when it is loaded."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_code_in_a_file_is_not_run(file, tmp_path):
    file.write({"state": Touch(tmp_path / "touched")})
    with pytest.raises(ValueError, match="holds what no checkpoint needs"):
        file.read()
    assert not (tmp_path / "touched").exists()
    pickle.loads(pickle.dumps(Touch(tmp_path / "touched")))
    assert (tmp_path / "touched").exists()


def test_a_failed_write_leaves_the_file_as_it_was(file, monkeypatch):
    file.write({"epoch": 1})

    def no_space(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        file.write({"epoch": 2})
    assert file.read() == {"epoch": 1}
    assert [path.name for path in file.path.parent.iterdir()] == ["training.ckpt"]


def test_what_a_killed_write_left_is_written_over(file):
    file.write({"epoch": 1})
    file.path.with_name(".training.ckpt.partial").write_bytes(b"half")
    assert file.read() == {"epoch": 1}
    file.write({"epoch": 2})
    assert [path.name for path in file.path.parent.iterdir()] == ["training.ckpt"]


def test_removing_takes_the_folder_only_if_it_is_empty(file):
    file.write({})
    file.remove()
    assert not file.path.parent.exists()
    file.write({})
    (file.path.parent / "notes.txt").write_text("mine")
    file.remove()
    assert [path.name for path in file.path.parent.iterdir()] == ["notes.txt"]
