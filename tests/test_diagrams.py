from itertools import pairwise

import numpy as np
import pytest
from drawing import drawn, report_of, texts

import kerasresnet as kr
from kerasresnet.diagrams import principal_components
from kerasresnet.figures import COLOURS, MARKERS


def test_the_confusion_matrix_shows_every_count_and_share():
    figure = kr.plot_confusion(report_of([[3, 1], [0, 4]]))
    axis = figure.axes[0]
    assert texts(axis) == ["3", "1", "4"]
    np.testing.assert_allclose(axis.images[0].get_array(), [[0.75, 0.25], [0, 1]])
    assert [t.get_text() for t in axis.get_yticklabels()] == ["class 0", "class 1"]
    assert axis.get_xlabel() == "called"
    assert drawn(figure).std() > 0


def test_a_large_confusion_matrix_is_drawn_without_numbers():
    figure = kr.plot_confusion(report_of(np.eye(60, dtype=int).tolist()))
    assert texts(figure.axes[0]) == []
    assert drawn(figure).std() > 0


def test_dollar_signs_in_names_are_no_formulas():
    report = kr.Report(("$a$", "b_{$x$}"), np.array([0, 1]), np.eye(2), ("x", "y"))
    assert drawn(kr.plot_confusion(report)).std() > 0


@pytest.mark.parametrize("size", [2, 5, 20, 50, 100])
def test_the_names_of_a_confusion_matrix_can_be_read(size):
    figure = kr.plot_confusion(report_of(np.eye(size, dtype=int).tolist()))
    figure.draw_without_rendering()
    labels = figure.axes[0].get_yticklabels()
    assert [label.get_text() for label in labels] == [f"class {i}" for i in range(size)]
    assert min(label.get_fontsize() for label in labels) >= 6
    boxes = [label.get_window_extent() for label in labels]
    assert all(upper.y0 >= lower.y1 - 1 for upper, lower in pairwise(boxes))


def test_of_very_many_classes_some_are_named_in_a_figure_of_bounded_size():
    sizes = {}
    for size in (100, 250):
        figure = kr.plot_confusion(report_of(np.eye(size, dtype=int).tolist()))
        names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
        sizes[size] = tuple(figure.get_size_inches())
    assert names == [f"class {i}" for i in range(0, 250, 3)]
    assert sizes[100] == sizes[250]


def test_a_reliability_diagram_shows_every_bin_with_its_interval_and_count():
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.5, 1, 200)
    labels = (rng.uniform(size=200) > sure).astype(int)
    names, sources = ("a", "b"), ("x",) * 200
    report = kr.Report(names, labels, np.stack([sure, 1 - sure], 1), sources)
    figure = kr.plot_reliability(report)
    axis, below = figure.axes
    bins = [one for one in report.reliability if one.count]
    points = axis.lines[1].get_xydata()
    np.testing.assert_allclose(points, [(b.confidence, b.accuracy) for b in bins])
    (bars,) = axis.collections
    for line, one in zip(bars.get_segments(), bins, strict=True):
        np.testing.assert_allclose(line[:, 1], one.accuracy_interval)
    assert [bar.get_height() for bar in below.patches] == [one.count for one in bins]
    assert [bar.get_x() for bar in below.patches] == [one.low for one in bins]
    assert axis.get_title().endswith("200 images")
    assert drawn(figure).std() > 0


def test_a_map_shows_every_image_once_in_the_style_of_its_class(small, flowers):
    figure = kr.plot_embedding(small(), flowers)
    axis = figure.axes[0]
    features = kr.extract_features(small(), flowers, verbose=0)
    places, _ = principal_components(features)
    for number, points in enumerate(axis.collections):
        own = places[flowers.labels == number]
        np.testing.assert_allclose(points.get_offsets(), own, atol=1e-4)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == list(flowers.class_names)
    assert drawn(figure).std() > 0


def test_images_without_labels_are_one_class_without_a_legend(pixels):
    rows = np.random.default_rng(0).normal(size=(10, 3))
    figure = kr.plot_embedding(rows, pixels[0])
    assert len(figure.axes[0].collections[0].get_offsets()) == 10
    assert not figure.legends


def test_no_two_of_ninety_classes_look_the_same():
    styles = {(COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]) for i in range(90)}
    assert len(styles) == 90


@pytest.mark.parametrize("shape", [(40, 12), (12, 40), (9, 1), (5, 3, 4)])
def test_principal_components_are_those_of_the_singular_values(shape):
    rows = np.random.default_rng(0).normal(size=shape).astype("float32")
    places, shares = principal_components(rows)
    flat = rows.reshape(len(rows), -1)
    u, s, _ = np.linalg.svd(flat - flat.mean(axis=0), full_matrices=False)
    both = min(2, len(s))
    expected = np.zeros((len(rows), 2))
    expected[:, :both] = u[:, :both] * s[:both]
    np.testing.assert_allclose(abs(places), abs(expected), atol=1e-4)
    np.testing.assert_allclose(shares[:both], s[:both] ** 2 / (s**2).sum(), rtol=1e-4)


def test_images_that_are_all_the_same_are_one_point():
    places, shares = principal_components(np.ones((4, 3)))
    assert not places.any()
    assert shares == (0, 0)


def test_a_map_needs_a_row_for_each_of_two_images(pixels):
    for rows, images in ((3, pixels[0]), (1, pixels[0][:1])):
        with pytest.raises(kr.DataError, match=f"received {rows} rows? for"):
            kr.plot_embedding(np.ones((rows, 4)), images)
