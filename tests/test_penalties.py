"""Which penalties are tried, in which folds, and when a choice is remarked upon."""

import numpy as np
import pytest
import tensorflow as tf

import kerasresnet as kr
from kerasresnet.penalties import (
    check_folds,
    fold_rule,
    report_edges,
    tried_penalties,
)
from kerasresnet.solving import default_penalties

LABELS = np.arange(32) % 3


def test_what_is_given_is_tried_in_its_order_and_else_the_usual():
    assert tried_penalties(None) == default_penalties()
    assert tried_penalties(np.array([1e-3, 1], "float32")) == pytest.approx((1e-3, 1))


@pytest.mark.parametrize("wrong", [[], 0.1, "0.1", [0.0], [1.0, np.nan], [True]])
def test_what_is_no_positive_number_is_refused(wrong):
    with pytest.raises(ValueError, match="penalties that are positive and finite"):
        tried_penalties(wrong)


@pytest.mark.parametrize("wrong", [1, 2.0, "5", None])
def test_less_than_two_folds_are_refused(wrong):
    with pytest.raises(ValueError, match="k must be a whole number of at least 2"):
        check_folds("k", wrong)
    check_folds("k", np.int64(2))


def test_images_of_a_dataset_are_dealt_class_by_class():
    dataset = tf.data.Dataset.from_tensor_slices(LABELS).batch(8)
    folds = fold_rule(dataset, 4, 0)(LABELS)
    for label in range(3):
        assert np.ptp(np.bincount(folds[label == LABELS], minlength=4)) <= 1
    assert np.array_equal(folds, fold_rule(dataset, 4, 0)(LABELS))
    assert not np.array_equal(folds, fold_rule(dataset, 4, 1)(LABELS))
    with pytest.raises(kr.DataError, match="3 images are too few for 4 folds"):
        fold_rule(dataset, 4, 0)(LABELS[:3])


def test_photos_too_few_for_the_folds_are_refused_before_their_labels_are_asked_for(
    pixels,
):
    data = kr.ImageData.from_arrays(*pixels)
    with pytest.raises(kr.DataError, match="too few for 11"):
        fold_rule(data, 11, 0)
    assert np.array_equal(fold_rule(data, 5, 3)(None), data.fold_numbers(5, seed=3))


@pytest.mark.parametrize(
    ("penalties", "chosen", "said"),
    [
        ((1.0, 0.1, 0.01), [0.1, 0.1], ""),
        ((1.0, 0.1, 0.01), [0.01], "The best penalty, 0.01, is the last"),
        ((1.0, 0.1, 0.01), [0.1, 1.0], "In 1 of 2 folds the best penalty is the last"),
        ((1.0, 0.1), [0.1], ""),
    ],
)
def test_a_penalty_at_the_end_of_those_tried_is_said(penalties, chosen, said, caplog):
    report_edges(penalties, chosen)
    assert (said in caplog.text) if said else not caplog.text
