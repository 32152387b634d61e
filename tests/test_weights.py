import hashlib
import urllib.error
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

import kerasresnet as kr
from kerasresnet import weights
from kerasresnet.weights import PINNED, PinnedFile, cache_folder, locate_weights, read

SHAPE = (32, 32, 3)


@pytest.fixture(scope="module")
def trained():
    """A network whose weights are all different from a new one's."""
    model = keras.applications.ResNet50(
        weights=None, include_top=False, input_shape=SHAPE
    )
    rng = np.random.default_rng(0)
    for layer in model.layers:
        layer.set_weights([rng.random(w.shape, "float32") for w in layer.get_weights()])
    return model


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty Keras cache on a machine without network."""

    def no_network(*_, **__):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", no_network)
    return tmp_path / "keras" / "models"


def write_keras2(model, path):
    """Writes the file format of keras.applications."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in model.layers]
        for layer in model.layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}/{i}".encode() for i in range(len(layer.weights))]
            group.attrs["weight_names"] = names
            for name, array in zip(names, layer.get_weights(), strict=True):
                group[name.decode()] = array


def assert_same_weights(model, oracle):
    for layer in oracle.layers:
        ours = model.get_layer(layer.name).get_weights() if layer.weights else []
        for array, expected in zip(ours, layer.get_weights(), strict=True):
            np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("suffix", [".weights.h5", ".h5", ".keras"])
def test_weights_come_from_every_kind_of_file(trained, tmp_path, suffix):
    path = tmp_path / f"trunk{suffix}"
    write = {".weights.h5": trained.save_weights, ".keras": trained.save}
    write.get(suffix, lambda p: write_keras2(trained, p))(path)
    model = kr.build_classifier(3, weights=path, input_shape=SHAPE)
    assert_same_weights(model, trained)


def test_weights_of_a_classifier_start_another_one(trained, tmp_path):
    trained.save_weights(tmp_path / "trunk.weights.h5")
    first = kr.build_classifier(
        3, weights=tmp_path / "trunk.weights.h5", input_shape=SHAPE
    )
    kr.compile_classifier(first)
    first.save(tmp_path / "first.keras")
    second = kr.build_classifier(
        7, weights=tmp_path / "first.keras", input_shape=(64, 64, 3)
    )
    assert_same_weights(second, trained)


def test_half_precision_files_are_read(trained, tmp_path):
    path = tmp_path / "half.h5"
    write_keras2(trained, path)
    with h5py.File(path, "a") as file:
        kernel = file["conv1_conv"]["conv1_conv/0"]
        half = np.asarray(kernel, "float16")
        del file["conv1_conv"]["conv1_conv/0"]
        file["conv1_conv"]["conv1_conv/0"] = half
    model = kr.build_classifier(3, weights=path, input_shape=SHAPE)
    np.testing.assert_array_equal(model.get_layer("conv1_conv").get_weights()[0], half)


def test_the_published_file_is_read_by_position_from_the_cache(
    trained, cache, monkeypatch
):
    # Stands in for the 94 MB file: its layers under other names, as older files have.
    cache.mkdir(parents=True)
    path = cache / PINNED["resnet50", False].name
    write_keras2(trained, path)
    with h5py.File(path, "a") as file:
        renamed = [f"{layer.name}_old".encode() for layer in trained.layers]
        for name in list(file):
            file.move(name, f"{name}_old")
        file.attrs["layer_names"] = renamed
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setitem(PINNED, ("resnet50", False), PinnedFile(path.name, md5))
    model = kr.build_classifier(3, input_shape=SHAPE)
    assert_same_weights(model, trained)


def test_without_network_one_error_names_file_hash_folder_and_ways_on(cache):
    with pytest.raises(kr.WeightsError) as caught:
        kr.build_classifier(5)
    message = str(caught.value)
    file = PINNED["resnet50", False]
    for part in (file.url, file.md5, str(cache), "weights=None", "weights='path"):
        assert part in message


def test_a_wrong_file_in_the_cache_is_kept_and_named(cache):
    cache.mkdir(parents=True)
    path = cache / PINNED["resnet50", False].name
    path.write_bytes(b"half a download")
    with pytest.raises(kr.WeightsError, match="is damaged or is another file: its MD5"):
        kr.build_classifier(5)
    assert path.read_bytes() == b"half a download"


def test_a_download_lands_in_the_cache_of_keras(cache, monkeypatch):
    file = PinnedFile("tiny.h5", hashlib.md5(b"weights").hexdigest())

    def download(_url, target, _progress):
        Path(target).write_bytes(b"weights")

    monkeypatch.setitem(PINNED, ("resnet50", False), file)
    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", download)
    assert not weights.is_cached("resnet50")
    found = locate_weights("imagenet", backbone="resnet50")
    assert found == cache_folder() / "tiny.h5"
    assert weights.is_cached("resnet50")


def test_a_file_of_another_shape_names_the_layer(trained, tmp_path):
    path = tmp_path / "other.h5"
    write_keras2(trained, path)
    with h5py.File(path, "a") as file:
        del file["conv3_block1_1_conv"]["conv3_block1_1_conv/0"]
        file["conv3_block1_1_conv"]["conv3_block1_1_conv/0"] = np.zeros(
            (3, 3, 256, 128)
        )
    with pytest.raises(
        kr.WeightsError, match="does not fit at layer 'conv3_block1_1_conv'"
    ):
        kr.build_classifier(3, weights=path, input_shape=SHAPE)


def test_a_file_of_another_network_names_the_missing_layer(small, tmp_path):
    small().save_weights(tmp_path / "small.weights.h5")
    with pytest.raises(kr.WeightsError, match=r"has no layer|does not fit at layer"):
        kr.build_classifier(3, weights=tmp_path / "small.weights.h5", input_shape=SHAPE)


def test_nothing_is_assigned_when_one_layer_does_not_fit(small, tmp_path):
    donor = small(3, seed=1)
    donor.save_weights(tmp_path / "three.weights.h5")
    model = small(4, seed=2)
    before = model.get_weights()
    with pytest.raises(kr.WeightsError, match="'predictions'"):
        weights.assign_weights(model.layers, tmp_path / "three.weights.h5")
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_paths_that_are_no_weights_are_refused(tmp_path):
    for name, content, message in (
        ("absent.h5", None, "does not exist"),
        ("notes.txt", b"hello", "has the suffix '.txt'"),
        ("broken.h5", b"hello", "damaged, incomplete or of another kind"),
        ("broken.keras", b"hello", "damaged, incomplete or of another kind"),
    ):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(kr.WeightsError, match=message):
            kr.build_classifier(3, weights=tmp_path / name)
    with pytest.raises(kr.WeightsError, match="is a folder"):
        kr.build_classifier(3, weights=tmp_path)


def test_an_empty_weights_file_is_refused(tmp_path):
    h5py.File(tmp_path / "empty.h5", "w").close()
    with pytest.raises(kr.WeightsError, match="no named layer is stored in it"):
        read(tmp_path / "empty.h5")


def test_the_cache_folder_follows_keras_home(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "models"
    monkeypatch.delenv("KERAS_HOME")
    assert cache_folder().parts[-2:] == (".keras", "models")


def test_a_file_without_the_head_is_no_imagenet_classifier(tmp_path):
    trunk = keras.applications.ResNet50(
        weights=None, include_top=False, input_shape=SHAPE
    )
    trunk.save_weights(tmp_path / "trunk.weights.h5")
    with pytest.raises(kr.WeightsError, match="holds no classification head"):
        kr.imagenet_classifier(weights=tmp_path / "trunk.weights.h5")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda g: g.create_dataset("x", data=np.array([b"text"])), "not an array of"),
        (lambda g: g.create_dataset("x", (1,), external="other"), "another file"),
        (
            lambda g: g.create_dataset("x", (2**40,), "f4", chunks=(1,)),
            "not an array of",
        ),
        (lambda g: g.create_dataset("x", data=np.array([np.nan])), "holds NaN"),
    ],
)
def test_arrays_that_are_no_weights_are_refused(tmp_path, damage, message):
    path = tmp_path / "odd.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = ["predictions"]
        group = file.create_group("predictions")
        group.attrs["weight_names"] = ["x"]
        damage(group)
    scale = keras.layers.LayerNormalization(name="predictions", center=False)
    scale.build((None, 1))
    with pytest.raises(kr.WeightsError, match=message):
        weights.assign_weights([scale], path)
