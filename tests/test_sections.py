"""What stands on a page: as much as is known, and all of it."""

import numpy as np
import pytest
from drawing import report_of
from reading import read

import kerasresnet as kr
from kerasresnet.markup import joined
from kerasresnet.sections import Contents, sections, without_folder


def shown(report, **contents):
    return {
        each.name: read(joined(each.body))
        for each in sections(report, Contents("title", **contents))
        if each.body
    }


def test_what_is_not_known_has_no_section():
    names = ["summary", "confusion", "classes", "reliability"]
    assert list(shown(report_of([[2, 1], [0, 3]]))) == names
    more = shown(
        report_of([[2, 1], [0, 3]]),
        history={"loss": [2.0, 1.0], "learning_rate": [0.1, 0.2]},
        settings={"a<": "<b>"},
        audit=kr.ImageData.from_arrays(np.zeros((2, 40, 40, 3), "uint8"), [0, 1]).check(),
    )  # fmt: skip
    assert list(more) == ["summary", "data", "training", *names[1:], "settings"]
    assert len(more["training"].all("svg")) == 1
    assert {"a<", "<b>"} <= set(more["settings"].texts)


def test_every_image_is_in_a_cell_of_the_matrix():
    confusion = [[5, 0, 2], [1, 0, 0], [0, 4, 9]]
    page = shown(report_of(confusion))["confusion"]
    cells = page.all("button")[: np.count_nonzero(confusion)]
    placed = [(int(c["data-label"]), int(c["data-called"])) for c in cells]
    assert placed == [tuple(place) for place in np.argwhere(confusion).tolist()]
    counts = [int(text) for text in page.texts if text.isdigit()][: len(placed)]
    assert counts == [confusion[i][j] for i, j in placed]


def luminance(rgb):
    value = np.asarray(rgb) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize(
    ("ground", "letters"), [((255, 255, 255), (0, 0, 0)), ((22, 24, 27), (255,) * 3)]
)
def test_numbers_in_the_matrix_are_read_on_every_colour(ground, letters):
    report = report_of([[n, 40 - n] for n in (1, 40)] )  # fmt: skip
    styles = [c["style"] for c in shown(report)["confusion"].all("td") if c]
    assert len(styles) == 3
    for style in styles:
        *colour, _, alpha = style[style.index("(") + 1 : -1].split()
        over = float(alpha) * np.array(colour, float) + (1 - float(alpha)) * np.array(ground)  # fmt: skip
        dark, light = sorted((luminance(over), luminance(letters)))
        assert (light + 0.05) / (dark + 0.05) >= 4.5  # WCAG 2.2, 1.4.3


def test_with_many_classes_pairs_stand_for_the_matrix():
    page = shown(report_of(np.roll(np.eye(41, dtype=int), 1, 0)))["confusion"]
    assert len(page.all("button")) == 10
    assert "and 31 more pairs" in page.texts
    assert not page.all("table", **{"class": "matrix"})


def test_a_report_without_mistakes_or_of_one_class_says_so():
    for confusion in ([[3, 0], [0, 2]], [[4]], [[3, 0], [0, 0]]):
        found = shown(report_of(confusion))
        assert "No image was called something else." in found["confusion"].texts
    assert "1 class without images, left out of the means: class 1" in found["summary"].texts  # fmt: skip


def test_the_numbers_are_those_of_the_report():
    report = report_of([[5, 1, 0], [2, 7, 0], [0, 3, 0]])
    texts = shown(report)["summary"].texts
    assert f"{report.accuracy:.1%}" in texts
    assert f"{report.macro_f1:.1%}" in texts
    rows = shown(report)["classes"].all("td")
    recalls = [float(row["data-value"]) for row in rows[1::7]]
    np.testing.assert_allclose(recalls, [s.recall for s in report.per_class], rtol=1e-5)


@pytest.mark.parametrize(
    ("sources", "names"),
    [
        ([], []),
        (["/a/b/c.jpg"], ["c.jpg"]),
        (["/a/b/c.jpg", "/a/b/d.jpg"], ["c.jpg", "d.jpg"]),
        (["/a/x/c.jpg", "/a/y/c.jpg"], ["x/c.jpg", "y/c.jpg"]),
        (["/a/c.jpg", "b/c.jpg"], ["/a/c.jpg", "b/c.jpg"]),
        (["image 0", "image 1"], ["image 0", "image 1"]),
        (["c.jpg", "c.jpg"], ["c.jpg", "c.jpg"]),
    ],
)
def test_names_lose_only_the_folder_that_all_share(sources, names):
    assert without_folder(sources) == names
