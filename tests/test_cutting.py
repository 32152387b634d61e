import keras
import numpy as np
import pytest

import kerasresnet as kr


@pytest.fixture(scope="module")
def real():
    """The real graph with random weights, an input, and what it makes of it."""
    model = kr.build_classifier(5, weights=None, input_shape=(64, 64, 3))
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 64, 64, 3)).astype("float32")
    return model, images, keras.ops.convert_to_numpy(model(images))


@pytest.mark.parametrize(
    "stage",
    [*kr.STAGES[:-2], pytest.param(kr.STAGES[-2], marks=pytest.mark.core), "avg_pool"],
)
def test_tail_of_trunk_equals_the_model_at_every_stage(real, stage):
    model, images, expected = real
    trunk, tail = kr.split_at(model, stage)
    found = keras.ops.convert_to_numpy(tail(trunk(images)))
    np.testing.assert_array_equal(found, expected)


def test_both_halves_together_hold_every_variable_once(real):
    model, *_ = real
    trunk, tail = kr.split_at(model, "conv4")
    held = {id(v) for half in (trunk, tail) for v in half.variables}
    assert held == {id(v) for v in model.variables}
    assert len(trunk.variables) + len(tail.variables) == len(model.variables)


@pytest.mark.parametrize(
    ("stage", "shape"),
    [
        ("conv1", (16, 16, 64)),
        ("conv2", (16, 16, 256)),
        ("conv3", (8, 8, 512)),
        ("conv4", (4, 4, 1024)),
        ("conv5", (2, 2, 2048)),
        ("avg_pool", (2048,)),
    ],
)
def test_stages_end_where_the_table_says(real, stage, shape):
    trunk, tail = kr.split_at(real[0], stage)
    assert trunk.output_shape[1:] == tail.input_shape[1:] == shape


def test_training_the_tail_trains_the_model(small, pixels):
    model = small()
    before = model.get_layer("predictions").get_weights()[0].copy()
    trunk, tail = kr.split_at(model, "avg_pool")
    tail.compile("sgd", "sparse_categorical_crossentropy")
    tail.fit(trunk.predict(pixels[0]), pixels[1])
    after = model.get_layer("predictions").get_weights()[0]
    assert not np.array_equal(before, after)


def test_max_pooling_is_the_same_stage(small):
    trunk, _ = kr.split_at(small(pooling="max"), "avg_pool")
    assert trunk.output_shape == (None, 32)


def test_an_unknown_stage_names_the_nearest(small):
    with pytest.raises(ValueError, match=r"'conv_4'.* Did you mean 'conv4'"):
        kr.split_at(small(), "conv_4")


def test_a_model_without_stages_is_refused():
    images = keras.Input((8,))
    plain = keras.Model(images, keras.layers.Dense(2)(images), name="plain")
    with pytest.raises(ValueError, match="'plain' has no stage 'conv4'"):
        kr.split_at(plain, "conv4")
