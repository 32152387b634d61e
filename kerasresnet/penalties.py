"""How the penalty of a linear head is chosen: from which, and in which folds.

How good a penalty is, is measured in `probing` and `nesting`.
"""

import logging
from collections.abc import Callable, Sequence
from numbers import Integral
from typing import Any

import numpy as np

from kerasresnet.datasets import is_dataset
from kerasresnet.decoding import Pixels
from kerasresnet.durations import is_number
from kerasresnet.errors import DataError
from kerasresnet.solving import default_penalties
from kerasresnet.splits import folds

_log = logging.getLogger(__name__)


def tried_penalties(penalties: Any) -> tuple[float, ...]:
    """Returns the penalties to choose from.

    Args:
        penalties: As in `probe`.

    Raises:
        ValueError: If there is none, or one is not a positive number.
    """
    if penalties is None:
        return default_penalties()
    listed = list(penalties) if np.iterable(penalties) else []
    if not listed or not all(is_number(each) and each > 0 for each in listed):
        raise ValueError(
            "Expected penalties that are positive and finite, such as (1e-2, 1e-3), "
            f"received {penalties!r}. None stands for the usual ones."
        )
    return tuple(map(float, listed))


def check_folds(name: str, count: Any) -> None:
    """Raises a `ValueError` unless images can be divided into so many folds.

    Args:
        name: Name of the argument.
        count: What it was given.
    """
    if not isinstance(count, Integral) or count < 2:
        raise ValueError(
            f"{name} must be a whole number of at least 2, received {count!r}."
        )


def fold_rule(data: Any, count: int, seed: int) -> Callable[[Pixels], Pixels]:
    """Returns what tells the folds of images, once their labels are known.

    Images of the same picture share a fold; those of a `tf.data.Dataset`, which are not
    compared, are known by their labels alone.

    Args:
        data: Checked data.
        count: Number of folds.
        seed: Decides the folds.

    Returns:
        A function from class numbers, `(N,)`, to the number of each image's fold. For a
        `tf.data.Dataset` it raises a `DataError` if there are fewer images than folds.

    Raises:
        DataError: If there are fewer pictures than folds.
    """
    if is_dataset(data):
        return lambda labels: _by_label(labels, count, seed)
    numbers: Pixels = data.fold_numbers(count, seed=seed)
    return lambda labels: numbers


def _by_label(labels: Pixels, count: int, seed: int) -> Pixels:
    if len(labels) < count:
        raise DataError(
            f"{len(labels):,} images are too few for {count} folds. Add images, or ask "
            "for fewer folds."
        )
    drawn = np.random.default_rng(seed).random(len(labels))
    return folds(drawn, np.arange(len(labels)), labels, count)


def report_edges(penalties: Sequence[float], chosen: Sequence[float]) -> None:
    """Says so in the log if a penalty that was chosen is the last that was tried.

    Args:
        penalties: Those that were tried.
        chosen: The best of them, one for each fold if there are several choices.
    """
    edges = [one for one in chosen if one in (min(penalties), max(penalties))]
    if not edges or len(set(penalties)) < 3:
        return
    where = f"The best penalty, {edges[0]:.2g},"
    if len(chosen) > 1:
        where = f"In {len(edges)} of {len(chosen)} folds the best penalty"
    _log.warning(
        "%s is the last that was tried: a better one may lie beyond. probe, "
        "cross_validate and learning_curve try others that are passed as penalties.",
        where,
    )
