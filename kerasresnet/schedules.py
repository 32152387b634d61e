"""Learning-rate schedules: how the rate changes from batch to batch.

They are Keras's own where Keras has them. How long one lasts and how high it goes is
chosen in `recipes`; here is only its shape.
"""

import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, Literal, TypeAlias

import keras
from keras import ops

from kerasresnet.errors import unknown

Schedule: TypeAlias = Literal["constant", "cosine", "one_cycle"]

# Share of the steps in which the rate rises at first, unless another is asked for.
WARMUP: Mapping[Schedule, float] = {"constant": 0.0, "cosine": 0.1, "one_cycle": 0.25}


@keras.saving.register_keras_serializable("kerasresnet")
class OneCycle(keras.optimizers.schedules.LearningRateSchedule):
    """A rate that rises along half a cosine, and falls along another to nearly 0.

    The one-cycle policy of Smith and Topin (2017, https://arxiv.org/abs/1708.07120) with
    fastai's cosines in place of straight lines. From step `steps` on the rate stays as it
    is there.

    Args:
        peak: Largest rate, above 0.
        steps: Number of steps from the beginning to the lowest rate, at least 1.
        warmup: Share of the steps in which the rate rises, at least 0 and below 1. The
            peak is at the nearest whole step.
        start_divisor: The first rate is `peak / start_divisor`.
        end_divisor: The last rate is `peak / end_divisor`.
        name: Name of the schedule.

    Raises:
        ValueError: If an argument is out of range.

    Example:

    >>> schedule = OneCycle(0.01, steps=100)
    >>> [f"{float(schedule(step)):.7f}" for step in (0, 25, 100, 1000)]
    ['0.0004000', '0.0100000', '0.0000001', '0.0000001']
    """

    def __init__(
        self,
        peak: float,
        steps: int,
        warmup: float = WARMUP["one_cycle"],
        start_divisor: float = 25.0,
        end_divisor: float = 1e5,
        name: str = "one_cycle",
    ) -> None:
        super().__init__()
        check_schedule("one_cycle", warmup)
        _check_extent(peak, steps)
        for which, value in (("start", start_divisor), ("end", end_divisor)):
            if not _is_number(value) or not 1 <= value < math.inf:
                raise ValueError(
                    f"{which}_divisor must be a number of at least 1, received {value!r}."
                )
        # Plain numbers: those of NumPy cannot be saved.
        self.peak = float(peak)
        self.steps = int(steps)
        self.warmup = float(warmup)
        self.start_divisor = float(start_divisor)
        self.end_divisor = float(end_divisor)
        self.name = name

    def __call__(self, step: Any) -> Any:
        """Returns the rate at a step.

        Args:
            step: Number of batches seen, a number or a scalar tensor.

        Returns:
            A scalar float tensor, between the last rate and the peak.
        """
        dtype = keras.config.floatx()
        rising = _rising(self.warmup, self.steps)
        step = ops.minimum(ops.cast(step, dtype), ops.cast(self.steps, dtype))
        # At the peak both are 1, so that the halves meet.
        risen = _half_cosine(ops.minimum(step / max(rising, 1), 1.0))
        left = 1.0 - _half_cosine((step - rising) / (self.steps - rising))
        low, end = self.peak / self.start_divisor, self.peak / self.end_divisor
        return ops.where(
            step < rising,
            low + (self.peak - low) * risen,
            end + (self.peak - end) * left,
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            "peak": self.peak,
            "steps": self.steps,
            "warmup": self.warmup,
            "start_divisor": self.start_divisor,
            "end_divisor": self.end_divisor,
            "name": self.name,
        }


def make_schedule(
    name: Schedule, peak: float, *, steps: int, warmup: float | None = None
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """Returns the schedule that a name stands for.

    With a warm-up, `"constant"` and `"cosine"` rise in a straight line. They begin above
    0, so that the first batch is not wasted.

    Args:
        name: `"constant"` stays at the peak, `"cosine"` falls to 0 (Loshchilov and Hutter
            2017, https://arxiv.org/abs/1608.03983, without restarts), `"one_cycle"`
            rises from a 25th of the peak and falls to a 100,000th.
        peak: Largest rate, above 0.
        steps: Number of steps from the beginning to the lowest rate, at least 1. Later
            ones have the last rate.
        warmup: Share of the steps in which the rate rises at first, at least 0 and
            below 1. Defaults to what is usual: 0, 0.1 and 0.25.

    Returns:
        A Keras schedule; or the peak itself if the rate is always that.

    Raises:
        ValueError: If the name is unknown or a number out of range.

    Example:

    >>> schedule = make_schedule("cosine", 1e-3, steps=100, warmup=0.1)
    >>> [f"{float(schedule(step)):.6f}" for step in (0, 10, 55, 100, 1000)]
    ['0.000091', '0.001000', '0.000500', '0.000000', '0.000000']
    >>> make_schedule("constant", 1e-3, steps=100)
    0.001
    """
    check_schedule(name, warmup)
    _check_extent(peak, steps)
    peak, steps = float(peak), int(steps)
    share = WARMUP[name] if warmup is None else warmup
    if name == "one_cycle":
        return OneCycle(peak, steps, share)
    rising = _rising(share, steps)
    if name == "constant" and not rising:
        return peak
    return keras.optimizers.schedules.CosineDecay(
        peak / (rising + 1) if rising else peak,
        steps - rising,
        alpha=1.0 if name == "constant" else 0.0,
        warmup_target=peak if rising else None,
        warmup_steps=rising,
    )


def check_schedule(name: Any, warmup: Any = None) -> None:
    """Raises a `ValueError` unless these are a schedule and a share of its steps.

    Args:
        name: Name of a schedule.
        warmup: Share of the steps in which the rate rises, or None for the usual one.
    """
    if name not in tuple(WARMUP):
        raise unknown("schedule", name, WARMUP)
    if warmup is not None and not (_is_number(warmup) and 0 <= warmup < 1):
        raise ValueError(
            "warmup must be a share of the steps, at least 0 and below 1, such as 0.1, "
            f"received {warmup!r}. Of n steps out of all it is n / all."
        )


def _check_extent(peak: Any, steps: Any) -> None:
    if not _is_number(peak) or not 0 < peak < math.inf:
        raise ValueError(f"The peak rate must be a number above 0, received {peak!r}.")
    if isinstance(steps, bool) or not isinstance(steps, Integral) or steps < 1:
        raise ValueError(
            f"steps must be a whole number of at least 1, received {steps!r}."
        )


def _rising(warmup: float, steps: int) -> int:
    """Number of steps before the peak; at least one is left for the way down."""
    return min(round(warmup * steps), steps - 1)


def _half_cosine(share: Any) -> Any:
    """From 0 to 1 along half a cosine."""
    return (1.0 - ops.cos(math.pi * share)) / 2.0


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
