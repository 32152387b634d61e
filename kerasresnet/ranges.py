"""What the value of an argument may be: text into a value, or what was expected."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path

from kerasresnet.catalogue import list_backbones
from kerasresnet.durations import parse_duration
from kerasresnet.errors import unknown


def path(text: str) -> Path:
    """Returns a path."""
    if not text:
        raise _expected("a path", text)
    return Path(text)


def backbone(text: str) -> str:
    """Returns the name of a backbone."""
    if text not in list_backbones():
        raise argparse.ArgumentTypeError(
            str(unknown("backbone", text, list_backbones()))
        )
    return text


def cache_place(text: str) -> str | Path | bool:
    """Returns where features are kept: a word, a path, or False for nowhere."""
    if text == "off":
        return False
    return text if text in ("auto", "memory") else path(text)


def whole(least: int) -> Callable[[str], int]:
    """Returns what reads a whole number of at least `least`."""

    def check(text: str) -> int:
        value = _parsed(int, text)
        if not value >= least:
            raise _expected(f"a whole number of at least {least}", text)
        return int(value)

    return check


def positive(below: float = math.inf) -> Callable[[str], float]:
    """Returns what reads a number above 0 and below a limit."""

    def check(text: str) -> float:
        value = _parsed(float, text)
        if not 0 < value < below:
            limit = "" if below == math.inf else f" and below {below:g}"
            raise _expected(f"a number above 0{limit}", text)
        return value

    return check


def share(text: str) -> float:
    """Returns a number of at least 0 and below 1."""
    value = _parsed(float, text)
    if not 0 <= value < 1:
        raise _expected("a number of at least 0 and below 1", text)
    return value


def factor(text: str) -> float:
    """Returns a number above 0 and at most 1."""
    value = _parsed(float, text)
    if not 0 < value <= 1:
        raise _expected("a number above 0 and at most 1", text)
    return value


def duration(text: str) -> str:
    """Returns a time such as `"10min"`, as text."""
    try:
        parse_duration(text)
    except ValueError:
        raise _expected("a time such as 90s, 10min or 1h30m", text) from None
    return text


def _parsed(kind: type[int] | type[float], text: str) -> float:
    try:
        return kind(text)
    except ValueError:
        return math.nan


def _expected(what: str, text: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(f"expected {what}, received {text!r}")
