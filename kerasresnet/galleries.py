"""Figures of photos: what is in a data set, what a model says of photos, and why."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from kerasresnet.assessment import Mistake
from kerasresnet.certainty import UNKNOWN
from kerasresnet.decoding import Photo, read_image
from kerasresnet.errors import DataError, count_of
from kerasresnet.evaluation import Report
from kerasresnet.explanation import HEAT, HeatMap, overlaid
from kerasresnet.figures import (
    GRAY,
    LINE,
    ORANGE,
    THUMBNAIL,
    NotebookFigure,
    cut,
    grid,
    shortened,
)
from kerasresnet.images import ImageData
from kerasresnet.neighbours import LookAlike, as_images
from kerasresnet.prediction import Prediction


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
        ValueError: If `n` is not positive.

    Example:

    >>> data = kr.ImageData.from_folder("flower_photos")
    >>> kr.plot_images(data, n=4).savefig("images.png")
    """
    if not len(data):
        raise DataError("There is no image to draw.")
    shown = data.take(n, seed)
    order = np.random.default_rng(seed).permutation(len(shown))
    images = [read_image(shown.photo(int(i)), THUMBNAIL) for i in order]
    titles = (
        shown.sources
        if shown.labels is None
        else [shown.class_names[i] for i in shown.labels]
    )
    return grid(images, [titles[i] for i in order])


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
            a wrong answer is titled in orange, `"unknown"` in gray, with the true name beside
            it.

    Returns:
        A `Figure`.

    Raises:
        DataError: If there is no prediction, or not one for each label, or a photo
            cannot be read any more.
        ValueError: If `n` is not positive.

    Example:

    >>> model = kr.build_classifier(class_names=["cat", "dog"], weights=None)
    >>> predictions = kr.predict(model, np.zeros((2, 64, 64, 3), "uint8") + 90)
    >>> kr.plot_predictions(predictions).savefig("predictions.png")
    """
    _check_count(n)
    if not predictions:
        raise DataError("There is no prediction to draw.")
    if labels is not None and len(labels) != len(predictions):
        raise DataError(
            f"There are {len(predictions):,} predictions but {len(labels):,} labels."
        )
    shown = predictions[:n]
    truth = [p.label for p in shown] if labels is None else list(labels[:n])
    photos = [Path(p.source) if p.image is None else p.image for p in shown]
    images = [read_image(photo, THUMBNAIL) for photo in photos]
    titles = [
        _answer(p.label, p.probability, name)
        for p, name in zip(shown, truth, strict=True)
    ]
    figure = grid(images, titles)
    for axis, p, name in zip(figure.axes, shown, truth, strict=False):
        if p.label != name:
            # To say that one does not know is not wrong.
            axis.title.set_color(GRAY if p.label == UNKNOWN else ORANGE)
    return figure


def plot_mistakes(report: Report, data: Any = None, n: int = 9) -> Figure:
    """Draws the images that a model was wrong about, the surest mistakes first.

    Args:
        report: What `evaluate` returned.
        data: The data that was evaluated, `ImageData` or arrays. Needed unless its images
            are photo files.
        n: Largest number of images to draw.

    Returns:
        A `Figure`: over each image what it was called, what it is, the probability that
        the model gave its answer, and where it is from.

    Raises:
        DataError: If a photo cannot be read any more, or an image is not in `data`.
        ValueError: If `n` is not positive.

    Example:

    >>> data = kr.ImageData.from_folder("flower_photos")
    >>> model = kr.build_classifier(
    ...     class_names=data.class_names, weights=None, input_shape=(32, 32, 3)
    ... )
    >>> probe = kr.probe(model, data, verbose=0)
    >>> report = kr.evaluate(model, data)
    >>> kr.plot_mistakes(report, n=4).savefig("mistakes.png")
    """
    _check_count(n)
    shown = report.mistakes[:n]
    if not shown:
        empty = NotebookFigure(figsize=(4.4, 1.0))
        empty.suptitle(f"no mistake among {count_of(len(report), 'image')}")
        return empty
    images = [read_image(photo, THUMBNAIL) for photo in _photos(shown, data)]
    titles = [_answer(m.predicted, m.probability, m.label) for m in shown]
    figure = grid(images, titles, [m.source for m in shown])
    figure.set_figheight(figure.get_figheight() + 0.5)  # for a title over all
    figure.suptitle(
        f"{count_of(len(report.mistakes), 'mistake')} among "
        f"{count_of(len(report), 'image')}"
    )
    return figure


def _photos(mistakes: Sequence[Mistake], data: Any) -> list[Photo]:
    if data is None:
        lost = [m.source for m in mistakes if not Path(m.source).is_file()]
        if lost:
            raise DataError(
                f"{lost[0]} is no file. If the images are arrays, pass them: "
                "plot_mistakes(report, data)."
            )
        return [Path(m.source) for m in mistakes]
    listed = as_images(data)
    places = {source: place for place, source in enumerate(listed.sources)}
    lost = [m.source for m in mistakes if m.source not in places]
    if lost:
        raise DataError(f"{lost[0]} is not in the data. Pass what was evaluated.")
    return [listed.photo(places[m.source]) for m in mistakes]


def plot_look_alikes(found: Sequence[LookAlike]) -> Figure:
    """Draws the images that look most like one image to a model.

    Args:
        found: What `look_alikes` returned.

    Returns:
        A `Figure`: over each image its class, its similarity and where it is from.

    Raises:
        DataError: If there is none, or a photo cannot be read any more.

    Example:

    >>> train = kr.ImageData.from_folder("flower_photos")
    >>> model = kr.build_classifier(
    ...     class_names=train.class_names, weights=None, input_shape=(32, 32, 3)
    ... )
    >>> probe = kr.probe(model, train, verbose=0)
    >>> found = kr.look_alikes(model, "photo.jpg", train, n=4, verbose=0)
    >>> kr.plot_look_alikes(found).savefig("look_alikes.png")
    """
    if not found:
        raise DataError("There is no look-alike to draw.")
    titles = [
        f"{one.label or 'unlabelled'}\n"
        f"{'identical' if one.identical else f'similarity {one.similarity:.2f}'}"
        for one in found
    ]
    images = [read_image(one.photo, THUMBNAIL) for one in found]
    return grid(images, titles, [one.source for one in found])


def plot_grad_cam(heat_maps: HeatMap | Sequence[HeatMap]) -> Figure:
    """Draws images beside where a model sees evidence for a class.

    Args:
        heat_maps: What `grad_cam` returned.

    Returns:
        A `Figure`: for each image the image, and the image in gray under its heat map.

    Raises:
        DataError: If there is no heat map.

    Example:

    >>> model = kr.build_classifier(
    ...     class_names=["cat", "dog"], weights=None, input_shape=(64, 64, 3)
    ... )
    >>> heat_maps = kr.grad_cam(model, ["photo.jpg"], label="dog")
    >>> kr.plot_grad_cam(heat_maps).savefig("grad_cam.png")
    """
    shown = [heat_maps] if isinstance(heat_maps, HeatMap) else list(heat_maps)
    if not shown:
        raise DataError("There is no heat map to draw.")
    pairs = min(len(shown), 2)
    rows = math.ceil(len(shown) / pairs)
    figure = NotebookFigure(
        figsize=(4.7 * pairs + 0.7, 2.6 * rows + 0.3), layout="constrained"
    )
    # A gap tells the pairs apart.
    widths = [1, 1, 0.08, 1, 1][: 3 * pairs - 1]
    axes = figure.subplots(rows, len(widths), squeeze=False, width_ratios=widths)
    for axis in axes.ravel():
        axis.set_axis_off()
    lefts, rights = axes[:, ::3].ravel(), axes[:, 1::3].ravel()
    for left, right, one in zip(lefts, rights, shown, strict=False):
        left.imshow(one.image)
        left.set_title(shortened(Path(one.source).name), fontsize=8)
        right.imshow(overlaid(one))
        title = f"{one.label}\n{one.probability:.0%}, {one.stage}"
        right.set_title(shortened(title), fontsize=10)
    bar = figure.colorbar(ScalarMappable(cmap=HEAT), ax=axes, aspect=12 * rows)
    bar.set_label("evidence, 1 = most")
    return figure


def _check_count(n: int) -> None:
    if n < 1:
        raise ValueError(f"n must be at least 1, received {n}.")


def _answer(said: str, probability: float, label: str) -> str:
    sure = f"{probability:.0%}"
    if said == label:
        return f"{said}\n{sure}"
    line = f"{said} (true: {label})"
    if len(line) <= LINE:
        return f"{line}\n{sure}"
    rest = len(f"(true: ) {sure}")
    return f"{said}\n(true: {cut(label, LINE - rest)}) {sure}"
