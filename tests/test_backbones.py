import keras
import numpy as np
import pytest

import kerasresnet as kr
from kerasresnet.backbones import stage_of


def test_output_equals_keras_resnet50_behind_keras_own_preprocessing():
    model = kr.build_classifier(5, weights=None, input_shape=(64, 64, 3))
    oracle = keras.applications.ResNet50(
        include_top=False, weights=None, pooling="avg", input_shape=(64, 64, 3)
    )
    for layer in oracle.layers:
        layer.set_weights(
            model.get_layer(layer.name).get_weights() if layer.weights else []
        )
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), "uint8")
    prepared = keras.applications.resnet50.preprocess_input(images.astype("float32"))
    trunk, _ = kr.split_at(model, "avg_pool")
    np.testing.assert_allclose(
        trunk.predict(images), oracle.predict(prepared), rtol=1e-5, atol=1e-5
    )


def test_uint8_and_float_pixels_give_the_same_output(small, pixels):
    model = small()
    images, _ = pixels
    np.testing.assert_array_equal(
        model.predict(images), model.predict(images.astype("float32"))
    )


def test_upsampling_repeats_whole_pixels(pixels):
    model = kr.build_classifier(
        3, weights=None, input_shape=(32, 32, 3), upsample_to=(64, 96)
    )
    images = pixels[0][:1]
    enlarged = keras.Model(model.input, model.get_layer("upsampling").output)
    expected = images.repeat(2, axis=1).repeat(3, axis=2)
    np.testing.assert_array_equal(enlarged.predict(images), expected)


@pytest.mark.parametrize(
    ("layer", "stage"),
    [
        ("conv1_pad", "conv1"),
        ("pool1_pool", "conv1"),
        ("conv4_block6_3_bn", "conv4"),
        ("post_bn", "conv5"),
        ("avg_pool", None),
        ("predictions", None),
    ],
)
def test_layers_belong_to_the_stage_in_their_name(layer, stage):
    assert stage_of(layer) == stage
