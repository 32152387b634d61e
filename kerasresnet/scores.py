"""What labels and probabilities say of a model: pure arithmetic.

Each score takes `counts`, how often each image counts in each of R resamples, and gives R
values. So the same lines compute a score, where each image counts once, and its bootstrap
interval (Efron 1979, Annals of Statistics 7:1-26).
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kerasresnet.intervals import wilson_interval

Array = NDArray[Any]
Interval = tuple[float, float]

_LOGGER = logging.getLogger(__name__)

# What is as good as 0 for a probability that was computed in float32.
_SMALLEST = float(np.finfo(np.float32).eps)
_BINS = 15  # as in Guo et al. 2017
_MOST_RESAMPLES, _FEWEST_RESAMPLES = 1_000, 100
_CALIBRATED = 400  # what chance gives a calibrated model is found from as many draws
_MOST_COUNTS = 2**28  # bytes, one for each image and resample
_MOST_WORK = 5 * 10**9  # images x resamples x classes, about 2 nanoseconds each
_BLOCK = 2**17  # counts that the processor's cache holds


@dataclass(frozen=True)
class ReliabilityBin:
    """The images whose most probable class has a probability in one range.

    Args:
        low: Lower end of the range, outside it.
        high: Upper end of the range, inside it.
        count: Number of images.
        confidence: Their mean probability of the predicted class; NaN if there is none.
        accuracy: Share of them that is right; NaN if there is none.
        accuracy_interval: The 95 % interval of that share, after Wilson (1927).
    """

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float
    accuracy_interval: Interval


class Rankings(NamedTuple):
    """How well each class's probability ranks its images before the others.

    Args:
        roc_auc: Of shape `(R, classes)`: the probability that an image of the class ranks
            before one of another, ties half. NaN where one of the two is absent.
        average_precision: Of shape `(R, classes)`: the mean of the precision at each of
            the class's images. NaN where there is none.
    """

    roc_auc: Array
    average_precision: Array


def balanced_accuracy(
    labels: Array, predicted: Array, counts: Array | None = None
) -> Array:
    """Returns the mean of the recalls of the classes that have images, of shape `(R,)`.

    Args:
        labels: True classes, integers of shape `(N,)`.
        predicted: Predicted classes, integers of shape `(N,)`.
        counts: How often each image counts, of shape `(R, N)`; default once.
    """
    hits, support, _ = _cells(labels, predicted, counts)
    return macro(_shares(hits, support))


def macro_f1(labels: Array, predicted: Array, counts: Array | None = None) -> Array:
    """Returns the mean of F1 over the classes that have images, of shape `(R,)`.

    An image that is called a class without images lowers the recall of its own class.

    Args:
        labels: True classes, integers of shape `(N,)`.
        predicted: Predicted classes, integers of shape `(N,)`.
        counts: How often each image counts, of shape `(R, N)`; default once.
    """
    hits, support, called = _cells(labels, predicted, counts)
    f1 = _shares(2 * hits, support + called)
    return macro(np.where(support > 0, f1, np.nan))


def log_loss(labels: Array, probabilities: Array, counts: Array | None = None) -> Array:
    """Returns the mean of `-log(probability of the true class)`, of shape `(R,)`.

    Args:
        labels: True classes, integers of shape `(N,)`.
        probabilities: Of shape `(N, classes)`. Below 1.2e-7, the precision of float32,
            they count as that: so one image costs 15.9 at most.
        counts: How often each image counts, of shape `(R, N)`; default once.
    """
    own = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    losses = 0 - np.log(np.clip(own, _SMALLEST, 1))  # not -0 for 1
    return _sums(_once(labels, counts), values=losses)[:, 0] / len(labels)


def calibration_error(
    labels: Array, probabilities: Array, counts: Array | None = None
) -> Array:
    """Returns the expected calibration error, of shape `(R,)`.

    The mean distance of accuracy and confidence over 15 bins of equal width, weighted by
    their images (Guo et al. 2017, https://arxiv.org/abs/1706.04599). Few images make it
    too large: chance alone keeps accuracy and confidence apart.

    Args:
        labels: True classes, integers of shape `(N,)`.
        probabilities: Of shape `(N, classes)`.
        counts: How often each image counts, of shape `(R, N)`; default once.
    """
    bins, confidence, hits = _binned(labels, probabilities)
    sums = _sums(_once(labels, counts), bins, _BINS, values=hits - confidence)
    return np.abs(sums).sum(axis=1) / len(labels)


def reliability(labels: Array, probabilities: Array) -> tuple[ReliabilityBin, ...]:
    """Returns 15 bins of equal width, from unsure to sure.

    Args:
        labels: True classes, integers of shape `(N,)`.
        probabilities: Of shape `(N, classes)`.
    """
    bins, confidence, hits = _binned(labels, probabilities)
    table = []
    for i in range(_BINS):
        inside = bins == i
        count, right = int(inside.sum()), int(hits[inside].sum())
        nothing = (np.nan, np.nan)
        table.append(
            ReliabilityBin(
                low=i / _BINS,
                high=(i + 1) / _BINS,
                count=count,
                confidence=float(confidence[inside].mean()) if count else np.nan,
                accuracy=right / count if count else np.nan,
                accuracy_interval=wilson_interval(right, count) if count else nothing,
            )
        )
    return tuple(table)


def rankings(
    labels: Array, probabilities: Array, counts: Array | None = None
) -> Rankings:
    """Returns ROC AUC and average precision of each class against the rest.

    Args:
        labels: True classes, integers of shape `(N,)`.
        probabilities: Of shape `(N, classes)`.
        counts: How often each image counts, of shape `(R, N)`; default once.
    """
    counts = _once(labels, counts)
    found = [
        _ranking(labels == i, scores, counts)
        for i, scores in enumerate(np.ascontiguousarray(probabilities.T))
    ]
    auc, precision = np.moveaxis(np.array(found), 0, -1)
    return Rankings(auc, precision)


def macro(values: Array) -> Array:
    """Returns the means over the classes whose value is not NaN, of shape `(R,)`.

    Args:
        values: Of shape `(R, classes)`.
    """
    known = ~np.isnan(values)
    return _shares(np.where(known, values, 0).sum(axis=1), known.sum(axis=1))


def bootstrap(
    scores: Callable[[Array], Mapping[str, Array]], n: int, classes: int
) -> dict[str, Array]:
    """Returns scores of 1,000 resamples of n images, the same ones at each call.

    Where that would take more than seconds or 256 MiB there are fewer of them, 100 at
    least, and the log says so.

    Args:
        scores: Gives the values, each of shape `(R,)`, for counts of shape `(R, N)`.
        n: Number of images.
        classes: Number of classes of which each costs a pass; 1 for scores that need one.
    """
    room = min(_MOST_COUNTS // n, _MOST_WORK // (n * classes))
    resamples = min(_MOST_RESAMPLES, max(_FEWEST_RESAMPLES, room))
    if resamples < _MOST_RESAMPLES:
        _LOGGER.info(
            "Intervals come from %d resamples instead of %d: there are %d images.",
            resamples,
            _MOST_RESAMPLES,
            n,
        )
    return dict(scores(_resampled(n, resamples)))


def interval(score: float, resampled: Array, most: float = 1.0) -> Interval:
    """Returns the 95 % interval of a score, by normal approximation, less its bias.

    `boot.ci(type="norm")` in R; Davison & Hinkley 1997, Bootstrap Methods and their
    Application, 5.2. Percentiles of the resamples would miss scores that resampling makes
    larger or smaller: the calibration error, and average precision over many classes.

    Args:
        score: The score of the images as they are.
        resampled: Scores of resamples, of shape `(R,)`; those that are NaN do not count.
        most: The largest score there is; the smallest is 0.

    Returns:
        A tuple `(low, high)`; NaN if all resamples have the same score, since they then
        say nothing of how far it could be off.
    """
    known = resampled[~np.isnan(resampled)]
    if not len(known) or np.ptp(known) < 1e-12:
        return np.nan, np.nan
    centre, spread = 2 * score - known.mean(), 1.959964 * known.std()
    low, high = np.clip((centre - spread, centre + spread), 0, most)
    return float(low), float(high)


def calibration_interval(
    error: float, resampled: Array, probabilities: Array
) -> Interval:
    """Returns the 95 % interval of the calibration error.

    As `interval`, but it begins at 0 if chance alone would give a calibrated model such an
    error: if it is below 97.5 % of those that are found when the predicted class is right
    as often as its probability says (Bröcker & Smith 2007, Weather and Forecasting
    22:651-661).

    Args:
        error: The error of the images as they are.
        resampled: Errors of resamples, of shape `(R,)`.
        probabilities: Of shape `(N, classes)`.
    """
    low, high = interval(error, resampled)
    confidence = probabilities.max(axis=1).astype(np.float64)
    draw, bins = np.random.default_rng(0), _bins(confidence)
    chance = [
        np.bincount(bins, (draw.random(len(bins)) < confidence) - confidence)
        for _ in range(_CALIBRATED)
    ]
    errors = np.abs(chance).sum(axis=1) / len(bins)
    calibrated = error <= np.percentile(errors, 97.5)
    return (0.0, high) if calibrated and not np.isnan(high) else (low, high)


def _resampled(n: int, resamples: int) -> Array:
    draw = np.random.default_rng(0)
    counts = np.empty((resamples, n), np.uint8)
    for row in counts:
        row[:] = np.bincount(draw.integers(n, size=n), minlength=n)
    return counts


def _once(labels: Array, counts: Array | None) -> Array:
    return np.ones((1, len(labels)), np.uint8) if counts is None else counts


def _cells(
    labels: Array, predicted: Array, counts: Array | None
) -> tuple[Array, Array, Array]:
    """For each class: right ones, images, and those called so, each `(R, classes)`."""
    counts = _once(labels, counts)
    size = int(max(labels.max(), predicted.max())) + 1
    right = (labels == predicted).astype(np.float32)
    return (
        _sums(counts, labels, size, values=right),
        _sums(counts, labels, size),
        _sums(counts, predicted, size),
    )


def _sums(
    counts: Array,
    groups: Array | None = None,
    size: int = 1,
    *,
    values: Array | None = None,
) -> Array:
    """Sums of the counts, or of values times counts, in each group.

    Args:
        counts: Of shape `(R, N)`.
        groups: The group of each image, of shape `(N,)`; by default there is one.
        size: Number of groups.
        values: Of shape `(N,)`.

    Returns:
        An array of shape `(R, size)`.
    """
    groups = np.zeros(counts.shape[1], np.uint8) if groups is None else groups
    order = np.argsort(groups, kind="stable")
    there, starts = np.unique(groups[order], return_index=True)
    sums = np.zeros((len(counts), size))
    # Counts below 2**24 are exact in float32.
    kind = np.dtype(np.float32) if values is None else values.dtype
    rows = min(_BLOCK // max(counts.shape[1], 1) + 1, len(counts))
    block, sorted_block = np.empty((2, rows, counts.shape[1]), kind)
    for first in range(0, len(counts), rows):
        some = slice(0, min(rows, len(counts) - first))
        block[some] = counts[first : first + rows]
        if values is not None:
            block[some] *= values
        # Another mode would copy the block once more.
        np.take(block[some], order, axis=1, out=sorted_block[some], mode="clip")
        found = np.add.reduceat(sorted_block[some], starts, axis=1)
        sums[first : first + rows, there] = found
    return sums


def _ranking(own: Array, scores: Array, counts: Array) -> tuple[Array, Array]:
    """ROC AUC and average precision of one class, each of shape `(R,)`."""
    thresholds = np.unique(scores[own])
    last = 2 * len(thresholds)
    # Odd groups hold the scores that equal a threshold, even ones those between two.
    groups = np.searchsorted(thresholds, scores, "left")
    groups += np.searchsorted(thresholds, scores, "right")
    groups = groups.astype(np.uint16 if last < 2**16 else np.int64)
    everyone = _sums(counts, groups, last + 1)
    owned = _sums(counts[:, own], groups[own], last + 1)
    others = everyone - owned
    below = others.cumsum(axis=1) - others / 2
    auc = _shares((owned * below).sum(axis=1), owned.sum(axis=1) * others.sum(axis=1))
    precision = _shares(_from_above(owned), _from_above(everyone))
    found = np.where(owned > 0, owned * precision, 0).sum(axis=1)
    return auc, _shares(found, owned.sum(axis=1))


def _from_above(sums: Array) -> Array:
    return sums[:, ::-1].cumsum(axis=1)[:, ::-1]


def _binned(labels: Array, probabilities: Array) -> tuple[Array, Array, Array]:
    """The bin of each image, its confidence, and 1 where it is right, else 0."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    hits = (probabilities.argmax(axis=1) == labels).astype(np.float64)
    return _bins(confidence), confidence, hits


def _bins(confidence: Array) -> Array:
    return np.searchsorted(np.arange(1, _BINS) / _BINS, confidence, "left")


def _shares(parts: Array, wholes: Array) -> Array:
    """Quotients; a share of nothing is NaN."""
    return np.divide(parts, wholes, out=np.full(parts.shape, np.nan), where=wholes > 0)
