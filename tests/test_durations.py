"""Durations: what is read, what is refused, and what is written."""

import math

import pytest

from kerasresnet.durations import format_duration, is_number, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (600, 600),
        (0.5, 0.5),
        ("600", 600),
        ("90s", 90),
        ("10min", 600),
        ("10 minutes", 600),
        ("1h30m", 5400),
        ("1 h 30 min 5 s", 5405),
        ("1.5 hours", 5400),
        (" 2M ", 120),
        ("1h5s", 3605),
    ],
)
def test_a_duration_is_read_in_any_usual_form(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", " ", "soon", "0", "0min", 0, -5, "-5s", "5x", "1m2h", "1h30", "1m 1m", "inf"],
)
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match=f"above 0: seconds.*Received {text!r}"):
        parse_duration(text)


@pytest.mark.parametrize("value", [math.inf, math.nan, True, None, [5]])
def test_a_value_that_is_no_duration_is_refused(value):
    with pytest.raises(ValueError, match="A duration must be above 0"):
        parse_duration(value)


def test_a_formatted_duration_is_read_as_the_same_seconds():
    for seconds in [1, 59, 60, 61, 3599, 3600, 3601, 3660, 86_399, 100_000]:
        assert parse_duration(format_duration(seconds)) == seconds


def test_a_duration_is_rounded_up_but_not_for_what_arithmetic_adds():
    assert format_duration(0) == "0 s"
    assert format_duration(0.2) == "1 s"
    assert format_duration(59.5) == "1 min"
    assert format_duration(30.000000001) == "30 s"


@pytest.mark.parametrize(
    ("value", "expected"),
    [(3, True), (0.5, True), (True, False), ("3", False), (math.inf, False)],
)
def test_a_number_is_real_and_finite_and_no_truth_value(value, expected):
    assert is_number(value) is expected
