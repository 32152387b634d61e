import hashlib
import importlib.util
import urllib.error
import urllib.request

import h5py
import keras
import numpy as np
import pytest
from torch_files import empty_state_dict, state_dict, write_safetensors

import kerasresnet as kr
from kerasresnet import weights as weights_source
from kerasresnet.downloads import MIRROR
from kerasresnet.layouts import layout
from kerasresnet.releases import PINNED, PublishedFile, torch_folder
from kerasresnet.weights import assign_weights, open_weights, read_weights

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
    """An empty cache on a machine without network."""

    def no_network(*_, **__):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv(MIRROR, raising=False)
    monkeypatch.setattr(urllib.request, "urlopen", no_network)
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
    monkeypatch.setitem(PINNED, ("resnet50", False), PublishedFile(path.name, md5))
    model = kr.build_classifier(3, input_shape=SHAPE)
    assert_same_weights(model, trained)


def test_without_network_one_error_names_file_hash_folder_and_ways_on(cache):
    with pytest.raises(kr.WeightsError) as caught:
        kr.build_classifier(5)
    message = str(caught.value)
    file = PINNED["resnet50", False]
    for part in (file.url, file.md5, "weights import", "weights=None", "weights='path"):
        assert part in message
    assert not list(cache.glob("*.h5"))


def test_a_wrong_file_in_the_cache_is_kept_and_named(cache):
    cache.mkdir(parents=True)
    path = cache / PINNED["resnet50", False].name
    path.write_bytes(b"half a download")
    with pytest.raises(kr.WeightsError, match="is damaged or is another file: its MD5"):
        kr.build_classifier(5)
    assert path.read_bytes() == b"half a download"


@pytest.fixture
def tiny_release(cache, monkeypatch):
    """A checkpoint of ResNet18 as if it were the published one."""
    path = write_safetensors(cache.parent.parent / "a.safetensors", state_dict(18, 10))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    base = PINNED["resnet18", False].base
    file = PublishedFile("tiny.safetensors", sha256=digest, base=base)
    for top in (True, False):
        monkeypatch.setitem(PINNED, ("resnet18", top), file)
    return path.rename(path.with_name(file.name))


def test_what_torch_has_downloaded_is_used(cache, tiny_release):
    torch_folder().mkdir(parents=True)
    tiny_release.rename(torch_folder() / tiny_release.name)
    found = open_weights("imagenet", backbone="resnet18", include_top=True)
    assert found.source.parent == torch_folder()
    assert (found.classes, found.preprocessing) == (10, "torch")


def test_a_damaged_file_of_torch_is_passed_over(
    cache, tiny_release, monkeypatch, caplog
):
    torch_folder().mkdir(parents=True)
    (torch_folder() / tiny_release.name).write_bytes(b"half")
    monkeypatch.undo()
    monkeypatch.setenv("KERAS_HOME", str(cache.parent))
    monkeypatch.setenv("TORCH_HOME", str(cache.parent.parent / "torch"))
    monkeypatch.setenv(MIRROR, str(tiny_release.parent))
    file = PublishedFile(
        tiny_release.name,
        sha256=hashlib.sha256(tiny_release.read_bytes()).hexdigest(),
        base=PINNED["resnet18", False].base,
    )
    monkeypatch.setitem(PINNED, ("resnet18", False), file)
    assert open_weights("imagenet", backbone="resnet18").source.parent == cache
    assert "is not used: its SHA-256 is" in caplog.text


def test_a_checkpoint_of_torch_starts_either_graph_of_resnet18(tmp_path, caplog):
    caplog.set_level("INFO", "kerasresnet.weights")
    tensors = state_dict(18, classes=7)
    path = write_safetensors(tmp_path / "a.safetensors", tensors)
    theirs = open_weights(path, backbone="resnet18v1.5", include_top=True)
    ours = open_weights(path, backbone="resnet18")
    assert (theirs.classes, theirs.stem, theirs.preprocessing) == (
        7,
        "imagenet",
        "torch",
    )
    assert {n: tuple(a.shape for a in f) for n, f in ours.arrays.items()} == layout(
        "resnet18"
    )
    assert "its head of 7 classes is left out" in caplog.text


def test_half_precision_is_said_once(tmp_path, caplog):
    caplog.set_level("INFO", "kerasresnet.weights")
    half = {name: array.astype("float16") for name, array in state_dict(18).items()}
    path = write_safetensors(tmp_path / "a.safetensors", half)
    found = open_weights(path, backbone="resnet18v1.5")
    assert caplog.text.count("holds float16, read as float32") == 1
    kernel = half["conv1.weight"].astype("float32").transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(found.arrays["conv1_conv"][0], kernel)


def keras_file(path, backbone, classes=None):
    """A file of the layers of a backbone, all zeros."""
    layers = dict(layout(backbone))
    if classes:
        layers["predictions"] = (
            (layers["conv5_block1_2_bn"][0][0], classes),
            (classes,),
        )
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = list(layers)
        for name, shapes in layers.items():
            group = file.create_group(name)
            group.attrs["weight_names"] = [str(i) for i in range(len(shapes))]
            for i, shape in enumerate(shapes):
                group.create_dataset(str(i), data=np.zeros(shape, "float16"))
    return path


@pytest.mark.parametrize(
    ("made_for", "asked_for", "message"),
    [
        ("resnet50v1.5", "resnet50", "stride is in the 3x3.*backbone='resnet50v1.5'"),
        ("resnet50", "resnet50v1.5", "a ResNet50, not a ResNet50 v1.5.*'resnet50'"),
        ("resnet34", "resnet18", "a ResNet34, not a ResNet18.*backbone='resnet34'"),
        ("resnet50", "resnet50v2", "a ResNet50, not a ResNet50 V2"),
        ("resnet18v1.5", "resnet18", "have no bias. Pass backbone='resnet18v1.5'"),
    ],
)
def test_weights_of_another_backbone_name_the_right_one(
    tmp_path, made_for, asked_for, message
):
    path = keras_file(tmp_path / "a.h5", made_for)
    assert read_weights(path).network == made_for
    with pytest.raises(kr.WeightsError, match=message):
        open_weights(path, backbone=asked_for)


def test_a_checkpoint_of_torch_is_never_loaded_on_the_graph_of_keras(tmp_path):
    tensors = {n: a.astype("float16") for n, a in empty_state_dict(50).items()}
    path = write_safetensors(tmp_path / "a.safetensors", tensors)
    with pytest.raises(kr.WeightsError, match=r"Pass backbone='resnet50v1\.5'"):
        kr.build_classifier(3, weights=path)
    with pytest.raises(kr.WeightsError, match=r"holds a ResNet50 v1\.5, not"):
        open_weights(path, backbone="resnet101v1.5")


def test_a_checkpoint_with_a_tensor_missing_is_refused(tmp_path):
    tensors = empty_state_dict(18)
    del tensors["layer3.1.conv2.weight"]
    path = write_safetensors(tmp_path / "a.safetensors", tensors)
    with pytest.raises(kr.WeightsError, match="1 layer missing: conv4_block2_2_conv"):
        open_weights(path, backbone="resnet18v1.5")


def test_a_head_of_other_classes_matters_only_where_it_is_wanted(tmp_path):
    path = keras_file(tmp_path / "a.h5", "resnet50", classes=5)
    assert open_weights(path, backbone="resnet50").classes == 5
    found = open_weights(path, backbone="resnet50", include_top=True)
    assert found.arrays["predictions"][1].shape == (5,)
    dense = keras.layers.Dense(1000, name="predictions")
    dense.build((None, 512))
    with pytest.raises(
        kr.WeightsError, match=r"expected 1,000, received 5\..*num_classes=5, or leave"
    ):
        assign_weights([dense], found)


def test_a_file_with_more_layers_than_the_backbone_is_refused(tmp_path):
    path = keras_file(tmp_path / "a.h5", "resnet50")
    with h5py.File(path, "a") as file:
        file.copy("conv5_block3_3_bn", "conv5_block4_3_bn")
        file.attrs["layer_names"] = [*file.attrs["layer_names"], "conv5_block4_3_bn"]
    with pytest.raises(kr.WeightsError, match="does not have, conv5_block4_3_bn"):
        open_weights(path, backbone="resnet50")


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
    found = open_weights(
        tmp_path / "three.weights.h5", backbone="small", include_top=True
    )
    with pytest.raises(kr.WeightsError, match="'predictions'"):
        assign_weights(model.layers, found)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_file_without_the_head_is_no_imagenet_classifier(tmp_path):
    trunk = keras.applications.ResNet50(
        weights=None, include_top=False, input_shape=SHAPE
    )
    trunk.save_weights(tmp_path / "trunk.weights.h5")
    with pytest.raises(kr.WeightsError, match="holds no classification head"):
        kr.imagenet_classifier(weights=tmp_path / "trunk.weights.h5")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([np.nan]), "holds NaN or infinity at layer 'predictions'"),
        (np.array([np.inf], "float16"), "holds NaN or infinity at layer"),
        (np.array([1]), "holds int64 at layer 'predictions', expected floating-point"),
    ],
)
def test_numbers_that_are_no_weights_are_refused(tmp_path, values, message):
    path = tmp_path / "odd.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = ["predictions"]
        group = file.create_group("predictions")
        group.attrs["weight_names"] = ["x"]
        group["x"] = values
    scale = keras.layers.LayerNormalization(name="predictions", center=False)
    scale.build((None, 1))
    found = open_weights(path, backbone="small", include_top=True)
    with pytest.raises(kr.WeightsError, match=message):
        assign_weights([scale], found)


def test_a_note_that_nobody_knows_is_refused(tmp_path):
    path = keras_file(tmp_path / "a.h5", "resnet18")
    with h5py.File(path, "a") as file:
        file.attrs["kerasresnet"] = '{"preprocessing": "magic"}'
    with pytest.raises(kr.WeightsError, match="expect 'magic'; known are caffe, torch"):
        open_weights(path, backbone="resnet18")


def test_what_else_a_checkpoint_holds_is_named(tmp_path, caplog):
    tensors = {**empty_state_dict(18), "projector.weight": np.ones(3, "float32")}
    path = write_safetensors(tmp_path / "a.safetensors", tensors)
    assert open_weights(path, backbone="resnet18").left_out == ("projector.weight",)
    assert caplog.text.count("left out projector.weight") == 1


def test_a_layer_that_is_missing_is_named(tmp_path):
    path = keras_file(tmp_path / "a.h5", "resnet18")
    extra = keras.layers.BatchNormalization(name="conv6_bn")
    extra.build((None, 4))
    with pytest.raises(
        kr.WeightsError, match="has no layer 'conv6_bn'; its layers are"
    ):
        assign_weights([extra], open_weights(path, backbone="resnet18"))


def test_no_weights_are_none():
    assert open_weights(None, backbone="resnet50") is None


@pytest.mark.parametrize("weights", [False, {"a": 1}, 5, ["imagenet"], b"a.h5"])
def test_weights_of_another_type_are_refused_with_what_is_expected(weights):
    with pytest.raises(
        ValueError, match=r"cannot be used\. Expected 'imagenet'"
    ) as caught:
        open_weights(weights, backbone="resnet50")
    assert not isinstance(caught.value, kr.WeightsError)


def test_a_missing_file_names_what_else_may_be_given():
    with pytest.raises(kr.WeightsError, match="imagenet_v2', None, or the path of a"):
        open_weights("absent.h5", backbone="resnet50")
    with pytest.raises(kr.WeightsError, match="weights=None stands for random weights"):
        open_weights("none", backbone="resnet50")


def test_without_torch_nothing_is_downloaded_that_needs_it(cache, monkeypatch):
    def fetched(*_):
        raise AssertionError("it was asked for")

    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(weights_source, "download", fetched)
    with pytest.raises(
        kr.WeightsError, match=r"resnet18-.*\.pth is a PyTorch checkpoint"
    ):
        open_weights("imagenet", backbone="resnet18")


def test_variances_below_zero_name_the_layer(tmp_path):
    tensors = state_dict(18)
    tensors["layer2.0.bn1.running_var"][3] = -0.5
    path = write_safetensors(tmp_path / "a.safetensors", tensors)
    for backbone in ("resnet18", "resnet18v1.5"):
        with pytest.raises(
            kr.WeightsError, match="below 0 at layer 'conv3_block1_1_bn'"
        ):
            kr.build_classifier(3, backbone=backbone, weights=path, input_shape=SHAPE)


def test_a_head_that_is_wanted_and_absent_is_told(tmp_path):
    path = keras_file(tmp_path / "a.h5", "resnet18")
    with pytest.raises(kr.WeightsError, match="Leave out include_top=True"):
        kr.build_classifier(3, backbone="resnet18", weights=path, include_top=True)
