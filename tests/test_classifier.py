import json
import zipfile

import keras
import numpy as np
import pytest

import kerasresnet as kr
from kerasresnet.freezing import plan
from kerasresnet.imagenet import imagenet_names

IMAGES = np.random.default_rng(1).integers(0, 256, (4, 32, 32, 3), "uint8")


def trainable_count(model):
    return sum(int(np.prod(w.shape)) for w in model.trainable_weights)


@pytest.mark.parametrize(
    ("settings", "total"),
    [
        ({"hidden_units": (1024, 512), "upsample_to": 224}, 26_215_818),
        ({"hidden_units": (1024,)}, 25_696_138),
    ],
)
def test_parameter_counts_are_those_of_the_tutorials(settings, total):
    model = kr.build_classifier(10, weights=None, input_shape=(32, 32, 3), **settings)
    assert model.count_params() == total


def test_only_the_head_is_trainable_after_building():
    model = kr.build_classifier(num_classes=5, weights=None, hidden_units=(512,))
    assert trainable_count(model) == 1_051_653
    assert model.get_layer("predictions").output.shape == (None, 5)


def test_a_classifier_is_a_keras_model_that_sums_to_one(small):
    model = small()
    assert isinstance(model, keras.Model)
    np.testing.assert_allclose(model.predict(IMAGES).sum(axis=1), 1, rtol=1e-6)


def test_dropout_stands_before_each_dense_layer(small):
    names = [layer.name for layer in small(hidden_units=(8, 4), dropout=0.5).layers]
    assert names[-7:] == [
        "avg_pool",
        "dropout_1",
        "hidden_1",
        "dropout_2",
        "hidden_2",
        "dropout",
        "predictions",
    ]


@pytest.mark.parametrize(
    "load", [pytest.param(kr.load, marks=pytest.mark.core), keras.saving.load_model]
)
def test_everything_comes_back_after_saving(small, flowers, tmp_path, load):
    model = small(class_names=flowers.class_names, hidden_units=(8,), dropout=0.1)
    kr.compile_classifier(model, optimizer="adam", label_smoothing=0.1)
    kr.fine_tune(model, flowers, from_stage="conv4", epochs=1)
    model.save(tmp_path / "model.keras")
    again = load(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.predict(IMAGES), model.predict(IMAGES))
    assert again.class_names == flowers.class_names
    assert plan(again) == plan(model)
    assert again.loss.label_smoothing == 0.1
    for old, new in zip(
        model.optimizer.variables, again.optimizer.variables, strict=True
    ):
        np.testing.assert_array_equal(old, new)


@pytest.mark.core
def test_training_goes_on_after_loading_as_if_nothing_happened(small, pixels, tmp_path):
    model = small()
    kr.fit(model, pixels, epochs=1)
    model.save(tmp_path / "model.keras")
    again = kr.load(tmp_path / "model.keras")
    for each in (model, again):
        kr.fit(each, pixels, epochs=1, seed=3)
    np.testing.assert_allclose(again.predict(IMAGES), model.predict(IMAGES), rtol=1e-5)


def test_checkpoints_keep_names_and_outputs(small, flowers, tmp_path):
    path = tmp_path / "best.keras"
    model = small()
    checkpoint = keras.callbacks.ModelCheckpoint(str(path))
    kr.fit(model, flowers, epochs=1, callbacks=[checkpoint])
    again = kr.load(path)
    assert again.class_names == flowers.class_names
    np.testing.assert_array_equal(again.predict(IMAGES), model.predict(IMAGES))


def test_flags_set_by_hand_come_back_too(small, tmp_path):
    model = small()
    model.get_layer("conv3_block1_1_conv").trainable = True
    model.save(tmp_path / "model.keras")
    assert plan(kr.load(tmp_path / "model.keras")) == plan(model)


def test_a_half_precision_model_comes_back_as_one(small, tmp_path):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = small()
    finally:
        keras.config.set_dtype_policy(before)
    model.save(tmp_path / "model.keras")
    again = kr.load(tmp_path / "model.keras")
    assert again.compute_dtype == "bfloat16"
    assert again.get_layer("predictions").compute_dtype == "float32"
    assert keras.config.dtype_policy() == before
    np.testing.assert_array_equal(again.predict(IMAGES), model.predict(IMAGES))


def test_imagenet_names_are_a_thousand_different_ones():
    names = imagenet_names()
    assert len(names) == len(set(names)) == 1000
    assert names[0] == "tench"
    assert names[999] == "toilet_tissue"
    assert names[134] == "crane (n02012849)"


def test_the_imagenet_classifier_equals_keras_full_network(tmp_path):
    oracle = keras.applications.ResNet50(weights=None)
    oracle.save_weights(tmp_path / "full.weights.h5")
    model = kr.imagenet_classifier(weights=tmp_path / "full.weights.h5")
    images = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3), "uint8")
    prepared = keras.applications.resnet50.preprocess_input(images.astype("float32"))
    np.testing.assert_allclose(
        model.predict(images), oracle.predict(prepared), rtol=1e-4, atol=1e-7
    )


def test_class_names_can_be_given_later_but_not_in_another_number(small):
    model = small(3)
    assert not model.named
    model.class_names = ["a", "b", "c"]
    assert model.named
    with pytest.raises(ValueError, match="has 3 outputs, received 2 names"):
        model.class_names = ["a", "b"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "Pass num_classes or class_names"),
        ({"num_classes": 1}, "at least 2 classes, received 1"),
        ({"num_classes": 2.0}, r"at least 2 classes, received 2\.0"),
        ({"class_names": ["daisy"]}, "at least 2 classes, received 1 .'daisy'"),
        ({"class_names": ["a", "a"]}, "received twice: a"),
        ({"class_names": "cat"}, "must be a sequence of names"),
        ({"num_classes": 3, "class_names": ["a", "b"]}, "class_names has 2"),
        ({"num_classes": 2, "backbone": "resnet500"}, "Did you mean 'resnet50'"),
        ({"num_classes": 2, "input_shape": (31, 64, 3)}, "at least 32 x 32 px"),
        ({"num_classes": 2, "input_shape": (3, 64, 64)}, "Channels come last"),
        ({"num_classes": 2, "input_shape": (64, 64)}, "must be .height, width, 3."),
        ({"num_classes": 2, "hidden_units": 512}, r"Pass hidden_units=\(512,\)"),
        ({"num_classes": 2, "hidden_units": (0,)}, "positive integers"),
        ({"num_classes": 2, "dropout": 1.0}, "dropout must be"),
        ({"num_classes": 2, "pooling": "average"}, "Did you mean 'avg'"),
        ({"num_classes": 2, "upsample_to": 300}, r"nearest that works is \(224, 224\)"),
        ({"num_classes": 2, "upsample_to": (448, 448, 3)}, "one or two sizes"),
    ],
)
def test_arguments_that_cannot_work_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        kr.build_classifier(weights=None, **arguments)


def test_a_small_input_is_fine_when_it_is_upsampled():
    model = kr.build_classifier(
        2, weights=None, input_shape=(16, 16, 3), upsample_to=64
    )
    assert model.image_size == (16, 16)


def test_load_says_what_is_wrong_with_a_path(tmp_path):
    with pytest.raises(kr.ArtifactError, match="There is no file"):
        kr.load(tmp_path / "absent.keras")
    with pytest.raises(kr.ArtifactError, match=r"is a folder, expected a .keras file"):
        kr.load(tmp_path)
    (tmp_path / "model.keras").write_bytes(b"no zip")
    with pytest.raises(kr.ArtifactError, match=r"Pass the model.keras in it"):
        kr.load(tmp_path)
    with pytest.raises(
        kr.ArtifactError, match=r"not a .keras file, or it is truncated"
    ):
        kr.load(tmp_path / "model.keras")


def test_a_truncated_model_is_refused(small, tmp_path):
    path = tmp_path / "model.keras"
    small().save(path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(kr.ArtifactError, match="truncated"):
        kr.load(path)


def test_a_model_with_a_damaged_part_is_refused(small, tmp_path):
    small().save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as good:
        parts = {name: good.read(name) for name in good.namelist()}
    config = json.loads(parts["config.json"])
    config["config"]["backbone"] = "resnet51"
    parts["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(tmp_path / "bad.keras", "w") as bad:
        for name, content in parts.items():
            bad.writestr(name, content)
    with pytest.raises(kr.ArtifactError, match="is damaged and cannot be loaded"):
        kr.load(tmp_path / "bad.keras")


def test_a_model_of_someone_else_is_refused_with_the_ways_on(tmp_path):
    images = keras.Input((8,))
    keras.Model(images, keras.layers.Dense(2)(images)).save(tmp_path / "other.keras")
    with pytest.raises(kr.ArtifactError, match="not a kerasresnet classifier"):
        kr.load(tmp_path / "other.keras")


def test_helpers_refuse_a_model_that_is_not_a_classifier():
    images = keras.Input((8,))
    plain = keras.Model(images, keras.layers.Dense(2)(images))
    with pytest.raises(
        ValueError, match=r"Expected a Classifier .* received Functional"
    ):
        kr.predict(plain, IMAGES)


def test_a_model_saved_before_there_were_thresholds_loads(small, tmp_path):
    small().save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as saved:
        parts = {name: saved.read(name) for name in saved.namelist()}
    config = json.loads(parts["config.json"])
    del config["config"]["certainty"]
    parts["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(tmp_path / "old.keras", "w") as old:
        for name, content in parts.items():
            old.writestr(name, content)
    assert kr.load(tmp_path / "old.keras").threshold is None
