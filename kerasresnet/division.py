"""Parts of a set of images: held out, folds, shards, a few of them, all but some.

Every part keeps the order of the whole, and no image is lost or comes twice. The rules
are in `splits`.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias, TypeVar

import numpy as np

from kerasresnet.audit import Seen, message
from kerasresnet.decoding import Pixels
from kerasresnet.duplicates import Groups, same_pictures
from kerasresnet.errors import DataError, listing, unknown
from kerasresnet.splits import divide, folds, position, proportional

Together: TypeAlias = Literal["near", "exact"]
OnError: TypeAlias = Literal["raise", "skip"]
Divided = TypeVar("Divided", bound="Divisible")

_log = logging.getLogger(__name__)
_SHOWN = 10
_ORDER = ("train", "validation", "test")


class Divisible(ABC):
    """What `ImageData` has in common with its parts: it can be divided."""

    class_names: tuple[str, ...]
    labels: Any
    parts: tuple[str, ...] | None
    times: int

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def counts(self) -> dict[str, int]:
        """Returns the number of images of each class."""

    @property
    @abstractmethod
    def sources(self) -> tuple[str, ...]:
        """For each image, where it is from."""

    @abstractmethod
    def _seen(self, *, look: bool = True) -> list[Seen]: ...

    @abstractmethod
    def _labels(self) -> Any: ...

    @abstractmethod
    def _subset(self, chosen: Pixels, **changed: Any) -> Self: ...

    def split(
        self,
        *fractions: float,
        seed: int = 0,
        groups: Sequence[Hashable] | None = None,
        duplicates: Together = "near",
    ) -> tuple[Self, ...]:
        """Divides the images into parts, each with its share of every class.

        Every image goes to exactly one part, by its own content: the same seed gives the
        same parts whatever the files are called, and adding images moves none of those
        that were there, nearly. (An exception is a class that would be absent from a
        part, which is given its nearest image; another is an image that a new one shows
        to be nearly the same as a third.) The price is that shares are met on average
        only: of 100 images `split(0.2)` holds out 20, give or take 4.

        Images that show the same picture stay together, so that none is scored that was
        trained on. For that every photo is looked at once; what is seen is kept in the
        user's cache folder.

        Args:
            *fractions: Share of each part that is held out, in 0..1. None at all gives
                the parts that the images are divided into already.
            seed: Decides which images go where.
            groups: For each image what it belongs to, such as a person or a film: images
                of one group stay together.
            duplicates: Which images show the same picture: `"near"`, also those that were
                saved, scaled or tinted anew, or `"exact"`, those of the same content
                only, which is faster.

        Returns:
            What remains, and then a part for each fraction:
            `train, val, test = data.split(0.1, 0.1)`.

        Raises:
            DataError: If a class has fewer images than there are parts, or a file cannot
                be read.
            ValueError: If the fractions are not positive or leave nothing.
        """
        if not fractions and self.parts is not None:
            return self._own_parts()
        _check_seed(seed)
        _check_fractions(fractions)
        self._refuse_divided()
        labels = self._labels()
        positions, units = self._placed(seed, groups, duplicates)
        part = divide(positions, units, labels, fractions, self.class_names)
        names = _part_names(len(fractions) + 1)
        return tuple(self._part(part == k, name) for k, name in enumerate(names))

    def fold_numbers(
        self,
        k: int = 5,
        *,
        seed: int = 0,
        groups: Sequence[Hashable] | None = None,
        duplicates: Together = "near",
    ) -> Pixels:
        """Returns for each image the number of the fold in which `k_folds` holds it out.

        Args:
            k: As in `k_folds`.
            seed: As in `split`.
            groups: As in `split`.
            duplicates: As in `split`.

        Returns:
            An integer array of shape `(N,)`, 0 to `k - 1`.

        Raises:
            DataError: As in `k_folds`.
            ValueError: As in `k_folds`.
        """
        if not _is_whole(k, least=2):
            raise ValueError(f"k must be a whole number of at least 2, received {k}.")
        _check_seed(seed)
        self._refuse_divided()
        labels = self._labels()
        positions, units = self._placed(seed, groups, duplicates)
        if len(np.unique(units)) < k:
            raise DataError(
                f"There are {len(np.unique(units))} pictures that differ, too few for {k} "
                "folds."
            )
        return folds(positions, units, labels, k)

    def k_folds(
        self,
        k: int = 5,
        *,
        seed: int = 0,
        groups: Sequence[Hashable] | None = None,
        duplicates: Together = "near",
    ) -> list[tuple[Self, Self]]:
        """Divides the images `k` times, so that each is held out exactly once.

        The folds have the same share of every class, as near as whole images allow.
        Unlike those of `split` they change when images are added.

        Args:
            k: Number of folds, at least 2.
            seed: As in `split`.
            groups: As in `split`.
            duplicates: As in `split`.

        Returns:
            `k` pairs `(train, validation)`.

        Raises:
            DataError: If there are fewer pictures that differ than folds.
            ValueError: If `k` is less than 2.
        """
        found = self.fold_numbers(k, seed=seed, groups=groups, duplicates=duplicates)
        return [
            (
                self._part(found != fold, "train"),
                self._part(found == fold, "validation"),
            )
            for fold in range(k)
        ]

    def take(self, n: int, seed: int = 0) -> Self:
        """Returns `n` images with the classes in proportion, or all if there are fewer.

        Args:
            n: Number of images. If it is at least the number of classes, every class
                keeps at least one.
            seed: Decides which images are taken.

        Returns:
            An `ImageData` in the order of this one.

        Raises:
            ValueError: If `n` is not positive.
        """
        if n < 1:
            raise ValueError(
                f"take(n) needs a positive number of images, received {n}."
            )
        if n >= len(self):
            return self
        rng = np.random.default_rng(seed)
        if self.labels is None:
            return self._subset(np.sort(rng.permutation(len(self))[:n]))
        sizes = proportional(np.array(list(self.counts().values())), n)
        chosen = [
            rng.permutation(np.flatnonzero(self.labels == label))[:size]
            for label, size in enumerate(sizes)
        ]
        return self._subset(np.sort(np.concatenate(chosen)))

    def shard(self, index: int, count: int) -> Self:
        """Returns every `count`-th image from number `index` on.

        The shards 0 to `count - 1` together are the whole, for work on several machines.

        Args:
            index: Number of the shard, from 0.
            count: Number of shards.

        Raises:
            ValueError: If there is no such shard.
        """
        if not 0 <= index < count:
            raise ValueError(
                f"shard(index, count) needs 0 <= index < count, received {index}, {count}."
            )
        return self._subset(np.arange(index, len(self), count))

    def without(self, images: Iterable[str | Path | tuple[str, str]]) -> Self:
        """Returns all images but some.

        Args:
            images: Sources of images, or pairs that begin with one: `audit.unreadable`,
                `audit.blank`, a list of paths.

        Returns:
            An `ImageData` in the order of this one.

        Raises:
            DataError: If one of them is not among the images, or none is left.

        Example:

        >>> data = kr.ImageData.from_folder("flower_photos")
        >>> (
        ...     len(data.without(data.check().unreadable)),
        ...     len(data.without([data.paths[3]])),
        ... )
        (30, 29)
        """
        if isinstance(images, str | Path):
            raise ValueError(
                f"Expected a list of images, received {images!r}. Pass [{str(images)!r}]."
            )
        unwanted = {str(one[0] if isinstance(one, tuple) else one) for one in images}
        sources = self.sources
        foreign = unwanted - set(sources)
        if foreign:
            raise DataError(
                f"{len(foreign):,} of the images to leave out are not among these: "
                f"{listing(sorted(foreign))}."
            )
        if not unwanted:
            return self
        kept = [row for row, source in enumerate(sources) if source not in unwanted]
        if not kept:
            raise DataError("Without these images, none is left.")
        return self._subset(np.array(kept))

    def _part(self, chosen: Pixels, name: str) -> Self:
        rows = np.flatnonzero(chosen)
        return self._subset(rows, parts=(name,) * len(rows), times=self.times + 1)

    def _own_parts(self) -> tuple[Self, ...]:
        names = np.array(self.parts)
        found = set(self.parts or ())
        ordered = [name for name in _ORDER if name in found]
        ordered += sorted(found - set(ordered))
        return tuple(self._subset(np.flatnonzero(names == name)) for name in ordered)

    def _refuse_divided(self) -> None:
        found = sorted(set(self.parts or ()))
        if len(found) > 1:
            raise DataError(
                f"These images are divided already: {listing(found)}. data.split() gives "
                "the parts, each of which can be divided again."
            )

    def _placed(
        self, seed: int, groups: Sequence[Hashable] | None, duplicates: Together
    ) -> tuple[Pixels, Pixels]:
        """For each image its place in [0, 1), and the number of the unit it belongs to."""
        if duplicates not in ("near", "exact"):
            raise unknown("duplicates", duplicates, ("near", "exact"))
        near = duplicates == "near"
        seen = self._seen(look=near)
        digests = [one.digest for one in seen]
        together = same_pictures(digests, [one.look for one in seen], near=near)
        # An image that cannot be read is told from others by its name.
        keys = [one.digest or f"unreadable {one.source}" for one in seen]
        if groups is not None:
            keys = _group_keys(groups, len(self))
            together.join_equal(keys)
        return _positions(keys, together, seed, self.times), np.array(
            [together.root(i) for i in range(len(self))]
        )


def readable(data: Divided, on_error: OnError) -> Divided:
    """Returns images without those that cannot be read, if that is wanted.

    Args:
        data: Which images.
        on_error: `"skip"` looks at each and leaves out those that cannot be read, and
            the log names them. `"raise"` changes nothing.

    Raises:
        DataError: If none can be read.
        ValueError: If `on_error` is neither.
    """
    check_on_error(on_error)
    if on_error == "raise":
        return data
    bad = [one for one in data._seen() if one.look.problem]
    if not bad:
        return data
    report_left_out([message(one) for one in bad], len(data))
    return data.without([one.source for one in bad])


def check_on_error(on_error: OnError) -> None:
    """Raises a `ValueError` unless it is `"raise"` or `"skip"`."""
    if on_error not in ("raise", "skip"):
        raise unknown("on_error", on_error, ("raise", "skip"))


def report_left_out(problems: Sequence[str], count: int) -> None:
    """Says in the log which of `count` images are left out, and why."""
    _log.warning(
        "%d of %d images cannot be read and are left out:\n  %s",
        len(problems),
        count,
        "\n  ".join([*problems[:_SHOWN], *(["…"] * (len(problems) > _SHOWN))]),
    )


def _positions(keys: Sequence[str], together: Groups, seed: int, times: int) -> Pixels:
    smallest: dict[int, str] = {}
    roots = [together.root(i) for i in range(len(keys))]
    for root, key in zip(roots, keys, strict=True):
        smallest[root] = min(key, smallest.get(root, key))
    found = {root: position(key, seed, times) for root, key in smallest.items()}
    return np.array([found[root] for root in roots])


def _group_keys(groups: Sequence[Hashable], count: int) -> list[str]:
    if len(groups) != count:
        raise DataError(f"There are {count:,} images but {len(groups):,} groups.")
    return [f"{type(group).__name__} {group}" for group in groups]


def _part_names(count: int) -> tuple[str, ...]:
    if count <= len(_ORDER):
        return _ORDER[:count]
    return ("train", *(f"part {number}" for number in range(1, count)))


def _check_fractions(fractions: Sequence[Any]) -> None:
    numbers = all(isinstance(share, Real) for share in fractions)
    if not fractions or not numbers or min(fractions) <= 0 or sum(fractions) >= 1:
        raise ValueError(
            f"Fractions must be positive and sum to less than 1, received {fractions}. "
            "split(0.2) holds out one image in five."
        )


def _check_seed(seed: int) -> None:
    if not _is_whole(seed, least=0):
        raise ValueError(f"seed must be at least 0, received {seed}.")


def _is_whole(number: Any, *, least: int) -> bool:
    return isinstance(number, Integral) and int(number) >= least
