"""Learning curves: what was measured, and no more extrapolated than that allows."""

import numpy as np
import pytest

from kerasresnet.extrapolation import PowerLaw, extrapolated
from kerasresnet.learning_curves import ClassGain, LearningCurve, learning_curve
from kerasresnet.validating import cross_validate

EXACT = {"precision": "float32", "verbose": 0, "cache": "memory"}
PENALTIES = (1.0, 0.1, 1e-2, 1e-3)


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
        ({"sizes": []}, "Expected sizes as shares"),
        ({"sizes": [0.0, 1.0]}, "Expected sizes as shares"),
        ({"sizes": [20, 49]}, "asks for 49 images, but 48 are left"),
    ],
)
def test_wrong_arguments_are_refused(small, coloured, wrong, match):
    with pytest.raises(ValueError, match=match):
        learning_curve(small(3), coloured, **{**EXACT, **wrong})
