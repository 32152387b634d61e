"""How the accuracy of a linear head grows with the photos, and what more would be worth.

Each point of the curve is a cross-validation, as in `validating`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kerasresnet.balance import ClassWeight
from kerasresnet.caching import Cache
from kerasresnet.classifier import Classifier
from kerasresnet.decoding import Pixels
from kerasresnet.division import OnError
from kerasresnet.errors import listing
from kerasresnet.extraction import Verbosity
from kerasresnet.extrapolation import Forecast, PowerLaw, extrapolated, t_interval
from kerasresnet.inputs import Data
from kerasresnet.nesting import (
    Table,
    by_fold,
    checked_method,
    first_of,
    held_out,
    tabulated,
    turns,
)
from kerasresnet.penalties import report_edges
from kerasresnet.precision import Precision

_SHARES = (0.1, 0.2, 0.35, 0.5, 0.7, 1.0)
_NORMAL = 1.959964


@dataclass(frozen=True)
class ClassGain:
    """What the second half of the photos was worth for one class.

    Args:
        name: Name of the class.
        images: Number of its images in the data.
        recall: Share of them called right at the largest size, 0..1.
        gain: That less the share at the size nearest half of it, -1..1.
        margin: Half the width of the gain's 95 % interval (normal, images paired).
    """

    name: str
    images: int
    recall: float
    gain: float
    margin: float


@dataclass(frozen=True)
class LearningCurve:
    """Accuracy over the number of photos. `print(curve)` shows it.

    Args:
        images: Number of images in the data.
        counts: Numbers of photos trained on, ascending; the mean over the folds, rounded.
        accuracies: For each of them the accuracy of each fold, 0..1.
        per_class: For each class what the second half of the photos was worth, the
            largest gain first.
        law: The power law fitted to the mean errors, or None.
        forecasts: What it gives for two and five times `images`, or None.
        refusal: Why there is no power law, or `""`.
    """

    images: int
    counts: tuple[int, ...]
    accuracies: tuple[tuple[float, ...], ...]
    per_class: tuple[ClassGain, ...]
    law: PowerLaw | None
    forecasts: tuple[Forecast, ...] | None
    refusal: str

    @property
    def means(self) -> tuple[float, ...]:
        """Mean accuracy over the folds, 0..1, for each number of photos."""
        return tuple(float(np.mean(row)) for row in self.accuracies)

    @property
    def intervals(self) -> tuple[tuple[float, float], ...]:
        """The 95 % interval of each mean: Student's t over the folds.

        The folds share training images, so that it is rather too narrow; see
        `CrossValidation.interval`.
        """
        return tuple(t_interval(np.array(row)) for row in self.accuracies)

    def __str__(self) -> str:
        lines = ["photos  accuracy  95 % interval"]
        for count, mean, interval in zip(
            self.counts, self.means, self.intervals, strict=True
        ):
            lines.append(_row(count, mean, interval))
        if self.forecasts is not None:
            lines.append("extrapolated, not measured")
            lines += [_row(f.images, f.accuracy, f.interval) for f in self.forecasts]
        width = max(len("class"), *(len(one.name) for one in self.per_class))
        lines += ["", f"{'class':<{width}}  images  recall  gain by the second half"]
        for one in self.per_class:
            lines.append(
                f"{one.name:<{width}}  {one.images:>6,}  {one.recall:>6.1%}  "
                f"{100 * one.gain:+.1f} points (+- {100 * one.margin:.1f})"
            )
        return "\n".join([*lines, "", _worth(self), _where(self)])


def learning_curve(  # noqa: PLR0913 - the public contract
    model: Classifier,
    data: Data,
    *,
    sizes: Sequence[float] = _SHARES,
    k: int = 5,
    penalties: Sequence[float] | None = None,
    class_weight: ClassWeight | None = None,
    batch_size: int = 32,
    cache: Cache = "auto",
    precision: Precision = "auto",
    on_error: OnError = "raise",
    seed: int = 0,
    verbose: Verbosity = "auto",
) -> LearningCurve:
    """Tells how the accuracy grows with the photos, and what more of them would be worth.

    As `cross_validate`, again and again: each time on more of the training images, which
    include those before, with the classes in proportion; the held-out images are the
    same. Where the curve allows it, `error = a * n ** -b + c` is fitted to the mean
    errors (Cortes et al. 1993; Hestness et al. 2017, https://arxiv.org/abs/1712.00409)
    and followed to two and five times the images. That is an extrapolation, not a
    measurement: it holds for more photos of the same kind and the same linear head. It
    is refused, with the reason in `refusal`, for fewer than four sizes, if the accuracy
    does not rise by more than its spread over the folds, and if the law explains less
    than 90 % of the variance of the errors.

    Args:
        model: As in `cross_validate`; it is not changed.
        data: As in `cross_validate`.
        sizes: How many images to train on: shares, above 0 and at most 1, of those that
            are not held out, or numbers above 1. At least four images of each class are
            divided over the folds, whatever the size.
        k: Number of folds, at least 2.
        penalties: As in `probe`.
        class_weight: As in `cross_validate`.
        batch_size: Images whose features are computed at a time.
        cache: As in `fit`.
        precision: As in `fit`.
        on_error: As in `fit`.
        seed: Decides the folds and which images come first.
        verbose: As in Keras.

    Returns:
        A `LearningCurve`; `plot_learning_curve` draws it.

    Raises:
        CacheError: If the cache folder cannot be written or the disk is full.
        DataError: As in `cross_validate`.
        ValueError: If an argument is out of range.

    Example:

    >>> data = kr.ImageData.from_folder("flower_photos")
    >>> model = kr.build_classifier(
    ...     class_names=data.class_names, weights=None, input_shape=(32, 32, 3)
    ... )
    >>> curve = kr.learning_curve(model, data, sizes=[0.7, 1.0], k=3, verbose=0)
    >>> curve.counts
    (13, 20)
    >>> curve.refusal
    'there are 2 sizes, and a power law needs at least 4'
    """
    method = checked_method(model, k, penalties, class_weight)
    _check_sizes(sizes)
    table = tabulated(
        model,
        data,
        method,
        k,
        on_error=on_error,
        seed=seed,
        batch_size=batch_size,
        cache=cache,
        precision=precision,
        verbose=verbose,
    )
    folds, ranks = table.parts % k, turns(table, seed)
    hits: dict[int, Pixels] = {}
    for share in sorted(_shares(sizes, len(folds) * (k - 1) / k)):
        taken = first_of(table, ranks, share)
        scores, chosen = held_out(table, method, taken)
        hits[round(taken.sum() * (k - 1) / k)] = scores.argmax(axis=1) == table.labels
    report_edges(method.penalties, chosen)
    accuracies = np.array([by_fold(one, folds, k) for one in hits.values()])
    counts = tuple(hits)
    law, forecasts, refusal = extrapolated(counts, accuracies, len(folds))
    return LearningCurve(
        images=len(folds),
        counts=counts,
        accuracies=tuple(map(tuple, accuracies.tolist())),
        per_class=_gains(table, hits),
        law=law,
        forecasts=forecasts,
        refusal=refusal,
    )


def _check_sizes(sizes: Sequence[float]) -> None:
    if not len(sizes) or not all(0 < size < np.inf for size in sizes):
        raise ValueError(
            "Expected sizes as shares in 0..1, or as numbers of images, received "
            f"{sizes!r}."
        )


def _shares(sizes: Sequence[float], most: float) -> list[float]:
    shares = [float(size) if size <= 1 else float(size) / most for size in sizes]
    # A number is rounded where it is reported, and may be given so.
    if max(shares) > 1 + 0.5 / most:
        raise ValueError(
            f"sizes asks for {max(sizes):,.0f} images, but {most:,.0f} are left beside "
            "those that are held out. Shares in 0..1 always fit."
        )
    return [min(share, 1.0) for share in shares]


def _gains(table: Table, hits: dict[int, Pixels]) -> tuple[ClassGain, ...]:
    most = max(hits)
    half = min(hits, key=lambda count: abs(count - most / 2))
    found = []
    for label in np.unique(table.labels):
        members = table.labels == label
        now = hits[most][members].astype("float64")
        gains = now - hits[half][members]
        found.append(
            ClassGain(
                name=table.class_names[label],
                images=len(gains),
                recall=float(now.mean()),
                gain=float(gains.mean()),
                margin=float(_NORMAL * gains.std() / np.sqrt(len(gains))),
            )
        )
    return tuple(sorted(found, key=lambda one: -one.gain))


def _row(count: int, accuracy: float, interval: tuple[float, float]) -> str:
    return f"{count:>6,}  {accuracy:>8.1%}  {interval[0]:.1%} to {interval[1]:.1%}"


def _worth(curve: LearningCurve) -> str:
    if curve.forecasts is None:
        return f"No extrapolation: {curve.refusal}."
    ahead = curve.forecasts[0]
    points = 100 * (ahead.accuracy - curve.means[-1])
    return (
        f"With {ahead.images:,} photos of the same kind, twice as many as there are, the "
        f"accuracy would be about {ahead.accuracy:.0%}, {points:+.1f} points, if "
        "the curve goes on as it began."
    )


def _where(curve: LearningCurve) -> str:
    sure = [one.name for one in curve.per_class if one.gain > one.margin]
    if not sure:
        return "No class gained more by its second half of photos than chance explains."
    return f"More photos seem worth most for: {listing(sure)}."
