import logging

import numpy as np
import pytest
from sklearn import calibration, metrics

from kerasresnet import scores


def drawn(n=300, classes=6, seed=0, digits=None, bent=1.0):
    """Labels drawn from known probabilities, and these, bent by a power."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(n, classes))
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (true.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    said = true**bent / (true**bent).sum(axis=1, keepdims=True)
    return labels, said if digits is None else said.round(digits)


def some_counts(n, resamples=5, seed=1):
    return np.random.default_rng(seed).poisson(1, (resamples, n)).astype("uint8")


def each(counts, score):
    """The oracle's score of each resample, with the counts as weights."""
    return [score(row) for row in counts]


@pytest.mark.parametrize("n", [60, 300])
def test_accuracy_and_f1_by_class_agree_with_scikit_learn(n):
    labels, probabilities = drawn(n)
    predicted, counts = probabilities.argmax(axis=1), some_counts(n)
    balanced = each(
        counts,
        lambda w: metrics.balanced_accuracy_score(labels, predicted, sample_weight=w),
    )
    f1 = each(
        counts,
        lambda w: metrics.f1_score(
            labels, predicted, average="macro", sample_weight=w, zero_division=0
        ),
    )
    found = scores.balanced_accuracy(labels, predicted, counts)
    np.testing.assert_allclose(found, balanced)
    np.testing.assert_allclose(scores.macro_f1(labels, predicted, counts), f1)


def test_log_loss_agrees_with_scikit_learn():
    labels, probabilities = drawn()
    counts = np.ones((3, 300), "uint8")
    expected = metrics.log_loss(labels, probabilities)
    found = scores.log_loss(labels, probabilities, counts)
    np.testing.assert_allclose(found, [expected] * 3)


def test_one_sure_mistake_costs_no_more_than_float32_can_tell():
    labels = np.array([0, 1])
    loss = scores.log_loss(labels, np.array([[1.0, 0.0], [1.0, 0.0]], "float32"))
    expected = metrics.log_loss(labels, np.array([[1, 0], [1, 0]], "float32"))
    assert loss[0] == pytest.approx(expected, rel=1e-5)
    assert loss[0] == pytest.approx(15.94 / 2, abs=0.01)


@pytest.mark.parametrize("digits", [None, 1])  # rounded: many images tie
def test_rankings_agree_with_scikit_learn_on_resamples_with_ties(digits):
    labels, probabilities = drawn(digits=digits)
    counts = some_counts(300)
    found = scores.rankings(labels, probabilities, counts)
    for i in range(6):
        own, said = labels == i, probabilities[:, i]
        areas = each(
            counts,
            lambda w, y=own, p=said: metrics.roc_auc_score(y, p, sample_weight=w),
        )
        precisions = each(
            counts,
            lambda w, y=own, p=said: metrics.average_precision_score(
                y, p, sample_weight=w
            ),
        )
        np.testing.assert_allclose(found.roc_auc[:, i], areas)
        np.testing.assert_allclose(found.average_precision[:, i], precisions)


def test_reliability_agrees_with_scikit_learn_and_loses_no_image():
    labels, probabilities = drawn(bent=2.0)
    table = scores.reliability(labels, probabilities)
    hits = probabilities.argmax(axis=1) == labels
    right, sure = calibration.calibration_curve(
        hits, probabilities.max(axis=1), n_bins=15
    )
    filled = [one for one in table if one.count]
    np.testing.assert_allclose([one.accuracy for one in filled], right)
    np.testing.assert_allclose([one.confidence for one in filled], sure)
    assert sum(one.count for one in table) == 300
    assert [one.high for one in table[:-1]] == [one.low for one in table[1:]]
    for one in filled:
        low, high = one.accuracy_interval
        assert low <= one.accuracy <= high


def test_the_calibration_error_is_the_weighted_gap_of_the_reliability_table():
    labels, probabilities = drawn(bent=2.0)
    table = scores.reliability(labels, probabilities)
    gaps = [
        one.count * abs(one.accuracy - one.confidence) for one in table if one.count
    ]
    found = scores.calibration_error(labels, probabilities)
    assert found[0] == pytest.approx(sum(gaps) / 300)


def test_a_count_of_two_is_an_image_given_twice():
    labels, probabilities = drawn(80)
    counts = some_counts(80, resamples=1)
    rows = np.repeat(np.arange(80), counts[0])
    twice, said = labels[rows], probabilities[rows]
    counts = counts.astype("uint8")
    for score in (scores.calibration_error, scores.log_loss):
        found = score(labels, probabilities, counts) * 80 / len(rows)
        np.testing.assert_allclose(found, score(twice, said))


def test_a_class_without_images_changes_no_mean():
    labels, probabilities = drawn()
    wider = np.hstack([probabilities, np.zeros((300, 1))])
    plain, padded = (scores.rankings(labels, p).roc_auc for p in (probabilities, wider))
    assert np.isnan(padded[0, 6])
    assert scores.macro(plain) == scores.macro(padded)


def test_nothing_to_rank_against_is_nan():
    labels = np.zeros(4, int)
    found = scores.rankings(labels, np.full((4, 2), 0.5))
    assert np.isnan(found.roc_auc).all()
    np.testing.assert_array_equal(found.average_precision, [[1, np.nan]])
    assert np.isnan(scores.macro(np.full((1, 2), np.nan))).all()


def intervals_of(labels, probabilities):
    predicted, n = probabilities.argmax(axis=1), len(labels)

    def values(counts):
        ranked = scores.rankings(labels, probabilities, counts)
        return {
            "balanced": scores.balanced_accuracy(labels, predicted, counts),
            "loss": scores.log_loss(labels, probabilities, counts),
            "area": scores.macro(ranked.roc_auc),
            "error": scores.calibration_error(labels, probabilities, counts),
        }

    once = values(np.ones((1, n), "uint8"))
    resampled = scores.bootstrap(values, n, 1)
    return {
        name: scores.interval(once[name][0], resampled[name], most=9) for name in once
    }


def test_intervals_hold_the_truth_about_as_often_as_they_say(monkeypatch):
    monkeypatch.setattr(scores, "_MOST_RESAMPLES", 100)
    labels, probabilities = drawn(100_000, bent=2.0)
    predicted = probabilities.argmax(axis=1)
    truth = {
        "balanced": scores.balanced_accuracy(labels, predicted),
        "loss": scores.log_loss(labels, probabilities),
        "area": scores.macro(scores.rankings(labels, probabilities).roc_auc),
        "error": scores.calibration_error(labels, probabilities),
    }
    held = dict.fromkeys(truth, 0)
    for some in np.split(np.arange(40 * 300), 40):
        for name, (low, high) in intervals_of(
            labels[some], probabilities[some]
        ).items():
            held[name] += int(low <= truth[name][0] <= high)
    assert all(times >= 34 for times in held.values())
    assert sum(held.values()) < 4 * 40


def calibration_interval_of(labels, probabilities):
    def errors(counts):
        return {"": scores.calibration_error(labels, probabilities, counts)}

    (error,) = scores.calibration_error(labels, probabilities)
    resampled = scores.bootstrap(errors, len(labels), 1)[""]
    return scores.calibration_interval(error, resampled, probabilities)


def test_the_interval_of_a_calibrated_model_begins_at_0(monkeypatch):
    monkeypatch.setattr(scores, "_MOST_RESAMPLES", 100)
    parts = [calibration_interval_of(*drawn(seed=seed)) for seed in range(40)]
    assert sum(low == 0 for low, _ in parts) >= 36
    bent = [calibration_interval_of(*drawn(seed=seed, bent=3.0)) for seed in range(9)]
    assert all(low > 0.02 for low, _ in bent)


def test_an_interval_narrows_with_the_square_root_of_the_images():
    few, many = (intervals_of(*drawn(n)) for n in (250, 4000))
    for name in ("balanced", "loss", "area"):
        ratio = np.ptp(few[name]) / np.ptp(many[name])
        assert 2.5 < ratio < 6  # 4, give or take the spread of the spread


def test_the_same_images_have_the_same_intervals():
    assert intervals_of(*drawn()) == intervals_of(*drawn())


def test_resamples_that_agree_tell_no_interval():
    assert np.isnan(scores.interval(1.0, np.ones(9))).all()
    assert np.isnan(scores.interval(np.nan, np.full(9, np.nan))).all()
    low, high = scores.interval(0.99, np.array([np.nan, 0.98, 1.0]))
    assert 0 < low < high == 1


def test_large_sets_are_resampled_less_often_and_the_log_says_so(monkeypatch, caplog):
    monkeypatch.setattr(scores, "_MOST_COUNTS", 150 * 40)
    with caplog.at_level(logging.INFO):
        found = scores.bootstrap(lambda counts: {"n": counts.sum(axis=1)}, 40, 1)
    np.testing.assert_array_equal(found["n"], np.full(150, 40))
    assert "150 resamples instead of 1000" in caplog.text


def test_sums_do_not_depend_on_the_size_of_a_block(monkeypatch):
    labels, probabilities = drawn()
    counts = some_counts(300, resamples=7)
    whole = scores.rankings(labels, probabilities, counts)
    monkeypatch.setattr(scores, "_BLOCK", 600)
    blocks = scores.rankings(labels, probabilities, counts)
    np.testing.assert_array_equal(whole, blocks)
