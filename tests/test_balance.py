"""Classes of unequal size are made up for, on every path that trains."""

import numpy as np
import pytest
import tensorflow as tf

import kerasresnet as kr
from kerasresnet.balance import balanced_rows, check_balance, class_weights

COUNTS = {"a": 60, "b": 30, "c": 10, "d": 0}


# Weights ---------------------------------------------------------------------------------


def test_balanced_weights_give_every_class_the_same_sum():
    weights = class_weights("balanced", COUNTS)
    sums = [weights[i] * count for i, count in enumerate(COUNTS.values()) if count]
    np.testing.assert_allclose(sums, 100 / 3)
    assert weights[3] == 1
    assert class_weights(None, COUNTS) is None


def test_weights_go_by_name_or_number_and_others_are_one():
    assert class_weights({"b": 2, 0: 0.5}, COUNTS) == {0: 0.5, 1: 2.0, 2: 1.0, 3: 1.0}


@pytest.mark.parametrize("key", ["e", 4, -1])
def test_a_weight_for_no_class_is_refused(key):
    with pytest.raises(kr.DataError, match=f"names {key!r}, which is not a class"):
        class_weights({key: 1.0}, COUNTS)


@pytest.mark.parametrize("weight", [-1, float("nan"), float("inf"), "2"])
def test_a_weight_that_is_none_is_refused(weight):
    with pytest.raises(ValueError, match="weight of class 'a' must be a number of"):
        class_weights({"a": weight}, COUNTS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("even", None), "Unknown class_weight 'even'"),
        (([1, 2], None), "must be 'balanced' or a dict"),
        ((None, "even"), "Unknown sampling 'even'"),
        (("balanced", "balanced"), "choose one"),
    ],
)
def test_other_ways_to_balance_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        check_balance(*arguments)


# Sampling ---------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(60, 30, 10), (5, 5, 5), (97, 2, 1), (1, 1, 7)])
def test_classes_are_drawn_in_equal_numbers_and_their_images_too(sizes):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(3), sizes))
    rows = balanced_rows(labels, np.random.default_rng(1))
    assert len(rows) == len(labels)
    assert np.ptp(np.bincount(labels[rows], minlength=3)) <= 1
    times = np.bincount(rows, minlength=len(labels))
    for label in range(3):
        assert np.ptp(times[labels == label]) <= 1


# In training ------------------------------------------------------------------------------


@pytest.fixture
def uneven():
    """40 images of class 0 and 8 of class 1, which a network could tell by brightness."""
    labels = np.repeat([0, 1], [40, 8])
    noise = np.random.default_rng(0).integers(0, 60, (48, 32, 32, 3))
    return (noise + 130 * labels[:, None, None, None]).astype("uint8"), labels


def test_balanced_batches_hold_the_classes_in_equal_numbers(uneven):
    data = kr.ImageData.from_arrays(*uneven)
    batches = kr.make_dataset(
        data, training=True, sampling="balanced", image_size=(8, 8)
    )
    epochs = [
        np.concatenate([labels for _, labels in batches.as_numpy_iterator()])
        for _ in range(2)
    ]
    for labels in epochs:
        assert np.bincount(labels).tolist() == [24, 24]
    assert epochs[0].tolist() != epochs[1].tolist()


def test_sampling_is_for_labelled_training_images(uneven, pixels):
    data = kr.ImageData.from_arrays(*uneven)
    bare = kr.ImageData.from_arrays(uneven[0])
    for wrong in ({"data": data}, {"data": bare, "training": True}):
        with pytest.raises(ValueError, match="sampling chooses training images by"):
            kr.make_dataset(**wrong, sampling="balanced")


def weights_after(small, data, **settings):
    model = small(num_classes=2, seed=1)
    kr.fit(
        model, data, epochs=2, batch_size=8, verbose=0, precision="float32", **settings
    )
    return np.concatenate([w.numpy().ravel() for w in model.trainable_variables])


@pytest.mark.parametrize(
    "balance", [{"class_weight": "balanced"}, {"sampling": "balanced"}]
)
def test_balance_is_the_same_with_cached_features_and_without(small, uneven, balance):
    cached = weights_after(small, uneven, cache="memory", **balance)
    fresh = weights_after(small, uneven, cache=False, **balance)
    plain = weights_after(small, uneven, cache="memory")
    np.testing.assert_allclose(cached, fresh, atol=1e-5)
    assert np.abs(cached - plain).max() > 1e-4


def test_balanced_weights_of_a_dataset_are_those_of_its_labels(small, uneven):
    dataset = tf.data.Dataset.from_tensor_slices(uneven).batch(8)
    named = weights_after(small, dataset, class_weight={0: 0.6, 1: 3.0})
    counted = weights_after(small, dataset, class_weight="balanced")
    np.testing.assert_allclose(counted, named, atol=1e-5)
    rows = dataset.map(lambda images, labels: (images, tf.one_hot(labels, 2)))
    by_rows = weights_after(small, rows, class_weight="balanced")
    np.testing.assert_allclose(counted, by_rows, atol=1e-5)


def test_a_dataset_cannot_be_sampled(small, uneven):
    dataset = tf.data.Dataset.from_tensor_slices(uneven).batch(8)
    with pytest.raises(ValueError, match="sampling works on ImageData and arrays"):
        kr.fit(small(num_classes=2), dataset, sampling="balanced")


def test_fine_tuning_takes_the_same_arguments(small, uneven):
    for balance in ({"class_weight": {"1": 2}}, {"sampling": "balanced"}):
        model = small(num_classes=2)
        history = kr.fine_tune(model, uneven, epochs=1, verbose=0, **balance)
        assert np.isfinite(history.history["loss"]).all()
