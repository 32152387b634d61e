"""A folded convolution computes what the two layers compute, and so do its gradients."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasresnet.folding import FoldedConv2D


def pair(filters=6, kernel=3, strides=1, padding="same", norm=True, **settings):
    """A convolution and a batch norm on 5 channels, with values that errors show in."""
    rng = np.random.default_rng(0)
    conv = keras.layers.Conv2D(filters, kernel, strides, padding, **settings)
    conv.build((None, None, None, 5))
    if conv.use_bias:
        conv.bias.assign(rng.normal(size=filters))
    if not norm:
        return conv, None
    norm = keras.layers.BatchNormalization(epsilon=1e-3)
    norm.build((None, None, None, filters))
    for weight in norm.weights:
        weight.assign(rng.uniform(0.5, 2, filters))
    return conv, norm


def folded(conv, norm, *, frozen=True, dtype="float32", **settings):
    settings = {"strides": conv.strides, **settings}
    return FoldedConv2D(conv, norm, frozen=frozen, dtype=dtype, **settings)


@pytest.fixture
def values():
    rng = np.random.default_rng(1)
    return rng.normal(size=(2, 7, 8, 5)).astype("float32")


def normalised(conv, norm, values):
    values = conv(values)
    return values if norm is None else norm(values, training=False)


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"strides": 2},
        {"strides": 2, "padding": "valid"},
        {"kernel": (3, 2), "strides": (1, 3), "padding": "valid"},
        {"kernel": 1, "strides": 2, "use_bias": False},
        {"norm": False},
    ],
)
def test_one_layer_computes_what_the_two_compute(values, settings, frozen):
    conv, norm = pair(**settings)
    layer = folded(conv, norm, frozen=frozen)
    expected = normalised(conv, norm, values)
    np.testing.assert_allclose(layer(values), expected, rtol=1e-4, atol=1e-5)
    spec = layer.compute_output_spec(keras.KerasTensor((None, 7, 8, 5)))
    assert spec.shape == (None, *expected.shape[1:])


@pytest.mark.parametrize("settings", [{"scale": False}, {"center": False}])
def test_a_norm_without_scale_or_shift_is_folded_too(values, settings):
    conv, _ = pair()
    norm = keras.layers.BatchNormalization(**settings)
    norm.build((None, None, None, 6))
    for weight in norm.weights:
        weight.assign(np.linspace(0.5, 2, 6))
    expected = normalised(conv, norm, values)
    np.testing.assert_allclose(
        folded(conv, norm)(values), expected, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("size", [(7, 8), (8, 7)])
def test_strides_and_margins_give_every_second_row_and_column(size):
    values = np.random.default_rng(1).normal(size=(2, *size, 5)).astype("float32")
    conv, norm = pair()
    thin = folded(conv, norm, strides=(2, 2), margins=(1, 1))
    expected = normalised(conv, norm, values)[:, ::2, ::2]
    np.testing.assert_allclose(thin(values), expected, rtol=1e-4, atol=1e-5)
    spec = thin.compute_output_spec(keras.KerasTensor((None, *size, 5)))
    assert spec.shape == (None, *expected.shape[1:])


def gradients(compute, variables, values):
    values = tf.constant(values)
    with tf.GradientTape() as tape:
        tape.watch(values)
        loss = tf.reduce_sum(tf.sin(tf.cast(compute(values), "float32")))
    return tape.gradient(loss, [values, *variables])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "settings", [{}, {"filters": 3}, {"strides": 2}, {"kernel": 3}]
)
def test_gradients_are_those_of_the_two_layers(values, settings, dtype):
    conv, norm = pair(**{"kernel": 1, **settings})
    layer = folded(conv, norm, frozen=False, dtype=dtype)
    variables = [conv.kernel.value, conv.bias.value]
    expected = gradients(lambda x: normalised(conv, norm, x), variables, values)
    found = gradients(layer, variables, values)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == "float32"
        far = tf.norm(one - other) / tf.norm(other)
        assert far < (1e-5 if dtype == "float32" else 0.03)


def test_a_trained_layer_holds_the_convolutions_own_variables(values):
    conv, norm = pair()
    layer = folded(conv, norm, frozen=False)
    assert [id(v) for v in layer.trainable_variables] == [
        id(conv.kernel),
        id(conv.bias),
    ]
    before = layer(values)
    conv.kernel.assign(2 * conv.kernel)
    assert not np.allclose(layer(values), before)


def test_a_frozen_layer_is_a_constant(values):
    conv, norm = pair()
    layer = folded(conv, norm)
    before = layer(values)
    conv.kernel.assign(2 * conv.kernel)
    assert not layer.variables
    np.testing.assert_array_equal(layer(values), before)
