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
# What follows is for speed alone: the pairs that are found do not depend on it.
_SUMS = 16  # of each sketch, with other signs
_DENSE = 5  # of which are compared for all pairs, the others for what is left
_FEW = 384  # sketches are compared with each other
_WORTH = 0.8  # with more than this share below the middle, halving saves nothing
_PAIRS = 2**16  # compared at a time
_CHUNK = 4096  # sketches at a time


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
    """Pairs of sketches that differ by little: all of them, some more than once.

    The differences of two sketches, summed with any signs, are at most the sum of their
    sizes. So near sketches have near places, where a place is a few such sums.
    """
    if not len(sketches):
        return
    flat = sketches.reshape(len(sketches), -1)
    parts = np.array_split(sketches, 1 + len(sketches) // _CHUNK)
    spread = np.concatenate([part.std(axis=(1, 2)).mean(axis=-1) for part in parts])
    most = np.minimum(_MOST_SHARE * spread, _MOST_LEVELS)
    # Places are sums of less than 2^24, which float32 holds exactly.
    limits = np.floor(most * flat.shape[1]).astype("float32")
    signs = _signs(flat)
    parts = np.array_split(flat, len(parts))
    places = np.concatenate([part.astype("float32") @ signs for part in parts])
    for members in _neighbourhoods(places, limits):
        for one, other in _near_places(places[members], limits[members]):
            first, second = members[one], members[other]
            levels = np.abs(flat[first].astype("int16") - flat[second]).sum(axis=1)
            near = levels <= np.minimum(limits[first], limits[second])
            yield from zip(first[near].tolist(), second[near].tolist(), strict=True)


def _signs(flat: Pixels) -> Pixels:
    """Signs, or 0, for each term of a sketch: those that tell these sketches apart.

    They are the signs of the principal directions, the first one first.
    """
    sample = flat[:: 1 + len(flat) // _CHUNK].astype("float32")
    sample -= sample.mean(axis=0)
    _, directions = np.linalg.eigh(sample.T @ sample)
    return np.sign(directions[:, : -_SUMS - 1 : -1])


def _neighbourhoods(places: Pixels, limits: Pixels) -> Iterator[Pixels]:
    """Few sketches each; any two that may be near are together in one of them.

    Halves them again and again, by the sum that differs most. A sketch above the middle
    is also with those below it, if its limit reaches there.
    """
    waiting = [np.arange(len(places))]
    while waiting:
        members = waiting.pop()
        if len(members) > _FEW:
            found = places[members]
            values = found[:, found.std(axis=0).argmax()]
            middle = np.median(values)
            below, above = values - limits[members] <= middle, values > middle
            if below.mean() < _WORTH:
                waiting += [members[below], members[above]]
                continue
        yield members


def _near_places(places: Pixels, limits: Pixels) -> Iterator[tuple[Pixels, Pixels]]:
    """Pairs of places that differ by no more than both limits in each sum, in chunks."""
    sums = places[:, np.argsort(-places.std(axis=0))].T
    step = max(_PAIRS // len(places), 1)
    for begin in range(0, len(places), step):
        rows = slice(begin, begin + step)
        most = np.minimum.outer(limits[rows], limits)
        near = np.tri(most.shape[0], len(places), begin - 1, dtype=bool)
        for values in sums[:_DENSE]:
            near &= np.abs(np.subtract.outer(values[rows], values)) <= most
        one, other = np.nonzero(near)
        one += begin
        for values in sums[_DENSE:]:
            allowed = np.minimum(limits[one], limits[other])
            close = np.abs(values[one] - values[other]) <= allowed
            one, other = one[close], other[close]
        yield one, other
