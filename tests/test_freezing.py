import keras
import numpy as np
import pytest

import kerasresnet as kr
from kerasresnet.freezing import plan

STAGES = ("conv1", "conv2", "conv3", "conv4", "conv5")


def batch_norm_weights(model):
    return [
        weight
        for layer in model.layers
        if isinstance(layer, keras.layers.BatchNormalization)
        for weight in layer.get_weights()
    ]


def test_unfreezing_earlier_never_trains_fewer_weights():
    model = kr.build_classifier(5, weights=None, input_shape=(64, 64, 3))
    counts = []
    for stage in (None, *reversed(STAGES)):
        kr.set_trainable(model, stage)
        counts.append(len(model.trainable_weights))
    # A kernel and a bias for each of 53 convolutions, and for the head.
    assert counts == sorted(counts)
    assert counts[0] == 2
    assert counts[-1] == 2 * 53 + 2


def test_the_plan_does_not_depend_on_what_was_trainable_before(small):
    model = small()
    kr.set_trainable(model, "conv1")
    kr.set_trainable(model, "conv4")
    once = small()
    kr.set_trainable(once, "conv4")
    assert plan(model) == plan(once)


@pytest.mark.parametrize(
    ("reloaded", "policy"),
    [
        (False, "float32"),
        pytest.param(True, "float32", marks=pytest.mark.core),
        pytest.param(False, "mixed_bfloat16", marks=pytest.mark.core),
        (True, "mixed_bfloat16"),
    ],
)
def test_batch_norm_is_bit_equal_after_fit_and_fine_tune(
    small, flowers, tmp_path, policy, reloaded
):
    before_policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = small()
        if reloaded:
            model.save(tmp_path / "model.keras")
            model = kr.load(tmp_path / "model.keras")
    finally:
        keras.config.set_dtype_policy(before_policy)
    before = batch_norm_weights(model)
    kr.fit(model, flowers, epochs=1)
    kr.fine_tune(model, flowers, from_stage="conv1", epochs=1, learning_rate=0.1)
    for old, new in zip(before, batch_norm_weights(model), strict=True):
        np.testing.assert_array_equal(old, new)


def test_frozen_stages_stand_still_and_trained_ones_move(small, flowers):
    model = small()
    weights = {layer.name: layer.get_weights() for layer in model.layers}
    kr.fine_tune(model, flowers, from_stage="conv4", epochs=1, learning_rate=0.01)
    for layer in model.layers:
        for old, new in zip(weights[layer.name], layer.get_weights(), strict=True):
            assert np.array_equal(old, new) == (layer.name not in plan(model))


def test_a_compiled_model_is_compiled_again_with_its_own_settings(small, pixels):
    model = small()
    kr.compile_classifier(
        model, optimizer="sgd", learning_rate=0.03, label_smoothing=0.1
    )
    model.fit(*pixels)
    first = model.optimizer
    kr.set_trainable(model, "conv5")
    assert model.optimizer is not first
    assert float(model.optimizer.learning_rate) == pytest.approx(0.03)
    assert model.loss.label_smoothing == 0.1
    model.fit(*pixels)


def test_plain_fit_refuses_flags_that_keras_would_ignore(small, pixels):
    model = small()
    kr.compile_classifier(model)
    model.fit(*pixels)
    model.get_layer("conv5_block1_1_conv").trainable = True
    with pytest.raises(RuntimeError, match="changed after the model was compiled"):
        model.fit(*pixels)


@pytest.mark.core
def test_our_fit_compiles_again_when_flags_were_changed_by_hand(small, pixels):
    model = small()
    kr.fit(model, pixels, epochs=1)
    layer = model.get_layer("conv5_block1_1_conv")
    before = layer.get_weights()[0]
    layer.trainable = True
    kr.fit(model, pixels, epochs=1, learning_rate=0.1)
    assert not np.array_equal(before, layer.get_weights()[0])


@pytest.mark.parametrize("stage", ["conv6", "avg_pool"])
def test_an_unknown_stage_is_refused(small, stage):
    with pytest.raises(ValueError, match=f"Unknown stage {stage!r}"):
        kr.set_trainable(small(), stage)


def test_a_model_without_stages_is_refused():
    images = keras.Input((8,))
    plain = keras.Model(images, keras.layers.Dense(2)(images), name="plain")
    with pytest.raises(ValueError, match="'plain' has no ResNet stages"):
        kr.set_trainable(plain, "conv5")


def test_flags_changed_by_hand_after_loading_are_noticed(small, pixels, tmp_path):
    model = small()
    kr.fit(model, pixels, epochs=1)
    model.save(tmp_path / "model.keras")
    again = kr.load(tmp_path / "model.keras")
    again.get_layer("conv5_block1_1_conv").trainable = True
    with pytest.raises(RuntimeError, match="changed after the model was compiled"):
        again.fit(*pixels)
    kr.fit(again, pixels, epochs=1)


def test_a_model_that_cannot_be_compiled_again_is_left_as_it_was(small):
    model = small()

    def unregistered(y_true, y_pred):
        return y_pred[:, 0]

    model.compile("adam", unregistered)
    before = plan(model)
    with pytest.raises(ValueError, match="register_keras_serializable"):
        kr.set_trainable(model, "conv5")
    assert plan(model) == before
