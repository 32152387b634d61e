"""Where rows of features are kept, in memory or in a folder, and how they are read."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import ml_dtypes
import numpy as np

from kerasresnet.decoding import Pixels
from kerasresnet.disk import cache_root
from kerasresnet.pixels import MEMORY_BYTES

Cache: TypeAlias = Literal["auto", "memory", False] | str | Path

_LIMIT_GB = 20.0
_MOST_GB = 1e9  # an exabyte


class MemoryRows:
    """The rows of one kind, in memory: what `Shards` is on disk."""

    def __init__(self, shape: tuple[int, ...], dtype: str) -> None:
        self.shape = shape
        itemsize = np.dtype(getattr(ml_dtypes, dtype, dtype)).itemsize
        self.row_bytes = int(np.prod(shape)) * itemsize
        self._rows: dict[str, tuple[Pixels, int]] = {}

    def find(self, names: Sequence[str]) -> dict[str, tuple[Pixels, int]]:
        """Looks up rows, as in `Shards`."""
        return {name: self._rows[name] for name in names if name in self._rows}

    def write(self, names: Sequence[str], rows: Pixels) -> None:
        """Keeps rows, as in `Shards`."""
        self._rows.update((name, (rows, number)) for number, name in enumerate(names))


class FeatureRows:
    """The features of a set of images, one or several views of each.

    Args:
        arrays: For each row the array that holds it.
        numbers: For each row its number in that array.
        views: Rows of each image, which lie one after the other.
    """

    def __init__(
        self, arrays: Sequence[Pixels], numbers: Sequence[int], views: int = 1
    ) -> None:
        self.dtype = arrays[0].dtype
        self.shape = arrays[0].shape[1:]
        self._views = views
        self._arrays = arrays
        self._numbers = np.asarray(numbers)
        self._table: Pixels | None = None
        if len(arrays) * arrays[0][0].nbytes <= MEMORY_BYTES:
            self._table = self._gathered(np.arange(len(arrays)))
            self._arrays = ()

    def __len__(self) -> int:
        return len(self._numbers) // self._views

    def batch(self, indices: Pixels, draws: Pixels) -> Pixels:
        """Returns a view of each of some images.

        Args:
            indices: Numbers of the images.
            draws: A random number for each, which chooses the view.
        """
        rows = indices * self._views + draws % self._views
        return self._gathered(rows) if self._table is None else self._table[rows]

    def table(self) -> Pixels:
        """Returns all rows as one float32 array."""
        rows = self._gathered(np.arange(len(self._numbers))) if self._table is None else self._table  # fmt: skip
        return rows.astype("float32")

    def _gathered(self, rows: Pixels) -> Pixels:
        # Row by row into its place: a second copy of everything may not fit.
        found = np.empty((len(rows), *self.shape), self.dtype)
        for place, row in enumerate(rows.tolist()):
            found[place] = self._arrays[row][self._numbers[row]]
        return found


def check_cache(cache: Any) -> None:
    """Raises a `ValueError` unless it says where features are kept."""
    if cache in ("auto", "memory") or cache is False or isinstance(cache, Path):
        return
    if (
        isinstance(cache, str)
        and cache
        and (os.sep in cache or "/" in cache or Path(cache).is_dir())
    ):
        return
    folder = (
        f" For a folder of that name pass './{cache}'."
        if isinstance(cache, str)
        else ""
    )
    raise ValueError(
        f"cache must be 'auto', 'memory', False or a folder, received {cache!r}.{folder}"
    )


def cache_folder_of(cache: Cache) -> Path | None:
    """Returns the folder that a `cache` argument stands for, or None for memory."""
    if cache == "auto":
        return cache_root()
    return None if cache is False or cache == "memory" else Path(cache).expanduser()


def cache_limit() -> int:
    """Returns the most bytes that the cache may take: `KERASRESNET_CACHE_LIMIT` in GB.

    Raises:
        ValueError: If that is not a positive number.
    """
    text = os.environ.get("KERASRESNET_CACHE_LIMIT") or str(_LIMIT_GB)
    try:
        limit = float(text)
    except ValueError:
        limit = 0.0
    if not 0 < limit < _MOST_GB:
        raise ValueError(
            f"KERASRESNET_CACHE_LIMIT must be a number of GB above 0, received {text!r}."
        )
    return int(limit * 1e9)
