"""Durations as people write them.

Texts in, seconds out, and back. No clock is read here.
"""

import math
import re
from numbers import Real
from typing import Any

_UNITS = (("h", 3600), ("min", 60), ("s", 1))
_NUMBER = r"(\d+(?:\.\d+)?)\s*"
_DURATION = re.compile(
    rf"(?:{_NUMBER}(?:h|hours?))?\s*(?:{_NUMBER}(?:m|min|minutes?))?\s*"
    rf"(?:{_NUMBER}(?:s|sec|seconds?))?",
    re.IGNORECASE,
)


def parse_duration(duration: float | str) -> float:
    """Returns the seconds of a duration.

    Args:
        duration: Seconds, above 0; or hours, minutes and seconds, in this order, such as
            `"10min"`, `"90s"`, `"1h30m"` and `"1 h 30 min"`. A bare number means seconds.

    Raises:
        ValueError: If it is something else.

    Example:

    >>> from kerasresnet.durations import parse_duration
    >>> parse_duration("1h30m")
    5400.0
    """
    seconds = 0.0
    if is_number(duration):
        seconds = float(duration)
    elif isinstance(duration, str):
        text = duration.strip()
        if found := _DURATION.fullmatch(text):
            factors = (factor for _, factor in _UNITS)
            pairs = zip(found.groups(default="0"), factors, strict=True)
            seconds = sum(float(number) * factor for number, factor in pairs)
        elif re.fullmatch(_NUMBER, text):
            seconds = float(text)
    if not 0 < seconds < math.inf:
        raise ValueError(
            "A duration must be above 0: seconds, or a text such as '90s', '10min' or "
            f"'1h30m'. Received {duration!r}."
        )
    return seconds


def format_duration(seconds: float) -> str:
    """Returns a duration as people write it, rounded up to whole seconds.

    `parse_duration` reads it again.

    Args:
        seconds: At least 0.

    Example:

    >>> from kerasresnet.durations import format_duration
    >>> format_duration(5400)
    '1 h 30 min'
    """
    # What is over only because of rounding in the arithmetic is no second more.
    rest = math.ceil(round(seconds, 6))
    parts = []
    for unit, factor in _UNITS:
        number, rest = divmod(rest, factor)
        if number:
            parts.append(f"{number} {unit}")
    return " ".join(parts) or "0 s"


def is_number(value: Any) -> bool:
    """Returns whether a value is a finite real number, which True and False are not."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    return math.isfinite(value)
