from pathlib import Path

import keras
import numpy as np
import pytest

import kerasresnet as kr
from kerasresnet.backbones import BACKBONES, STAGES, Preprocessing, stage_end
from kerasresnet.catalogue import ARCHITECTURES, list_backbones, table_lines
from kerasresnet.twins import Trunk, hindrance, trunk_digest

LARGE = [pytest.mark.slow]
NAMES = [
    pytest.param(name, marks=LARGE if row.depth > 50 else [])
    for name, row in ARCHITECTURES.items()
]
# One of each kind of block, convention and stem.
KINDS = [
    ("resnet18", "imagenet"),
    ("resnet18v1.5", "cifar"),
    ("resnet50", "cifar"),
    ("resnet50v1.5", "imagenet"),
    ("resnet50v2", "imagenet"),
]


def with_statistics(model, seed=0):
    """Gives every layer values that an error would show in."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            size = layer.gamma.shape[0]
            share = 0.3 if layer.name.endswith(("_2_bn", "_3_bn")) else 1
            layer.gamma.assign(rng.uniform(0.5, 1.5, size) * share)
            layer.beta.assign(rng.normal(0, 0.3, size))
            layer.moving_mean.assign(rng.normal(0, 0.3, size))
            layer.moving_variance.assign(rng.uniform(0.5, 2, size))
    return model


@pytest.fixture(scope="module", params=KINDS, ids=" ".join)
def kind(request):
    """A network of each kind, frozen, and images for it."""
    backbone, stem = request.param
    keras.utils.set_random_seed(0)
    model = kr.build_classifier(
        3, backbone=backbone, stem=stem, weights=None, input_shape=(40, 56, 3)
    )
    images = np.random.default_rng(0).integers(0, 256, (2, 40, 56, 3), "uint8")
    return with_statistics(model), images


@pytest.mark.parametrize("name", NAMES)
def test_the_table_says_what_the_graph_has(name):
    row = ARCHITECTURES[name]
    images = keras.Input((224, 224, 3))
    model = keras.Model(images, BACKBONES[name].graph(images))
    products = sum(
        np.prod(layer.output.shape[1:3]) * np.prod(layer.kernel.shape)
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D)
    )
    assert model.count_params() == row.parameters
    assert round(products / 1e9, 2) == row.gflops
    assert model.output.shape[1:] == (7, 7, 2048 if row.bottleneck else 512)
    blocks = [layer.name for layer in model.layers if layer.name.endswith("_out")]
    assert len(blocks) == sum(row.blocks)


def test_every_network_can_be_chosen_and_an_unknown_one_names_the_nearest():
    assert list_backbones() == tuple(name for name in BACKBONES if name != "small")
    with pytest.raises(ValueError, match=r"Did you mean 'resnet50v1\.5'\?"):
        kr.build_classifier(3, backbone="resnet50v15", weights=None)


def test_our_own_v1_graph_is_that_of_keras_but_for_the_stem():
    tails = []
    for graph, size in (
        (BACKBONES["resnet50"].cifar_graph, 16),
        (BACKBONES["resnet50"].graph, 64),
    ):
        images = keras.Input((size, size, 3))
        model = keras.Model(images, graph(images))
        tails.append(keras.Model(stage_end(model, "conv1").output, model.output))
    ours, theirs = (with_statistics(tail) for tail in tails)
    for layer in (layer for layer in ours.layers if layer.weights):
        theirs.get_layer(layer.name).set_weights(layer.get_weights())
    features = np.random.default_rng(0).random((2, 16, 16, 64), "float32")
    np.testing.assert_allclose(ours(features), theirs(features), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stage", STAGES)
def test_every_kind_is_cut_and_folded_exactly(kind, stage):
    model, images = kind
    assert hindrance(model) is None
    trunk, tail = kr.split_at(model, stage)
    features = trunk(images.astype("float32"))
    np.testing.assert_allclose(
        tail(features), model(images.astype("float32")), rtol=1e-5, atol=1e-6
    )
    found = Trunk(model, stage, "float32").features(images)
    scale = np.abs(features).max()
    np.testing.assert_allclose(found, features, rtol=1e-5, atol=1e-5 * scale)


@pytest.mark.parametrize(
    "kind", [KINDS[0], KINDS[1], KINDS[4]], indirect=True, ids=" ".join
)
def test_every_kind_is_frozen_trained_and_saved(kind, tmp_path):
    model, images = kind
    still = {
        weight.path: np.array(weight)
        for layer in model.layers
        if isinstance(layer, keras.layers.BatchNormalization)
        for weight in layer.weights
    }
    kr.fine_tune(model, (images, np.array([0, 2])), from_stage="conv5", epochs=1)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            for weight in layer.weights:
                np.testing.assert_array_equal(weight, still[weight.path])
    heat_map = kr.grad_cam(model, images[0])
    assert heat_map.values.shape == (40, 56)
    model.save(tmp_path / "model.keras")
    again = kr.load(tmp_path / "model.keras")
    kept = ("backbone", "stem", "preprocessing", "class_names")
    assert [getattr(again, name) for name in kept] == [
        getattr(model, name) for name in kept
    ]
    np.testing.assert_array_equal(again.predict(images), model.predict(images))


def test_a_stem_for_small_images_keeps_their_size_and_takes_smaller_ones():
    model = kr.build_classifier(
        10, backbone="resnet18", stem="cifar", weights=None, input_shape=(8, 8, 3)
    )
    assert stage_end(model, "conv1").output.shape[1:] == (8, 8, 64)
    assert stage_end(model, "conv5").output.shape[1:] == (1, 1, 512)
    with pytest.raises(ValueError, match="needs at least 8 x 8 px"):
        kr.build_classifier(
            10, backbone="resnet18", stem="cifar", weights=None, input_shape=(4, 8, 3)
        )


def test_a_stem_that_the_network_does_not_have_is_refused():
    with pytest.raises(
        ValueError, match=r"stem='cifar' is for the graphs v1 and v1\.5"
    ):
        kr.build_classifier(3, backbone="resnet50v2", stem="cifar", weights=None)
    with pytest.raises(ValueError, match=r"Did you mean 'cifar'\?"):
        kr.build_classifier(3, stem="cifar10", weights=None)


def test_published_weights_are_refused_with_another_stem_before_they_are_fetched():
    with pytest.raises(ValueError, match="Published weights begin with the stem"):
        kr.build_classifier(3, backbone="resnet18", stem="cifar")


@pytest.mark.parametrize("mode", ["caffe", "torch", "tf"])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_preprocessing_is_that_of_keras_and_leaves_the_array_alone(mode, dtype):
    images = np.array([[[[255, 0, 7], [128, 3, 250]]]], dtype)
    before = images.copy()
    ours = np.asarray(Preprocessing(mode)(images))
    np.testing.assert_array_equal(images, before)
    oracle = keras.applications.imagenet_utils.preprocess_input(
        images.astype("float32"), mode=mode
    )
    np.testing.assert_allclose(ours, oracle, rtol=1e-5)


def test_what_the_weights_expect_can_be_said_and_is_saved(tmp_path):
    settings = {"weights": None, "input_shape": (32, 32, 3), "backbone": "resnet18"}
    assert kr.build_classifier(2, **settings).preprocessing == "caffe"
    model = kr.build_classifier(2, **settings, preprocessing="torch")
    model.save(tmp_path / "model.keras")
    assert kr.load(tmp_path / "model.keras").preprocessing == "torch"
    with pytest.raises(ValueError, match=r"Unknown preprocessing 'imagenet'"):
        kr.build_classifier(2, **settings, preprocessing="imagenet")


def test_another_preprocessing_is_another_trunk(small):
    digests = {
        trunk_digest(small(preprocessing=mode), "conv1")
        for mode in ("caffe", "torch", "tf", "tf")
    }
    assert len(digests) == 3


def test_layers_that_keras_numbers_through_change_no_digest():
    settings = {"backbone": "resnet50v2", "weights": None, "input_shape": (32, 32, 3)}
    one = kr.build_classifier(2, **settings)
    other = kr.build_classifier(2, **settings)
    other.set_weights(one.get_weights())
    assert trunk_digest(one, "conv5") == trunk_digest(other, "conv5")


def test_the_page_shows_what_the_command_prints():
    page = Path(__file__).parents[1] / "docs" / "backbones.md"
    assert "\n".join(table_lines()) in page.read_text("utf-8")
