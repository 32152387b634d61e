"""Figures of a model's results on a set of images: confusion, calibration, a map."""

import math
from typing import Any

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import PercentFormatter
from scipy import linalg

from kerasresnet.classifier import Classifier
from kerasresnet.decoding import Pixels
from kerasresnet.errors import DataError, count_of
from kerasresnet.evaluation import Report
from kerasresnet.features import extract_features
from kerasresnet.figures import (
    BLUE,
    COLOURS,
    GRAY,
    MARKERS,
    NotebookFigure,
    shortened,
)
from kerasresnet.neighbours import as_images

_NUMBERS_IN_CELLS = 20
_MOST_NAMES = 100  # of rows; a larger figure would take gigabytes
_IN_A_COLUMN = 25  # names of a legend


def plot_confusion(report: Report) -> Figure:
    """Draws the confusion matrix of a report.

    Args:
        report: What `evaluate` returned.

    Returns:
        A `Figure`. Rows are true classes, columns what they were called; colours are
        shares of the row, numbers (up to 20 classes) are images. Beyond, the colours
        grow with the root of the share, so that few mistakes are seen, too. Of more than
        100 classes some are named, at equal distances.

    Example:

    >>> labels = np.array([0, 0, 1])
    >>> scores = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]])
    >>> report = kr.Report(("cat", "dog"), labels, scores, ("a", "b", "c"))
    >>> kr.plot_confusion(report).savefig("confusion.png")
    """
    counts = report.confusion
    size = len(report.class_names)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    few = size <= _NUMBERS_IN_CELLS
    side = max(3.6, 1.6 + 0.55 * size) if few else 9.0 + 0.12 * min(size, _MOST_NAMES)
    # The default margin cuts the label of the left axis.
    margins = ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.1)
    figure = NotebookFigure(figsize=(side + 1.2, side), layout=margins)
    axis = figure.subplots()
    norm = PowerNorm(1.0 if few else 0.5, 0, 1)
    picture = axis.imshow(shares, cmap="Blues", norm=norm)
    low, high = report.accuracy_interval
    large = 12 if few else 16
    axis.set_xlabel("called", fontsize=large)
    axis.set_ylabel("true class", fontsize=large)
    axis.set_title(
        f"accuracy {report.accuracy:.1%} ({low:.1%} to {high:.1%}), "
        f"{count_of(len(report), 'image')}",
        fontsize=large,
    )
    _name_rows_and_columns(axis, [shortened(name) for name in report.class_names])
    if few:
        _write_counts(axis, counts, shares)
    bar = figure.colorbar(picture, ax=axis, shrink=0.8, aspect=30)
    bar.set_label("share of the true class", fontsize=large - 2)
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    return figure


def _name_rows_and_columns(axis: Any, names: list[str]) -> None:
    size = len(names)
    # A row is at least 0.15 inch high, in which 7 points can be read.
    font = 10 if size <= _NUMBERS_IN_CELLS else max(7.0, 11 - size / 20)
    turn, side = (90, "center") if size > 6 else (30, "right")
    some = range(0, size, -(-size // _MOST_NAMES))
    named = [names[i] for i in some]
    axis.set_xticks(some, named, rotation=turn, ha=side, fontsize=font)
    axis.set_yticks(some, named, fontsize=font)
    if _NUMBERS_IN_CELLS < size <= _MOST_NAMES:
        lines = np.arange(4.5, size - 1, 5)
        axis.hlines(lines, -0.5, size - 0.5, color=GRAY, alpha=0.25, linewidth=0.6)
        axis.vlines(lines, -0.5, size - 0.5, color=GRAY, alpha=0.25, linewidth=0.6)


def _write_counts(axis: Any, counts: Any, shares: Any) -> None:
    for (row, column), count in np.ndenumerate(counts):
        if count:
            ink = "white" if shares[row, column] > 0.55 else "black"
            axis.text(column, row, f"{count:,}", ha="center", va="center", color=ink)


def plot_reliability(report: Report) -> Figure:
    """Draws how often a model is right, over how sure it is.

    A reliability diagram (Guo et al. 2017, https://arxiv.org/abs/1706.04599). Points below
    the diagonal: the model is surer than it should be.

    Args:
        report: What `evaluate` returned.

    Returns:
        A `Figure`: above, the accuracy of the images in each range of probability with
        its 95 % interval; below, how many images there are.

    Example:

    >>> labels = np.array([0, 0, 1])
    >>> scores = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]])
    >>> report = kr.Report(("cat", "dog"), labels, scores, ("a", "b", "c"))
    >>> kr.plot_reliability(report).savefig("reliability.png")
    """
    bins = [one for one in report.reliability if one.count]
    sure = np.array([one.confidence for one in bins])
    right = np.array([one.accuracy for one in bins])
    ends = np.array([one.accuracy_interval for one in bins])
    figure = NotebookFigure(figsize=(5.0, 5.6), layout="constrained")
    axis, below = figure.subplots(2, sharex=True, height_ratios=[4, 1])
    axis.plot([0, 1], [0, 1], "--", color=GRAY, label="as sure as it is right")
    reach = np.maximum([right - ends[:, 0], ends[:, 1] - right], 0)
    axis.errorbar(
        sure, right, yerr=reach, fmt="o", color=BLUE, capsize=3, label="95 % interval"
    )
    error = report.calibration_error
    axis.set(
        title=f"expected calibration error {error:.1%}, "
        f"{count_of(len(report), 'image')}",
        ylabel="accuracy",
        xlim=(0, 1),
        ylim=(-0.02, 1.02),
    )
    axis.yaxis.set_major_formatter(PercentFormatter(1.0))
    axis.grid(alpha=0.3)
    axis.legend(loc="upper left")
    below.bar(
        [one.low for one in bins],
        [one.count for one in bins],
        [one.high - one.low for one in bins],
        align="edge",
        color=BLUE,
        edgecolor="white",
    )
    below.set(xlabel="probability of the named class", ylabel="images")
    below.xaxis.set_major_formatter(PercentFormatter(1.0))
    below.grid(axis="y", alpha=0.3)
    return figure


def plot_embedding(
    features: Classifier | Pixels, data: Any, *, batch_size: int = 32
) -> Figure:
    """Draws a map of images: those that are alike to a model lie near each other.

    The two directions in which the pooled features differ most (principal component
    analysis). Groups that lie apart are told apart by the model; groups that overlap may
    still be apart in the directions that are not drawn.

    Args:
        features: A `Classifier`, whose pooled features are drawn; or features of any
            kind, an array with a row for each image.
        data: `ImageData`, an array of images, or a pair `(images, labels)`.
        batch_size: Images that are computed at a time.

    Returns:
        A `Figure`: a point for each image, with a colour and a marker for each class.

    Raises:
        DataError: If there are fewer than two images, or not a row for each.

    Example:

    >>> data = kr.ImageData.from_folder("flower_photos")
    >>> model = kr.build_classifier(5, weights=None, input_shape=(32, 32, 3))
    >>> probe = kr.probe(model, data, verbose=0)
    >>> features = kr.extract_features(model, data, verbose=0)
    >>> kr.plot_embedding(features, data).savefig("map.png")  # or (model, data)
    """
    listed = as_images(data)
    if isinstance(features, Classifier):
        features = extract_features(features, listed, batch_size=batch_size)
    if len(listed) < 2 or len(features) != len(listed):
        raise DataError(
            f"Expected features of at least 2 images, a row for each, received "
            f"{len(features):,} rows for {count_of(len(listed), 'image')}."
        )
    places, shares = principal_components(features)
    figure = NotebookFigure(figsize=(8.0, 5.6), layout="constrained")
    axis = figure.subplots()
    names, labels = listed.class_names, listed.labels
    if labels is None:
        names, labels = ("image",), np.zeros(len(listed), "int64")
    _draw_classes(axis, places, labels, names)
    if len(names) > 1:
        columns = math.ceil(len(names) / _IN_A_COLUMN)
        figure.set_figwidth(6.4 + 1.6 * columns)
        legend = figure.legend(loc="outside right upper", ncols=columns, fontsize=9)
        for handle in filter(None, legend.legend_handles):
            handle.set(alpha=1, sizes=[36])
    axis.set(
        title=f"{count_of(len(listed), 'image')} by their features",
        xlabel=f"first principal component ({shares[0]:.0%} of the variance)",
        ylabel=f"second ({shares[1]:.0%})",
    )
    axis.grid(alpha=0.3)
    return figure


def _draw_classes(axis: Any, places: Pixels, labels: Any, names: Any) -> None:
    # As many points as there are photos: what is behind must be seen.
    size, opacity = (36, 0.8) if len(places) < 1000 else (14, 0.6)
    for number, name in enumerate(names):
        own = labels == number
        if own.any():
            axis.scatter(
                *places[own].T,
                s=size,
                color=COLOURS[number % len(COLOURS)],
                marker=MARKERS[number % len(MARKERS)],
                alpha=opacity,
                edgecolors="white",
                linewidths=0.4,
                label=shortened(name),
            )


def principal_components(features: Pixels) -> tuple[Pixels, tuple[float, float]]:
    """Projects rows on the two directions in which they differ most.

    Args:
        features: Of shape `(N, D)`; further axes count as columns, too.

    Returns:
        A tuple `(places, shares)`: the places, `(N, 2)`, and the shares of the variance
        in the two directions, 0..1. A direction has the sign with which its largest
        component is positive.
    """
    rows = np.asarray(features, "float32").reshape(len(features), -1)
    rows = rows - rows.mean(axis=0)
    if rows.shape[1] < 2:
        rows = np.pad(rows, ((0, 0), (0, 1)))
    total = float(np.einsum("ij,ij->", rows, rows, dtype="float64"))
    # Whichever matrix is smaller has the same largest eigenvalues.
    wide = len(rows) < rows.shape[1]
    products = rows @ rows.T if wide else rows.T @ rows
    last = len(products) - 1
    _, vectors = linalg.eigh(products, subset_by_index=[last - 1, last])
    directions = rows.T @ vectors if wide else vectors
    directions = directions[:, ::-1]
    lengths = np.linalg.norm(directions, axis=0)
    directions = directions / np.where(lengths > 0, lengths, 1)
    largest = directions[np.abs(directions).argmax(axis=0), [0, 1]]
    places = rows @ (directions * np.where(largest < 0, -1, 1))
    first, second = np.square(places).sum(axis=0, dtype="float64") / (total or 1.0)
    return places, (float(first), float(second))
