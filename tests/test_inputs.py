"""Data is matched to a model by class name, or refused before anything is computed."""

import numpy as np
import pytest
import tensorflow as tf

import kerasresnet as kr
from kerasresnet.inputs import as_image_data, training_images

NAMES = ("a", "b", "c", "d", "e")


@pytest.fixture
def numbered():
    """100 images of five classes."""
    images = np.full((100, 8, 8, 3), 100, "uint8")
    return kr.ImageData.from_arrays(images, np.arange(100) % 5, class_names=NAMES)


def test_labels_follow_their_names_into_the_models_order(numbered):
    turned = as_image_data(numbered, NAMES[::-1])
    np.testing.assert_array_equal(turned.labels, 4 - numbered.labels)
    assert as_image_data(numbered, NAMES) is numbered


def test_names_of_the_data_stand_for_the_numbers_of_an_unnamed_model(numbered):
    assert as_image_data(numbered, tuple("01234"), named=False) is numbered


@pytest.mark.parametrize("names", [("0", "1"), ("0", "1", "2", "3")])
def test_more_classes_than_the_model_has_are_refused(numbered, names):
    with pytest.raises(
        kr.DataError, match=r"data has 5 classes .* model has \d output"
    ):
        as_image_data(numbered, names, named=False)


def test_fewer_named_classes_than_an_unnamed_model_has_are_refused(numbered):
    with pytest.raises(kr.DataError, match=r"data has 5 classes .* model has 6 output"):
        as_image_data(numbered, tuple("012345"), named=False)


def test_a_foreign_class_is_refused(numbered):
    with pytest.raises(kr.DataError, match="not expected: e"):
        as_image_data(numbered, ("a", "b", "c", "d", "x"))


def divided(data):
    train, test = data.split(0.5, duplicates="exact")
    return kr.ImageData.combine(train=train, test=test)


def test_divided_data_is_not_trained_on_as_a_whole(flowers, small):
    whole, model = divided(flowers), small(5)
    with pytest.raises(
        kr.DataError, match=r"divided into train, test.*data\.split\(\)"
    ):
        kr.fit(model, whole, verbose=0)
    train, _ = whole.split()
    assert training_images(train, flowers.class_names) is train


@pytest.mark.parametrize("call", ["fit", "fine_tune", "evaluate"])
def test_images_of_a_dataset_cannot_be_skipped(small, call):
    images, labels = np.zeros((4, 32, 32, 3), "uint8"), np.arange(4) % 2
    dataset = tf.data.Dataset.from_tensor_slices((images, labels)).batch(2)
    with pytest.raises(ValueError, match="on_error='skip' works on ImageData"):
        getattr(kr, call)(small(2), dataset, on_error="skip")
    with pytest.raises(ValueError, match="Unknown on_error 'ignore'"):
        getattr(kr, call)(small(2), dataset, on_error="ignore")
