"""Logistic regression: against scikit-learn, and by what must not matter."""

import logging

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import kerasresnet as kr
from kerasresnet.solutions import log_loss, probabilities
from kerasresnet.solving import default_penalties, fold_paths, solve_path

EXACT = 1e-5
PENALTIES = (1e-1, 1e-3, 1e-5)


def drawn(count, width, classes=4, seed=0):
    """Non-negative features of falling variance, with some of the class in them."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate(
        [np.arange(classes), rng.integers(0, classes, count - classes)]
    )
    means = rng.standard_normal((classes, width))
    latent = means[labels] + 1.5 * rng.standard_normal((count, width))
    features = np.maximum(latent, 0) * (5 / np.arange(1, width + 1))
    return features.astype("float32"), labels


def scale_of(features, weights=None):
    features = features.astype("float64")
    centred = features - np.average(features, axis=0, weights=weights)
    return np.sqrt(np.average((centred**2).sum(axis=1), weights=weights))


def solve(features, labels, classes=4, penalties=PENALTIES, **options):
    options = {"tolerance": EXACT, **options}
    return solve_path(features, labels, classes=classes, penalties=penalties, **options)


def assert_same(one, other, within=1e-4):
    for a, b in zip(one, other, strict=True):
        assert a.converged
        assert b.converged
        size = np.abs(a.kernel).max() + np.abs(a.bias).max()
        np.testing.assert_allclose(a.kernel, b.kernel, atol=within * size)
        np.testing.assert_allclose(a.bias, b.bias, atol=within * size)
        np.testing.assert_allclose(a.loss, b.loss, rtol=within)


def objective(features, labels, kernel, bias, penalty):
    """The objective as the module's docstring gives it, in the plainest form."""
    logits = features.astype("float64") @ kernel + bias
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    own = chances[np.arange(len(labels)), labels]
    scaled = kernel * scale_of(features)
    return -np.log(own).mean() + penalty / 2 * (scaled**2).sum()


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("shape", [(120, 12), (25, 60)])
def test_solutions_are_those_of_scikit_learn(shape, classes):
    features, labels = drawn(*shape, classes=classes)
    scale = scale_of(features)
    scaled = (features - features.mean(axis=0, dtype="float64")) / scale
    for one in solve(features, labels, classes):
        strength = 1 / (one.penalty * len(labels))
        # Two classes are one logit there, of twice the penalty: w and -w are kept here.
        strength *= 2 if classes == 2 else 1
        oracle = LogisticRegression(C=strength, tol=1e-9, max_iter=20_000)
        oracle.fit(scaled, labels)
        theirs = oracle.coef_.T
        ours = one.kernel * scale
        if classes == 2:
            ours = ours[:, 1:] - ours[:, :1]
        np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())
        np.testing.assert_allclose(
            probabilities(one, features), oracle.predict_proba(scaled), atol=1e-4
        )


@pytest.mark.parametrize("shape", [(90, 10), (20, 50)])
def test_no_step_in_any_direction_lessens_the_loss(shape):
    features, labels = drawn(*shape)
    rng = np.random.default_rng(1)
    for one in solve(features, labels):
        at = objective(features, labels, one.kernel, one.bias, one.penalty)
        np.testing.assert_allclose(at, one.loss, rtol=1e-6)
        for _ in range(20):
            step = 1e-3 * np.abs(one.kernel).max()
            kernel = one.kernel + step * rng.standard_normal(one.kernel.shape)
            bias = one.bias + step * rng.standard_normal(one.bias.shape)
            assert objective(features, labels, kernel, bias, one.penalty) > at


def test_more_features_than_images_gives_what_fewer_of_the_same_span_give():
    features, labels = drawn(40, 8)
    turn = np.linalg.qr(np.random.default_rng(2).standard_normal((100, 8)))[0]
    narrow, wide = solve(features, labels), solve(features @ turn.T, labels)
    for a, b in zip(narrow, wide, strict=True):
        np.testing.assert_allclose(a.kernel, turn.T @ b.kernel, atol=1e-5)
        np.testing.assert_allclose(a.loss, b.loss, rtol=1e-6)


def test_the_order_of_images_and_of_penalties_does_not_matter():
    features, labels = drawn(80, 10)
    order = np.random.default_rng(3).permutation(80)
    plain = solve(features, labels)
    assert_same(plain, solve(features[order], labels[order]))
    assert_same(plain, solve(features, labels, penalties=PENALTIES[::-1])[::-1])
    assert_same(plain, [solve(features, labels, penalties=[p])[0] for p in PENALTIES])
    twice = solve(features, labels, penalties=(1e-3, 1e-3))
    assert twice[0] is twice[1]


def test_renumbered_classes_give_renumbered_solutions():
    features, labels = drawn(80, 10)
    order = np.array([2, 0, 3, 1])
    renumbered = solve(features, order[labels])
    for a, b in zip(solve(features, labels), renumbered, strict=True):
        np.testing.assert_allclose(a.kernel, b.kernel[:, order], atol=1e-5)
        np.testing.assert_allclose(a.bias, b.bias[order], atol=1e-5)


def test_a_weight_of_two_is_the_image_twice_and_of_zero_is_no_image():
    features, labels = drawn(60, 10)
    times = np.arange(60) % 3
    times[:4] = 1
    rows = np.repeat(np.arange(60), times)
    repeated = solve(features[rows], labels[rows])
    assert_same(solve(features, labels, weights=times), repeated)
    assert_same(solve(features, labels, weights=0.1 * times), repeated)
    weighted = log_loss(repeated[1], features, labels, weights=times)
    assert weighted == pytest.approx(
        log_loss(repeated[1], features[rows], labels[rows])
    )


def test_the_unit_and_the_origin_of_the_features_do_not_matter():
    features, labels = drawn(60, 10)
    moved = features.astype("float64") * 250 - 40
    for a, b in zip(solve(features, labels), solve(moved, labels), strict=True):
        assert a.loss == pytest.approx(b.loss, rel=1e-6)
        np.testing.assert_allclose(
            probabilities(a, features), probabilities(b, moved), atol=1e-5
        )


def test_a_huge_penalty_leaves_the_shares_of_the_classes():
    features, labels = drawn(50, 10)
    (one,) = solve(features, labels, penalties=[1e8])
    shares = np.bincount(labels) / 50
    np.testing.assert_allclose(
        probabilities(one, features), np.tile(shares, (50, 1)), atol=1e-6
    )


@pytest.mark.parametrize("value", [0.0, 7.0, 0.1, 12345.678])
def test_features_that_say_nothing_leave_the_shares_of_the_classes(value):
    labels = np.array([0, 0, 0, 1, 2, 2, 2])
    features = np.full((7, 3), value)
    for one in solve(features, labels, classes=3):
        assert one.converged
        np.testing.assert_allclose(one.kernel, 0, atol=1e-6)
        np.testing.assert_allclose(
            probabilities(one, features[:1]), [[3 / 7, 1 / 7, 3 / 7]], atol=1e-6
        )


def test_a_class_without_an_image_is_never_expected_but_its_loss_is_finite():
    features, labels = drawn(60, 10, classes=3)
    with_gap = labels + (labels >= 1)
    plain = solve(features, labels, classes=3)
    for a, b in zip(plain, solve(features, with_gap, classes=4), strict=True):
        np.testing.assert_allclose(a.kernel, b.kernel[:, [0, 2, 3]], atol=1e-6)
        assert probabilities(b, features)[:, 1].max() <= 1.0001e-7
        assert 10 < log_loss(b, features, np.ones(60, int)) < 100


def test_a_single_class_is_certain():
    (one,) = solve(drawn(9, 4)[0], np.full(9, 2), penalties=[1e-3])
    assert one.converged
    np.testing.assert_allclose(one.loss, 0, atol=1e-12)
    np.testing.assert_allclose(probabilities(one, np.ones((1, 4)))[0, 2], 1, atol=1e-6)


def test_one_image_of_each_class_and_repeated_rows_are_solved():
    features, labels = drawn(4, 30)
    for one in solve(features, labels):
        assert one.converged
        assert (probabilities(one, features).argmax(axis=1) == labels).all()
    doubled = solve(np.tile(features, (2, 1)), np.tile(labels, 2))
    assert_same(solve(features, labels), doubled)


def test_the_default_path_ends_in_what_separates_and_the_loss_falls_along_it():
    features, labels = drawn(40, 60)
    path = solve(features, labels, penalties=default_penalties(9), tolerance=1e-3)
    losses = [one.loss for one in path]
    assert all(one.converged and one.gradient <= 1e-3 for one in path)
    assert losses == sorted(losses, reverse=True)
    assert log_loss(path[-1], features, labels) < 1e-3 < 1 < losses[0]
    assert [one.penalty for one in path] == list(default_penalties(9))


def test_a_tighter_tolerance_moves_the_kernel_by_no_more_than_it_promised():
    features, labels = drawn(200, 20)
    rough, exact = (solve(features, labels, tolerance=t) for t in (1e-2, EXACT))
    for a, b in zip(rough, exact, strict=True):
        assert np.linalg.norm(a.kernel - b.kernel) <= 1e-2 * np.linalg.norm(b.kernel)


def test_the_same_input_gives_the_same_bits():
    features, labels = drawn(70, 20)
    for a, b in zip(solve(features, labels), solve(features, labels), strict=True):
        np.testing.assert_array_equal(a.kernel, b.kernel)
        np.testing.assert_array_equal(a.bias, b.bias)


def test_the_input_is_left_as_it_is():
    features, labels = drawn(30, 10)
    features = features.astype("float64")
    before = features.copy(), labels.copy()
    solve(features, labels)
    np.testing.assert_array_equal(features, before[0])
    np.testing.assert_array_equal(labels, before[1])


def test_what_does_not_converge_is_said_once(caplog, monkeypatch):
    monkeypatch.setattr("kerasresnet.solving._MOST_ITERATIONS", 1)
    features, labels = drawn(70, 20)
    with caplog.at_level(logging.WARNING):
        path = solve(features, labels)
    assert not any(one.converged for one in path)
    assert all(one.gradient > EXACT for one in path)
    (record,) = caplog.records
    assert (
        "3 of 3 logistic regressions did not converge to a tolerance of 1.0e-05"
        in record.getMessage()
    )


def test_each_fold_is_scored_by_what_was_solved_without_it():
    features, labels = drawn(60, 10)
    folds, weights = np.arange(60) % 3, 1.0 + np.arange(60) % 2
    losses = fold_paths(
        features, labels, folds, classes=4, penalties=PENALTIES, weights=weights
    )
    assert losses.shape == (3, 3)
    kept = folds != 1
    without = solve_path(
        features[kept],
        labels[kept],
        classes=4,
        penalties=PENALTIES,
        weights=weights[kept],
    )
    out = features[~kept], labels[~kept]
    np.testing.assert_array_equal(
        losses[1], [log_loss(one, *out, weights=weights[~kept]) for one in without]
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": np.full((8, 3), np.nan)}, "8 of 8 rows of features are not fini"),
        ({"features": np.zeros((8, 3, 1))}, r"features of shape \(N, D\), received"),
        ({"features": np.full((8, 3), "a")}, r"features of shape \(N, D\), received"),
        ({"labels": np.arange(8)}, "Labels of 4 classes are 0 to 3, received 0 to 7"),
        ({"labels": np.arange(8) - 7}, "received -7 to 0"),
        ({"labels": np.zeros(8)}, "whole number as label of each of 8 rows"),
        ({"labels": np.zeros(7, int)}, "whole number as label of each of 8 rows"),
        ({"weights": np.ones(7)}, "finite weight for each of 8 images"),
        ({"weights": np.full(8, np.inf)}, "finite weight for each of 8 images"),
        ({"weights": np.zeros(8)}, "nor all 0"),
        ({"weights": np.arange(8) - 1}, "the least is -1"),
    ],
)
def test_data_that_cannot_be_solved_is_refused(change, message):
    given = {"features": np.eye(8, 3), "labels": np.arange(8) % 4} | change
    with pytest.raises(kr.DataError, match=message):
        solve_path(**given, classes=4, penalties=[1.0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": 1}, "classes must be at least 2, received 1"),
        ({"penalties": []}, "penalties that are positive and finite"),
        ({"penalties": [1.0, 0.0]}, "penalties that are positive and finite"),
        ({"penalties": [np.inf]}, "penalties that are positive and finite"),
        ({"tolerance": 0.0}, r"tolerance must be in 0\.\.1, received 0"),
    ],
)
def test_choices_out_of_range_are_refused(change, message):
    given = {"classes": 4, "penalties": [1.0]} | change
    with pytest.raises(ValueError, match=message):
        solve_path(np.eye(8, 3), np.arange(8) % 4, **given)
    with pytest.raises(ValueError, match="count must be at least 2, received 1"):
        default_penalties(1)


@pytest.mark.parametrize("folds", [np.zeros(8), np.arange(7)])
def test_folds_that_hold_nothing_out_are_refused(folds):
    with pytest.raises(kr.DataError, match="Expected the fold of each of 8 images"):
        fold_paths(
            np.eye(8, 3), np.arange(8) % 4, folds, classes=4, penalties=[1.0, 2.0]
        )
