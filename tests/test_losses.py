import keras
import numpy as np
import pytest

from kerasresnet.losses import Accuracy, CrossEntropy, accuracy, takers_of_integers

PROBABILITIES = np.array([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4]], "float32")
LABELS = np.array([0, 1])


@pytest.mark.parametrize("labels", [LABELS, LABELS[:, None], np.eye(3)[LABELS]])
def test_integer_and_one_hot_labels_give_the_same_loss_and_accuracy(labels):
    expected = -np.log([0.7, 0.3]).mean()
    assert float(CrossEntropy()(labels, PROBABILITIES)) == pytest.approx(expected)
    np.testing.assert_array_equal(accuracy(labels, PROBABILITIES), [1.0, 0.0])


def test_the_loss_of_shares_is_the_mean_of_the_losses_weighted_by_them():
    shares = np.array([[0.75, 0.25, 0.0], [0.0, 0.4, 0.6]], "float32")
    expected = -(shares * np.log(PROBABILITIES)).sum(1).mean()
    assert float(CrossEntropy()(shares, PROBABILITIES)) == pytest.approx(expected)
    np.testing.assert_array_equal(accuracy(shares, PROBABILITIES), [1.0, 1.0])
    np.testing.assert_array_equal(accuracy(shares[::-1], PROBABILITIES), [0.0, 0.0])


def test_losses_and_metrics_that_take_integers_alone_are_named(small):
    model = small()
    model.compile("adam", CrossEntropy(), metrics=[Accuracy()])
    assert takers_of_integers(model) == []
    sparse = keras.metrics.SparseCategoricalAccuracy()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=[sparse, "mse"])
    named = ["SparseCategoricalAccuracy", "sparse_categorical_accuracy"]
    assert takers_of_integers(model) == [*named, "sparse_categorical_crossentropy"]


def test_label_smoothing_equals_that_of_keras():
    ours = CrossEntropy(label_smoothing=0.2)(LABELS, PROBABILITIES)
    oracle = keras.losses.CategoricalCrossentropy(label_smoothing=0.2)
    assert float(ours) == pytest.approx(float(oracle(np.eye(3)[LABELS], PROBABILITIES)))


def test_the_loss_survives_serialization():
    loss = CrossEntropy(label_smoothing=0.1)
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert again.label_smoothing == 0.1


@pytest.mark.parametrize("value", [-0.1, 1.0])
def test_label_smoothing_out_of_range_is_refused(value):
    with pytest.raises(ValueError, match="label_smoothing must be"):
        CrossEntropy(label_smoothing=value)


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_that_is_no_class_gives_nan_not_nothing(label):
    assert np.isnan(CrossEntropy()(np.array([0, label]), PROBABILITIES))


def test_the_metric_survives_serialization_and_means():
    metric = keras.metrics.deserialize(keras.metrics.serialize(Accuracy()))
    metric.update_state(LABELS, PROBABILITIES)
    assert float(metric.result()) == 0.5
