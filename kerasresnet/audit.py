"""What is wrong with a set of images, found before training does.

Pure rules on what was seen of each image (see `index`); which images there are is decided
in `images`. Nothing is read and nothing is repaired here.
"""

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kerasresnet.decoding import FORMATS, SUFFIXES, UnreadableError
from kerasresnet.duplicates import same_pictures
from kerasresnet.errors import count_of, listing
from kerasresnet.looks import Look
from kerasresnet.notebooks import audit_html

# keras.applications refuses smaller inputs; such a photo holds too little to tell.
SMALL = 32
# Squashed to a square, such a photo is hardly itself.
_EXTREME = 3.0
# Standard deviation in levels of 0..255: less is noise on one colour.
_BLANK = 2.0
# Mean difference of the channels in levels: less is a gray photo saved in colour.
_GRAY = 1.5
_UNEVEN = 10.0
_SHOWN = 10
_OF_CLASSES = ("empty_classes", "too_few", "untrained")

Group = tuple[str, ...]


@dataclass(frozen=True)
class Seen:
    """What is known of one image.

    Args:
        source: Where it is from: a path, or a name such as `"image 7"`.
        digest: Digest of its content, or None if that cannot be read.
        look: What one look at it tells.
    """

    source: str
    digest: str | None
    look: Look

    @classmethod
    def unreadable(cls, source: str, error: UnreadableError) -> "Seen":
        """Returns what is known of an image whose content cannot be read."""
        return cls(source, None, Look(problem=error.problem, reason=error.reason))


@dataclass(frozen=True)
class Audit:
    """What `ImageData.check` found.

    `print(audit)` shows a summary, `audit.to_csv(file)` writes a table, `audit.ok` says
    whether training could start, and `audit.obstacles` why not.

    Args:
        counts: Number of images of each class, by class name; empty if unlabelled.
        unreadable: Pairs of source and reason for each image that cannot be read.
        small: Sources of images with a side under 32 px.
        unlabelled: Number of images, if they have no labels.
        missing: Sources of unreadable images that are not there, or closed to you.
        empty_files: Sources of unreadable images without a byte.
        not_images: Sources of unreadable images that are something else.
        truncated: Sources of unreadable images whose end is missing.
        wrong_suffix: Pairs of source and true format. Such photos are read by what
            they are.
        duplicates: Groups of images with the same content.
        near_duplicates: Groups of images that show the same picture, saved, scaled or
            tinted anew. Found by a sketch of 8 x 9 blocks: look at them.
        label_conflicts: Those groups of either kind that have more than one label.
        leaks: Those groups of either kind that have members in more than one part.
        extreme: Sources of images more than three times as wide as high, or as high as
            wide.
        blank: Sources of images of one colour.
        gray: Sources of gray images, where most are in colour.
        empty_classes: Names of classes without an image.
        too_few: Names of classes with one image, which cannot be in training and in
            validation. Empty if the images are parts already, or one part.
        untrained: Names of classes without an image in the part `train`, if there are
            other parts.

    Example:

    >>> audit = kr.ImageData.from_folder("flower_photos").check()
    >>> audit.ok, audit.unreadable, audit.duplicates
    (True, (), ())
    """

    counts: dict[str, int]
    unreadable: tuple[tuple[str, str], ...] = ()
    small: Group = ()
    unlabelled: int = 0
    missing: Group = ()
    empty_files: Group = ()
    not_images: Group = ()
    truncated: Group = ()
    wrong_suffix: tuple[tuple[str, str], ...] = ()
    duplicates: tuple[Group, ...] = ()
    near_duplicates: tuple[Group, ...] = ()
    label_conflicts: tuple[Group, ...] = ()
    leaks: tuple[Group, ...] = ()
    extreme: Group = ()
    blank: Group = ()
    gray: Group = ()
    empty_classes: Group = ()
    too_few: Group = ()
    untrained: Group = ()

    @property
    def ok(self) -> bool:
        """Whether training could start, because there is no obstacle."""
        return not self.obstacles

    @property
    def obstacles(self) -> tuple[str, ...]:
        """Why training would stop, a short text for each reason.

        Images that cannot be read; and if they have labels, a single class, a class
        without an image, with too few of them, or with none to train on.
        """
        single = "1 class: a classifier needs at least two"
        alone = [f"{name} (1)" for name in self.too_few]
        found = [
            f"{what}: {listing(names)}"
            for what, names in (
                ("Without an image", self.empty_classes),
                ("Too few images to be in training and validation", alone),
                ("Without an image in the part 'train'", self.untrained),
            )
            if names
        ]
        first = [single] if len(self.counts) == 1 else []
        return (*first, *found, *([self._unreadable()] if self.unreadable else []))

    def _unreadable(self) -> str:
        return f"{count_of(len(self.unreadable), 'image')} cannot be read"

    @property
    def imbalance(self) -> float:
        """How many times as many images the largest class has as the smallest one."""
        found = [count for count in self.counts.values() if count]
        return max(found) / min(found) if found else 1.0

    def to_csv(self, file: str | Path) -> None:
        """Writes a table with a row for each finding.

        Its columns are `problem`, `image` (a source, or the name of a class), `group`
        (a number that images of one group share, else empty) and `detail`.

        Args:
            file: Where to write it.
        """
        with Path(file).open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(["problem", "image", "group", "detail"])
            writer.writerows(self._rows())

    def _rows(self) -> Iterator[tuple[str, str, int | str, str]]:
        kinds = {
            source: kind
            for kind in ("missing", "empty_files", "not_images", "truncated")
            for source in getattr(self, kind)
        }
        for source, reason in self.unreadable:
            yield kinds.get(source, "damaged"), source, "", reason
        for source, kind in self.wrong_suffix:
            yield "wrong_suffix", source, "", kind
        for kind in ("small", "extreme", "blank", "gray", *_OF_CLASSES):
            for source in getattr(self, kind):
                yield kind, source, "", ""
        for kind in ("duplicates", "near_duplicates", "label_conflicts", "leaks"):
            for number, group in enumerate(getattr(self, kind), 1):
                for source in group:
                    yield kind, source, number, ""

    def __str__(self) -> str:
        return "\n".join([*self._counted(), *self._found()])

    def _repr_html_(self) -> str:
        headline, *_ = self._counted()
        return audit_html(headline, self.counts, "\n".join(self._found()))

    def _found(self) -> Iterator[str]:
        if self.imbalance >= _UNEVEN:
            yield (
                f"The largest class has {self.imbalance:.0f} times as many images as the "
                "smallest."
            )
        yield from self._unread()
        yield from self._noted()
        if not self.ok:
            yield "Training would stop:"
            yield from (f"  {why}" for why in self.obstacles)

    def _counted(self) -> Iterator[str]:
        if self.unlabelled:
            yield f"{count_of(self.unlabelled, 'image')}, unlabelled"
        else:
            images = count_of(sum(self.counts.values()), "image")
            yield f"{images} in {count_of(len(self.counts), 'class', 'classes')}"
        width = max((len(name) for name in self.counts), default=0)
        shown = sorted(self.counts.items(), key=lambda item: -item[1])[: 2 * _SHOWN]
        yield from (f"  {name:<{width}}  {count:>6,}" for name, count in shown)
        if len(self.counts) > len(shown):
            rest = len(self.counts) - len(shown)
            yield f"  and {count_of(rest, 'more class', 'more classes')}"

    def _unread(self) -> Iterator[str]:
        if not self.unreadable:
            yield "Every image can be read."
            return
        yield f"{self._unreadable()}:"
        yield from (f"  {reason}" for _, reason in self.unreadable[:_SHOWN])
        if len(self.unreadable) > _SHOWN:
            yield f"  and {len(self.unreadable) - _SHOWN:,} more"

    def _noted(self) -> Iterator[str]:
        named = [f"{source} ({kind})" for source, kind in self.wrong_suffix]
        for found, one, several in (
            (
                self.small,
                f"has a side under {SMALL} px",
                f"have a side under {SMALL} px",
            ),
            (named, "is not what its name says", "are not what their names say"),
            (
                self.extreme,
                "is over three times as long as broad",
                "are over three times as long as broad",
            ),
            (self.blank, "is of one colour", "are of one colour"),
            (self.gray, "is gray", "are gray"),
        ):
            if found:
                said = one if len(found) == 1 else several
                yield f"{count_of(len(found), 'image')} {said}: {listing(found)}"
        yield from _groups("the same", self.duplicates)
        yield from _groups("nearly the same", self.near_duplicates)
        yield from _groups("the same with different labels", self.label_conflicts)
        yield from _groups("the same in different parts", self.leaks)


def _groups(what: str, groups: Sequence[Group]) -> Iterator[str]:
    if not groups:
        return
    yield f"{count_of(len(groups), 'group')} of images that are {what}:"
    yield from ("  " + listing(group) for group in groups[:_SHOWN])
    if len(groups) > _SHOWN:
        yield f"  and {len(groups) - _SHOWN:,} more"


def inspect(
    seen: Sequence[Seen],
    counts: dict[str, int],
    labels: Sequence[int] | None = None,
    parts: Sequence[str] | None = None,
) -> Audit:
    """Judges what was seen of a set of images.

    Args:
        seen: What is known of each image.
        counts: Number of images of each class; empty if they have no labels.
        labels: For each image the number of its class.
        parts: For each image the name of its part.

    Returns:
        An `Audit`.
    """
    bad = [one for one in seen if one.look.problem]
    good = [one for one in seen if not one.look.problem]
    exact, near = _same(seen)
    return Audit(
        counts=counts,
        unlabelled=0 if counts else len(seen),
        unreadable=tuple((one.source, message(one)) for one in bad),
        missing=_of_problem(bad, "missing"),
        empty_files=_of_problem(bad, "empty"),
        not_images=_of_problem(bad, "not an image"),
        truncated=_of_problem(bad, "truncated"),
        small=_sources(good, lambda look: min(look.width, look.height) < SMALL),
        wrong_suffix=tuple(
            (one.source, one.look.format) for one in good if _is_misnamed(one)
        ),
        extreme=_sources(good, _is_extreme),
        blank=_sources(good, lambda look: look.contrast < _BLANK),
        gray=_gray(good),
        empty_classes=tuple(name for name, count in counts.items() if not count),
        too_few=() if parts else tuple(n for n, count in counts.items() if count == 1),
        untrained=_untrained(counts, labels, parts),
        duplicates=_named(seen, exact),
        near_duplicates=_named(seen, near),
        label_conflicts=_named(seen, _mixed([*exact, *near], labels)),
        leaks=_named(seen, _mixed([*exact, *near], parts)),
    )


def message(one: Seen) -> str:
    """Returns the sentence that an image cannot be read."""
    return f"{one.source} cannot be read: {one.look.reason}."


def _same(seen: Sequence[Seen]) -> tuple[list[list[int]], list[list[int]]]:
    """Groups of the same content, and those that hold more than one content."""
    digests, looks = [one.digest for one in seen], [one.look for one in seen]
    alike = same_pictures(digests, looks).members()
    contents: dict[str | None, list[int]] = {}
    for member in (member for group in alike for member in group):
        contents.setdefault(digests[member], []).append(member)
    exact = [same for key, same in contents.items() if key and len(same) > 1]
    return sorted(exact), [
        group for group in alike if len({digests[member] for member in group}) > 1
    ]


def _mixed(
    groups: Sequence[list[int]], kinds: Sequence[object] | None
) -> list[list[int]]:
    if kinds is None:
        return []
    found = [group for group in groups if len({kinds[member] for member in group}) > 1]
    # A group of one content is also part of the wider one of alike pictures.
    return [
        group for group in found if not any(set(group) < set(other) for other in found)
    ]


def _named(seen: Sequence[Seen], groups: Sequence[list[int]]) -> tuple[Group, ...]:
    return tuple(tuple(seen[member].source for member in group) for group in groups)


def _of_problem(bad: Sequence[Seen], problem: str) -> Group:
    return tuple(one.source for one in bad if one.look.problem == problem)


def _sources(good: Sequence[Seen], is_so: Callable[[Look], bool]) -> Group:
    return tuple(one.source for one in good if is_so(one.look))


def _is_extreme(look: Look) -> bool:
    return max(look.width, look.height) > _EXTREME * min(look.width, look.height)


def _untrained(
    counts: dict[str, int],
    labels: Sequence[int] | None,
    parts: Sequence[str] | None,
) -> Group:
    if labels is None or parts is None or not {"train"} < set(parts):
        return ()
    trained = {n for n, part in zip(labels, parts, strict=True) if part == "train"}
    return tuple(
        name
        for number, (name, count) in enumerate(counts.items())
        if count and number not in trained
    )


def _is_misnamed(one: Seen) -> bool:
    """Whether the suffix names another format; one that names none is no finding."""
    suffix = Path(one.source).suffix.lower()
    return suffix in SUFFIXES - set(FORMATS.get(one.look.format, SUFFIXES))


def _gray(good: Sequence[Seen]) -> Group:
    coloured = [one for one in good if one.look.contrast >= _BLANK]
    found = _sources(coloured, lambda look: look.colour < _GRAY)
    return found if 2 * len(found) < len(coloured) else ()
