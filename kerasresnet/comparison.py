"""Which of two models is better, on the same images."""

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np

from kerasresnet.decoding import Pixels
from kerasresnet.errors import DataError, count_of, listing
from kerasresnet.evaluation import Report
from kerasresnet.intervals import wilson_interval
from kerasresnet.scores import Interval

_LEVEL = 0.05


@dataclass(frozen=True, repr=False)
class Comparison:
    """Two models on the same images. `print(comparison)` shows it.

    Args:
        names: What the models are called.
        both_right: Number of images that both have right.
        only_a: Sources of the images that only the first has right.
        only_b: Sources of the images that only the second has right.
        both_wrong: Number of images that both have wrong.

    Example:

    >>> found = kr.Comparison(("new", "old"), 80, ("1.jpg",) * 14, ("2.jpg",) * 2, 4)
    >>> found.verdict
    'new is better: right on 94.0% of 100 images, old on 82.0%.'
    >>> round(found.p_value, 4)
    0.0042
    """

    names: tuple[str, str]
    both_right: int
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    both_wrong: int

    def __len__(self) -> int:
        return self.both_right + len(self.only_a) + len(self.only_b) + self.both_wrong

    def __repr__(self) -> str:
        return (
            f"Comparison({' and '.join(self.names)}, {count_of(len(self), 'image')}, "
            f"difference {self.difference:+.4f}, p {self.p_value:.4f})"
        )

    @property
    def accuracies(self) -> tuple[float, float]:
        """Share of images that each model has right, 0..1."""
        n = len(self)
        first, second = len(self.only_a), len(self.only_b)
        return (self.both_right + first) / n, (self.both_right + second) / n

    @property
    def difference(self) -> float:
        """Accuracy of the first less that of the second, -1..1."""
        return (len(self.only_a) - len(self.only_b)) / len(self)

    @property
    def interval(self) -> Interval:
        """The 95 % interval of the difference, `(low, high)`.

        Newcombe's (1998, Statistics in Medicine 17:2635-2650, method 10) for paired shares.
        """
        return _paired_interval(
            self.both_right, len(self.only_a), len(self.only_b), self.both_wrong
        )

    @property
    def p_value(self) -> float:
        """How often chance alone makes such a difference, or a larger one, 0..1.

        McNemar's test (1947) in its exact form: if neither is better, the images that one
        alone has right are as likely the first's as the second's. Two-sided.
        """
        return _binomial_p(len(self.only_a), len(self.only_b))

    @property
    def better(self) -> str | None:
        """Name of the better model; None if there is no difference to see.

        There is one if `p_value` is below 0.05 and `interval` leaves 0 out.
        """
        low, high = self.interval
        if self.p_value >= _LEVEL or low <= 0 <= high:
            return None
        return self.names[0] if self.difference > 0 else self.names[1]

    @property
    def verdict(self) -> str:
        """The result in a sentence."""
        (a, b), (first, second) = self.names, self.accuracies
        images = count_of(len(self), "image")
        if self.better is None:
            return (
                f"No difference to see with {images}: {a} is right on {first:.1%}, "
                f"{b} on {second:.1%}."
            )
        if self.better == b:
            a, b, first, second = b, a, second, first
        return f"{a} is better: right on {first:.1%} of {images}, {b} on {second:.1%}."

    def __str__(self) -> str:
        a, b = self.names
        low, high = self.interval
        counts = {
            "both right": self.both_right,
            f"only {a} right": len(self.only_a),
            f"only {b} right": len(self.only_b),
            "both wrong": self.both_wrong,
        }
        width = max(map(len, counts))
        return "\n".join(
            [
                self.verdict,
                f"difference {100 * self.difference:+.1f} points  (95 % interval "
                f"{100 * low:+.1f} to {100 * high:+.1f}; p {self.p_value:.2g}, McNemar)",
                "",
                *(f"{what:<{width}}  {n:>7,}" for what, n in counts.items()),
            ]
        )


def compare(
    report_a: Report, report_b: Report, *, names: tuple[str, str] = ("a", "b")
) -> Comparison:
    """Tells whether one of two models is better, on the same images.

    Only images that one model has right and the other wrong can tell. That is a sharper
    test than two accuracies with their intervals, which may overlap although one model is
    clearly better. An image counts as often as it is in the reports, and photos of the same
    thing count as independent ones, which makes the p-value too small.

    Args:
        report_a: What `evaluate` returned for the first model.
        report_b: The same for the second. Another order of images or classes is matched
            by source and by name.
        names: What the models are called.

    Returns:
        A `Comparison`.

    Raises:
        DataError: If the reports are not on the same images with the same labels.
        ValueError: If the names are not two different ones.

    Example:

    >>> labels, sources = np.array([0, 0, 1, 1]), ("a.jpg", "b.jpg", "c.jpg", "d.jpg")
    >>> sure = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.3, 0.7]])
    >>> unsure = np.array([[0.6, 0.4], [0.4, 0.6], [0.3, 0.7], [0.4, 0.6]])
    >>> new, old = (
    ...     kr.Report(("cat", "dog"), labels, p, sources) for p in (sure, unsure)
    ... )
    >>> found = kr.compare(new, old, names=("new", "old"))
    >>> print(found.verdict)
    No difference to see with 4 images: new is right on 100.0%, old on 75.0%.
    >>> found.only_a
    ('b.jpg',)
    """
    for report in (report_a, report_b):
        if not isinstance(report, Report):
            raise ValueError(
                f"Expected two reports of evaluate, received {type(report).__name__}."
            )
    if len(set(names)) != 2:
        raise ValueError(f"names must be two different names, received {names!r}.")
    order = _matched(report_a, report_b)
    _check_same_labels(report_a, report_b, order)
    a = report_a.predicted == report_a.labels
    b = (report_b.predicted == report_b.labels)[order]
    only_a, only_b = (
        tuple(report_a.sources[i] for i in np.flatnonzero(one & ~other))
        for one, other in ((a, b), (b, a))
    )
    return Comparison(
        (names[0], names[1]), int(np.sum(a & b)), only_a, only_b, int(np.sum(~a & ~b))
    )


def _matched(report_a: Report, report_b: Report) -> Pixels:
    """Where in the second report each image of the first is, of shape `(N,)`."""
    first, second = report_a.sources, report_b.sources
    if first == second:
        return np.arange(len(first))
    counts = Counter(first), Counter(second)
    alone = [listing(one - other) for one, other in (counts, counts[::-1])]
    if any(alone):
        raise DataError(
            "The reports are not on the same images: they have "
            f"{len(first):,} and {len(second):,}; only in the first: {alone[0] or 'none'}; "
            f"only in the second: {alone[1] or 'none'}. Evaluate both models on one set."
        )
    twice = [source for source, times in counts[0].items() if times > 1]
    if twice:
        raise DataError(
            "The reports have their images in different order, and these sources more "
            f"than once, so they cannot be matched: {listing(twice)}. Evaluate both "
            "models on one set."
        )
    places = {source: i for i, source in enumerate(second)}
    return np.array([places[source] for source in first])


def _check_same_labels(report_a: Report, report_b: Report, order: Pixels) -> None:
    a = np.array(report_a.class_names)[report_a.labels]
    b = np.array(report_b.class_names)[report_b.labels[order]]
    other = np.flatnonzero(a != b)
    if len(other):
        i = other[0]
        raise DataError(
            f"The reports differ in the labels of {count_of(len(other), 'image')}: "
            f"{report_a.sources[i]} is {a[i]} in the first and {b[i]} in the second. "
            "Evaluate both models on one set."
        )


def _binomial_p(a: int, b: int) -> float:
    """Two-sided p of a : b if either is as likely, from the exact binomial."""
    n = a + b
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    k = np.arange(min(a, b) + 1)
    terms = logs[n] - logs[k] - logs[n - k] - n * math.log(2)
    return min(1.0, 2 * float(np.exp(terms).sum()))


def _paired_interval(both: int, a: int, b: int, neither: int) -> Interval:
    """Newcombe's interval of the difference of two shares of the same images."""
    n = both + a + b + neither
    p, q = (both + a) / n, (both + b) / n
    (p_low, p_high), (q_low, q_high) = (
        wilson_interval(both + a, n),
        wilson_interval(both + b, n),
    )
    phi = _correlation(both, a, b, neither)

    def reach(one: float, other: float) -> float:
        return math.sqrt(max(one**2 - 2 * phi * one * other + other**2, 0.0))

    return (
        max(p - q - reach(p - p_low, q_high - q), -1.0),
        min(p - q + reach(p_high - p, q - q_low), 1.0),
    )


def _correlation(both: int, a: int, b: int, neither: int) -> float:
    """The phi of a table of four, drawn towards 0 as Newcombe's method 10 does it."""
    product = float(both * neither - a * b)
    if product > 0:
        product = max(product - (both + a + b + neither) / 2, 0.0)
    margins = (both + a) * (b + neither) * (both + b) * (a + neither)
    return product / math.sqrt(margins) if margins else 0.0
