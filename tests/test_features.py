"""`extract_features`: what the network's own layers compute, of anything that is images."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasresnet as kr
from kerasresnet.decoding import read_image


@pytest.fixture(scope="module")
def model(small):
    """The small model with biases and statistics that an error would show in."""
    rng = np.random.default_rng(0)
    model = small()
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            for weight in layer.weights:
                weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        elif isinstance(layer, keras.layers.Conv2D):
            layer.bias.assign(rng.normal(0, 0.3, layer.bias.shape[0]))
    return model


def features(model, data, **settings):
    settings = {"precision": "float32", "cache": "memory", "verbose": 0, **settings}
    return kr.extract_features(model, data, **settings)


def own(model, images, stage="avg_pool"):
    """What the model's own layers compute."""
    trunk, _ = kr.split_at(model, stage)
    return keras.ops.convert_to_numpy(trunk(images.astype("float32")))


def assert_near(found, expected):
    assert found.dtype == "float32"
    assert found.shape == expected.shape
    assert np.linalg.norm(found - expected) <= 1e-5 * np.linalg.norm(expected)


@pytest.mark.core
@pytest.mark.parametrize("stage", kr.STAGES)
def test_features_are_those_of_the_models_own_layers(model, pixels, stage):
    found = features(model, pixels[0], stage=stage, batch_size=4)
    assert_near(found, own(model, pixels[0], stage))


@pytest.mark.core
def test_photos_are_read_as_everywhere_else(model, flowers):
    images = np.stack([read_image(path, (32, 32)) for path in flowers.paths])
    assert_near(features(model, flowers, batch_size=7), own(model, images))


def test_labels_may_come_along(model, pixels):
    expected = own(model, pixels[0])
    for data in (pixels, list(pixels), kr.ImageData.from_arrays(*pixels)):
        assert_near(features(model, data), expected)
    assert_near(features(model, kr.ImageData.from_arrays(pixels[0])), expected)


def test_one_image_twice_keeps_its_two_rows(model, pixels):
    images = pixels[0][[3, 1, 3, 3, 0]]
    assert_near(features(model, images, batch_size=2), own(model, images))


@pytest.mark.parametrize("with_labels", [True, False])
@pytest.mark.parametrize("cache", ["auto", "memory", "folder", False])
def test_datasets_give_the_same(
    model, pixels, tmp_path, monkeypatch, cache, with_labels
):
    monkeypatch.setenv("KERASRESNET_CACHE", str(tmp_path / "auto"))
    cache = tmp_path / "folder" if cache == "folder" else cache
    slices = tf.data.Dataset.from_tensor_slices(pixels if with_labels else pixels[0])
    found = features(model, slices.batch(4), cache=cache)
    assert_near(found, own(model, pixels[0]))
    assert (tmp_path / "auto").exists() == (cache == "auto")


def test_large_datasets_are_joined_in_their_order(model, pixels):
    images = np.resize(pixels[0], (600, 32, 32, 3))
    images[:, 0, 0, 0] = np.arange(600) % 256
    dataset = tf.data.Dataset.from_tensor_slices(images).batch(50)
    assert_near(features(model, dataset, batch_size=100), own(model, images))


def test_bfloat16_is_near(model, pixels):
    found = features(model, pixels, precision="bfloat16")
    expected = own(model, pixels[0])
    assert found.dtype == "float32"
    assert np.linalg.norm(found - expected) < 0.015 * np.linalg.norm(expected)


def test_a_model_keeps_what_it_was(model, pixels):
    before = [*map(bytes, model.get_weights()), *(x.trainable for x in model.layers)]
    features(model, pixels)
    after = [*map(bytes, model.get_weights()), *(x.trainable for x in model.layers)]
    assert after == before


def test_maximum_pooling_is_the_last_stage_too(small, pixels):
    model = small(pooling="max")
    assert_near(features(model, pixels), own(model, pixels[0]))


def test_features_do_not_exceed_memory_only_because_the_cache_is_small(
    model, pixels, monkeypatch
):
    monkeypatch.setenv("KERASRESNET_CACHE_LIMIT", "1e-9")
    dataset = tf.data.Dataset.from_tensor_slices(pixels).batch(4)
    for data in (pixels, dataset):
        assert_near(features(model, data, cache="auto"), own(model, pixels[0]))


def batches(pixels, side=32):
    return tf.data.Dataset.from_tensor_slices(pixels[0][:, :side]).batch(4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: batches(p).repeat(), r"is endless\. Call dataset\.take\(n\)"),
        (lambda p: batches(p).take(0), "The dataset is empty"),
        (lambda p: batches(p).filter(lambda x: False), "The dataset is empty"),
        (lambda p: batches(p, side=20), r"shape \(20, 32, 3\), but the model takes"),
        (lambda p: batches(p).map(lambda x: x / 255), r"scaled to 0\.\.1"),
    ],
)
def test_datasets_that_cannot_be_cached_are_refused(model, pixels, make, message):
    with pytest.raises(kr.DataError, match=message):
        features(model, make(pixels))


@pytest.mark.parametrize("announced", [2, 4])
def test_a_dataset_that_announces_another_number_is_refused(model, pixels, announced):
    dataset = batches(pixels)
    dataset.cardinality = lambda: tf.constant(announced)
    asserted = batches(pixels).apply(tf.data.experimental.assert_cardinality(announced))
    for wrong in (dataset, asserted):
        with pytest.raises(kr.DataError, match=f"announces {announced} batches, but"):
            features(model, wrong)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stage": "conv6"}, "Unknown stage 'conv6'"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"cache": "disk"}, "cache must be 'auto', 'memory', False or a folder"),
        ({"precision": "half"}, "Unknown precision 'half'"),
    ],
)
def test_arguments_that_cannot_work_are_refused(model, pixels, settings, message):
    with pytest.raises(ValueError, match=message):
        features(model, pixels, **settings)


def test_what_is_no_image_and_no_model_is_refused(model, pixels):
    with pytest.raises(kr.DataError, match=r"Expected ImageData, .* received str"):
        features(model, "photos")
    with pytest.raises(ValueError, match="Expected a Classifier"):
        features(kr.split_at(model, "conv4")[0], pixels)


def test_a_dataset_has_one_progress_bar(model, capsys):
    images = np.random.default_rng(0).integers(0, 256, (600, 32, 32, 3), "uint8")
    dataset = tf.data.Dataset.from_tensor_slices(images).batch(32)
    keras.utils.enable_interactive_logging()
    try:
        kr.extract_features(model, dataset, cache="memory", verbose=2)
    finally:
        keras.utils.disable_interactive_logging()
    (line,) = [x for x in capsys.readouterr().out.splitlines() if x.strip()]
    assert "600/600" in line
