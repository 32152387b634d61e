import json
import struct
import zipfile

import h5py
import keras
import numpy as np
import pytest

import kerasresnet as kr
from kerasresnet import keras_files
from kerasresnet.keras_files import read_keras


def keras2(path, write=None, **layers):
    """A file of Keras 2 with the arrays of layers, and what `write` adds to one, "x"."""
    with h5py.File(path, "w") as file:
        names = [*layers, *(["x"] if write else [])]
        file.attrs["layer_names"] = [name.encode() for name in names]
        for name, arrays in layers.items():
            group = file.create_group(name)
            group.attrs["weight_names"] = [str(i) for i in range(len(arrays))]
            for i, array in enumerate(arrays):
                group[str(i)] = array
        if write:
            group = file.create_group("x")
            group.attrs["weight_names"] = ["0"]
            write(group)
    return path


@pytest.fixture
def network():
    layers = keras.layers
    images = keras.Input((8, 8, 3))
    values = layers.Conv2D(2, 3, name="conv1_conv")(images)
    return keras.Model(images, layers.BatchNormalization(name="conv1_bn")(values))


def test_every_format_of_keras_gives_the_same_arrays(network, tmp_path):
    network.save(tmp_path / "a.keras")
    network.save_weights(tmp_path / "a.weights.h5")
    layers = {x.name: x.get_weights() for x in network.layers if x.weights}
    keras2(tmp_path / "a.h5", **layers)
    for name in ("a.keras", "a.weights.h5", "a.h5"):
        file = read_keras(tmp_path / name)
        assert set(file.arrays) == set(layers)
        assert file.positional == (name == "a.h5")
        assert file.notes == {}
        for layer, arrays in layers.items():
            for mine, theirs in zip(file.arrays[layer], arrays, strict=True):
                np.testing.assert_array_equal(mine, theirs)


def test_weights_within_a_saved_model_of_keras_2_are_found(tmp_path):
    keras2(tmp_path / "inner.h5", dense=[np.ones(2)])
    with (
        h5py.File(tmp_path / "inner.h5") as inner,
        h5py.File(tmp_path / "a.h5", "w") as file,
    ):
        inner.copy(inner, file, "model_weights")
    assert list(read_keras(tmp_path / "a.h5").arrays) == ["dense"]


def test_bfloat16_is_the_upper_half_of_float32(tmp_path):
    layer = keras.layers.Dense(3, dtype="bfloat16", name="dense")
    model = keras.Sequential([keras.Input((2,)), layer])
    model.save_weights(tmp_path / "a.weights.h5")
    kernel, _ = read_keras(tmp_path / "a.weights.h5").arrays["dense"]
    expected = keras.ops.convert_to_numpy(keras.ops.cast(layer.kernel, "float32"))
    np.testing.assert_array_equal(kernel, expected)


def test_a_classifier_tells_what_its_weights_are(small, tmp_path):
    small(class_names=["cat", "dog"]).save(tmp_path / "named.keras")
    small(2).save(tmp_path / "plain.keras")
    notes = read_keras(tmp_path / "named.keras").notes
    assert notes["backbone"] == "small"
    assert notes["preprocessing"] == "caffe"
    assert notes["class_names"] == ["cat", "dog"]
    assert "class_names" not in read_keras(tmp_path / "plain.keras").notes


def test_a_note_at_the_root_is_read_in_pieces(tmp_path):
    path = keras2(tmp_path / "a.h5", dense=[np.ones(2)])
    text = json.dumps({"backbone": "resnet50"})
    with h5py.File(path, "a") as file:
        file.attrs["kerasresnet.001"] = text[5:]
        file.attrs["kerasresnet"] = text[:5]
        file.attrs["keras_version"] = "3"
    assert read_keras(path).notes == {"backbone": "resnet50"}
    with h5py.File(path, "a") as file:
        file.attrs["kerasresnet"], file.attrs["kerasresnet.001"] = "[", "]"
    with pytest.raises(kr.WeightsError, match="'kerasresnet' is no JSON object"):
        read_keras(path)


def virtual(group):
    layout = h5py.VirtualLayout((1,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", (1,))
    group.create_virtual_dataset("0", layout)


def cycle(group):
    group["again"] = group


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda g: g.create_dataset("0", data=np.array([b"text"])), "not an array of"),
        (lambda g: g.create_dataset("0", (1,), external="other"), "in another file"),
        (virtual, "lies in another file"),
        (lambda g: g.update({"0": h5py.ExternalLink("other.h5", "/x")}), "is a link"),
        (lambda g: g.update({"0": h5py.SoftLink("/elsewhere")}), "/x/0 is a link"),
        (
            lambda g: g.create_dataset("0", (2**40,), "f4", chunks=(1,)),
            "not an array of weights: with it the file claims",
        ),
        (
            lambda g: g.create_dataset("0", (2**24,), "f4", chunks=(2**20,)),
            "it claims 67,108,864 bytes and stores 0",
        ),
        (
            lambda g: g.create_dataset(
                "0", data=np.zeros(2**24, "u1"), chunks=(2**24,), compression="gzip"
            ),
            "it claims 16,777,216 bytes and stores",
        ),
        (
            lambda g: g.create_dataset(
                "0", (1,), "f4", maxshape=(None,), chunks=(2**28,)
            ),
            "it claims 1,073,741,824 bytes and stores",
        ),
        (cycle, "more groups than any network"),
        (lambda g: g.create_group("0"), "damaged, incomplete or of another kind"),
        (lambda g: g.attrs.__delitem__("weight_names"), "damaged, incomplete or of"),
    ],
)
def test_hostile_files_are_refused(tmp_path, write, message):
    path = keras2(tmp_path / "odd.h5", write)
    with pytest.raises(kr.WeightsError, match=message):
        read_keras(path)


def test_many_objects_are_refused(tmp_path, monkeypatch):
    path = keras2(tmp_path / "a.h5", **{f"x{i}": [np.ones(1)] for i in range(9)})
    monkeypatch.setattr(keras_files, "_MOST_OBJECTS", 10)
    with pytest.raises(kr.WeightsError, match="more groups than any network"):
        read_keras(path)


def test_a_link_of_keras_3_is_refused(network, tmp_path):
    path = tmp_path / "a.weights.h5"
    network.save_weights(path)
    with h5py.File(path, "a") as file:
        del file["layers/conv2d/vars/0"]
        file["layers/conv2d/vars/0"] = h5py.ExternalLink("other.h5", "/x")
    with pytest.raises(kr.WeightsError, match="/layers/conv2d/vars/0 is a link"):
        read_keras(path)


def damaged_heap(size):
    """Changes the length of the first text that a file stores."""

    def change(content):
        start = content.index(b"GCOL")
        return content[: start + 24] + struct.pack("<Q", size) + content[start + 32 :]

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (damaged_heap(128), "its texts are damaged"),
        (damaged_heap(2**50), "its texts are damaged"),
        (lambda c: c[: c.index(b"GCOL") + 40], "is truncated within its texts"),
    ],
)
@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_texts_that_hdf5_would_read_for_ever_are_refused(
    network, tmp_path, change, message, suffix
):
    network.save_weights(tmp_path / "a.weights.h5")
    content = change((tmp_path / "a.weights.h5").read_bytes())
    path = tmp_path / f"odd{suffix}"
    path.write_bytes(content)
    if suffix == ".keras":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("model.weights.h5", content)
            archive.writestr("config.json", "{}")
    with pytest.raises(kr.WeightsError, match=message):
        read_keras(path)


def test_damaged_and_empty_files_are_refused(network, tmp_path):
    h5py.File(tmp_path / "empty.h5", "w").close()
    with pytest.raises(kr.WeightsError, match="no named layer is stored in it"):
        read_keras(tmp_path / "empty.h5")
    network.save_weights(tmp_path / "a.weights.h5")
    content = (tmp_path / "a.weights.h5").read_bytes()
    (tmp_path / "half.h5").write_bytes(content[: len(content) // 2])
    with pytest.raises(kr.WeightsError, match="damaged, incomplete or of another kind"):
        read_keras(tmp_path / "half.h5")
    with zipfile.ZipFile(tmp_path / "odd.keras", "w") as archive:
        archive.writestr("model.weights.h5", content)
        archive.writestr("config.json", "[]")
    with pytest.raises(kr.WeightsError, match="damaged, incomplete or of another kind"):
        read_keras(tmp_path / "odd.keras")


def test_a_wrong_byte_in_a_saved_model_is_found(small, tmp_path):
    path = tmp_path / "a.keras"
    small().save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(kr.WeightsError, match=r"is damaged.*Copy or download it again"):
        read_keras(path)
