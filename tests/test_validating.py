"""Cross-validation: nothing held out has a say."""

from itertools import pairwise

import numpy as np
import pytest
import tensorflow as tf

import kerasresnet as kr
from kerasresnet import nesting
from kerasresnet.nesting import Method, Table, first_of, held_out, turns
from kerasresnet.solutions import log_loss, probabilities
from kerasresnet.solving import fold_paths, solve_path
from kerasresnet.validating import cross_validate

EXACT = {"precision": "float32", "verbose": 0, "cache": "memory"}
PENALTIES = (1.0, 0.1, 1e-2, 1e-3)


def table_of(count=60, classes=3, k=3, seed=0, noise=1.0):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % classes)
    features = np.eye(classes)[labels] + noise * rng.normal(size=(count, classes))
    parts = np.arange(count) % (k if k > 2 else 4)
    names = tuple(f"class {i}" for i in range(classes))
    return Table(features, labels, parts, k, names, tuple(map(str, range(count))))


def naive(table, penalties):
    """Nested cross-validation, one fold after the other."""
    scores = np.zeros((len(table.labels), 3))
    for fold in range(table.k):
        out = table.parts % table.k == fold
        train = table.features[~out], table.labels[~out]
        options = {"classes": 3, "penalties": penalties}
        losses = fold_paths(*train, table.parts[~out], **options).mean(axis=0)
        path = solve_path(*train, **options)
        scores[out] = probabilities(path[losses.argmin()], table.features[out])
    return scores


@pytest.mark.parametrize("k", [2, 3, 5])
def test_sharing_what_two_folds_need_changes_no_probability(k):
    table = table_of(k=k)
    scores, _ = held_out(table, Method(PENALTIES, None), np.ones(60, bool))
    np.testing.assert_allclose(scores, naive(table, PENALTIES), atol=1e-3)


def test_a_label_has_no_say_in_its_own_probabilities():
    table, method, every = table_of(), Method(PENALTIES, None), np.ones(60, bool)
    scores, chosen = held_out(table, method, every)
    out = table.parts == 1
    wrong = np.where(out, (table.labels + 1) % 3, table.labels)
    changed = Table(table.features, wrong, table.parts, 3, table.class_names, ())
    again, chosen_again = held_out(changed, method, every)
    np.testing.assert_array_equal(again[out], scores[out])
    assert chosen_again[1] == chosen[1]
    assert not np.allclose(again[~out], scores[~out])


def test_balanced_classes_count_alike_when_they_are_solved():
    table = table_of(noise=3.0)
    rare = np.flatnonzero(table.labels == 0)[4:]
    taken = ~np.isin(np.arange(60), rare)
    plain, _ = held_out(table, Method(PENALTIES, None), taken)
    balanced, _ = held_out(table, Method(PENALTIES, "balanced"), taken)
    assert balanced[:, 0].mean() > 1.5 * plain[:, 0].mean()


def test_a_class_of_weight_0_leaves_the_choice_to_the_others():
    table = table_of(k=5)
    # One part holds nothing but this class, so that it can choose nothing.
    parts = np.where(table.labels == 2, 4, table.parts % 4)
    alone = Table(table.features, table.labels, parts, 5, table.class_names, ())
    method = Method(PENALTIES, {2: 0})
    scores, chosen = held_out(alone, method, np.ones(60, bool))
    others, chosen_by_others = held_out(alone, method, table.labels < 2)
    np.testing.assert_allclose(scores, others, atol=1e-3)
    assert chosen == chosen_by_others


@pytest.mark.core
def test_every_image_is_held_out_once_and_scored_by_a_report(small, coloured):
    model = small(3)
    before = [np.array(weight) for weight in model.get_weights()]
    found = cross_validate(model, coloured, 4, **EXACT)
    assert len(found.report) == 60
    np.testing.assert_array_equal(found.report.labels, coloured[1])
    assert found.accuracy == found.report.accuracy
    assert found.interval == found.report.accuracy_interval
    assert len(found.accuracies) == len(found.losses) == len(found.penalties) == 4
    own = found.report.probabilities[np.arange(60), coloured[1]]
    assert np.mean(found.losses) == pytest.approx(-np.log(own).mean(), rel=0.05)
    text = str(found)
    assert "4 folds of 60 images" in text
    assert f"accuracy  {found.accuracy:.1%}" in text
    assert all(map(np.array_equal, before, model.get_weights()))


def test_random_labels_are_not_learned(small, coloured):
    labels = np.random.default_rng(1).integers(0, 3, 60)
    found = cross_validate(small(3), (coloured[0], labels), **EXACT)
    assert found.accuracy < 0.55


def test_images_of_one_picture_stay_in_one_fold(small, coloured):
    labels = np.random.default_rng(1).integers(0, 3, 60)
    twice = np.concatenate([coloured[0]] * 2), np.concatenate([labels] * 2)
    found = cross_validate(small(3), twice, **EXACT)
    assert found.accuracy < 0.55
    np.testing.assert_allclose(*np.split(found.report.probabilities, 2), atol=1e-6)


def test_a_dataset_is_validated_in_its_own_order(small, coloured):
    dataset = tf.data.Dataset.from_tensor_slices(coloured).batch(7)
    found = cross_validate(small(3), dataset, k=3, **EXACT)
    np.testing.assert_array_equal(found.report.labels, coloured[1])
    assert found.report.sources[59] == "image 59"


def test_a_head_with_hidden_units_is_not_what_is_validated(small, coloured, caplog):
    cross_validate(small(3, hidden_units=(4,)), coloured, k=2, **EXACT)
    assert "a linear head on its features, not this one" in caplog.text


def test_a_small_class_and_the_end_of_the_penalties_are_said(small, coloured, caplog):
    images, labels = coloured
    few = np.concatenate([np.flatnonzero(labels < 2), np.flatnonzero(labels == 2)[:3]])
    data = images[few], labels[few]
    found = cross_validate(small(3), data, penalties=[1e4, 1e3, 1e2], **EXACT)
    assert len(found.report) == 43
    assert "Fewer images than the 5 folds" in caplog.text
    assert "the best penalty is the last that was tried" in caplog.text


def test_the_first_photos_are_nested_in_proportion_and_spread_over_the_parts():
    table = table_of(300, k=5)
    ranks = turns(table, 0)
    taken = [first_of(table, ranks, share) for share in (0.1, 0.3, 1.0)]
    assert taken[-1].all()
    for less, more in pairwise(taken):
        assert not (less & ~more).any()
    for one, count in zip(taken, (10, 30, 100), strict=True):
        assert np.bincount(table.labels[one]).tolist() == [count] * 3
        parts = np.bincount(table.parts[one], minlength=5)
        assert parts.max() - parts.min() <= 3
    assert not np.array_equal(turns(table, 1), ranks)


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"k": 1}, "k must be a whole number of at least 2"),
        ({"k": 2.5}, "k must be a whole number of at least 2"),
        ({"penalties": []}, "penalties that are positive"),
        ({"penalties": [0.0]}, "penalties that are positive"),
        ({"penalties": 0.1}, "penalties that are positive"),
        ({"batch_size": 0}, "batch_size"),
        ({"k": 61}, "too few for 61"),
    ],
)
def test_wrong_arguments_are_refused(small, coloured, wrong, match):
    with pytest.raises(ValueError, match=match):
        cross_validate(small(3), coloured, **{**EXACT, **wrong})


def test_a_weight_for_no_class_is_refused_before_anything_is_computed(
    small, coloured, monkeypatch
):
    monkeypatch.setattr(nesting, "FeatureSource", None)
    with pytest.raises(kr.DataError, match="names 'rose', which is not a class"):
        cross_validate(small(3), coloured, class_weight={"rose": 2.0}, **EXACT)


def test_data_that_cannot_be_validated_is_refused(small, coloured):
    images, labels = coloured
    one_class = tf.data.Dataset.from_tensor_slices((images, labels * 0)).batch(20)
    few = tf.data.Dataset.from_tensor_slices((images[:3], labels[:3])).batch(3)
    for data, match in (
        (kr.ImageData.from_arrays(images), "no labels"),
        ((images, labels * 0), "of one class"),
        (one_class, "of one class"),
        (few, "too few"),
    ):
        with pytest.raises(kr.DataError, match=match):
            cross_validate(small(3), data, **EXACT)


def test_the_chosen_penalty_has_the_lowest_loss_within_the_training_part():
    table = table_of()
    _, chosen = held_out(table, Method(PENALTIES, None), np.ones(60, bool))
    inner = table.parts != 0
    losses = []
    for part in (1, 2):
        train, asked = inner & (table.parts != part), table.parts == part
        path = solve_path(
            table.features[train], table.labels[train], classes=3, penalties=PENALTIES
        )
        scored = table.features[asked], table.labels[asked]
        losses.append([log_loss(one, *scored) for one in path])
    assert chosen[0] == PENALTIES[int(np.mean(losses, axis=0).argmin())]
