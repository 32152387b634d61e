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
from matplotlib.ticker import MaxNLocator, PercentFormatter

from kerasresnet.decoding import read_image
from kerasresnet.errors import DataError
from kerasresnet.evaluation import Report
from kerasresnet.images import ImageData
from kerasresnet.prediction import Prediction

# Told apart by every kind of colour vision. Okabe and Ito, https://jfly.uni-koeln.de/color/
_BLUE, _ORANGE, _GRAY = "#0072B2", "#D55E00", "#666666"
_NUMBERS_IN_CELLS = 20
_THUMBNAIL = (224, 224)


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
        title=f"accuracy {report.accuracy:.1%} ({low:.1%} to {high:.1%}), {len(report):,} images",
    )
    if size <= _NUMBERS_IN_CELLS:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                ink = "white" if shares[row, column] > 0.55 else "black"
                axis.text(
                    column, row, f"{count:,}", ha="center", va="center", color=ink
                )
    bar = figure.colorbar(picture, ax=axis, shrink=0.8, label="share of the true class")
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    return figure


def plot_predictions(predictions: Sequence[Prediction], n: int = 9) -> Figure:
    """Draws images with what the model says about them.

    Args:
        predictions: What `predict` returned.
        n: Largest number of images to draw; the first ones are.

    Returns:
        A `Figure`.

    Raises:
        DataError: If there is no prediction, or a photo cannot be read any more.

    Example:

    >>> model = kr.build_classifier(class_names=["cat", "dog"], weights=None)
    >>> predictions = kr.predict(model, np.zeros((2, 64, 64, 3), "uint8") + 90)
    >>> kr.plot_predictions(predictions).savefig("predictions.png")
    """
    if not predictions or n < 1:
        raise DataError("There is no prediction to draw.")
    images, titles = [], []
    for prediction in predictions[:n]:
        photo = (
            Path(prediction.source) if prediction.image is None else prediction.image
        )
        images.append(read_image(photo, _THUMBNAIL))
        titles.append(f"{prediction.label}\n{prediction.probability:.0%}")
    return _grid(images, titles)


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


def _shortened(title: str, most: int = 28) -> str:
    # A dollar sign would begin a formula; the end of a long path tells more than its
    # beginning.
    lines = [
        line if len(line) <= most else "…" + line[1 - most :]
        for line in title.split("\n")
    ]
    return "\n".join(lines).replace("$", r"\$")
