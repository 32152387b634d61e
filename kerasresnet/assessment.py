"""Labels and probabilities, and every number that they give.

`scores` computes, `evaluation` makes a report of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kerasresnet.arrays import check_names
from kerasresnet.decoding import Pixels
from kerasresnet.errors import DataError, not_numbers
from kerasresnet.intervals import wilson_interval
from kerasresnet.scores import (
    Array,
    Interval,
    Rankings,
    ReliabilityBin,
    balanced_accuracy,
    bootstrap,
    calibration_error,
    calibration_interval,
    interval,
    log_loss,
    macro,
    macro_f1,
    rankings,
    reliability,
)

_SLACK = 0.01  # what float16 may leave of the sum of a row


@dataclass(frozen=True)
class ClassScore:
    """Scores of one class. A share of nothing is NaN.

    Args:
        name: Name of the class.
        precision: Share of right ones among the images called this, 0..1.
        recall: Share of this class's images that were called so, 0..1.
        f1: Harmonic mean of the two.
        support: Number of images of this class.
        recall_interval: The 95 % interval of the recall, `(low, high)`, after Wilson (1927).
        roc_auc: Probability that an image of this class has a higher probability of it
            than one of another class, ties half, 0..1.
        average_precision: Mean of the precision at each image of this class, when all
            images are ranked by the probability of it, 0..1.
    """

    name: str
    precision: float
    recall: float
    f1: float
    support: int
    recall_interval: Interval = (np.nan, np.nan)
    roc_auc: float = np.nan
    average_precision: float = np.nan


@dataclass(frozen=True)
class Mistake:
    """An image that was called something else.

    Args:
        source: Where the image is from.
        label: Name of its class.
        predicted: Name of the class that the model chose.
        probability: The model's probability for that, 0..1.
    """

    source: str
    label: str
    predicted: str
    probability: float


@dataclass(frozen=True)
class ConfusedPair:
    """Images of one class that were called another.

    Args:
        label: Name of their class.
        predicted: Name of the class that the model chose.
        count: Number of images.
        share: Their share of all images of their class, 0..1.
    """

    label: str
    predicted: str
    count: int
    share: float


@dataclass(frozen=True, eq=False, repr=False)
class Assessment:
    """What a model said of labelled images. `Report` is the public form.

    Args:
        class_names: Names of the classes, in label order.
        labels: True labels, integers of shape `(N,)`.
        probabilities: Of shape `(N, classes)`; row i belongs to label i.
        sources: Where each image is from.
    """

    class_names: tuple[str, ...]
    labels: Pixels
    probabilities: Pixels
    sources: tuple[str, ...]

    def __post_init__(self) -> None:
        if not len(self.labels):
            raise DataError("There is no image to evaluate.")
        if self.probabilities.shape != (len(self.labels), len(self.class_names)):
            raise DataError(
                f"probabilities has shape {self.probabilities.shape}, expected "
                f"{(len(self.labels), len(self.class_names))}: a row for each label, a column "
                "for each class."
            )
        check_names(self.class_names)
        _check_probabilities(self.probabilities)
        _check_labels(self.labels, len(self.class_names))
        if len(self.sources) != len(self.labels):
            raise DataError(
                f"There are {len(self.labels):,} labels but {len(self.sources):,} sources."
            )

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def predicted(self) -> Pixels:
        """Most probable class of each image, integers of shape `(N,)`."""
        return self.probabilities.argmax(axis=1)

    @property
    def accuracy(self) -> float:
        """Share of images whose most probable class is the right one, 0..1."""
        return float(np.mean(self.predicted == self.labels))

    @property
    def accuracy_interval(self) -> tuple[float, float]:
        """The 95 % interval of the accuracy, `(low, high)`, after Wilson (1927)."""
        return wilson_interval(int(np.sum(self.predicted == self.labels)), len(self))

    def top_k(self, k: int = 5) -> float:
        """Returns the share of images whose class is among the k most probable, 0..1.

        Args:
            k: Number of guesses. At least the number of classes makes it 1.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, received {k}.")
        best = np.argsort(-self.probabilities, axis=1, kind="stable")[:, :k]
        return float(np.mean((best == self.labels[:, None]).any(axis=1)))

    @cached_property
    def confusion(self) -> Pixels:
        """Integers of shape `(classes, classes)`: rows are true, columns predicted."""
        size = len(self.class_names)
        cells = np.bincount(
            self.labels.astype(np.int64) * size + self.predicted, minlength=size * size
        )
        return cells.reshape(size, size)

    @cached_property
    def balanced_accuracy(self) -> float:
        """Mean of the recalls of all classes that have images, 0..1."""
        return float(balanced_accuracy(self.labels, self.predicted)[0])

    @cached_property
    def macro_f1(self) -> float:
        """Mean of F1 over all classes that have images, 0..1."""
        return float(macro_f1(self.labels, self.predicted)[0])

    @cached_property
    def log_loss(self) -> float:
        """Mean of `-log(probability of the true class)`, from 0 (best) to 15.9.

        A probability below 1.2e-7, the precision of float32, counts as that.
        """
        return float(log_loss(self.labels, self.probabilities)[0])

    @cached_property
    def roc_auc(self) -> float:
        """Mean over classes of the area under the ROC curve, one against the rest, 0..1.

        NaN if all images are of one class.
        """
        return float(macro(self._rankings.roc_auc)[0])

    @cached_property
    def average_precision(self) -> float:
        """Mean over classes of the average precision, one against the rest, 0..1."""
        return float(macro(self._rankings.average_precision)[0])

    @cached_property
    def mean_confidence(self) -> float:
        """Mean probability of the predicted class, 0..1."""
        return float(self.probabilities.max(axis=1).mean(dtype=np.float64))

    @cached_property
    def calibration_error(self) -> float:
        """Expected calibration error of the predicted class, 0..1, on 15 bins.

        How far the probability of the predicted class is from the share that is right
        (Guo et al. 2017, https://arxiv.org/abs/1706.04599). Few images make it too large,
        and its interval corrects for that.
        """
        return float(calibration_error(self.labels, self.probabilities)[0])

    @cached_property
    def reliability(self) -> tuple[ReliabilityBin, ...]:
        """Confidence and accuracy in 15 bins of equal width, from unsure to sure."""
        return reliability(self.labels, self.probabilities)

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """The 95 % interval `(low, high)` of each number, by its name.

        Those of `"accuracy"` and `"top_5"` are Wilson's (1927). Those of
        `"balanced_accuracy"`, `"macro_f1"`, `"log_loss"`, `"calibration_error"`,
        `"roc_auc"` and `"average_precision"` are from one bootstrap of 1,000 resamples
        of the images, always the same ones, by normal approximation less the bias
        (Davison & Hinkley 1997, 5.2). That of the calibration error begins at 0 where the
        model may well be calibrated. Such a correction may leave the number itself near
        an end of its interval. NaN where all resamples agree, as without any mistake:
        then Wilson's interval is the one to read. Below some 20 images of each class they
        are too short. They take seconds for 10,000 images of 100 classes.
        """
        return {
            "accuracy": self.accuracy_interval,
            "top_5": self._top_5_interval,
            **self._quick_intervals,
            **self._intervals_of(
                bootstrap(self._ranked, len(self), len(self.class_names))
            ),
        }

    @cached_property
    def per_class(self) -> tuple[ClassScore, ...]:
        """Precision, recall, F1, support and the like of each class, in label order."""
        hits = np.diag(self.confusion)
        support, called = self.confusion.sum(axis=1), self.confusion.sum(axis=0)
        return tuple(
            ClassScore(
                name,
                precision=_share(hits[i], called[i]),
                recall=_share(hits[i], support[i]),
                f1=_share(2 * hits[i], support[i] + called[i]),
                support=int(support[i]),
                recall_interval=_interval(int(hits[i]), int(support[i])),
                roc_auc=float(self._rankings.roc_auc[0, i]),
                average_precision=float(self._rankings.average_precision[0, i]),
            )
            for i, name in enumerate(self.class_names)
        )

    @cached_property
    def confused_pairs(self) -> tuple[ConfusedPair, ...]:
        """Every class with what its images were called instead, the most images first.

        Among as many images, the larger share of its class is first.
        """
        names, support = self.class_names, self.confusion.sum(axis=1)
        pairs = [
            ConfusedPair(
                names[i],
                names[j],
                count=int(self.confusion[i, j]),
                share=float(self.confusion[i, j] / support[i]),
            )
            for i, j in np.argwhere(self.confusion)
            if i != j
        ]
        return tuple(sorted(pairs, key=lambda pair: (-pair.count, -pair.share)))

    @cached_property
    def mistakes(self) -> tuple[Mistake, ...]:
        """Every image that was called something else, the surest first."""
        wrong = np.flatnonzero(self.predicted != self.labels)
        sure = self.probabilities[wrong, self.predicted[wrong]]
        return tuple(
            Mistake(
                self.sources[i],
                self.class_names[self.labels[i]],
                self.class_names[self.predicted[i]],
                float(self.probabilities[i, self.predicted[i]]),
            )
            for i in wrong[np.argsort(-sure, kind="stable")]
        )

    @cached_property
    def _rankings(self) -> Rankings:
        return rankings(self.labels, self.probabilities)

    @property
    def _top_5_interval(self) -> Interval:
        return wilson_interval(round(self.top_k(5) * len(self)), len(self))

    @cached_property
    def _quick_intervals(self) -> dict[str, Interval]:
        """Those of the scores that need one pass over the images, not one for each class."""
        found = bootstrap(self._scored, len(self), 1)
        error, errors = self.calibration_error, found.pop("calibration_error")
        return {
            **self._intervals_of(found),
            "calibration_error": calibration_interval(
                error, errors, self.probabilities
            ),
        }

    def _scored(self, counts: Array) -> dict[str, Array]:
        return {
            "balanced_accuracy": balanced_accuracy(self.labels, self.predicted, counts),
            "macro_f1": macro_f1(self.labels, self.predicted, counts),
            "log_loss": log_loss(self.labels, self.probabilities, counts),
            "calibration_error": calibration_error(
                self.labels, self.probabilities, counts
            ),
        }

    def _ranked(self, counts: Array) -> dict[str, Array]:
        found = rankings(self.labels, self.probabilities, counts)
        return {name: macro(values) for name, values in found._asdict().items()}

    def _intervals_of(self, found: Mapping[str, Array]) -> dict[str, Interval]:
        most = {"log_loss": np.inf}
        return {
            name: interval(getattr(self, name), values, most.get(name, 1.0))
            for name, values in found.items()
        }


def _check_probabilities(rows: Pixels) -> None:
    if rows.dtype.kind != "f":
        raise DataError(
            f"probabilities are {rows.dtype}, expected floating-point numbers: "
            'probabilities.astype("float32").'
        )
    if np.isnan(rows).any():
        raise not_numbers()
    sums, lowest = rows.sum(axis=1, dtype=np.float64), rows.min(axis=1)
    wrong = np.flatnonzero((np.abs(sums - 1) > _SLACK) | (lowest < 0))
    if len(wrong):
        row = wrong[0]
        raise DataError(
            f"Row {row} of probabilities has the sum {sums[row]:.4g} and the least value "
            f"{lowest[row]:.4g}, expected probabilities, 0 or more, with the sum 1. Pass "
            "logits through a softmax."
        )


def _check_labels(labels: Pixels, classes: int) -> None:
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DataError(
            f"Labels are {labels.dtype} of shape {labels.shape}, expected integers of "
            "shape (N,)."
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise DataError(
            f"Labels run from {labels.min()} to {labels.max()}, expected 0 "
            f"to {classes - 1}."
        )


def _interval(hits: int, total: int) -> Interval:
    return wilson_interval(hits, total) if total else (np.nan, np.nan)


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")
