"""Charts: every value is where its number says, and nothing is left unsaid."""

import math

import numpy as np
import pytest
from reading import read

import kerasresnet as kr
from kerasresnet.charts import line_chart, reliability_chart


def points(page):
    return [(float(p["cx"]), float(p["cy"])) for p in page.all("circle")]


def test_a_line_rises_where_its_values_do_and_stays_in_the_picture():
    values = [0.3, 0.1, 0.5, 0.45, 0.9]
    found = points(read(line_chart({"training": values}, title="loss")))
    assert len(found) == len(values)
    heights = [-y for _, y in found]
    assert np.argsort(heights).tolist() == np.argsort(values).tolist()
    assert np.all(np.diff([x for x, _ in found]) > 0)
    assert all(0 <= x <= 360 and 0 <= y <= 240 for x, y in found)


def test_what_is_not_finite_is_left_out_and_nothing_else():
    lines = {"training": [1.0, math.nan, 3.0], "validation": [math.inf, 2.0, 2.0]}
    assert len(points(read(line_chart(lines, title="loss")))) == 4


@pytest.mark.parametrize("values", [[], [math.nan, math.inf]])
def test_without_a_finite_value_the_chart_says_so(values):
    page = read(line_chart({"training": values}, title="a<b"))
    assert page.texts == ["a<b: no value is finite."]


@pytest.mark.parametrize("value", [0.0, -2.5, 1e-12, 3e8, 1.0])
def test_a_single_value_has_room_above_or_below(value):
    page = read(line_chart({"training": [value, value * (1 + 3e-16)]}, title="x"))
    assert len(points(page)) == 2
    assert len(page.all("line", **{"class": "grid"})) >= 2


@pytest.mark.parametrize("count", [1, 9, 10, 11, 300])
def test_there_are_few_ticks_however_many_epochs(count):
    page = read(line_chart({"training": range(count)}, title="x"))
    ticks = [t for t in page.all("text") if t["class"] == "tick" and t["text-anchor"] == "middle"]  # fmt: skip
    assert 1 <= len(ticks) <= 10


def test_lines_are_told_apart_by_more_than_colour():
    lines = {"a": [1.0, 2.0], "b": [2.0, 1.0], "c": [1.0, 1.0]}
    page = read(line_chart(lines, title="x"))
    assert len({p["class"] for p in page.all("polyline")}) == 3
    assert {"● a", "● b", "● c"} <= set(page.texts)


def test_reliability_has_a_point_and_an_interval_for_each_range_with_images():
    rng = np.random.default_rng(0)
    scores = rng.dirichlet([1, 1, 1], 60)
    labels = rng.integers(0, 3, 60)
    report = kr.Report(("a", "b", "c"), labels, scores, tuple(map(str, range(60))))
    there = [one for one in report.reliability if one.count]
    page = read(reliability_chart(report.reliability))
    assert (
        len(points(page)) == len(page.all("line", **{"class": "reach"})) == len(there)
    )
    told = [text for text in page.texts if "images: confidence" in text]
    assert sum(int(text.split()[0]) for text in told) == 60
    for (x, y), one in zip(points(page), there, strict=True):
        assert x == pytest.approx(52 + one.confidence * 290, abs=0.1)
        assert y == pytest.approx(200 - one.accuracy * 174, abs=0.1)
