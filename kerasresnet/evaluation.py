"""How good a model is, and how sure that number is.

Numbers come from labels and probabilities, with NumPy alone.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kerasresnet.classifier import Classifier, check_classifier
from kerasresnet.datasets import checked_dataset, data_errors, is_dataset
from kerasresnet.decoding import Pixels
from kerasresnet.division import OnError, readable
from kerasresnet.errors import DataError
from kerasresnet.inputs import (
    Data,
    as_image_data,
    check_skipping,
    integer_labels,
)
from kerasresnet.intervals import wilson_interval
from kerasresnet.prediction import probabilities

_MOST_IN_MATRIX = 12


@dataclass(frozen=True)
class ClassScore:
    """Scores of one class. A share of nothing is NaN.

    Args:
        name: Name of the class.
        precision: Share of right ones among the images called this, 0..1.
        recall: Share of this class's images that were called so, 0..1.
        f1: Harmonic mean of the two.
        support: Number of images of this class.
    """

    name: str
    precision: float
    recall: float
    f1: float
    support: int


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


@dataclass(frozen=True, eq=False, repr=False)
class Report:
    """The result of an evaluation. `print(report)` shows it.

    Args:
        class_names: Names of the classes, in label order.
        labels: True labels, integers of shape `(N,)`.
        probabilities: Of shape `(N, classes)`; row i belongs to label i.
        sources: Where each image is from.

    Example:

    >>> report = kr.Report(
    ...     class_names=("cat", "dog"),
    ...     labels=np.array([0, 0, 1, 1]),
    ...     probabilities=np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.1, 0.9]]),
    ...     sources=("a.jpg", "b.jpg", "c.jpg", "d.jpg"),
    ... )
    >>> report.accuracy
    0.75
    >>> report.mistakes
    (Mistake(source='b.jpg', label='cat', predicted='dog', probability=0.6),)
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
        if np.isnan(self.probabilities).any():
            raise DataError(
                "The model gave NaN instead of probabilities: its weights are damaged, or "
                "training diverged. Train again with a lower learning rate."
            )
        if self.labels.min() < 0 or self.labels.max() >= len(self.class_names):
            raise DataError(
                f"Labels run from {self.labels.min()} to {self.labels.max()}, expected 0 "
                f"to {len(self.class_names) - 1}."
            )
        if len(self.sources) != len(self.labels):
            raise DataError(
                f"There are {len(self.labels):,} labels but {len(self.sources):,} sources."
            )

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"Report({len(self):,} images, accuracy {self.accuracy:.4f})"

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
        cells = np.bincount(self.labels * size + self.predicted, minlength=size * size)
        return cells.reshape(size, size)

    @cached_property
    def per_class(self) -> tuple[ClassScore, ...]:
        """Precision, recall, F1 and support of each class, in label order."""
        hits = np.diag(self.confusion)
        support, called = self.confusion.sum(axis=1), self.confusion.sum(axis=0)
        return tuple(
            ClassScore(
                name,
                precision=_share(hits[i], called[i]),
                recall=_share(hits[i], support[i]),
                f1=_share(2 * hits[i], support[i] + called[i]),
                support=int(support[i]),
            )
            for i, name in enumerate(self.class_names)
        )

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

    def __str__(self) -> str:
        low, high = self.accuracy_interval
        right = len(self) - len(self.mistakes)
        lines = [
            f"accuracy  {self.accuracy:.1%}  (95 % interval {low:.1%} to {high:.1%}; "
            f"{right:,} of {len(self):,} images)"
        ]
        if len(self.class_names) > 5:
            lines.append(f"top-5     {self.top_k(5):.1%}")
        lines += ["", *self._class_table()]
        if len(self.class_names) <= _MOST_IN_MATRIX:
            lines += ["", *self._matrix()]
        if self.mistakes:
            lines += ["", "surest mistakes"]
            lines += [
                f"  {m.source}: {m.label}, called {m.predicted} ({m.probability:.0%})"
                for m in self.mistakes[:5]
            ]
        return "\n".join(lines)

    def _class_table(self) -> list[str]:
        width = max(len("class"), *(len(name) for name in self.class_names))
        lines = [f"{'class':<{width}}  precision  recall      f1  images"]
        for score in self.per_class:
            cells = (
                _percent(score.precision, 9),
                _percent(score.recall, 6),
                _percent(score.f1, 6),
            )
            lines.append(
                f"{score.name:<{width}}  {'  '.join(cells)}  {score.support:>6,}"
            )
        return lines

    def _matrix(self) -> list[str]:
        corner = "true \\ called"
        name_width = max(len(corner), *(len(name) for name in self.class_names))
        widths = [max(len(name), 5) for name in self.class_names]
        columns = list(zip(self.class_names, widths, strict=True))
        lines = [
            f"{corner:<{name_width}}  " + "  ".join(f"{n:>{w}}" for n, w in columns)
        ]
        for name, row in zip(self.class_names, self.confusion, strict=True):
            cells = "  ".join(
                f"{int(c):>{w},}" for c, w in zip(row, widths, strict=True)
            )
            lines.append(f"{name:<{name_width}}  {cells}")
        return lines


def evaluate(
    model: Classifier,
    data: Data,
    *,
    batch_size: int = 32,
    on_error: OnError = "raise",
) -> Report:
    """Scores a model on labelled images, each exactly once.

    Labels are matched to the model's classes by name, whatever their order.

    Args:
        model: A `Classifier`.
        data: `ImageData`; or a pair `(images, labels)` of arrays; or a
            `tf.data.Dataset` of batches, in any order.
        batch_size: Images in a batch. A `Dataset` keeps its own.
        on_error: What becomes of photos that cannot be read: `"raise"` ends the call and
            names them, `"skip"` leaves them out of every count, and the log names them.

    Returns:
        A `Report`.

    Raises:
        DataError: If the data is empty or unlabelled, has a class that the model does not
            know, or holds a photo that cannot be read.

    Example:

    >>> test = kr.ImageData.from_folder("flower_photos")
    >>> model = kr.build_classifier(
    ...     class_names=test.class_names, weights=None, input_shape=(32, 32, 3)
    ... )
    >>> report = kr.evaluate(model, test)
    >>> len(report), report.confusion.sum()
    (30, np.int64(30))
    """
    check_classifier(model)
    check_skipping(data, on_error)
    if is_dataset(data):
        labels, scores = _score_dataset(model, data)
        sources = tuple(f"image {i}" for i in range(len(labels)))
        return Report(model.class_names, labels, scores, sources)
    images = as_image_data(data, model.class_names, named=model.named)
    images = readable(images, on_error)
    scores = probabilities(model, images, batch_size=batch_size)
    return Report(images.class_names, np.asarray(images.labels), scores, images.sources)


def _score_dataset(model: Classifier, data: Data) -> tuple[Pixels, Pixels]:
    # Labels and scores come from one pass, so a shuffled dataset is scored right too.
    batches = checked_dataset(data, model.class_names, model.named, model.image_size)
    labels: list[Pixels] = []
    scores: list[Pixels] = []
    with data_errors():
        for images, batch_labels, *_ in batches:
            scores.append(model.predict_on_batch(images))
            labels.append(integer_labels(np.asarray(batch_labels)))
    return np.concatenate(labels), np.concatenate(scores)


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")


def _percent(value: float, width: int) -> str:
    return f"{'-':>{width}}" if np.isnan(value) else f"{value:>{width}.1%}"
