"""One function for each figure: values in, a matplotlib `Figure` out.

No display is needed and no global state of matplotlib is touched.
"""

import math
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator, NullLocator, PercentFormatter

from kerasresnet.decoding import read_image
from kerasresnet.errors import DataError, count_of
from kerasresnet.evaluation import Report
from kerasresnet.images import ImageData
from kerasresnet.prediction import Prediction
from kerasresnet.rates import LearningRates
from kerasresnet.validating import LearningCurve

# Told apart by every kind of colour vision. Okabe and Ito, https://jfly.uni-koeln.de/color/
_BLUE, _ORANGE, _GRAY = "#0072B2", "#D55E00", "#666666"
_NUMBERS_IN_CELLS = 20
_THUMBNAIL = (224, 224)
_LINE = 28  # characters over a thumbnail


class _Figure(Figure):
    """A figure that a notebook shows even if pyplot was never imported."""

    def _repr_png_(self) -> bytes:
        stream = BytesIO()
        self.savefig(stream, format="png")
        return stream.getvalue()


def plot_history(*histories: Any) -> Figure:
    """Draws loss and metrics over the epochs.

    Args:
        *histories: What `fit` and `fine_tune` returned, or their `.history` dicts, in
            the order of training. A dotted line marks where the next one begins.

    Returns:
        A `Figure` with a panel for each metric: training and validation.

    Raises:
        ValueError: If there is no epoch to draw.

    Example:

    >>> history = {"loss": [1.2, 0.7], "val_loss": [1.3, 0.9]}
    >>> figure = kr.plot_history(history)
    >>> figure.savefig("history.png")
    """
    parts = [_as_dict(history) for history in histories]
    lengths = [
        max((len(values) for values in part.values()), default=0) for part in parts
    ]
    names = [
        name for name in (parts[0] if parts else {}) if not name.startswith("val_")
    ]
    names = [name for name in names if name != "learning_rate"]
    if not sum(lengths) or not names:
        raise ValueError(
            "There is no epoch to draw: pass what fit or fine_tune returned."
        )
    figure = _Figure(figsize=(4.8 * len(names), 3.6), layout="constrained")
    axes = figure.subplots(1, len(names), squeeze=False)[0]
    for axis, name in zip(axes, names, strict=True):
        _draw_metric(axis, name, parts, lengths)
    return figure


def plot_images(data: ImageData, n: int = 9, *, seed: int = 0) -> Figure:
    """Draws a grid of images with their class names.

    Args:
        data: Which images.
        n: Number of images, the classes in proportion.
        seed: Decides which images are drawn.

    Returns:
        A `Figure`.

    Raises:
        DataError: If there is no image, or one cannot be read.

    Example:

    >>> data = kr.ImageData.from_folder("flower_photos")
    >>> kr.plot_images(data, n=4).savefig("images.png")
    """
    if not len(data):
        raise DataError("There is no image to draw.")
    shown = data.take(n, seed)
    order = np.random.default_rng(seed).permutation(len(shown))
    images = [read_image(shown.photo(int(i)), _THUMBNAIL) for i in order]
    titles = (
        shown.sources
        if shown.labels is None
        else [shown.class_names[i] for i in shown.labels]
    )
    return _grid(images, [titles[i] for i in order])


def plot_confusion(report: Report) -> Figure:
    """Draws the confusion matrix of a report.

    Args:
        report: What `evaluate` returned.

    Returns:
        A `Figure`. Rows are true classes, columns what they were called; colours are
        shares of the row, numbers (up to 20 classes) are images.

    Example:

    >>> labels = np.array([0, 0, 1])
    >>> scores = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]])
    >>> report = kr.Report(("cat", "dog"), labels, scores, ("a", "b", "c"))
    >>> kr.plot_confusion(report).savefig("confusion.png")
    """
    counts = report.confusion
    size = len(report.class_names)
    names = [_shortened(name) for name in report.class_names]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(max(3.6, 1.6 + 0.55 * size), 14.0)
    # The default margin cuts the label of the left axis.
    margins = ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.1)
    figure = _Figure(figsize=(side + 1.2, side), layout=margins)
    axis = figure.subplots()
    picture = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    font = 10 if size <= _NUMBERS_IN_CELLS else max(3.0, 260 / size)
    axis.set_xticks(
        range(size),
        names,
        rotation=90 if size > 6 else 30,
        ha="center" if size > 6 else "right",
        fontsize=font,
    )
    axis.set_yticks(range(size), names, fontsize=font)
    low, high = report.accuracy_interval
    axis.set(
        xlabel="called",
        ylabel="true class",
        title=f"accuracy {report.accuracy:.1%} ({low:.1%} to {high:.1%}), "
        f"{count_of(len(report), 'image')}",
    )
    if size <= _NUMBERS_IN_CELLS:
        _write_counts(axis, counts, shares)
    bar = figure.colorbar(picture, ax=axis, shrink=0.8, label="share of the true class")
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    return figure


def _write_counts(axis: Any, counts: Any, shares: Any) -> None:
    for (row, column), count in np.ndenumerate(counts):
        if count:
            ink = "white" if shares[row, column] > 0.55 else "black"
            axis.text(column, row, f"{count:,}", ha="center", va="center", color=ink)


def plot_predictions(
    predictions: Sequence[Prediction],
    n: int = 9,
    *,
    labels: Sequence[str] | None = None,
) -> Figure:
    """Draws images with what the model says about them.

    Args:
        predictions: What `predict` returned.
        n: Largest number of images to draw; the first ones are.
        labels: For each prediction the name of the image's true class, if it is known:
            a wrong answer is titled in orange, with the true name beside it.

    Returns:
        A `Figure`.

    Raises:
        DataError: If there is no prediction, or not one for each label, or a photo
            cannot be read any more.

    Example:

    >>> model = kr.build_classifier(class_names=["cat", "dog"], weights=None)
    >>> predictions = kr.predict(model, np.zeros((2, 64, 64, 3), "uint8") + 90)
    >>> kr.plot_predictions(predictions).savefig("predictions.png")
    """
    if not predictions or n < 1:
        raise DataError("There is no prediction to draw.")
    if labels is not None and len(labels) != len(predictions):
        raise DataError(
            f"There are {len(predictions):,} predictions but {len(labels):,} labels."
        )
    shown = predictions[:n]
    truth = [p.label for p in shown] if labels is None else list(labels[:n])
    photos = [Path(p.source) if p.image is None else p.image for p in shown]
    images = [read_image(photo, _THUMBNAIL) for photo in photos]
    titles = [_answer(p, name) for p, name in zip(shown, truth, strict=True)]
    figure = _grid(images, titles)
    for axis, p, name in zip(figure.axes, shown, truth, strict=False):
        if p.label != name:
            axis.title.set_color(_ORANGE)
    return figure


def _answer(prediction: Prediction, label: str) -> str:
    said, sure = prediction.label, f"{prediction.probability:.0%}"
    if said == label:
        return f"{said}\n{sure}"
    line = f"{said} (true: {label})"
    if len(line) <= _LINE:
        return f"{line}\n{sure}"
    rest = len(f"(true: ) {sure}")
    return f"{said}\n(true: {_cut(label, _LINE - rest)}) {sure}"


def _draw_metric(
    axis: Any,
    name: str,
    parts: Sequence[Mapping[str, list[float]]],
    lengths: Sequence[int],
) -> None:
    epochs = np.arange(1, sum(lengths) + 1)
    curves = ((name, "training", _BLUE), (f"val_{name}", "validation", _ORANGE))
    for key, label, colour in curves:
        values = [
            value
            for part, length in zip(parts, lengths, strict=True)
            for value in part.get(key, [math.nan] * length)
        ]
        if not np.all(np.isnan(values)):
            axis.plot(epochs, values, "o-", markersize=3.5, color=colour, label=label)
    for start in np.cumsum(lengths)[:-1]:
        axis.axvline(start + 0.5, color=_GRAY, linestyle=":", label="next stage")
    axis.set(title=name.replace("_", " "), xlabel="epoch")
    axis.set_xlim(0.5, len(epochs) + 0.5)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if "accuracy" in name:
        axis.yaxis.set_major_formatter(PercentFormatter(1.0))
    axis.grid(alpha=0.3)
    handles, labels = axis.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    axis.legend(list(unique.values()), list(unique))


def _as_dict(history: Any) -> Mapping[str, list[float]]:
    return history if isinstance(history, Mapping) else dict(history.history)


def _grid(images: Sequence[Any], titles: Sequence[str]) -> Figure:
    columns = min(len(images), max(2, math.ceil(math.sqrt(len(images)))))
    rows = math.ceil(len(images) / columns)
    figure = _Figure(figsize=(2.2 * columns, 2.5 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, image, title in zip(axes, images, titles, strict=False):
        axis.imshow(np.clip(image, 0, 255).astype("uint8"))
        axis.set_title(_shortened(title), fontsize=10)
    return figure


def _shortened(title: str) -> str:
    # A dollar sign would begin a formula.
    lines = [_cut(line, _LINE) for line in title.split("\n")]
    return "\n".join(lines).replace("$", r"\$")


def _cut(line: str, most: int) -> str:
    # The end of a long path tells more than its beginning.
    return line if len(line) <= most else "…" + line[1 - most :]


def plot_learning_rate(found: LearningRates) -> Figure:
    """Draws the loss over the rates of a search, and marks the suggestion.

    The axis of the loss ends where the smoothed loss does; single batches may lie above.

    Args:
        found: What `find_learning_rate` returned.

    Returns:
        A `Figure` with one panel: learning rate (logarithmic) against training loss.

    Example:

    >>> train = kr.ImageData.from_folder("flower_photos")
    >>> model = kr.build_classifier(5, weights=None, input_shape=(32, 32, 3))
    >>> found = kr.find_learning_rate(model, train, steps=20, verbose=0)
    >>> kr.plot_learning_rate(found).savefig("rates.png")  # before kr.fit(...)
    """
    figure = _Figure(figsize=(6.4, 4.0), layout="constrained")
    axis = figure.subplots()
    axis.plot(found.rates, found.losses, color=_BLUE, alpha=0.3, label="each batch")
    axis.plot(found.rates, found.smoothed, color=_BLUE, linewidth=2, label="smoothed")
    axis.set_xscale("log")
    axis.set(
        title=_title(found),
        xlabel="learning rate (logarithmic)",
        ylabel="training loss",
    )
    axis.set_ylim(*_loss_limits(found))
    if not math.isnan(found.suggestion):
        _mark_suggestion(axis, found)
    axis.grid(alpha=0.3)
    axis.legend()
    return figure


def _title(found: LearningRates) -> str:
    if found.diverged is None:
        return f"the loss did not run away up to {found.rates[-1]:.2g}"
    return f"the loss ran away at {found.diverged:.2g}"


def _loss_limits(found: LearningRates) -> tuple[float, float]:
    losses, smoothed = np.array(found.losses), np.array(found.smoothed)
    # In its last steps a loss that runs away would press all the rest flat.
    calm = losses[: max(len(losses) - 5, 1)]
    high = max(np.max(smoothed[np.isfinite(smoothed)]), np.quantile(calm, 0.9))
    low = np.min(losses[np.isfinite(losses)])
    margin = 0.05 * (high - low) or 0.5
    return float(low - margin), float(high + margin)


def _mark_suggestion(axis: Any, found: LearningRates) -> None:
    at = found.rates.index(found.suggestion)
    point = (found.suggestion, found.smoothed[at])
    axis.axvline(point[0], color=_ORANGE, linestyle=":")
    label = f"suggestion: {point[0]:.2g}"
    axis.plot(*point, "o", color=_ORANGE, markersize=8, label=label)


def plot_learning_curve(curve: LearningCurve) -> Figure:
    """Draws the accuracy over the number of photos, and where it leads.

    Args:
        curve: What `learning_curve` returned.

    Returns:
        A `Figure` with one panel: photos trained on (logarithmic) against accuracy, means
        over the folds with their 95 % intervals. Dashed, what the power law gives for more
        photos; without it the title says that there is none.

    Example:

    >>> data = kr.ImageData.from_folder("flower_photos")
    >>> model = kr.build_classifier(
    ...     class_names=data.class_names, weights=None, input_shape=(32, 32, 3)
    ... )
    >>> curve = kr.learning_curve(model, data, sizes=[0.7, 1.0], k=3, verbose=0)
    >>> kr.plot_learning_curve(curve).savefig("curve.png")
    """
    figure = _Figure(figsize=(6.4, 4.0), layout="constrained")
    axis = figure.subplots()
    low, high = np.array(curve.intervals).T
    axis.fill_between(
        curve.counts,
        low,
        high,
        color=_BLUE,
        alpha=0.2,
        linewidth=0,
        label="95 % interval",
    )
    axis.plot(curve.counts, curve.means, "o-", color=_BLUE, label="measured")
    _draw_forecasts(axis, curve)
    axis.set_xscale("log")
    ahead = [one.images for one in curve.forecasts or ()]
    axis.set_xticks(
        [*curve.counts, *ahead], [f"{n:,}" for n in (*curve.counts, *ahead)]
    )
    axis.tick_params(axis="x", rotation=45)
    axis.xaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter(PercentFormatter(1.0))
    worth = f"{curve.means[-1]:.1%} with {count_of(curve.counts[-1], 'photo')}"
    axis.set(
        title=worth if curve.forecasts else f"{worth}, no extrapolation",
        xlabel="photos trained on (logarithmic)",
        ylabel="accuracy on held-out photos",
    )
    axis.grid(alpha=0.3)
    axis.legend(loc="lower right")
    return figure


def _draw_forecasts(axis: Any, curve: LearningCurve) -> None:
    if curve.law is None or curve.forecasts is None:
        return
    photos = np.geomspace(curve.counts[0], curve.forecasts[-1].images, 100)
    values = [curve.law.accuracy(n) for n in photos]
    axis.plot(photos, values, "--", color=_ORANGE, label="power law, extrapolated")
    for one in curve.forecasts:
        low, high = one.interval
        # The law may be flat at 100 %, with its interval on one side only.
        reach = [[max(one.accuracy - low, 0)], [max(high - one.accuracy, 0)]]
        axis.errorbar(
            one.images, one.accuracy, yerr=reach, fmt="s", color=_ORANGE, capsize=4
        )
