"""The twin computes what the model computes, with the model's own variables."""

import gc
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasresnet as kr
from kerasresnet import backbones
from kerasresnet.twins import Trunk, Twin, hindrance, precision_of, trunk_digest

layers = keras.layers


def unsettled(model, seed=0):
    """Gives a model biases and batch norm statistics that an error would show in."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            size = layer.gamma.shape[0]
            # 1000: what comes of pixels. 0.3: or the sums of 16 blocks would explode.
            spread = 1000 if layer.name == "conv1_bn" else 1
            share = 0.3 if layer.name.endswith("_3_bn") else 1
            layer.gamma.assign(rng.uniform(0.5, 1.5, size) * share)
            layer.beta.assign(rng.normal(0, 0.3, size))
            layer.moving_mean.assign(rng.normal(0, 0.3, size) * spread**0.5)
            layer.moving_variance.assign(rng.uniform(0.5, 2, size) * spread)
        elif isinstance(layer, layers.Conv2D):
            layer.bias.assign(rng.normal(0, 0.3, layer.bias.shape[0]))
    return model


def distance(found, expected):
    found, expected = np.asarray(found, "float32"), np.asarray(expected)
    assert found.shape == expected.shape
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def real_case(side):
    model = kr.build_classifier(5, weights=None, input_shape=(side, side, 3))
    unsettled(model)
    images = np.random.default_rng(0).integers(0, 256, (2, side, side, 3), "uint8")
    ends = [kr.split_at(model, stage)[0].output for stage in kr.STAGES]
    values = keras.Model(model.input, ends)(images.astype("float32"))
    expected = {stage: v.numpy() for stage, v in zip(kr.STAGES, values, strict=True)}
    return model, images, expected


@pytest.fixture(scope="module")
def real():
    """The real graph at 64 px, two images, and its own values at every stage."""
    return real_case(64)


@pytest.fixture(scope="module")
def odd():
    """The same at 100 px, where conv2 to conv4 are 25, 13 and 7 px."""
    return real_case(100)


@pytest.fixture(scope="module")
def built(small):
    return small()


@pytest.fixture
def case(built, pixels):
    """The small model, built once but unsettled and frozen in each test, and images."""
    kr.set_trainable(built, None)
    return unsettled(built), pixels[0].astype("float32")


# The trunk -----------------------------------------------------------------------------


@pytest.mark.parametrize("stage", kr.STAGES)
def test_the_trunk_equals_the_models_own_layers_at_every_stage(real, stage):
    model, images, expected = real
    features = Trunk(model, stage, "float32").features(images)
    assert features.dtype == "float32"
    assert distance(features, expected[stage]) < 1e-5


@pytest.mark.parametrize(
    ("sides", "stage"),
    [("real", "conv4"), ("odd", "conv2"), ("odd", "conv3"), ("odd", "conv4")],
)
def test_a_thinned_trunk_gives_every_second_row_and_column(request, stage, sides):
    model, images, expected = request.getfixturevalue(sides)
    trunk = Trunk(model, stage, "float32", every=2)
    assert distance(trunk.features(images), expected[stage][:, ::2, ::2]) < 1e-5


def test_bfloat16_is_near(real):
    model, images, expected = real
    features = Trunk(model, "avg_pool", "bfloat16").features(images)
    assert features.dtype.name == "bfloat16"
    assert distance(features, expected["avg_pool"]) < 0.015


@pytest.mark.parametrize(
    ("earlier", "given", "stage", "every"),
    [("conv2", 2, "conv3", 2), ("conv4", 2, "avg_pool", 1), ("conv3", 1, "conv4", 2)],
)
def test_features_of_an_earlier_stage_lead_to_the_same(
    odd, earlier, given, stage, every
):
    model, _, expected = odd
    trunk = Trunk(model, stage, "float32", every=every).after(earlier, given)
    features = trunk.features(expected[earlier][:, ::given, ::given])
    wanted = expected[stage][:, ::every, ::every] if every > 1 else expected[stage]
    assert distance(features, wanted) < 1e-5


def test_the_number_type_of_images_changes_nothing(case):
    model, images = case
    trunk = Trunk(model, "conv4", "float32")
    np.testing.assert_array_equal(
        trunk.features(images), trunk.features(images.astype("uint8"))
    )


def test_a_stage_that_the_model_lacks_is_refused(case):
    with pytest.raises(ValueError, match="Unknown stage 'conv6'"):
        Trunk(case[0], "conv6")


def test_the_digest_knows_the_weights_up_to_the_stage_and_no_others(case):
    model, _ = case
    before = trunk_digest(model, "conv3")
    for name in ("predictions", "conv4_block1_1_conv", "conv5_block1_2_bn"):
        weight = model.get_layer(name).weights[0]
        weight.assign(weight + 1)
    assert trunk_digest(model, "conv3") == before != trunk_digest(model, "conv2")
    seen = {before}
    for name in ("conv1_conv", "conv1_bn", "conv3_block1_2_bn"):
        for weight in model.get_layer(name).weights:
            value = weight.numpy()
            value.flat[-1] += 1e-3
            weight.assign(value)
            seen.add(trunk_digest(model, "conv3"))
    assert len(seen) == 1 + 2 + 4 + 4


def test_the_policy_of_the_model_does_not_decide_float32(small, case):
    model, images = case
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        mixed = small()
    finally:
        keras.config.set_dtype_policy(before)
    mixed.set_weights(model.get_weights())
    trunks = [Trunk(each, "avg_pool", "float32") for each in (model, mixed)]
    np.testing.assert_array_equal(*(trunk.features(images) for trunk in trunks))
    assert precision_of(mixed, "auto") == "bfloat16"


# The twin ------------------------------------------------------------------------------


def twin_from(model, stage, precision="float32"):
    kr.set_trainable(model, stage)
    before = dict(zip(kr.STAGES[1:], kr.STAGES, strict=False)).get(stage)
    trunk = Trunk(model, before, precision) if before else None
    return Twin(model, trunk, precision)


def gradients(compute, model, inputs):
    with tf.GradientTape() as tape:
        probabilities = compute(inputs, training=True)
        loss = -tf.reduce_mean(tf.math.log(probabilities[:, 0]))
    variables = [variable.value for variable in model.trainable_variables]
    return probabilities, tape.gradient(loss, variables)


@pytest.mark.parametrize("stage", ["conv5", "conv4", "conv1"])
def test_gradients_through_the_twin_are_those_of_the_model(case, stage):
    model, images = case
    twin = twin_from(model, stage)
    outputs, expected = gradients(model, model, images)
    same, found = gradients(twin, model, {"images": images})
    assert distance(same, outputs) < 1e-5
    for variable, one, other in zip(
        model.trainable_variables, found, expected, strict=True
    ):
        np.testing.assert_allclose(
            one,
            other,
            rtol=1e-4,
            atol=1e-4 * np.abs(other).max(),
            err_msg=variable.path,
        )


def test_gradients_of_the_real_graph_are_the_same_too(real):
    model, images, expected = real
    trunk = Trunk(model, "conv4", "float32", every=2)
    kr.set_trainable(model, "conv5")
    try:
        outputs, wanted = gradients(model, model, images.astype("float32"))
        thin = {"features": expected["conv4"][:, ::2, ::2]}
        same, found = gradients(Twin(model, trunk, "float32"), model, thin)
    finally:
        kr.set_trainable(model, None)
    assert distance(same, outputs) < 1e-5
    for one, other in zip(found, wanted, strict=True):
        assert distance(one, other) < 1e-3


@pytest.mark.parametrize("stage", ["conv5", "conv4", "conv1"])
def test_gradients_in_bfloat16_point_the_same_way(case, stage):
    model, images = case
    twin = twin_from(model, stage, "bfloat16")
    _, expected = gradients(model, model, images)
    _, found = gradients(twin, model, {"images": images})
    for variable, one, other in zip(
        model.trainable_variables, found, expected, strict=True
    ):
        assert one.dtype == "float32"
        cosine = np.sum(one * other) / np.linalg.norm(one) / np.linalg.norm(other)
        assert cosine > 0.98, variable.path


@pytest.mark.parametrize("stage", [None, "conv5", "conv4", "conv1"])
def test_the_twin_trains_the_models_own_variables(case, stage):
    model, images = case
    twin = twin_from(model, stage)
    held = {id(v) for v in twin._tail.trainable_variables}
    assert held == {id(v) for v in model.trainable_variables}
    before = model(images).numpy()
    for variable in model.trainable_variables:
        variable.assign(1.01 * variable)
    assert not np.allclose(model(images), before, rtol=1e-4, atol=0)
    assert distance(twin({"images": images}), model(images)) < 1e-5


def test_the_twin_takes_features_as_well_as_images(case):
    model, images = case
    twin = twin_from(model, "conv5")
    features = Trunk(model, "conv4", "float32").features(images)
    np.testing.assert_allclose(
        twin({"features": features}), twin({"images": images}), rtol=1e-5
    )


def test_a_trained_stage_cannot_be_the_frozen_part(case):
    model, _ = case
    trunk = Trunk(model, "conv5", "float32")
    kr.set_trainable(model, "conv5")
    with pytest.raises(
        ValueError, match=r"'conv5_block1_1_conv' is trained.* go stale"
    ):
        Twin(model, trunk, "float32")


# What cannot be folded -----------------------------------------------------------------


def odd_graph(extra):
    """A network of five plain stages, of which the third begins with an extra layer."""

    def graph(x):
        for number in range(1, 6):
            if number == 3:
                x = extra()(x)
            x = layers.Conv2D(8, 1, name=f"conv{number}_block1_1_conv")(x)
            x = layers.BatchNormalization(name=f"conv{number}_block1_1_bn")(x)
            x = layers.ReLU(name=f"conv{number}_block1_out")(x)
            if number == 1:
                x = layers.MaxPooling2D(4, name="pool1_pool")(x)
        return x

    return backbones.Backbone(graph, smallest=16)


NAME = {"name": "conv3_block1_0_conv"}
EXTRAS = {
    "grouped": lambda: layers.Conv2D(8, 3, groups=2, padding="same", **NAME),
    "dilated": lambda: layers.Conv2D(8, 3, dilation_rate=2, padding="same", **NAME),
    "activated": lambda: layers.Conv2D(8, 3, activation="relu", padding="same", **NAME),
    "depthwise": lambda: layers.DepthwiseConv2D(3, padding="same", **NAME),
}
REASONS = {"depthwise": "is a DepthwiseConv2D with"}


@pytest.mark.parametrize("kind", EXTRAS)
def test_a_network_that_cannot_be_folded_is_trained_by_its_own_layers(
    pixels, monkeypatch, caplog, kind
):
    monkeypatch.setitem(backbones.BACKBONES, "odd", odd_graph(EXTRAS[kind]))
    size = {"input_shape": (32, 32, 3), "weights": None}
    model = unsettled(kr.build_classifier(5, backbone="odd", **size))
    assert REASONS.get(kind, "is a Conv2D with settings of its own") in hindrance(model)
    expected = kr.split_at(model, "conv4")[0](pixels[0].astype("float32"))
    trunk = Trunk(model, "conv4")
    np.testing.assert_allclose(
        trunk.features(pixels[0]), expected, rtol=1e-5, atol=1e-5
    )
    assert "computed by its own layers, which is slower" in caplog.text
    gradient = gradients(twin_from(model, "conv4"), model, {"images": pixels[0]})[1]
    oracle = gradients(model, model, pixels[0].astype("float32"))[1]
    for one, other in zip(gradient, oracle, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


def test_a_batch_norm_without_a_convolution_is_a_scale_and_a_shift(pixels, monkeypatch):
    norm = odd_graph(lambda: layers.BatchNormalization(name="conv3_block1_0_bn"))
    monkeypatch.setitem(backbones.BACKBONES, "odd", norm)
    size = {"input_shape": (32, 32, 3), "weights": None}
    model = unsettled(kr.build_classifier(5, backbone="odd", **size))
    assert hindrance(model) is None
    expected = kr.split_at(model, "conv4")[0](pixels[0].astype("float32"))
    trunk = Trunk(model, "conv4", "float32")
    np.testing.assert_allclose(
        trunk.features(pixels[0]), expected, rtol=1e-5, atol=1e-5
    )
    gradient = gradients(twin_from(model, "conv2"), model, {"images": pixels[0]})[1]
    oracle = gradients(model, model, pixels[0].astype("float32"))[1]
    for one, other in zip(gradient, oracle, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


def test_a_trained_batch_norm_is_trained_by_the_models_own_layers(case, pixels):
    model, _ = case
    norm = model.get_layer("conv5_block1_1_bn")
    norm.trainable = True
    assert hindrance(model) == "batch normalisation 'conv5_block1_1_bn' is trained"
    before = norm.get_weights()
    kr.fit(model, pixels, epochs=1, learning_rate=0.1)
    for old, new in zip(before, norm.get_weights(), strict=True):
        assert not np.array_equal(old, new)


def test_a_precision_that_needs_folding_is_refused_with_the_way_on(case, pixels):
    model, _ = case
    model.get_layer("conv5_block1_1_bn").trainable = True
    with pytest.raises(ValueError, match=r"set_dtype_policy\('mixed_bfloat16'\)"):
        kr.fit(model, pixels, epochs=1, precision="bfloat16")
    assert precision_of(model, "float32") == "float32"


def test_other_backends_compute_by_the_models_own_layers(case, monkeypatch):
    model, _ = case
    assert hindrance(model) is None
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    assert hindrance(model) == "the backend is jax"
    assert not Trunk(model, "conv4").folded


def test_a_twin_is_let_go_with_its_constants(small):
    model = small()
    kr.extract_features(model, np.zeros((2, 32, 32, 3), "uint8"), cache="memory")
    trunk = Trunk(model, "conv4", "float32")
    held = weakref.ref(next(a for a in trunk.graph.layers if a.name == "conv1_conv"))
    del trunk
    gc.collect()
    assert held() is None


@pytest.mark.parametrize("policy", ["bfloat16", "float64"])
def test_a_model_whose_weights_are_not_float32_trains_by_its_own_layers(
    small, pixels, policy
):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = small()
    finally:
        keras.config.set_dtype_policy(before)
    assert "settings of its own" in hindrance(model)
    history = kr.fine_tune(model, pixels, epochs=1)
    assert np.isfinite(history.history["loss"]).all()


def test_a_layer_with_lora_is_not_folded(small, pixels):
    model = small()
    model.get_layer("conv5_block1_1_conv").enable_lora(2)
    assert "settings of its own" in hindrance(model)
