"""What a curve of losses tells: compared with how it was drawn."""

import numpy as np
import pytest

from kerasresnet.curves import Curve, is_diverged, marks_of


def curve_of(losses):
    curve = Curve()
    for loss in losses:
        curve.add(float(loss))
    return curve


def test_the_loss_is_smoothed_as_an_average_that_forgets():
    losses = np.random.default_rng(0).normal(2, 1, 30)
    curve = curve_of(losses)
    assert curve.losses == losses.tolist()
    for n in range(1, 31):
        weights = 0.98 ** np.arange(n, 0, -1, dtype=float)
        expected = np.average(losses[:n], weights=weights)
        assert curve.smoothed[n - 1] == pytest.approx(expected)


@pytest.mark.parametrize("wave", [0, 0.05])  # single steps upwards do not end a fall
def test_the_valley_is_the_middle_of_the_longest_fall(wave):
    drawn = np.r_[np.full(30, 2.0), np.linspace(2, 1, 31)[1:], np.full(40, 9.0)]
    drawn[35:58:4] += wave
    curve = Curve()
    curve.losses = curve.smoothed = drawn.tolist()
    marks = marks_of(curve, planned=100)
    assert marks.valley == pytest.approx(45, abs=4 if wave else 2)
    assert marks.clear


def test_the_ends_are_left_out():
    falling = curve_of([*range(100, 0, -1), 50, 40, 30, 20, 0])
    marks = marks_of(falling, planned=100)
    assert marks.lowest == 99
    assert 10 <= marks.valley < 99


def test_a_loss_far_above_the_lowest_or_no_number_has_run_away():
    assert not is_diverged([1.0, 0.5, 2.0])
    assert is_diverged([1.0, 0.5, 2.01])
    assert not is_diverged([-1.0, 2.0])
    assert is_diverged([-1.0, 2.01])
    assert is_diverged([1.0, np.nan])


def test_too_few_steps_have_no_marks():
    assert marks_of(curve_of([2.0, 1.0, 0.5, 0.4]), planned=20)[:3] == (None,) * 3
    # One step is left, which is the lowest and the end of no fall.
    marks = marks_of(curve_of(range(8, 0, -1)), planned=20)
    assert (marks.valley, marks.steepest, marks.lowest) == (None, None, 2)
