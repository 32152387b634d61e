"""The scores of an `Assessment` as rows of text, for whatever shows them as a table."""

import math
from collections.abc import Iterable, Mapping

from kerasresnet.assessment import Assessment, ClassScore
from kerasresnet.scores import Interval
from kerasresnet.summaries import between, decimal, percent

_TITLES = {"top_5": "top-5", "macro_f1": "macro F1", "roc_auc": "ROC AUC"}


def score_rows(
    assessment: Assessment, intervals: Mapping[str, Interval]
) -> list[tuple[str, str, str]]:
    """Returns name, value and 95 % interval of scores.

    Args:
        assessment: Whose scores.
        intervals: Which of them, with their intervals, such as `assessment.intervals`.
            `"top_5"` is left out if there are no more than five classes.
    """
    rows = []
    for name, ends in intervals.items():
        if name == "top_5" and len(assessment.class_names) <= 5:
            continue
        write = decimal if name == "log_loss" else percent
        value = assessment.top_k(5) if name == "top_5" else getattr(assessment, name)
        title = _TITLES.get(name, name.replace("_", " "))
        told = between(ends, write)
        if name == "calibration_error" and not math.isnan(ends[0]):
            told += ", chance taken off"  # so that the score may lie outside
        rows.append((title, write(value), told))
    return rows


def class_rows(scores: Iterable[ClassScore]) -> list[tuple[str, ...]]:
    """Returns name, precision, recall, its interval, F1 and support of each class."""
    return [
        (
            score.name,
            percent(score.precision),
            percent(score.recall),
            between(score.recall_interval) if score.support else "-",
            percent(score.f1),
            f"{score.support:,}",
        )
        for score in scores
    ]


def matrix_rows(assessment: Assessment) -> list[tuple[str, ...]]:
    """Returns the confusion matrix: the name of each class and its counts."""
    return [
        (name, *(f"{count:,}" for count in row))
        for name, row in zip(assessment.class_names, assessment.confusion, strict=True)
    ]
