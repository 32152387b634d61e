"""A state is read as it was written, or not at all."""

import logging

import numpy as np
import pytest

import kerasresnet as kr
from kerasresnet import checkpoints
from kerasresnet.checkpoints import Checkpoints

NOTES = {"epoch": 3, "history": {"loss": [1.5, float("nan")]}, "name": "é"}


def state(seed=0):
    rng = np.random.default_rng(seed)
    return {
        "model/conv1/kernel": rng.normal(size=(3, 3, 4)).astype("float32"),
        "step": np.array(7),
        "empty": np.zeros((0, 2)),
    }


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_a_state_comes_back_bit_for_bit(tmp_path):
    kept = Checkpoints(tmp_path)
    assert kept.read() is None
    kept.write(state(), NOTES)
    arrays, notes = Checkpoints(tmp_path).read()
    assert_same(arrays, state())
    assert repr(notes) == repr(NOTES)


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "gone"])
def test_the_state_before_is_read_where_the_last_is_damaged(tmp_path, damage, caplog):
    kept = Checkpoints(tmp_path)
    kept.write(state(1), {"epoch": 1})
    kept.write(state(2), {"epoch": 2})
    file = tmp_path / "checkpoint.npz"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    damaged = {"cut": content[:-100], "flip": content, "empty": b"", "gone": b""}
    file.write_bytes(damaged[damage])
    if damage == "gone":
        file.unlink()
    arrays, notes = kept.read()
    assert notes == {"epoch": 1}
    assert_same(arrays, state(1))
    assert ("is damaged" in caplog.text) == (damage != "gone")


def test_every_bit_counts(tmp_path, caplog):
    caplog.set_level(logging.CRITICAL)
    kept = Checkpoints(tmp_path)
    kept.write({"a": np.arange(3)}, {})
    file = tmp_path / "checkpoint.npz"
    content = file.read_bytes()
    for place in range(0, len(content), 7):
        changed = bytearray(content)
        changed[place] ^= 0x10
        file.write_bytes(changed)
        assert kept.read() is None


def test_a_full_disk_leaves_the_state_before(tmp_path, monkeypatch):
    kept = Checkpoints(tmp_path)
    kept.write(state(1), {"epoch": 1})

    def full(path, write):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "write_aside", full)
    with pytest.raises(kr.ArtifactError, match=r"No space left.*--resume"):
        kept.write(state(2), {"epoch": 2})
    assert kept.read()[1] == {"epoch": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.npz"]


def test_a_finished_run_leaves_none(tmp_path):
    kept = Checkpoints(tmp_path)
    kept.write(state(), {})
    kept.write(state(), {})
    kept.clear()
    assert list(tmp_path.iterdir()) == []
