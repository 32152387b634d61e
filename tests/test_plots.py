import numpy as np
import pytest
from drawing import drawn

import kerasresnet as kr
from kerasresnet.extrapolation import extrapolated
from kerasresnet.learning_curves import LearningCurve
from kerasresnet.plots import plot_learning_curve, plot_learning_rate
from kerasresnet.rates import LearningRates


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


RUN = {
    "loss": [2.0, 1.0],
    "val_loss": [3.0, 2.0],
    "accuracy": [0.1, 0.5],
    "val_accuracy": [0.0, 0.4],
    "learning_rate": [1.0, 0.1],
}


def test_runs_are_compared_curve_by_curve_with_a_colour_for_each():
    other = {"loss": [2.5, 2.0, 1.5]}
    figure = kr.plot_history({"tuned": [RUN, RUN], "$random$ head": other})
    loss, accuracy = figure.axes
    assert [list(line.get_ydata()) for line in loss.lines] == [
        [2, 1, 2, 1],
        [3, 2, 3, 2],
        [2.5, 2, 1.5],
    ]
    training, validation, second = loss.lines
    assert training.get_color() == validation.get_color() != second.get_color()
    assert training.get_linestyle() == second.get_linestyle() == "--"
    assert validation.get_linestyle() == "-"
    assert len(accuracy.lines) == 2
    assert loss.get_xlim() == (0.5, 4.5)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["tuned", r"\$random\$ head", "validation", "training"]
    assert drawn(figure).std() > 0


def test_a_run_is_compared_as_it_is_drawn_alone(small, pixels):
    history = kr.fit(small(), pixels, pixels, epochs=1, verbose=0)
    (alone, _), (compared, _) = (
        kr.plot_history(one).axes for one in (history, {"a": history})
    )
    for one, other in zip(alone.lines, compared.lines, strict=True):
        np.testing.assert_array_equal(one.get_xydata(), other.get_xydata())


def test_runs_and_histories_are_not_mixed():
    with pytest.raises(ValueError, match="received both"):
        kr.plot_history(RUN, {"a": RUN})
    with pytest.raises(ValueError, match="There is no epoch to draw"):
        kr.plot_history({"a": {}})
