"""What can go wrong in the world outside the code, and how an error is worded.

    KerasResNetError
    ├── DataError      photos, labels, class names
    ├── WeightsError   files of pretrained weights
    ├── ArtifactError  saved models
    ├── CacheError     the folder of cached features
    │   └── NoRoomError  more features than it may hold
    └── DivergenceError  training that cannot go on

A wrong argument is a plain `ValueError`.
"""

from collections.abc import Iterable
from difflib import get_close_matches

_MOST_OPTIONS = 20


class KerasResNetError(Exception):
    """Base class of all errors that this library raises on purpose."""


class DataError(KerasResNetError, ValueError):
    """Photos, labels or class names that cannot be used as they are."""


class WeightsError(KerasResNetError, ValueError):
    """Weights that are absent, damaged or made for another network."""


class ArtifactError(KerasResNetError, ValueError):
    """A file that is not a saved classifier, or a damaged one."""


class CacheError(KerasResNetError, OSError):
    """A cache folder that cannot be written, a disk that is full, or too many features.

    The last is a `kerasresnet.errors.NoRoomError`, which is a `CacheError`, too.
    """


class NoRoomError(CacheError):
    """More features than the cache may hold."""


class DivergenceError(KerasResNetError, ArithmeticError):
    """Training whose loss became infinite or ran away. The model is as it last was well.

    Args:
        message: What happened, and what to try.
        history: Keras's `History` up to there.
    """

    def __init__(self, message: str, history: object = None) -> None:
        super().__init__(message)
        self.history = history


def unknown(kind: str, value: object, options: Iterable[str]) -> ValueError:
    """Returns the error for a name that is not among the options.

    Args:
        kind: What the name stands for, such as `"stage"`.
        value: The name received.
        options: The names that would have been right.

    Returns:
        A `ValueError` that lists the options, up to 20, and points at the nearest one.
    """
    names = list(options)
    near = get_close_matches(str(value), names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    listed = listing(map(repr, names), _MOST_OPTIONS)
    return ValueError(f"Unknown {kind} {value!r}.{hint} Expected one of: {listed}.")


def listing(names: Iterable[object], most: int = 5) -> str:
    """Returns a comma-separated list that stays readable when there are many names."""
    texts = [str(name) for name in names]
    rest = f" and {len(texts) - most:,} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + rest


def count_of(number: int, one: str, several: str = "") -> str:
    """Returns a number with its noun, such as `"1 image"` or `"2,000 images"`."""
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def not_numbers() -> DataError:
    """Returns the error for a model whose probabilities are NaN."""
    return DataError(
        "The model gave NaN instead of probabilities: its weights are damaged, or "
        "training diverged. Train again with a lower learning rate."
    )
