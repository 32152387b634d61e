"""What goes wrong in training is said, each thing by a test that provokes it."""

import numpy as np
import pytest
import tensorflow as tf

import kerasresnet as kr

QUIET = {"verbose": 0, "batch_size": 5}


@pytest.fixture
def fitted(small, pixels, caplog):
    """Trains a model on ten images and returns what was said."""

    def fit(model=None, train=None, validation=None, **settings):
        model = model or small(5)
        caplog.clear()
        kr.fit(model, train or pixels, validation, **{"epochs": 1, **QUIET, **settings})
        return caplog.text

    return fit


def test_an_ordinary_run_says_nothing(fitted, small, coloured):
    images, labels = coloured
    train, held_out = (images[:30], labels[:30]), (images[30:], labels[30:])
    model = small(3)
    model.get_layer("predictions").kernel.assign(np.zeros((32, 3)))
    assert fitted(model, train, held_out, epochs=5, learning_rate=0.03) == ""


def test_a_first_loss_far_from_guessing_is_said(fitted, small):
    model = small(5)
    head = model.get_layer("predictions").kernel
    head.assign(np.array(head) * 100)
    assert "where guessing gives ln(classes) = 1.61" in fitted(model)
    assert "where guessing" not in fitted(model, epochs=2)  # it has been trained by now


def test_a_model_that_always_answers_the_same_is_said(fitted, small, pixels):
    model = small(5)
    model.get_layer("predictions").bias.assign([50, 0, 0, 0, 0])
    images, labels = pixels
    said = fitted(model, validation=(255 - images, labels), learning_rate=1e-6)
    assert "calls every validation image '0'" in said


def test_a_share_that_is_that_of_a_class_by_chance_is_not_said(fitted, small, pixels):
    model = small(5)
    images, _ = pixels
    predicted = model.predict(255 - images, verbose=0).argmax(axis=1)
    wrong = np.where(np.arange(10) < 2, predicted, (predicted + 1) % 5)
    said = fitted(model, validation=(255 - images, wrong), learning_rate=1e-9)
    assert "calls every" not in said or len(set(predicted)) == 1


def test_validation_images_among_the_training_images_are_said(fitted, pixels):
    images, labels = pixels
    some = (images[3:6].copy(), labels[3:6])
    assert "3 of 3 validation images are among the training images" in fitted(
        validation=some
    )


def test_photos_in_both_parts_are_said_by_name(small, flowers, caplog):
    train, held_out = flowers.split(0.3, duplicates="exact")
    both = kr.ImageData.combine(a=held_out, b=train.take(5))
    kr.fit(small(5), train, both, epochs=1, **QUIET)
    (said,) = [text for text in caplog.messages if "among the training" in text]
    assert f"5 of {len(both)} validation" in said
    assert ".jpg" in said or ".png" in said


def test_nothing_is_said_of_a_dataset_whose_images_nobody_knows(fitted, pixels):
    dataset = tf.data.Dataset.from_tensor_slices(pixels).batch(5)
    assert "among the training" not in fitted(train=dataset, validation=dataset)


def test_a_class_without_training_images_is_said(fitted, pixels):
    images, labels = pixels
    assert "No training image is of 4, which the model will never answer" in fitted(
        train=(images[labels < 4], labels[labels < 4])
    )


def test_weights_that_do_not_move_are_said(fitted):
    said = fitted(learning_rate=1e-30)
    assert "1 of 2 trained weights did not move: predictions/kernel" in said
