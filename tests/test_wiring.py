"""What of a stage's output the next stage reads, in the real graph."""

import keras
import numpy as np
import pytest

import kerasresnet as kr
from kerasresnet.wiring import (
    Wiring,
    feature_shape,
    inputs_of,
    is_plain,
    read_stride,
    read_stride_after,
)

layers = keras.layers


@pytest.fixture(scope="module")
def real():
    """The real graph, with sides of 16, 16, 8, 4 and 2 px."""
    return kr.build_classifier(5, weights=None, input_shape=(64, 64, 3))


@pytest.mark.parametrize(
    ("stage", "every"),
    [("conv1", 1), ("conv2", 2), ("conv3", 2), ("conv4", 2), ("conv5", 1)],
)
def test_the_next_stage_reads_every_second_row_where_it_begins_with_strides(
    real, stage, every
):
    assert read_stride_after(real, stage) == every


def test_every_pixel_of_the_images_is_read(real):
    assert read_stride(Wiring(real), real.input) == 1


@pytest.mark.parametrize("stage", ["conv2", "conv3", "conv4"])
def test_what_is_not_read_does_not_matter(real, stage):
    tail = kr.split_at(real, stage)[1]
    shape = (2, *tail.input.shape[1:])
    values = np.random.default_rng(0).uniform(0, 1, shape).astype("float32")
    thin = np.zeros_like(values)
    thin[:, ::2, ::2] = values[:, ::2, ::2]
    np.testing.assert_array_equal(tail(thin), tail(values))


@pytest.mark.parametrize("side", [64, 100])
def test_feature_shapes_are_those_of_slices(small, side):
    model = small(input_shape=(side, side - 7, 3))
    for stage in ("conv1", "conv4", "conv5"):
        features = kr.split_at(model, stage)[0].output
        assert feature_shape(model, stage, 1) == features.shape[1:]
        assert feature_shape(model, stage, 2) == features[:, ::2, ::2].shape[1:]
    assert feature_shape(model, "avg_pool", 1) == (32,)


def test_a_graph_knows_its_makers_and_readers(small):
    model = small()
    graph = Wiring(model)
    add = model.get_layer("conv3_block1_add")
    names = [layer.name for layer in graph.makers(add)]
    assert names == ["conv3_block1_0_bn", "conv3_block1_2_bn"]
    end = model.get_layer("conv3_block1_out").output
    names = sorted(layer.name for layer in graph.readers(end))
    assert names == ["conv4_block1_0_conv", "conv4_block1_1_conv"]
    assert graph.readers(model.output) == inputs_of(model.layers[0]) == []


@pytest.mark.parametrize(
    ("strides", "every"), [([2, 2], 2), ([2, 1], 1), ([(2, 1)], 1), ([3], 3), ([], 1)]
)
def test_all_readers_must_skip_the_same(strides, every):
    images = keras.Input((12, 12, 3))
    end = layers.ReLU()(images)
    outputs = [layers.Conv2D(2, 1, stride)(end) for stride in strides]
    outputs = [layers.GlobalMaxPooling2D()(values) for values in outputs]
    model = keras.Model(images, outputs or end)
    assert read_stride(Wiring(model), end) == every


@pytest.mark.parametrize(
    "settings",
    [
        {"kernel_size": 3},
        {"groups": 2},
        {"kernel_size": 3, "strides": 1, "dilation_rate": 2},
        {"activation": "relu"},
    ],
)
def test_other_convolutions_read_everything(settings):
    images = keras.Input((12, 12, 2))
    layer = layers.Conv2D(2, **{"kernel_size": 1, "strides": 2, **settings})
    model = keras.Model(images, layer(images))
    assert read_stride(Wiring(model), images) == 1
    assert is_plain(layer) == (settings == {"kernel_size": 3})
