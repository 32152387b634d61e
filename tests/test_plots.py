import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

import kerasresnet as kr
from kerasresnet.extrapolation import extrapolated
from kerasresnet.plots import plot_learning_curve, plot_learning_rate
from kerasresnet.rates import LearningRates
from kerasresnet.validating import LearningCurve


def drawn(figure):
    """The figure as pixels: drawing must work without a display."""
    assert isinstance(figure, Figure)
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return np.asarray(Image.open(stream).convert("RGB"))


def texts(axis):
    return [text.get_text() for text in axis.texts]


def report_of(confusion):
    """A report with a given confusion matrix."""
    size = len(confusion)
    cells = [
        (i, j) for i in range(size) for j in range(size) for _ in range(confusion[i][j])
    ]
    labels = np.array([i for i, _ in cells])
    scores = np.eye(size)[[j for _, j in cells]]
    names = tuple(f"class {i}" for i in range(size))
    return kr.Report(names, labels, scores, tuple(map(str, range(len(cells)))))


def test_a_history_has_a_panel_for_each_metric_and_both_curves():
    history = {
        "loss": [2, 1],
        "val_loss": [3, 2],
        "accuracy": [0.1, 0.5],
        "val_accuracy": [0, 0.4],
    }
    figure = kr.plot_history(history)
    assert [axis.get_title() for axis in figure.axes] == ["loss", "accuracy"]
    for axis, name in zip(figure.axes, ("loss", "accuracy"), strict=True):
        curves = [list(line.get_ydata()) for line in axis.lines]
        assert curves == [history[name], history[f"val_{name}"]]
    assert drawn(figure).std() > 0


def test_histories_are_drawn_one_behind_the_other():
    figure = kr.plot_history({"loss": [3, 2], "val_loss": [3, 3]}, {"loss": [1]})
    training, validation, boundary = figure.axes[0].lines
    assert list(training.get_xdata()) == [1, 2, 3]
    assert list(training.get_ydata()) == [3, 2, 1]
    np.testing.assert_array_equal(validation.get_ydata(), [3, 3, np.nan])
    assert set(boundary.get_xdata()) == {2.5}


def test_a_history_without_validation_and_the_one_of_keras_are_drawn(small, pixels):
    figure = kr.plot_history(kr.fit(small(), pixels, epochs=1))
    assert len(figure.axes) == 2
    assert all(len(axis.lines) == 1 for axis in figure.axes)


@pytest.mark.parametrize("histories", [(), ({},), ({"loss": []},)])
def test_nothing_to_draw_is_refused(histories):
    with pytest.raises(ValueError, match="There is no epoch to draw"):
        kr.plot_history(*histories)


def test_images_are_titled_with_their_class(flowers):
    figure = kr.plot_images(flowers, n=5, seed=1)
    titles = [axis.get_title() for axis in figure.axes if axis.images]
    assert sorted(titles) == sorted(flowers.class_names)
    assert drawn(figure).std() > 0


def test_unlabelled_images_are_titled_with_their_source(pixels):
    figure = kr.plot_images(kr.ImageData.from_arrays(pixels[0]), n=2)
    assert all(a.get_title().startswith("image ") for a in figure.axes if a.images)


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


def test_predictions_are_titled_with_label_and_probability(small, flowers, pixels):
    model = small(class_names=flowers.class_names)
    for images in (flowers.take(5), pixels[0][:5]):
        predictions = kr.predict(model, images)
        figure = kr.plot_predictions(predictions, n=4)
        titles = [axis.get_title() for axis in figure.axes if axis.images]
        expected = [f"{p.label}\n{p.probability:.0%}" for p in predictions[:4]]
        assert titles == expected


def test_wrong_answers_are_marked_by_colour_and_true_name(small, flowers):
    model = small(class_names=flowers.class_names)
    predictions = kr.predict(model, flowers.take(6))
    labels = [p.label for p in predictions]
    labels[1], labels[4] = "roses of another class", "$x$"
    figure = kr.plot_predictions(predictions, labels=labels)
    for axis, p, label in zip(figure.axes, predictions, labels, strict=False):
        title, sure = axis.get_title().replace(r"\$", "$"), f"{p.probability:.0%}"
        assert all(len(line) <= 28 for line in title.split("\n"))
        if label == p.label:
            assert (title, axis.title.get_color()) == (f"{label}\n{sure}", "black")
            continue
        assert axis.title.get_color() == "#D55E00"
        assert title.startswith(p.label)
        assert f"{label[-12:]})" in title
        assert title.endswith(sure)
    with pytest.raises(kr.DataError, match="6 predictions but 5 labels"):
        kr.plot_predictions(predictions, labels=labels[1:])


def test_no_predictions_and_no_images_are_refused(flowers):
    with pytest.raises(kr.DataError, match="no prediction to draw"):
        kr.plot_predictions([])
    with pytest.raises(kr.DataError, match="no image to draw"):
        kr.plot_images(kr.ImageData.from_paths([]))


def test_a_notebook_can_show_a_figure():
    assert kr.plot_history({"loss": [1.0]})._repr_png_().startswith(b"\x89PNG")


def test_long_names_keep_their_end(small, flowers, pixels):
    model = small(class_names=["x" * 60 + name for name in flowers.class_names])
    figure = kr.plot_predictions(kr.predict(model, pixels[0][:1]))
    title = figure.axes[0].get_title().split("\n")[0]
    assert len(title) == 28
    assert title.startswith("…")


def test_dollar_signs_in_names_are_no_formulas():
    report = kr.Report(("$a$", "b_{$x$}"), np.array([0, 1]), np.eye(2), ("x", "y"))
    assert drawn(kr.plot_confusion(report)).std() > 0


def search_of(losses, suggestion):
    rates = tuple(np.geomspace(1e-6, 1, len(losses)).tolist())
    smoothed = tuple(np.minimum(losses, 5).tolist())
    at = float("nan") if suggestion is None else rates[suggestion]
    return LearningRates(rates, tuple(losses), smoothed, at, at, at)


def test_a_search_is_drawn_over_a_logarithmic_rate_with_its_suggestion_marked():
    found = search_of([2.0, 1.9, 1.0, 0.9, 60.0, float("inf")], 2)
    (axis,) = (figure := plot_learning_rate(found)).axes
    raw, smoothed, line, point = axis.lines
    assert tuple(raw.get_ydata()) == found.losses
    assert tuple(smoothed.get_ydata()) == found.smoothed
    assert smoothed.get_linewidth() > raw.get_linewidth()
    assert axis.get_xscale() == "log"
    assert set(line.get_xdata()) == {found.suggestion}
    assert (*point.get_xdata(), *point.get_ydata()) == (found.suggestion, 1.0)
    assert point.get_label() == f"suggestion: {found.suggestion:.2g}"
    assert axis.get_title() == "the loss ran away at 1"
    low, high = axis.get_ylim()
    assert low < 0.9
    assert 5 < high < 10
    assert drawn(figure).std() > 0


def test_a_search_without_a_suggestion_is_drawn_without_a_mark():
    figure = plot_learning_rate(search_of([1.5] * 9, None))
    (axis,) = figure.axes
    assert len(axis.lines) == 2
    assert axis.get_title() == "the loss did not run away up to 1"
    assert drawn(figure).std() > 0


def curve_of(counts, means):
    """A learning curve of three folds, 2 points apart."""
    accuracies = np.array(means)[:, None] + [-0.02, 0.0, 0.02]
    law, forecasts, refusal = extrapolated(counts, accuracies, 500)
    rows = tuple(map(tuple, accuracies.tolist()))
    return LearningCurve(500, tuple(counts), rows, (), law, forecasts, refusal)


def test_a_learning_curve_is_drawn_with_its_interval_and_what_it_leads_to():
    counts = [50, 100, 200, 400]
    curve = curve_of(counts, [0.9 - 3 / n**0.5 for n in counts])
    (axis,) = (figure := plot_learning_curve(curve)).axes
    measured, ahead = axis.lines[:2]
    assert list(measured.get_xdata()) == counts
    assert tuple(measured.get_ydata()) == curve.means
    assert ahead.get_linestyle() == "--"
    assert ahead.get_xdata()[-1] == pytest.approx(2500)
    assert ahead.get_ydata()[-1] == pytest.approx(curve.forecasts[-1].accuracy)
    assert axis.get_xscale() == "log"
    labels = [text.get_text() for text in axis.get_legend().get_texts()]
    assert labels == ["95 % interval", "measured", "power law, extrapolated"]
    assert drawn(figure).std() > 0


def test_a_learning_curve_that_leads_nowhere_is_drawn_without_a_law():
    figure = plot_learning_curve(curve_of([50, 100], [0.5, 0.6]))
    (axis,) = figure.axes
    assert len(axis.lines) == 1
    assert axis.get_title() == "60.0% with 100 photos, no extrapolation"
    assert drawn(figure).std() > 0
