"""Cross-validation and learning curves: nothing held out has a say, nothing is invented."""

from itertools import pairwise

import numpy as np
import pytest
import tensorflow as tf

import kerasresnet as kr
from kerasresnet.extrapolation import PowerLaw, extrapolated
from kerasresnet.nesting import Method, Table, first_of, held_out, turns
from kerasresnet.solutions import log_loss, probabilities
from kerasresnet.solving import fold_paths, solve_path
from kerasresnet.validating import (
    ClassGain,
    LearningCurve,
    cross_validate,
    learning_curve,
)

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


def test_the_end_of_a_learning_curve_is_the_cross_validation(small, coloured):
    rng = np.random.default_rng(2)
    labels = np.where(rng.random(60) < 0.8, coloured[1], rng.integers(0, 3, 60))
    data, options = (coloured[0], labels), {"k": 3, "penalties": PENALTIES, **EXACT}
    curve = learning_curve(small(3), data, sizes=[1.0, 20, 0.25, 0.5], **options)
    found = cross_validate(small(3), data, **options)
    assert curve.counts == tuple(sorted(curve.counts))
    assert curve.counts[-1] == 40
    assert curve.counts.count(20) == 1  # a number and a share that are the same
    assert curve.accuracies[-1] == found.accuracies
    recalls = {one.name: one.recall for one in found.report.per_class}
    assert {one.name: one.recall for one in curve.per_class} == recalls
    gains = [one.gain for one in curve.per_class]
    assert gains == sorted(gains, reverse=True)
    for mean, (low, high) in zip(curve.means, curve.intervals, strict=True):
        assert 0 <= low <= mean <= high <= 1


def noisy(law, counts, spread=0.004, folds=5):
    rng = np.random.default_rng(0)
    exact = np.array([law.accuracy(count) for count in counts])[:, None]
    return exact + rng.normal(0, spread, (len(counts), folds))


def test_a_power_law_is_found_again():
    counts, law = (50, 100, 200, 400, 800), PowerLaw(3.0, 0.5, 0.1)
    found, forecasts, refusal = extrapolated(counts, noisy(law, counts, 1e-6), 1000)
    assert refusal == ""
    assert (found.a, found.b, found.c) == pytest.approx((3.0, 0.5, 0.1), rel=1e-3)
    assert [one.images for one in forecasts] == [2000, 5000]
    for one in forecasts:
        assert one.accuracy == pytest.approx(law.accuracy(one.images), abs=1e-4)


def test_the_interval_of_a_forecast_grows_with_noise_and_with_distance():
    counts, law = (50, 100, 200, 400, 800), PowerLaw(3.0, 0.5, 0.1)
    widths = [
        [high - low for low, high in (one.interval for one in forecasts)]
        for _, forecasts, _ in (
            extrapolated(counts, noisy(law, counts, spread), 1000)
            for spread in (0.001, 0.01)
        )
    ]
    assert widths[0][0] < widths[1][0]
    assert widths[0][0] < widths[0][1]


@pytest.mark.parametrize(
    ("accuracies", "reason"),
    [
        (np.full((3, 5), 0.5), "there are 3 sizes"),
        (np.full((5, 5), 0.5), "does not rise by more than its spread"),
        (
            np.array([0.5, 0.9, 0.5, 0.9, 0.7])[:, None] + np.zeros(5),
            "a power law explains only",
        ),
    ],
)
def test_a_curve_that_leads_nowhere_is_not_extrapolated(accuracies, reason):
    counts = (50, 100, 200, 400, 800)[: len(accuracies)]
    law, forecasts, refusal = extrapolated(counts, accuracies, 1000)
    assert law is None
    assert forecasts is None
    assert reason in refusal


def test_what_more_photos_are_worth_is_said_of_classes_beyond_chance():
    counts, law = (50, 100, 200, 400, 800), PowerLaw(3.0, 0.5, 0.1)
    rows = noisy(law, counts)
    found = extrapolated(counts, rows, 1000)
    gains = ClassGain("rose", 9, 0.8, 0.2, 0.1), ClassGain("tulip", 9, 0.8, 0.1, 0.2)
    curve = LearningCurve(1000, counts, tuple(map(tuple, rows)), gains, *found)
    lines = str(curve).split("\n")
    assert lines[6] == "extrapolated, not measured"
    assert [line.split()[0] for line in lines[7:9]] == ["2,000", "5,000"]
    assert lines[-2].startswith("With 2,000 photos of the same kind")
    assert lines[-1] == "More photos seem worth most for: rose."


def test_a_curve_reads_as_a_table_with_what_more_photos_are_worth(small, coloured):
    curve = learning_curve(small(3), coloured, sizes=[0.5, 1.0], k=3, **EXACT)
    lines = str(curve).split("\n")
    assert lines[0].split() == ["photos", "accuracy", "95", "%", "interval"]
    assert [line.split()[0] for line in lines[1:3]] == ["20", "40"]
    assert "No extrapolation: there are 2 sizes" in lines[-2]
    assert lines[-1].startswith("No class gained more")


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"k": 1}, "k must be a whole number of at least 2"),
        ({"k": 2.5}, "k must be a whole number of at least 2"),
        ({"penalties": []}, "penalties that are positive"),
        ({"penalties": [0.0]}, "penalties that are positive"),
        ({"sizes": []}, "Expected sizes as shares"),
        ({"sizes": [0.0, 1.0]}, "Expected sizes as shares"),
        ({"sizes": [20, 49]}, "asks for 49 images, but 48 are left"),
        ({"batch_size": 0}, "batch_size"),
        ({"k": 61}, "too few for 61"),
    ],
)
def test_wrong_arguments_are_refused(small, coloured, wrong, match):
    with pytest.raises(ValueError, match=match):
        learning_curve(small(3), coloured, **{**EXACT, **wrong})


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
