"""Which images show the same picture: the same content, or saved, scaled or tinted anew.

Pure rules on digests and sketches; nothing is read here.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence

import numpy as np

from kerasresnet.decoding import Pixels
from kerasresnet.looks import Look, sketches_of

# Mean difference of two sketches, in levels of 0..255 and as a share of their own
# contrast: what is plain or all texture has hardly a sketch to be known by.
_MOST_LEVELS = 6.0
_MOST_SHARE = 0.15
# Two sketches that differ by so little are in the same cell or in neighbouring ones.
_CELL = 2 * _MOST_LEVELS
_PAIRS = 2**16  # compared at a time


class Groups:
    """Which of N things belong together: a union-find.

    Args:
        count: Number of things.
    """

    def __init__(self, count: int) -> None:
        self._parents = list(range(count))

    def root(self, thing: int) -> int:
        """Returns the thing that stands for the group of one."""
        while self._parents[thing] != thing:
            self._parents[thing] = self._parents[self._parents[thing]]
            thing = self._parents[thing]
        return thing

    def join(self, one: int, other: int) -> None:
        """Puts the groups of two things together."""
        first, second = sorted((self.root(one), self.root(other)))
        self._parents[second] = first

    def join_equal(self, keys: Iterable[Hashable]) -> None:
        """Puts together all things that have the same key; None is no key."""
        first: dict[Hashable, int] = {}
        for thing, key in enumerate(keys):
            if key is not None:
                self.join(first.setdefault(key, thing), thing)

    def members(self) -> list[list[int]]:
        """Returns the groups of more than one, each in order."""
        found: dict[int, list[int]] = defaultdict(list)
        for thing in range(len(self._parents)):
            found[self.root(thing)].append(thing)
        return [group for group in found.values() if len(group) > 1]


def same_pictures(
    digests: Sequence[str | None], looks: Sequence[Look], *, near: bool = True
) -> Groups:
    """Finds the images that show the same picture.

    Args:
        digests: For each image the digest of its content, or None if it cannot be read.
        looks: A look at each; not used without `near`.
        near: Whether pictures that were saved, scaled or tinted anew are the same.

    Returns:
        The images in `Groups`.
    """
    groups = Groups(len(digests))
    groups.join_equal(digests)
    if near:
        sketches = [look.sketch or None for look in looks]
        groups.join_equal(sketches)
        first = {sketch: n for n, sketch in reversed(list(enumerate(sketches)))}
        chosen = [n for sketch, n in first.items() if sketch is not None]
        for one, other in _near_pairs(sketches_of([looks[n] for n in chosen])):
            groups.join(chosen[one], chosen[other])
    return groups


def _near_pairs(sketches: Pixels) -> Iterator[tuple[int, int]]:
    """Pairs of sketches that differ by little: all of them, by a grid of cells.

    A mean over a sketch whose terms have any signs moves at most by the mean difference,
    so near sketches lie in neighbouring cells of a grid of such means.
    """
    if not len(sketches):
        return
    flat = sketches.reshape(len(sketches), -1)
    spread = sketches.std(axis=(1, 2)).mean(axis=-1)
    limits = np.minimum(_MOST_SHARE * spread, _MOST_LEVELS)
    places = flat @ _patterns(*sketches.shape[1:]) / flat.shape[1] / _CELL
    cells = np.floor(places).astype("int64")
    nearer = np.where(places - cells < 0.5, -1, 1)  # neighbour
    keys = _key(cells)
    order = np.argsort(keys, kind="stable")
    held = keys[order]
    for probe in range(2 ** cells.shape[1]):
        steps = (probe >> np.arange(cells.shape[1])) & 1
        wanted = _key(cells + nearer * steps)
        first = np.searchsorted(held, wanted, "left")
        counts = np.searchsorted(held, wanted, "right") - first
        for one, places_of in _expanded(first, counts):
            other = order[places_of]
            one, other = one[one < other], other[one < other]
            levels = np.abs(flat[one].astype("int16") - flat[other]).mean(axis=1)
            near = levels <= np.minimum(limits[one], limits[other])
            yield from zip(one[near].tolist(), other[near].tolist(), strict=True)


def _patterns(rows: int, columns: int, channels: int) -> Pixels:
    """Signs for each term of a sketch: six that have little to do with each other."""
    row, column, channel = np.indices((rows, columns, channels))
    below, right = 2 * row >= rows, 2 * column >= columns
    inner = (np.abs(2 * row - rows + 1) < rows / 2) & (
        np.abs(2 * column - columns + 1) < columns / 2
    )
    found = [
        np.ones_like(row),
        np.where(below, 1, -1),
        np.where(right, 1, -1),
        np.where(below ^ right, 1, -1),
        np.where(inner, 1, -1),
        1 - channel,
    ]
    return np.stack([pattern.ravel() for pattern in found], axis=-1).astype("float32")


def _key(cells: Pixels) -> Pixels:
    # 43 cells of 12 levels from -255 to 255, and one more on each side: 6 bits.
    shifts = 6 * np.arange(cells.shape[1])
    return ((cells + 32) << shifts).sum(axis=1)


def _expanded(first: Pixels, counts: Pixels) -> Iterator[tuple[Pixels, Pixels]]:
    """For `counts[i]` places from `first[i]` on: pairs of i and a place, in chunks."""
    ends = np.cumsum(counts)
    for begin in range(0, int(ends[-1]) if len(ends) else 0, _PAIRS):
        pairs = np.arange(begin, min(begin + _PAIRS, int(ends[-1])))
        one = np.searchsorted(ends, pairs, "right")
        yield one, first[one] + pairs - (ends - counts)[one]
