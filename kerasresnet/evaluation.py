"""How good a model is, and how sure that number is.

Images are scored here, and a `Report` is shown and written; `assessment` has its numbers.
"""

import csv
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kerasresnet.assessment import Assessment
from kerasresnet.audit import Audit
from kerasresnet.classifier import Classifier, check_classifier
from kerasresnet.datasets import checked_dataset, data_errors, is_dataset
from kerasresnet.decoding import Pixels
from kerasresnet.division import OnError, readable
from kerasresnet.errors import count_of, listing
from kerasresnet.images import ImageData
from kerasresnet.inputs import (
    Data,
    as_image_data,
    check_skipping,
    integer_labels,
)
from kerasresnet.labelling import LabelIssues
from kerasresnet.prediction import probabilities
from kerasresnet.reporting import write_page
from kerasresnet.sections import Contents
from kerasresnet.summaries import Table, plain
from kerasresnet.tabulation import class_rows, matrix_rows, score_rows

_MOST_IN_MATRIX = 12
# A table that is longer than the first shows as many classes as the second says.
_MOST_CLASSES, _WORST_CLASSES = 30, 20


@dataclass(frozen=True, eq=False, repr=False)
class Report(Assessment):
    """The result of an evaluation. `print(report)` shows it.

    A class without images has no recall. It is left out of `balanced_accuracy`,
    `macro_f1`, `roc_auc` and `average_precision`, and `print(report)` says so.

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

    def __repr__(self) -> str:
        return f"Report({len(self):,} images, accuracy {self.accuracy:.4f})"

    def to_dict(self) -> dict[str, Any]:
        """Returns all numbers as plain Python values that JSON knows; NaN becomes None.

        The keys are `"images"`, `"class_names"`, the names in `intervals`, and
        `"intervals"`, `"per_class"`, `"confusion"`, `"confused_pairs"` and
        `"reliability"`. What each image was called is in the table of `to_csv`.
        """
        numbers = {
            name: self.top_k(5) if name == "top_5" else getattr(self, name)
            for name in self.intervals
        }
        tables = {
            name: [asdict(row) for row in getattr(self, name)]
            for name in ("per_class", "confused_pairs", "reliability")
        }
        return plain(
            {
                "images": len(self),
                "class_names": self.class_names,
                **numbers,
                "intervals": self.intervals,
                "confusion": self.confusion,
                **tables,
            }
        )

    def to_json(self, path: str | Path | None = None) -> str:
        """Returns `to_dict()` as JSON, and writes it if a path is given.

        Args:
            path: The file, replaced if there is one.
        """
        text = json.dumps(self.to_dict(), indent=2, allow_nan=False)
        if path is not None:
            Path(path).write_text(text + "\n", "utf-8")
        return text

    def to_csv(self, path: str | Path) -> None:
        """Writes a table with a row for each image.

        Its columns are `source`, `label`, `predicted`, `probability` (of the predicted
        class), then one for each class: its name with `p_` before it, so that no name of a
        class is that of another column. Numbers have 9 digits, which is all of a float32.
        Names are written as they are: a spreadsheet may take a photo called `=1.jpg`
        for a formula.

        Args:
            path: The file, replaced if there is one. UTF-8.
        """
        names = self.class_names
        best = self.probabilities.max(axis=1)
        # A file name that is no UTF-8 keeps its bytes.
        with Path(path).open("w", 1, "utf-8", "surrogateescape", newline="") as file:
            writer = csv.writer(file)
            columns = (f"p_{name}" for name in names)
            writer.writerow(("source", "label", "predicted", "probability", *columns))
            for i, source in enumerate(self.sources):
                row = (f"{p:.9g}" for p in (best[i], *self.probabilities[i]))
                label, called = names[self.labels[i]], names[self.predicted[i]]
                writer.writerow((source, label, called, *row))

    def to_html(
        self,
        path: str | Path,
        *,
        data: Data | None = None,
        model: Classifier | None = None,
        history: Any = None,
        audit: Audit | None = None,
        label_issues: LabelIssues | None = None,
        settings: Mapping[str, Any] | None = None,
        title: str = "Report",
    ) -> None:
        """Writes the report as one page that holds everything and fetches nothing.

        It has the numbers with their intervals, what was called what (choose a number to
        see its photos), each class, how sure the model may be, and the surest mistakes;
        and a section for each thing that is passed. 1,000 photos make less than 5 MB:
        where there are more, not all have a picture, and the page says so.

        Args:
            path: The file, replaced if there is one.
            data: What was evaluated; needed for pictures of images that are no files.
            model: The `Classifier`: mistakes then have heat maps (`grad_cam`).
            history: What `fit`, `fine_tune` or `train` has as history: draws its curves.
            audit: What `data.check()` found.
            label_issues: What `label_issues` found.
            settings: How the model was made, any names and values.
            title: Heading of the page.

        Raises:
            DataError: If a photo cannot be read any more, or `data` is not what was
                evaluated.
            ValueError: If `model` is not a `Classifier`, or has other classes.

        Example:

        >>> test = kr.ImageData.from_folder("flower_photos")
        >>> model = kr.build_classifier(
        ...     class_names=test.class_names, weights=None, input_shape=(32, 32, 3)
        ... )
        >>> report = kr.evaluate(model, test)
        >>> report.to_html("report.html", model=model, audit=test.check())
        """
        contents = Contents(
            title,
            history=getattr(history, "history", history) or {},
            audit=audit,
            label_issues=label_issues,
            settings={name: str(value) for name, value in (settings or {}).items()},
        )
        if data is not None and not isinstance(data, ImageData):
            data = as_image_data(data, self.class_names, named=False)
        write_page(self, Path(path), contents, data=data, model=model)

    def __str__(self) -> str:
        lines = [*self._headlines(), *self._absent(), "", *self._class_table().lines()]
        if len(self.class_names) <= _MOST_IN_MATRIX:
            lines += ["", *self._matrix().lines()]
        elif self.confused_pairs:
            lines += ["", "most confused"]
            lines += [
                f"  {p.label}, called {p.predicted}: {count_of(p.count, 'image')} "
                f"({p.share:.0%} of its class)"
                for p in self.confused_pairs[:5]
            ]
        if self.mistakes:
            lines += ["", "surest mistakes"]
            lines += [
                f"  {m.source}: {m.label}, called {m.predicted} ({m.probability:.0%})"
                for m in self.mistakes[:5]
            ]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        note = " ".join([f"{count_of(len(self), 'image')}.", *self._absent()])
        numbers = Table(("", "value", "95 % interval"), self._numbers(), note)
        scores, classes = numbers.html("Scores"), self._class_table().html("Classes")
        return f"<div>{scores}{classes}</div>"

    def _numbers(self) -> list[tuple[str, str, str]]:
        """Name, value and interval of what is shown first, as text."""
        shares = {"accuracy": self.accuracy_interval, "top_5": self._top_5_interval}
        return score_rows(self, {**shares, **self._quick_intervals})

    def _headlines(self) -> list[str]:
        right = len(self) - len(self.mistakes)
        found = f"{right:,} of {count_of(len(self), 'image')}"
        (name, value, ends), *others = self._numbers()
        width = max(len(other[0]) for other in others)
        return [
            f"{name:<{width}}  {value:>6}  (95 % interval {ends}; {found})",
            *(f"{name:<{width}}  {value:>6}  ({ends})" for name, value, ends in others),
        ]

    def _absent(self) -> list[str]:
        """What is to be said of classes without images."""
        absent = [score.name for score in self.per_class if not score.support]
        if not absent:
            return []
        noun = count_of(len(absent), "class", "classes")
        return [f"{noun} without images, left out of the means: {listing(absent)}"]

    def _class_table(self) -> Table:
        shown, note = self.per_class, ""
        if len(shown) > _MOST_CLASSES:
            there = [score for score in shown if score.support]
            worst = sorted(there, key=lambda score: score.recall)[:_WORST_CLASSES]
            left = count_of(len(there) - len(worst), "class", "classes")
            shown = tuple(worst)
            note = f"the classes of lowest recall; {left} left out"
        header = ("class", "precision", "recall", "95 % interval", "f1", "images")
        return Table(header, class_rows(shown), note)

    def _matrix(self) -> Table:
        return Table(("true \\ called", *self.class_names), matrix_rows(self))


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
            scores.append(model.predict_on_batch(np.asarray(images)))
            labels.append(integer_labels(np.asarray(batch_labels)))
    return np.concatenate(labels), np.concatenate(scores)
