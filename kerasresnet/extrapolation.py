"""What a learning curve would come to with more photos: a power law, numbers only.

Cortes et al. 1993, "Learning Curves: Asymptotic Values and Rate of Convergence" (NIPS 6),
for its form; Hestness et al. 2017 (https://arxiv.org/abs/1712.00409) for networks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import curve_fit
from scipy.special import stdtrit

from kerasresnet.decoding import Pixels
from kerasresnet.errors import count_of

TIMES = (2, 5)  # how many times the photos are looked ahead to
_LEAST_SIZES = 4  # one more than the power law has numbers
_LEAST_FIT = 0.9  # share of the variance of the errors that the power law must explain
_SURE = 0.95


@dataclass(frozen=True)
class PowerLaw:
    """A law of the error over the number of photos, `error = a * n ** -b + c`.

    Cortes et al. 1993 (https://proceedings.neurips.cc/paper/1993/hash/
    1aa48fc4880bb0c9b8a3bf979d3b917e-Abstract.html), Hestness et al. 2017
    (https://arxiv.org/abs/1712.00409).

    Args:
        a: Error of one photo above `c`.
        b: How fast the error falls; 0.5 halves it with four times the photos.
        c: The error that no number of photos takes away, 0..1.
    """

    a: float
    b: float
    c: float

    def accuracy(self, images: float) -> float:
        """Returns the accuracy, 0..1, that the law gives for a number of photos.

        Args:
            images: Number of photos trained on, at least 1.
        """
        return float(np.clip(1 - self.c - self.a * images**-self.b, 0, 1))


@dataclass(frozen=True)
class Forecast:
    """An accuracy that was not measured, but follows if the power law goes on.

    Args:
        images: Number of photos trained on.
        accuracy: What the power law gives there, 0..1.
        interval: Its 95 % interval `(low, high)`, from fits that leave out each fold in
            turn (jackknife, Student's t). It holds only as far as the law does.
    """

    images: int
    accuracy: float
    interval: tuple[float, float]


def extrapolated(
    counts: Sequence[int], accuracies: Pixels, images: int
) -> tuple[PowerLaw | None, tuple[Forecast, ...] | None, str]:
    """Returns the power law of a learning curve and where it leads, or why there is none.

    Args:
        counts: Numbers of photos trained on, ascending.
        accuracies: `(sizes, folds)`, 0..1, a row for each of them.
        images: Number of all photos, of which `TIMES` are looked ahead to.

    Returns:
        A tuple `(law, forecasts, refusal)`: None, None and the reason, or a law, its
        forecasts and `""`.
    """
    refusal = _refusal(accuracies)
    if refusal:
        return None, None, refusal
    folds = range(accuracies.shape[1])
    means = accuracies.mean(axis=1)
    law = _fit(counts, 1 - means)
    # Each fold left out in turn, for the jackknife.
    others = [
        _fit(counts, 1 - np.delete(accuracies, fold, axis=1).mean(axis=1))
        for fold in folds
    ]
    left = means - [law.accuracy(count) for count in counts]
    explained = 1 - np.sum(left**2) / np.sum((means - means.mean()) ** 2)
    if explained < _LEAST_FIT:
        refusal = (
            f"a power law explains only {max(explained, 0):.0%} of how the accuracy "
            f"varies, and {_LEAST_FIT:.0%} are needed"
        )
        return None, None, refusal
    forecasts = tuple(_forecast(law, others, images * times) for times in TIMES)
    return law, forecasts, ""


def t_interval(values: Pixels, least: float = 0.0) -> tuple[float, float]:
    """Returns the 95 % interval of a mean, Student's t, within `least` and 1.

    Args:
        values: At least two, such as the accuracies of the folds.
        least: The least that a value can be.
    """
    count = len(values)
    reach = _student(count) * values.std(ddof=1) / np.sqrt(count)
    mean = values.mean()
    return float(max(mean - reach, least)), float(min(mean + reach, 1.0))


def _refusal(accuracies: Pixels) -> str:
    if len(accuracies) < _LEAST_SIZES:
        return (
            f"there are {count_of(len(accuracies), 'size')}, and a power law needs at "
            f"least {_LEAST_SIZES}"
        )
    low, high = t_interval(accuracies[-1] - accuracies[0], -1.0)
    if low <= 0:
        return (
            "the accuracy does not rise by more than its spread over the folds: from the "
            f"fewest to the most photos by {100 * low:.0f} to {100 * high:.0f} points"
        )
    return ""


def _fit(counts: Sequence[int], errors: Pixels) -> PowerLaw:
    scaled = np.array(counts) / counts[-1]
    fall, last = max(float(errors[0] - errors[-1]), 1e-6), float(errors[-1])

    def law(n: Pixels, a: float, b: float, c: float) -> Pixels:
        return a * n**-b + c

    # Above b = 2 no learning curve was seen to fall; 0 would be a line without a slope.
    bounds = ([0.0, 0.01, 0.0], [1.0, 2.0, 1.0])
    start = [min(fall, 0.99), 0.5, min(max(last - fall, 1e-6), 0.99)]
    (a, b, c), _ = curve_fit(
        law, scaled, errors, p0=start, bounds=bounds, max_nfev=10_000
    )
    return PowerLaw(float(a * counts[-1] ** b), float(b), float(c))


def _forecast(law: PowerLaw, laws: Sequence[PowerLaw], images: int) -> Forecast:
    k = len(laws)
    left_out = np.array([one.accuracy(images) for one in laws])
    # Efron and Stein 1981, doi:10.1214/aos/1176345462
    error = np.sqrt((k - 1) / k * np.sum((left_out - left_out.mean()) ** 2))
    accuracy = law.accuracy(images)
    reach = _student(k) * error
    interval = max(accuracy - reach, 0.0), min(accuracy + reach, 1.0)
    return Forecast(images, accuracy, (float(interval[0]), float(interval[1])))


def _student(count: int) -> float:
    return float(stdtrit(count - 1, (1 + _SURE) / 2))
