import logging

import keras
import numpy as np
import pytest
from PIL import Image

import kerasresnet as kr


def enlarged(heat, size):
    """A map at the size of the image, its largest value 1: by Pillow instead of Keras."""
    image = Image.fromarray(heat.astype("float32"))
    values = np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR))
    return values / values.max()


def features_and_logits(model, images, stage):
    trunk, _ = kr.split_at(model, stage)
    head = model.get_layer("predictions")
    read = keras.Model(trunk.output, head.input)
    kernel, bias = (np.asarray(values) for values in (head.kernel, head.bias))
    as_array = keras.ops.convert_to_numpy
    return as_array(trunk(images)), lambda x: as_array(read(x)) @ kernel + bias


@pytest.fixture
def photos():
    return np.random.default_rng(1).integers(0, 256, (5, 64, 64, 3), "uint8")


@pytest.fixture
def model(small):
    return small(class_names=list("abcde"), input_shape=(64, 64, 3))


def test_at_the_last_stage_of_a_linear_head_it_is_a_class_activation_map(model, photos):
    # Zhou et al. 2016: features weighted with the column of the kernel.
    features, _ = features_and_logits(model, photos, "conv5")
    column = np.asarray(model.get_layer("predictions").kernel)[:, 2]
    expected = np.maximum(features @ column, 0)
    assert expected.any(axis=(1, 2)).all()
    for heat_map, cam in zip(kr.grad_cam(model, photos, "c"), expected, strict=True):
        np.testing.assert_allclose(heat_map.values, enlarged(cam, (64, 64)), atol=1e-5)


@pytest.mark.core
@pytest.mark.parametrize(
    ("stage", "settings"),
    [
        ("conv5", {"hidden_units": (8,), "dropout": 0.5}),
        ("conv5", {"pooling": "max"}),
        ("conv4", {}),
    ],
)
def test_channels_are_weighted_by_how_much_they_raise_the_logit(
    small, photos, stage, settings
):
    model = small(input_shape=(64, 64, 3), **settings)
    features, logits = features_and_logits(model, photos[:1], stage)
    step = 1e-2 * np.eye(features.shape[-1], dtype="float32")[:, None, None]
    slopes = (logits(features + step) - logits(features - step))[:, 3]
    expected = np.maximum(features[0] @ slopes, 0)
    (found,) = kr.grad_cam(model, photos[:1], "3", stage=stage)
    np.testing.assert_allclose(found.values, enlarged(expected, (64, 64)), atol=0.02)


@pytest.mark.core
def test_a_batch_gives_what_one_image_after_the_other_gives(model, photos):
    together = kr.grad_cam(model, photos, batch_size=2)
    alone = [kr.grad_cam(model, photo) for photo in photos]
    for one, other in zip(together, alone, strict=True):
        assert one.label == other.label
        assert one.probability == pytest.approx(other.probability, abs=1e-5)
        np.testing.assert_allclose(one.values, other.values, atol=1e-5)


def test_a_sure_model_is_explained_as_well(model, photos):
    before = kr.grad_cam(model, photos)
    head = model.get_layer("predictions")
    head.kernel.assign(head.kernel * 1e6)
    after = kr.grad_cam(model, photos)
    # After such a softmax every gradient is 0.
    assert all(heat_map.probability == 1 for heat_map in after)
    for one, other in zip(before, after, strict=True):
        np.testing.assert_allclose(one.values, other.values, atol=1e-5)


def test_the_map_is_where_the_square_is(small):
    rng = np.random.default_rng(0)
    images = rng.integers(90, 110, (96, 64, 64, 3), "uint8")
    labels, corners = np.arange(96) % 2, rng.integers(0, 4, (96, 2)) * 16
    for image, (top, left), label in zip(images, corners, labels, strict=True):
        image[top : top + 16, left : left + 16] = ((40, 40, 255), (255, 40, 40))[label]
    model = small(2, input_shape=(64, 64, 3))
    kr.probe(model, (images, labels), verbose=0)
    for stage in ("conv3", "conv5"):
        heat_maps = kr.grad_cam(model, images, stage=stage)
        peaks = [divmod(int(heat_map.values.argmax()), 64) for heat_map in heat_maps]
        hits = np.all(np.array(peaks) // 16 == corners // 16, axis=1)
        assert hits.mean() > 0.75  # by chance 1 in 16


def test_without_evidence_a_map_is_all_zeros_and_the_log_says_so_once(
    model, photos, caplog
):
    head = model.get_layer("predictions")
    head.kernel.assign(-np.ones(head.kernel.shape))  # features are never negative
    with caplog.at_level(logging.WARNING):
        heat_maps = kr.grad_cam(model, photos, "a", batch_size=2)
    assert all(not heat_map.values.any() for heat_map in heat_maps)
    (record,) = caplog.records
    assert record.getMessage() == (
        "5 of 5 maps are all zeros: nothing at conv5 speaks for the class in image 0, "
        "image 1, image 2 and 2 more."
    )


def test_the_class_is_the_one_asked_for_or_the_most_probable(model, photos):
    predictions = kr.predict(model, photos, top=5)
    for heat_map, prediction in zip(
        kr.grad_cam(model, photos), predictions, strict=True
    ):
        assert heat_map.label == prediction.label
        assert heat_map.probability == pytest.approx(prediction.probability, abs=1e-5)
    wanted = ["b", "a", "e", "e", "c"]
    found = kr.grad_cam(model, photos, wanted)
    assert [heat_map.label for heat_map in found] == wanted
    for heat_map, prediction in zip(found, predictions, strict=True):
        expected = dict(prediction.top)[heat_map.label]
        assert heat_map.probability == pytest.approx(expected, abs=1e-5)


def test_one_image_gives_a_map_and_several_a_list(small, flowers):
    model = small()
    path = flowers.paths[0]
    one = kr.grad_cam(model, path)
    assert (one.source, one.stage) == (str(path), "conv5")
    for image in (str(path), path.read_bytes(), one.image):
        same = kr.grad_cam(model, image)
        np.testing.assert_allclose(same.values, one.values, atol=1e-6)
    assert kr.grad_cam(model, Image.open(path)).source == str(path)
    assert np.asarray(one).shape == one.values.shape == (32, 32)
    assert (one.image.shape, one.image.dtype) == ((32, 32, 3), "uint8")
    assert [found.source for found in kr.grad_cam(model, [path])] == [str(path)]
    assert len(kr.grad_cam(model, path.parent)) == 6
    assert len(kr.grad_cam(model, flowers)) == len(flowers)


@pytest.mark.parametrize("stage", ["conv1", "conv2", "conv3", "conv4", "conv5"])
def test_every_stage_of_resnet50_has_a_map_at_the_size_of_the_image(resnet, stage):
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), "uint8")
    for heat_map in kr.grad_cam(resnet, images, "b", stage=stage):
        assert heat_map.values.shape == (64, 64)
        assert (heat_map.values.min() >= 0, heat_map.values.max()) == (True, 1)


@pytest.fixture(scope="module")
def resnet():
    keras.utils.set_random_seed(0)
    return kr.build_classifier(
        class_names=["a", "b"], weights=None, input_shape=(64, 64, 3)
    )


def test_a_stage_larger_than_the_image_gives_a_map_of_its_size(small, pixels):
    model = small(upsample_to=128)
    heat_map = kr.grad_cam(model, pixels[0][0], stage="conv2")
    assert kr.split_at(model, "conv2")[0].output.shape[1:3] == (32, 32)
    assert heat_map.values.shape == (32, 32)


def test_what_cannot_be_explained_is_refused(model, photos):
    with pytest.raises(ValueError, match=r"Unknown class 'dd'. Did you mean 'd'\?"):
        kr.grad_cam(model, photos, "dd")
    with pytest.raises(ValueError, match="one for each of 5 images, received 2"):
        kr.grad_cam(model, photos, ["a", "b"])
    with pytest.raises(ValueError, match="'avg_pool' have no height and width"):
        kr.grad_cam(model, photos, stage="avg_pool")
    with pytest.raises(ValueError, match=r"Unknown stage 'conv6'\. Did you mean"):
        kr.grad_cam(model, photos, stage="conv6")


def test_a_damaged_model_is_refused(model, photos):
    head = model.get_layer("predictions")
    head.kernel.assign(np.full(head.kernel.shape, np.nan))
    with pytest.raises(kr.DataError, match="gave NaN or infinity"):
        kr.grad_cam(model, photos)
