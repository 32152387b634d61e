"""What a curve of losses at growing rates tells: pure arithmetic.

The loss is smoothed and its longest fall found as fastai's `lr_find` does it
(https://docs.fast.ai/callback.schedule.html). `rates` makes the curve.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kerasresnet.decoding import Pixels

# These four are fastai's.
_MOMENTUM = 0.98
_DIVERGED = 4.0
_FIRST_SHARE = 10  # the first tenth of the steps is smoothed over too few batches
_LAST = 5  # the last ones belong to the divergence
# A fall of so many standard deviations is no chance.
_CLEARLY = 3.0


class Curve:
    """The losses of a search, and their smoothed values.

    `smoothed` is their exponential moving average with momentum 0.98, corrected for its
    beginning at 0.
    """

    def __init__(self) -> None:
        self._mean = 0.0
        self.losses: list[float] = []
        self.smoothed: list[float] = []

    def add(self, loss: float) -> None:
        """Takes the loss of the next step."""
        self.losses.append(loss)
        self._mean = _MOMENTUM * self._mean + (1 - _MOMENTUM) * loss
        self.smoothed.append(self._mean / (1 - _MOMENTUM ** len(self.losses)))


class Marks(NamedTuple):
    """Numbers of the steps that a curve recommends, each None if there is none.

    Args:
        valley: The middle of the longest fall.
        steepest: Where the fall is fastest.
        lowest: Where the curve is lowest.
        clear: Whether the longest fall is no chance.
    """

    valley: int | None
    steepest: int | None
    lowest: int | None
    clear: bool


def is_diverged(smoothed: Sequence[float]) -> bool:
    """Returns whether the last smoothed loss is far above the lowest, or NaN."""
    best = min(smoothed)
    return not smoothed[-1] - best <= (_DIVERGED - 1) * abs(best)


def marks_of(curve: Curve, planned: int) -> Marks:
    """Returns what a curve recommends.

    The first tenth of the planned steps and the last five that were done are left out. A
    fall that may be chance has a valley only if the loss ran away behind it.

    Args:
        curve: All losses of the search.
        planned: Number of steps that were planned.
    """
    first = planned // _FIRST_SHARE
    inner = np.array(curve.smoothed)[first : max(len(curve.smoothed) - _LAST, 0)]
    fall = _longest_fall(inner)
    clear = fall is not None and _is_clear(fall, inner, first, _noise(curve.losses))
    # A fall that may be chance is better than nothing only if it is known where it ends.
    usable = clear or is_diverged(curve.smoothed)
    return Marks(
        first + fall.middle if fall is not None and usable else None,
        first + int(np.argmin(np.diff(inner))) if len(inner) > 1 else None,
        first + int(np.argmin(inner)) if len(inner) else None,
        clear,
    )


class _Fall(NamedTuple):
    """The longest series of steps, others between or not, each lower than the last."""

    begin: int
    end: int
    length: int

    @property
    def middle(self) -> int:
        """Where fastai's "valley" has it."""
        return self.end - self.length + self.length // 3 + self.length // 6


def _longest_fall(curve: Pixels) -> _Fall | None:
    lengths = np.ones(len(curve), int)
    begins = np.arange(len(curve))
    for i in range(1, len(curve)):
        higher = np.flatnonzero(curve[:i] > curve[i])[::-1]
        if len(higher):
            longest = higher[lengths[higher].argmax()]  # the nearest of them
            lengths[i], begins[i] = lengths[longest] + 1, begins[longest]
    if not len(curve) or lengths.max() == 1:
        return None
    end = int(lengths.argmax())
    return _Fall(int(begins[end]), end, int(lengths[end]))


def _is_clear(fall: _Fall, curve: Pixels, first: int, noise: float) -> bool:
    """Whether a fall is no chance.

    Args:
        fall: Where the curve falls.
        curve: The smoothed losses.
        first: Number of steps before the curve.
        noise: Standard deviation of the losses before they were smoothed.
    """
    ends = np.array([fall.begin, fall.end])
    high, low = curve[ends]
    error = noise * math.hypot(*_spread(first + 1 + ends))
    return bool(high - low > _CLEARLY * error)


def _noise(losses: Sequence[float]) -> float:
    """Standard deviation of the loss from batch to batch; trend and divergence aside."""
    steps = np.abs(np.diff(losses))
    # Of a normal distribution half the values are within 0.6745 standard deviations.
    return float(np.median(steps)) / (0.6745 * math.sqrt(2))


def _spread(counts: Pixels) -> Pixels:
    """Standard deviations of the smoothed loss after so many batches; a batch's is 1."""
    beta = _MOMENTUM
    weights = beta**counts
    return np.sqrt((1 - beta) / (1 + beta) * (1 + weights) / (1 - weights))
